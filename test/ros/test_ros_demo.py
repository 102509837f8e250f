"""The demonstration as a user starts it: two nodes over DDS, one question through the topic, one through the action."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup, . ./env.sh)")

from roboref_node.cli import main
from roboref_node.commands.demo import _entry
from roboref_node.demo.script import Script
from roboref_node.pointing.pointer import PixelPoint
from roboref_node.referral import Referral
from roboref_node.ros.messages import referral_message
from roboref_node.status import Status
from roboref_node.task import Task, TaskKind

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_answers_and_shows_it(tmp_path: Path) -> None:
    picture = tmp_path / "demo.png"
    command = [sys.executable, "-m", "roboref_node.cli", "demo", "--seed", "3", "--headless", "--json", "--out", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"status", "pixel", "position_m", "goal", "target", "hit", "error_mm", "timings_ms"} <= set(result)
    for answer in (result, result["action"]):
        assert answer["sentence"]
        assert (answer["goal"] is not None) == (answer["status"] == "OK")
        if answer["goal"] is not None:
            assert answer["goal"]["frame"] == "base_link"
        if answer["error_mm"] is not None:
            assert answer["error_mm"] < 15.0
    if result["status"] == "OK":
        assert cv2.imread(str(picture)) is not None


@pytest.mark.parametrize("moved", [False, True])
def test_a_place_that_was_moved_is_not_told_as_an_error_of_the_depth(moved: bool) -> None:
    script = Script(3)
    try:
        x, y, z = (float(value) for value in script.cell.surface_point(322.0, 294.0))
        referral = Referral(
            Task(TaskKind.PLACE, "behind the red bowl", "put it behind the red bowl"), Status.OK, "moved", goal_frame="base_link",
            pixel=PixelPoint(322.0, 294.0), position_m=(x + 0.02, y, z), details={"place_moved_m": 0.02} if moved else {},
        )  # fmt: skip
        message = referral_message(referral, index=0, count=1, goal_from_optical=None, timings_ms={})
        told = _entry(message, "put it behind the red bowl", script)
    finally:
        script.close()
    assert told["error_mm"] == (None if moved else pytest.approx(20.0, abs=0.1))


def test_a_name_that_no_node_can_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "pick up the cup", "--node", "/bad name", "--json"]) == 2
    assert "'/bad name' is no name of a node" in json.loads(capsys.readouterr().out)["sentence"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--confirm", "--pick-place"], "--confirm and --seconds are for --console"),
        (["--seconds", "3"], "--confirm and --seconds are for --console"),
        (["--say", " "], "--say needs a sentence"),
    ],
)
def test_arguments_that_nothing_would_heed_are_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A demonstration that was told to --confirm moved the arm without asking."""
    assert main(["demo", "--json", *arguments]) == 2
    assert words in json.loads(capsys.readouterr().out)["sentence"]
