"""Golden answers: compared within metric tolerances, never byte by byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Tolerances:
    """How far an answer may be from the golden one.

    Args:
        pixel_px: Distance of the pixel.
        position_m: Distance of the goal's position.
        angle_deg: Angle between the goals' orientations.
    """

    pixel_px: float = 2.0
    position_m: float = 0.003
    angle_deg: float = 2.0


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
        apart = float(np.linalg.norm(np.subtract(answer["pixel"], expected["pixel"])))
        if apart > tolerances.pixel_px:
            found.append(f"the pixel is {apart:.1f} px off (tolerance {tolerances.pixel_px:g})")
    for name in ("goal", "approach"):
        mine, theirs = answer[name], expected[name]
        if (mine is None) != (theirs is None):
            found.append(f"{name} missing, expected {_place(theirs)}" if mine is None else f"{name} unexpected: {_place(mine)}")
        elif mine is not None and theirs is not None:
            if mine["frame"] != theirs["frame"]:
                found.append(f"{name} in {mine['frame']}, expected {theirs['frame']}")
            apart = float(np.linalg.norm(np.subtract(mine["position_m"], theirs["position_m"])))
            if apart > tolerances.position_m:
                places = f"{_place(mine)}, expected {_place(theirs)}"
                found.append(f"{name} is {1e3 * apart:.1f} mm off (tolerance {1e3 * tolerances.position_m:g} mm): {places}")
            dot = min(1.0, abs(float(np.dot(mine["quaternion_xyzw"], theirs["quaternion_xyzw"]))))
            angle = float(np.degrees(2 * np.arccos(dot)))
            if angle > tolerances.angle_deg:
                found.append(f"{name} is turned by {angle:.1f} deg (tolerance {tolerances.angle_deg:g})")
    return found


def _place(pose: Mapping[str, Any]) -> str:
    return "({:.3f}, {:.3f}, {:.3f}) m in {}".format(*pose["position_m"], pose["frame"])
