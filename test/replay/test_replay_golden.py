"""Golden files: which differences count, and what is no golden file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roboref_node.replay import compare, read_golden
from roboref_node.status import Refused


def _golden(edit: Callable[[dict[str, Any]], Any], path: Path) -> Path:
    answer: dict[str, Any] = {
        "task": {"kind": "pick", "expression": "the cup", "instruction": "pick up the cup"},
        "status": "OK",
        "sentence": "",
        "pixel": [10.0, 10.0],
        "position_m": [0.5, 0.0, 0.1],
        "goal": {"frame": "base_link", "position_m": [0.5, 0.0, 0.1], "quaternion_xyzw": [1.0, 0.0, 0.0, 0.0]},
        "approach": None,
        "gripper_width_m": 0.05,
    }
    edit(answer)
    path.write_text(json.dumps({"answers": [answer]}))
    return path


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda a: a.clear(), "has no status"),
        (lambda a: a.update(status="FINE"), "status is 'FINE', it must be one of OK"),
        (lambda a: a.update(task=5), "task is 5"),
        (lambda a: a["task"].pop("kind"), "has no task.kind"),
        (lambda a: a.update(pixel="ab"), "pixel is 'ab', it must be a list of 2 numbers"),
        (lambda a: a.update(goal=[1, 2, 3]), "goal is"),
        (lambda a: a["goal"].pop("frame"), "has no goal.frame"),
        # NaN compared as equal to everything
        (lambda a: a["goal"].update(position_m=[float("nan"), 0, 0]), "goal.position_m is"),
        # ... and so did ten times a rotation
        (lambda a: a["goal"].update(quaternion_xyzw=[0.0, 7.0, 7.0, 0.0]), "goal.quaternion_xyzw is .* a unit quaternion"),
        (lambda a: a.update(gripper_width_m=True), "gripper_width_m is True"),
    ],
)
def test_a_golden_file_of_another_form_is_refused_by_entry(edit: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"golden.json: answer 1.*{words}"):
        read_golden(_golden(edit, tmp_path / "golden.json"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"answers": {"a": 1}}', '{"answers": "ab"}', "[" * 100_000])
def test_what_is_no_golden_file_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(content)
    with pytest.raises(Refused, match="no golden file"):
        read_golden(tmp_path / "golden.json")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda a: a.update(gripper_width_m=0.08), "the gripper's width is 30.0 mm off"),
        (lambda a: a.update(gripper_width_m=None), "the gripper's width is None, expected 0.05"),
        (lambda a: a.update(position_m=[0.5, 0.02, 0.1]), "the point is 20.0 mm off"),
        (lambda a: a.pop("goal"), "goal missing"),
    ],
)
def test_every_kept_number_counts(edit: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path) -> None:
    expected = read_golden(_golden(lambda a: None, tmp_path / "golden.json"))
    assert compare(expected, expected) == []
    (difference,) = compare(read_golden(_golden(edit, tmp_path / "other.json")), expected)
    assert words in difference


def test_golden_differences_are_sentences() -> None:
    task = {"kind": "pick", "expression": "the cup", "instruction": "pick up the cup"}
    goal = {"frame": "base_link", "position_m": [0.5, 0.0, 0.1], "quaternion_xyzw": [1.0, 0.0, 0.0, 0.0]}
    answer = {"task": task, "status": "OK", "sentence": "", "pixel": [10.0, 10.0], "goal": goal, "approach": None}
    assert compare([answer], [answer]) == []
    turned = {**answer, "goal": {**goal, "quaternion_xyzw": [np.cos(0.05), np.sin(0.05), 0.0, 0.0]}}
    assert "deg" in compare([turned], [answer])[0]
    negated = {**goal, "quaternion_xyzw": [-q for q in turned["goal"]["quaternion_xyzw"]]}
    assert compare([turned], [{**turned, "goal": negated}]) == []
    assert "status" in compare([{**answer, "status": "NO_DEPTH"}], [answer])[0]
    assert compare([], [answer])
