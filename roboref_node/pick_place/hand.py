"""What the gripper holds, and the candidates by which an object is taken or put down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate
from roboref_node.goals.place import HeldObject
from roboref_node.goals.release import turned
from roboref_node.pick_place.verification import Sighting
from roboref_node.referral import Referral

_SAME_M, _SAME_RAD = 0.005, 0.35
"""Grasps nearer to each other than both fail for the same reason."""
_FAR_M, _FAR_RAD, _FAR_WORTH = 0.05, 1.0, 0.3
"""A grasp so far from those that failed is worth so much more score: what was in the way of one is in the way of its neighbours."""


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


UNKNOWN = Held("what is in the gripper", None, None)
"""Something of which nothing is known but that it is held."""


def next_grasp(grasps: Sequence[GraspCandidate], tried: Sequence[GraspCandidate]) -> GraspCandidate | None:
    """The best candidate that differs from those that failed, the more the better; None when there is none.

    Args:
        grasps: Candidates, best first.
        tried: Grasps that failed on the same object, at the same place.
    """
    apart = {i: min((_apart(grasp.pose, other.pose) for other in tried), default=(np.inf, np.inf)) for i, grasp in enumerate(grasps)}
    left = [i for i, (metres, radians) in apart.items() if metres >= _SAME_M or radians >= _SAME_RAD]

    def worth(i: int) -> float:
        return grasps[i].score + _FAR_WORTH * min(1.0, apart[i][0] / _FAR_M + apart[i][1] / _FAR_RAD)

    return grasps[max(left, key=worth)] if left else None


def _apart(one: Transform, other: Transform) -> tuple[float, float]:
    turn = Rotation.from_quat(one.quaternion_xyzw).inv() * Rotation.from_quat(other.quaternion_xyzw)
    return float(np.linalg.norm(one.translation_m - other.translation_m)), float(turn.magnitude())


def place_candidates(referral: Referral, held: HeldObject | None) -> tuple[tuple[Transform, Transform], ...]:
    """Tool poses (goal, approach) that put the object down on the point of `referral`, the checked one first.

    With a gripper that points down, the object may also stand there turned about the vertical: the check of a place counts with the
    circle around the footprint, and the answer tells for which turns there is room for the gripper too (``details["turns_rad"]``).
    """
    goal, approach = referral.goal, referral.approach
    if goal is None or approach is None:
        return ()
    bottom = np.zeros(3) if held is None or held.bottom_in_tool_m is None else np.asarray(held.bottom_in_tool_m)
    foot = goal.apply(bottom)
    turns = referral.details.get("turns_rad", ())
    return ((goal, approach), *((turned(goal, turn, foot), turned(approach, turn, foot)) for turn in turns))


def hang_m(held: HeldObject) -> float:
    """How far an object may hang below where its base was when it was taken: a plate that is held by its lip turns downwards."""
    aside = 0.0
    if held.base_from_tool is not None and held.bottom_in_tool_m is not None:
        aside = float(np.linalg.norm(held.base_from_tool.rotate(held.bottom_in_tool_m)[:2]))
    return float(np.hypot(aside + held.radius_m, held.grasp_height_m)) - held.grasp_height_m
