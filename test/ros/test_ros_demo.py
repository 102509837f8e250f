"""The demonstration as a user starts it: two nodes over DDS, one question through the topic, one through the action."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2

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
