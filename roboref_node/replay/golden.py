"""Golden answers: compared within metric tolerances, never byte by byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roboref_node.replay.stored import checked_answer
from roboref_node.status import Refused, Status

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Tolerances:
    """How far an answer may be from the golden one.

    Args:
        pixel_px: Distance of the pixel.
        position_m: Distance of the point, of the goal and of the approach; difference of the gripper's width.
        angle_deg: Angle between the goals' orientations.
    """

    pixel_px: float = 2.0
    position_m: float = 0.003
    angle_deg: float = 2.0


_KEPT = ("task", "status", "sentence", "pixel", "position_m", "goal", "approach", "gripper_width_m")
"""What a golden file holds of an answer: nothing that changes from run to run."""


def write_golden(answers: Sequence[Answer], path: Path) -> None:
    """Write what `compare` needs of answers."""
    kept = [{name: answer[name] for name in _KEPT} for answer in answers]
    path.write_text(json.dumps({"answers": kept}, indent=1) + "\n", encoding="utf-8")


def read_golden(path: Path) -> list[dict[str, Any]]:
    """What `write_golden` has written.

    Raises:
        Refused: BAD_REQUEST naming what cannot be read, or the entry of the answer that is of another form.
    """
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
        if not isinstance(answers, list):
            raise TypeError("'answers' is no list")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(Status.BAD_REQUEST, f"{path} is no golden file ({error}); make one with --write-golden") from None
    return [checked_answer(answer, f"{path}: answer {number}") for number, answer in enumerate(answers, 1)]


def compare(answers: Sequence[Answer], golden: Sequence[Answer], tolerances: Tolerances | None = None, *, first: int = 1) -> list[str]:
    """Differences between two lists of referrals as dictionaries, one sentence each; empty = the same.

    Args:
        answers: From this run.
        golden: From the file.
        tolerances: What counts as the same.
        first: Number of the first answer, in the sentences.
    """
    tolerances = tolerances or Tolerances()
    found = [] if len(answers) == len(golden) else [f"{len(answers)} answers, the golden file has {len(golden)}"]
    for number, (answer, expected) in enumerate(zip(answers, golden, strict=False), first):
        where = f"answer {number} ({expected['task']['instruction']!r}, {expected['task']['kind']})"
        if answer["task"] != expected["task"]:
            found.append(f"{where}: the question is {answer['task']}")
        elif answer["status"] != expected["status"]:
            found.append(f"{where}: status {answer['status']}, expected {expected['status']}: {answer['sentence']}")
        else:
            found += [f"{where}: {text}" for text in _numbers(answer, expected, tolerances)]
    return found


def _numbers(answer: Answer, expected: Answer, tolerances: Tolerances) -> list[str]:
    found = []
    if (answer["pixel"] is None) != (expected["pixel"] is None):
        return [f"pixel {answer['pixel']}, expected {expected['pixel']}"]
    if expected["pixel"] is not None:
        apart = _apart(answer["pixel"], expected["pixel"])
        if apart > tolerances.pixel_px:
            found.append(f"the pixel is {apart:.1f} px off (tolerance {tolerances.pixel_px:g})")
    for name, what in (("position_m", "the point"), ("gripper_width_m", "the gripper's width")):
        mine, theirs = answer.get(name), expected.get(name)
        if (mine is None) != (theirs is None):
            found.append(f"{what} is {mine}, expected {theirs}")
        elif mine is not None and (apart := _apart(mine, theirs)) > tolerances.position_m:
            found.append(f"{what} is {1e3 * apart:.1f} mm off (tolerance {1e3 * tolerances.position_m:g} mm)")
    for name in ("goal", "approach"):
        mine, theirs = answer[name], expected[name]
        if (mine is None) != (theirs is None):
            found.append(f"{name} missing, expected {_place(theirs)}" if mine is None else f"{name} unexpected: {_place(mine)}")
        elif mine is not None and theirs is not None:
            if mine["frame"] != theirs["frame"]:
                found.append(f"{name} in {mine['frame']}, expected {theirs['frame']}")
            apart = _apart(mine["position_m"], theirs["position_m"])
            if apart > tolerances.position_m:
                places = f"{_place(mine)}, expected {_place(theirs)}"
                found.append(f"{name} is {1e3 * apart:.1f} mm off (tolerance {1e3 * tolerances.position_m:g} mm): {places}")
            dot = min(1.0, abs(float(np.dot(mine["quaternion_xyzw"], theirs["quaternion_xyzw"]))))
            angle = float(np.degrees(2 * np.arccos(dot)))
            if angle > tolerances.angle_deg:
                found.append(f"{name} is turned by {angle:.1f} deg (tolerance {tolerances.angle_deg:g})")
    return found


def _apart(mine: Any, theirs: Any) -> float:
    return float(np.linalg.norm(np.subtract(mine, theirs)))


def _place(pose: Mapping[str, Any]) -> str:
    return "({:.3f}, {:.3f}, {:.3f}) m in {}".format(*pose["position_m"], pose["frame"])
