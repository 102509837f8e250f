"""Whether the hand of a mobile robot gets to what it was sent to, and whether standing elsewhere could mend it if not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import Reach, RobotProfile, StandoffSettings
from roboref_node.goals.standoff import hand_to_spare_m, reach_to_spare_m


@dataclass(frozen=True)
class Miss:
    """A target that neither hand gets to.

    Args:
        missing_m: By how much.
        ahead_m: How far the target is in front of the base.
        height_m: Of the target over the floor.
        reach: The hand's.
        standoff: The base's.
    """

    missing_m: float
    ahead_m: float
    height_m: float
    reach: Reach
    standoff: StandoffSettings

    @property
    def mendable(self) -> bool:
        """Whether the hand gets to this height from any distance at which the base may stop; what is in its way is not looked at."""
        distances = np.linspace(self.standoff.min_m, self.standoff.max_m, 100)
        return bool(np.any(reach_to_spare_m(distances, self.height_m, self.reach) >= 0.0))

    def sentence(self, expression: str) -> str:
        """What is missing, with the setting that says so."""
        return (
            f"{expression} is {1e3 * self.missing_m:.1f} mm out of the hand's reach (profile.reach, {self.reach.min_m:g} to "
            f"{self.reach.max_m:g} m from the shoulder): {self.ahead_m:.2f} m ahead, {self.height_m:.2f} m over the floor"
        )


def hand_misses(target_m: ArrayLike, goal_from_base: Transform, profile: RobotProfile) -> Miss | None:
    """What the hands miss of a target when the base stands somewhere; None when one of them gets there, or the robot has no arm.

    Args:
        target_m: In the goal frame, shape (3,).
        goal_from_base: Where the base stands, or is to stand.
        profile: The robot.
    """
    reach, standoff = profile.reach, profile.standoff
    if reach is None or standoff is None:
        return None
    heading = goal_from_base.rotation[:, 0]
    yaw = float(np.arctan2(heading[1], heading[0]))
    # Over the floor under the base, whatever its height and however it leans.
    feet = np.array([*goal_from_base.translation_m[:2], standoff.floor_z_m])
    point = Transform(np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]), feet).inverse().apply(target_m)
    spare_m = hand_to_spare_m(point, reach)
    return None if spare_m >= 0.0 else Miss(-spare_m, float(point[0]), float(point[2]), reach, standoff)
