"""Where a mobile robot stops in front of something: near, free, facing it, and with it in view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.goals.occupancy import OccupancyMap
from roboref_node.goals.profile import HeadView, RobotProfile, StandoffSettings
from roboref_node.status import Refused, Status

__all__ = ["OccupancyMap", "StandoffGoal", "in_view", "plan_standoff"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ENOUGH_CLEARANCE_M = 0.5
"""Room around the footprint beyond which more is no better."""
WEIGHTS = {"distance": 0.25, "clearance": 0.25, "near_robot": 0.3, "reach": 0.2}


@dataclass(frozen=True, eq=False)
class StandoffGoal:
    """Where to stop.

    Args:
        pose: goal_from_base on the floor: x forward, towards the target, z up.
        distance_m: From the base to the target in the ground plane.
        clearance_m: Room around the footprint; NaN without a map.
        score: 0 to 1, higher is better.
        in_view: Whether the head camera sees the target on arrival; True when the profile has no camera.
        in_reach: Whether the target is within the arm's reach on arrival; True when the profile has no arm.
    """

    pose: Transform
    distance_m: float
    clearance_m: float
    score: float
    in_view: bool
    in_reach: bool


def plan_standoff(
    target_m: ArrayLike, robot_xy_yaw: ArrayLike, profile: RobotProfile, occupancy: OccupancyMap | None = None
) -> StandoffGoal:
    """Choose the best pose on a ring around a target.

    With a map, poses all around the target are scored; the footprint must lie in known free space and no obstacle between the robot
    and the target. Without one, only the line from the robot to the target is trusted, because the robot sees the target along it.

    Args:
        target_m: In the goal frame (z up), shape (3,).
        robot_xy_yaw: Where the robot is, goal frame, shape (3,).
        profile: Robot of kind mobile.
        occupancy: Map in the goal frame.

    Raises:
        Refused: OCCUPIED when no pose is free, UNREACHABLE when the target cannot be in view or in reach, BAD_REQUEST.
    """
    settings = profile.standoff
    if settings is None:
        raise Refused(Status.BAD_REQUEST, f"robot '{profile.name}' has no stand-off settings (profile.standoff), so it cannot go anywhere")
    target = np.asarray(target_m, dtype=np.float64)
    robot = np.asarray(robot_xy_yaw, dtype=np.float64)
    if target.shape != (3,) or robot.shape != (3,) or not np.all(np.isfinite(np.concatenate([target, robot]))):
        raise Refused(Status.BAD_REQUEST, f"a stand-off needs finite numbers: target {target.tolist()}, robot {robot.tolist()}")
    places = _places(target, robot, settings, all_round=occupancy is not None)
    distance = np.linalg.norm(places - target[:2], axis=1)
    clearance = np.full(len(places), np.nan)
    if occupancy is not None:
        clearance = occupancy.clearances(places) - settings.footprint_radius_m
        kept = _free(places, target, clearance, occupancy, settings)
        places, distance, clearance = places[kept], distance[kept], clearance[kept]
    height = target[2] - settings.floor_z_m
    seen = in_view(distance, height, profile.view) if profile.view is not None else np.ones(len(places), dtype=bool)
    if profile.view is not None and profile.view.required and not np.any(seen):
        raise Refused(
            Status.UNREACHABLE,
            f"the target, {height:.2f} m over the floor, would not be in the camera's view from {distance.min():.2f} to "
            f"{distance.max():.2f} m (profile.view, profile.standoff.min_m and max_m; profile.view.required insists on it)",
            height_m=float(height),
        )
    reached = _reached(distance, height, profile)
    if settings.require_reach and not np.any(reached):
        raise Refused(
            Status.UNREACHABLE,
            f"the target, {height:.2f} m over the floor, would not be within the arm's reach from {distance.min():.2f} m "
            "(profile.reach; profile.standoff.require_reach insists on it)",
            height_m=float(height),
        )
    terms = {
        "distance": 1.0 - np.abs(distance - settings.preferred_m) / max(settings.max_m - settings.min_m, 1e-6),
        "clearance": np.clip((np.nan_to_num(clearance) - settings.clearance_m) / ENOUGH_CLEARANCE_M, 0.0, 1.0),
        "near_robot": 1.0 / (1.0 + np.linalg.norm(places - robot[:2], axis=1)),
        "reach": reached.astype(np.float64),
    }
    score = sum((WEIGHTS[name] * value for name, value in terms.items()), start=np.zeros(len(places)))
    allowed = (seen | (profile.view is None or not profile.view.required)) & (reached | (not settings.require_reach))
    if not np.any(allowed):
        raise Refused(
            Status.UNREACHABLE,
            f"from no free place is the target, {height:.2f} m over the floor, both in view and in reach (profile.view, profile.reach)",
            height_m=float(height),
        )
    best = int(np.argmax(np.where(allowed, score - 0.5 * ~seen, -np.inf)))
    toward = target[:2] - places[best]
    half = 0.5 * float(np.arctan2(toward[1], toward[0]))
    pose = Transform(np.array([0.0, 0.0, np.sin(half), np.cos(half)]), np.array([*places[best], settings.floor_z_m]))
    return StandoffGoal(pose, float(distance[best]), float(clearance[best]), float(score[best]), bool(seen[best]), bool(reached[best]))


def in_view(distance_m: FloatArray, height_m: float, view: HeadView) -> BoolArray:
    """Whether a target straight ahead is inside the camera's vertical field of view and range.

    Args:
        distance_m: From the base's axis to the target in the ground plane, shape (N,).
        height_m: Of the target over the floor.
        view: The camera. Facing the target puts it on the image's vertical axis, so only the vertical angle decides.
    """
    ahead = np.asarray(distance_m, dtype=np.float64) - view.forward_m
    down = np.arctan2(view.height_m - height_m, ahead)
    inside = np.abs(down - view.pitch_down_rad) <= 0.5 * view.vertical_fov_rad - view.margin_rad
    far = np.hypot(ahead, view.height_m - height_m)
    return np.asarray(inside & (far >= view.min_range_m) & (far <= view.max_range_m), dtype=np.bool_)


def _places(target: FloatArray, robot: FloatArray, settings: StandoffSettings, *, all_round: bool) -> FloatArray:
    """Candidate positions, shape (N, 2): first along the line to the robot, so that a goal moves with the scene."""
    offset = robot[:2] - target[:2]
    here = float(np.linalg.norm(offset))
    # A robot that stands on the target has no line to it; its heading then says from where it came.
    bearing = np.arctan2(offset[1], offset[0]) if here > 1e-3 else robot[2] + np.pi
    bearings = bearing + (np.arange(settings.bearings) * (2.0 * np.pi / settings.bearings) if all_round else np.zeros(1))
    distances = np.unique(np.append(np.linspace(settings.min_m, settings.max_m, settings.distances), settings.preferred_m))
    if not all_round and here < settings.min_m:
        raise Refused(
            Status.OCCUPIED,
            f"the robot stands {here:.2f} m from the target, nearer than {settings.min_m:g} m (profile.standoff.min_m), and without a map "
            "it does not back off into the unknown",
            distance_m=here,
        )
    if not all_round and here < settings.max_m:
        distances = np.unique(np.append(distances[distances < here], here))
    direction = np.stack([np.cos(bearings), np.sin(bearings)], axis=-1)
    return np.asarray((target[:2] + distances[:, None, None] * direction).reshape(-1, 2), dtype=np.float64)


def _free(places: FloatArray, target: FloatArray, clearance: FloatArray, occupancy: OccupancyMap, settings: StandoffSettings) -> BoolArray:
    roomy = clearance >= settings.clearance_m
    if not np.any(roomy):
        best = float(clearance.max())
        raise Refused(
            Status.OCCUPIED,
            f"no place {settings.min_m:g} to {settings.max_m:g} m from the target is known to be free: the best leaves {best:.2f} m "
            f"around the footprint, needed are {settings.clearance_m:g} m (profile.standoff.footprint_radius_m and clearance_m)",
            clearance_m=best,
        )
    sighted = occupancy.sees(places, target[:2], blind_m=settings.target_radius_m)
    if not np.any(roomy & sighted):
        raise Refused(
            Status.OCCUPIED,
            f"from none of {int(np.count_nonzero(roomy))} free places is the line to the target free of obstacles "
            "(profile.standoff.target_radius_m)",
        )
    return np.asarray(roomy & sighted, dtype=np.bool_)


def _reached(distance: FloatArray, height: float, profile: RobotProfile) -> BoolArray:
    if profile.reach is None:
        return np.ones(len(distance), dtype=bool)
    shoulder = np.asarray(profile.reach.shoulder_m)
    # Shoulders sit on both sides: the nearer one counts, and facing the target its offset to the side hardly matters.
    apart = np.hypot(np.hypot(distance - shoulder[0], shoulder[1]), height - shoulder[2])
    return np.asarray((apart >= profile.reach.min_m) & (apart <= profile.reach.max_m), dtype=np.bool_)
