"""``roboref record``: what it began in vain does not stand in the way of the next attempt."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup, . ./env.sh)")

from roboref_node.cli import main


def test_a_failed_recording_can_be_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    bag = tmp_path / "bag"
    for _ in range(2):
        assert main(["record", str(bag), "--topics", "/nobody/publishes", "--timeout", "0.3"]) == 2
        assert "nothing arrived on /nobody/publishes" in capsys.readouterr().err
    assert not bag.exists()


def test_a_folder_that_was_there_before_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["record", str(tmp_path), "--topics", "/nobody/publishes", "--timeout", "0.3"]) == 2
    assert "cannot be written" in capsys.readouterr().err and (tmp_path / "mine.txt").read_text() == "kept"
