"""``roboref record``: what it began in vain does not stand in the way of the next attempt."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup, . ./env.sh)")

import rclpy
from std_msgs.msg import String

from roboref_node.cli import main


def test_a_failed_recording_can_be_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    bag = tmp_path / "bag"
    for _ in range(2):
        assert main(["record", str(bag), "--topics", "/nobody/publishes", "--timeout", "0.3"]) == 2
        assert "nothing arrived on /nobody/publishes" in capsys.readouterr().err
    assert not bag.exists()


@pytest.mark.parametrize("camera", ["/nobody/camera", "nobody/camera/"])
def test_a_camera_that_is_silent_is_told_with_what_else_can_be_given(camera, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    assert main(["record", str(tmp_path / "bag"), "--camera", camera, "--timeout", "0.3"]) == 2
    told = capsys.readouterr().err
    assert "/nobody/camera/color/image_raw," in told and "--topics other topics" in told


def test_a_recording_of_no_topic_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["record", str(tmp_path / "bag"), "--topics"])
    assert end.value.code == 2 and "--topics" in capsys.readouterr().err


def test_a_folder_that_was_there_before_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["record", str(tmp_path), "--topics", "/nobody/publishes", "--timeout", "0.3"]) == 2
    assert "cannot be written" in capsys.readouterr().err and (tmp_path / "mine.txt").read_text() == "kept"


def test_a_topic_is_found_with_and_without_its_slash(tmp_path, capsys):
    """`doctor --camera camera` and `record --camera camera` mean the same camera."""
    rclpy.init(domain_id=91)
    node = rclpy.create_node("talker")
    publisher = node.create_publisher(String, "/front/camera/text", 1)
    timer = node.create_timer(0.05, lambda: publisher.publish(String(data="x")))
    command = [
        sys.executable,
        "-m",
        "roboref_node.cli",
        "record",
        str(tmp_path / "bag"),
        "--topics",
        "front/camera/text",
        "--seconds",
        "0.2",
    ]
    recording = subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": "91"}, stdout=subprocess.PIPE, text=True)
    try:
        while recording.poll() is None:
            rclpy.spin_once(node, timeout_sec=0.1)
        out, _ = recording.communicate()
    finally:
        node.destroy_timer(timer)
        node.destroy_node()
        rclpy.shutdown()
    assert recording.returncode == 0 and "/front/camera/text" in out
