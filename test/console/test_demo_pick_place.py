"""``roboref demo --pick-place`` as a user starts it: timeline, pictures, and the truth about what has moved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from scene3_server import SENTENCE, model

__all__ = ["model"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)
def test_it_moves_what_was_meant_and_shows_it(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "roboref_node.cli", "demo", "--pick-place", "--seed", "3", "--model", str(model), "--json"]
    command += ["--instruction", SENTENCE, "--timeout", "240", "--out", str(tmp_path / "demo.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["outcome"], result["tasks_done"], result["right_object"]) == ("done", 2, True), done.stdout
    assert [change["object"] for change in result["moved"]] == ["large orange bottle"]
    states = [line["state"] for line in result["timeline"]]
    assert states[0] == "refer" and states[-1] == "verify"
    assert states.count("move") == 5, "a way home that tells what the arm holds; pick, home, place, home"
    assert len(result["pictures"]) == len(states) + 1
    first, last = (cv2.imread(result["pictures"][index]).astype(int) for index in (0, -1))
    assert abs(first - last).max(axis=2).mean() > 1.0, "the pictures show that something has moved"
