"""Where goals may be: every goal is checked against the zones of the profile, and refused rather than moved."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile
from roboref_node.goals.zones import Zone
from roboref_node.status import Refused, Status

ROUNDING = 1e-9


class Workspace:
    """Zones of a robot.

    A point is allowed when it lies in at least one keep-in zone and in no keep-out zone. Whatever cannot be decided (a
    transform that is missing, a number that is not finite) is a refusal. Nothing is ever clamped.

    Args:
        zones: Named zones, at least one of them keep-in.
        goal_frame: Frame of the points to be checked.

    Raises:
        ValueError: There is no keep-in zone.
    """

    def __init__(self, zones: Mapping[str, Zone], goal_frame: str) -> None:
        if not any(zone.type.keeps_in for zone in zones.values()):
            raise ValueError("a workspace needs at least one keep-in zone")
        self.zones = dict(zones)
        self.goal_frame = goal_frame

    @staticmethod
    def of(profile: RobotProfile) -> Workspace:
        """The workspace of a robot."""
        return Workspace(profile.zones, profile.goal_frame)

    def check(self, goal: Transform | ArrayLike, *, transforms: Mapping[str, Transform]) -> None:
        """Check a pose (its origin), a point (3,) or points (N, 3) in the goal frame.

        Args:
            goal: What is to be checked; all points must be allowed.
            transforms: ``named_frame_from_common``: from one frame that is common to all (e.g. the optical frame) into the frame
                of each name. Zones fixed in the goal frame need none.

        Raises:
            Refused: OUT_OF_WORKSPACE with the zone and the distance; TF_UNAVAILABLE when a zone's frame is not in `transforms`;
                BAD_REQUEST when a number is not finite.
        """
        points = goal.translation_m if isinstance(goal, Transform) else np.asarray(goal, dtype=np.float64)
        points = np.atleast_2d(points)
        if points.shape[0] == 0 or points.shape[-1] != 3 or not np.all(np.isfinite(points)):
            raise Refused(Status.BAD_REQUEST, f"a goal needs finite coordinates x, y, z, these are {points.tolist()}")
        allowed = np.zeros(len(points), dtype=bool)
        for name, zone in self.zones.items():
            inside = zone.contains(self._in_zone_frame(points, name, zone, transforms))
            if zone.type.keeps_in:
                allowed |= inside
            elif np.any(inside):
                where = points[int(np.argmax(inside))]
                raise Refused(
                    Status.OUT_OF_WORKSPACE,
                    f"the goal at {_text(where)} m in {self.goal_frame} lies in the keep-out zone '{name}' (profile.zones.{name})",
                    zone=name,
                    position_m=where.tolist(),
                )
        if not np.all(allowed):
            where = points[int(np.argmin(allowed))]
            keep_in = [name for name, zone in self.zones.items() if zone.type.keeps_in]
            missing = {name: self._distance(where, name, transforms) for name in keep_in}
            nearest = min(missing, key=lambda name: missing[name])
            raise Refused(
                Status.OUT_OF_WORKSPACE,
                f"the goal at {_text(where)} m in {self.goal_frame} is {missing[nearest]:.3f} m outside the nearest keep-in zone "
                f"'{nearest}' (profile.zones.{nearest})",
                zone=nearest,
                outside_m=missing[nearest],
                position_m=where.tolist(),
            )

    def check_motion(self, start: Transform, end: Transform, *, transforms: Mapping[str, Transform]) -> None:
        """Check the straight line between two poses (approach and goal), ends included, however thin a zone on it is.

        Raises:
            Refused: As `check`.
        """
        ends = np.stack([start.translation_m, end.translation_m])
        crossed = [zone.crossings(*self._in_zone_frame(ends, name, zone, transforms)) for name, zone in self.zones.items()]
        share = np.unique(np.concatenate([[0.0, 1.0], *crossed]))
        # Between two boundaries all of the line lies where its middle does; two that differ by rounding alone have nothing between them.
        middles = (0.5 * (share[:-1] + share[1:]))[np.diff(share) > ROUNDING]
        share = np.concatenate([[0.0], middles, [1.0]])[:, None]
        self.check(ends[0] * (1.0 - share) + ends[1] * share, transforms=transforms)

    def _in_zone_frame(
        self, points: NDArray[np.float64], name: str, zone: Zone, transforms: Mapping[str, Transform]
    ) -> NDArray[np.float64]:
        if zone.frame == self.goal_frame:
            return points
        for frame in (zone.frame, self.goal_frame):
            if frame not in transforms:
                raise Refused(
                    Status.TF_UNAVAILABLE,
                    f"there is no transform to '{frame}', so the zone '{name}' (profile.zones.{name}.frame) cannot be checked",
                    frame=frame,
                    zone=name,
                )
        return (transforms[zone.frame] @ transforms[self.goal_frame].inverse()).apply(points)

    def _distance(self, point: NDArray[np.float64], name: str, transforms: Mapping[str, Transform]) -> float:
        zone = self.zones[name]
        return zone.distance(self._in_zone_frame(point[None, :], name, zone, transforms)[0])


def _text(point: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in point) + ")"
