"""Can the arm get there? A sphere shell answers at once; an inverse-kinematics solver can be put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile

FloatArray = NDArray[np.float64]


class Reachability(Protocol):
    """Decides whether tool poses can be reached. Implementations hold no state between calls."""

    def margins(self, poses: Sequence[Transform]) -> FloatArray:
        """How well each base_from_tool pose can be reached, shape (N,): below 0 not at all, up to 1."""
        ...

    def explain(self, pose: Transform) -> str:
        """Half a sentence with the number and the setting that decide about one pose."""
        ...


@dataclass(frozen=True)
class ReachSphere:
    """The flange must lie between two spheres around the shoulder: necessary, not sufficient.

    Args:
        profile: A robot with `reach` and `gripper`.
    """

    profile: RobotProfile

    def __post_init__(self) -> None:
        if self.profile.reach is None or self.profile.gripper is None:
            raise ValueError(f"the profile of '{self.profile.name}' has no reach or no gripper")

    def distances_m(self, tips_m: FloatArray, approach: FloatArray) -> FloatArray:
        """Distance from the shoulder to the flange for tool origins and approach axes, each of shape (N, 3)."""
        assert self.profile.reach is not None and self.profile.gripper is not None
        flange = tips_m - approach * self.profile.gripper.flange_to_tip_m
        return np.asarray(np.linalg.norm(flange - np.asarray(self.profile.reach.shoulder_m), axis=-1), dtype=np.float64)

    def margins_of(self, tips_m: FloatArray, approach: FloatArray) -> FloatArray:
        """Distance to the nearer sphere over half the shell's thickness: 1 in the middle of the shell, below 0 outside."""
        assert self.profile.reach is not None
        low, high = self.profile.reach.min_m, self.profile.reach.max_m
        distance = self.distances_m(tips_m, approach)
        return np.asarray(np.minimum(distance - low, high - distance) / (0.5 * (high - low)), dtype=np.float64)

    def margins(self, poses: Sequence[Transform]) -> FloatArray:
        """See `margins_of`."""
        if not poses:
            return np.empty(0)
        return self.margins_of(np.stack([p.translation_m for p in poses]), np.stack([approach_axis(p.quaternion_xyzw) for p in poses]))

    def explain(self, pose: Transform) -> str:
        """The distance against the limits."""
        assert self.profile.reach is not None
        distance = float(self.distances_m(pose.translation_m, approach_axis(pose.quaternion_xyzw)))
        return (
            f"the flange would be {distance:.3f} m from the shoulder, allowed are "
            f"{self.profile.reach.min_m:g} to {self.profile.reach.max_m:g} m (profile.reach)"
        )


def approach_axis(quaternion_xyzw: FloatArray) -> FloatArray:
    """Third column of the rotation matrix of a unit quaternion in ROS order, shape (3,): the approach of a tool pose."""
    x, y, z, w = quaternion_xyzw
    return np.array([2.0 * (x * z + y * w), 2.0 * (y * z - x * w), 1.0 - 2.0 * (x * x + y * y)])
