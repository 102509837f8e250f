"""What the gripper holds, and the candidates by which an object is taken or put down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate
from roboref_node.goals.place import HeldObject
from roboref_node.goals.reach import approach_axis
from roboref_node.pick_place.verification import Sighting
from roboref_node.referral import Referral

_SAME_M, _SAME_RAD = 0.012, 0.35
"""Grasps nearer to each other than both fail for the same reason."""
_DOWN = -0.9
"""Least cosine of the approach with straight down for which a placed object may be turned about the vertical."""


@dataclass(frozen=True, eq=False)
class Held:
    """What is in the gripper.

    Args:
        name: The words that it was asked for with.
        size: For the refer node; None when it was in the gripper before this loop began.
        sighting: How it looked where it came from; None as above.
    """

    name: str
    size: HeldObject | None
    sighting: Sighting | None


def next_grasp(grasps: Sequence[GraspCandidate], tried: Sequence[GraspCandidate]) -> GraspCandidate | None:
    """The best candidate that differs from those that failed, or None.

    Args:
        grasps: Candidates, best first.
        tried: Grasps that failed on the same object, at the same place.
    """
    return next((grasp for grasp in grasps if not any(_same(grasp.pose, other.pose) for other in tried)), None)


def _same(one: Transform, other: Transform) -> bool:
    near = float(np.linalg.norm(one.translation_m - other.translation_m)) < _SAME_M
    return (
        near and float((Rotation.from_quat(one.quaternion_xyzw).inv() * Rotation.from_quat(other.quaternion_xyzw)).magnitude()) < _SAME_RAD
    )


def place_candidates(referral: Referral, held: HeldObject | None) -> tuple[tuple[Transform, Transform], ...]:
    """Tool poses (goal, approach) that put the object down on the point of `referral`, the checked one first.

    With a gripper that points down, the object may also stand there turned by 180 and 90 degrees: the checks of a place count
    with the circle around the footprint and around the gripper, so they hold for every turn.
    """
    goal, approach = referral.goal, referral.approach
    if goal is None or approach is None:
        return ()
    candidates = [(goal, approach)]
    if float(approach_axis(goal.quaternion_xyzw)[2]) > _DOWN:
        return tuple(candidates)
    bottom = np.zeros(3) if held is None or held.bottom_in_tool_m is None else np.asarray(held.bottom_in_tool_m)
    foot = goal.apply(bottom)
    for degrees in (180.0, 90.0, -90.0):
        turn = Rotation.from_rotvec([0.0, 0.0, np.radians(degrees)])
        candidates.append((_turned(goal, turn, foot), _turned(approach, turn, foot)))
    return tuple(candidates)


def _turned(pose: Transform, turn: Rotation, about_m: NDArray[np.float64]) -> Transform:
    rotation = turn * Rotation.from_quat(pose.quaternion_xyzw)
    return Transform(rotation.as_quat(), about_m + turn.as_matrix() @ (pose.translation_m - about_m))
