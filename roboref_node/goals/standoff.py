"""Where a mobile robot stops in front of something: near, free, facing it, and with it in view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from roboref_node.geometry.transform import Transform
from roboref_node.goals.occupancy import OccupancyMap
from roboref_node.goals.profile import HeadView, Reach, RobotProfile, StandoffSettings
from roboref_node.status import Refused, Status

__all__ = ["OccupancyMap", "Places", "StandoffGoal", "hand_to_spare_m", "in_view", "plan_standoff", "reach_to_spare_m", "standoff_places"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ENOUGH_CLEARANCE_M = 0.5
"""Room around the footprint beyond which more is no better."""
_FAR_M = 1.2
"""Obstacles farther than this from a place are not looked for."""
ENOUGH_REACH_M = 0.10
"""Length of arm to spare beyond which more is no better: what is seen of an object from afar is its near side, its middle lies deeper."""
WEIGHTS = {"distance": 0.2, "clearance": 0.25, "near_robot": 0.2, "reach": 0.35}


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


@dataclass(frozen=True, eq=False)
class Places:
    """Where the robot could stop, with what speaks for each place. All arrays have the length N.

    Args:
        xy_m: Goal frame, shape (N, 2).
        distance_m: To the target in the ground plane.
        clearance_m: Room around the footprint; NaN without a map.
        score: 0 to 1, higher is better.
        in_view: Whether the camera sees the target from there, anywhere within ``arrival_m``.
        in_reach: Whether the target is within the arm's reach, anywhere within ``arrival_m``.
        spare_m: Length of arm to spare, the least within ``arrival_m``, at most `ENOUGH_REACH_M`; negative out of reach.
    """

    xy_m: FloatArray
    distance_m: FloatArray
    clearance_m: FloatArray
    score: FloatArray
    in_view: BoolArray
    in_reach: BoolArray
    spare_m: FloatArray


def plan_standoff(
    target_m: ArrayLike, robot_xy_yaw: ArrayLike, profile: RobotProfile, occupancy: OccupancyMap | None = None
) -> StandoffGoal:
    """Choose the best pose on a ring around a target.

    With a map, poses all around the target are scored; the footprint must lie in known free space that is connected with where the
    robot stands, and no obstacle between the robot and the target. Without one, only the line from the robot to the target is
    trusted, because the robot sees the target along it. A place from which the target is in view and in reach is taken before one
    from which it is not, whatever their scores.

    Args:
        target_m: In the goal frame (z up), shape (3,).
        robot_xy_yaw: Where the robot is, goal frame, shape (3,).
        profile: Robot of kind mobile.
        occupancy: Map in the goal frame.

    Raises:
        Refused: OCCUPIED when no pose is free or none of the free ones can be walked to, UNREACHABLE when the target cannot be in
            view or in reach, BAD_REQUEST.
    """
    settings = _settings(profile)
    target = np.asarray(target_m, dtype=np.float64)
    places = standoff_places(target, robot_xy_yaw, profile, occupancy)
    height = target[2] - settings.floor_z_m
    seen, reached, distance = places.in_view, places.in_reach, places.distance_m
    if profile.view is not None and profile.view.required and not np.any(seen):
        raise Refused(
            Status.UNREACHABLE,
            f"the target, {height:.2f} m over the floor, would not be in the camera's view from {distance.min():.2f} to "
            f"{distance.max():.2f} m (profile.view, profile.standoff.min_m and max_m; profile.view.required insists on it)",
            height_m=float(height),
        )
    if settings.require_reach and not np.any(reached):
        raise Refused(
            Status.UNREACHABLE,
            f"the target, {height:.2f} m over the floor, would not be within the arm's reach from {distance.min():.2f} m "
            "(profile.reach; profile.standoff.require_reach insists on it)",
            height_m=float(height),
        )
    allowed = (seen | (profile.view is None or not profile.view.required)) & (reached | (not settings.require_reach))
    if not np.any(allowed):
        raise Refused(
            Status.UNREACHABLE,
            f"from no free place is the target, {height:.2f} m over the floor, both in view and in reach (profile.view, profile.reach)",
            height_m=float(height),
        )
    # A score is at most 1: being in view decides first, then being in reach. Of what is just out of reach the hand misses little, and a
    # better place for the base is no help to it: there the arm decides before comfort.
    rank = 4.0 * seen + 2.0 * reached + np.clip(1.0 + places.spare_m / ENOUGH_REACH_M, 0.0, 1.0)
    best = int(np.argmax(np.where(allowed, places.score + rank, -np.inf)))
    toward = target[:2] - places.xy_m[best]
    half = 0.5 * float(np.arctan2(toward[1], toward[0]))
    pose = Transform(np.array([0.0, 0.0, np.sin(half), np.cos(half)]), np.array([*places.xy_m[best], settings.floor_z_m]))
    return StandoffGoal(
        pose,
        float(distance[best]),
        float(places.clearance_m[best]),
        float(places.score[best]),
        bool(seen[best]),
        bool(reached[best]),
    )


def standoff_places(target_m: ArrayLike, robot_xy_yaw: ArrayLike, profile: RobotProfile, occupancy: OccupancyMap | None = None) -> Places:
    """Every free place on the ring around a target that can be walked to, in no order; at least one.

    Args:
        target_m: See `plan_standoff`.
        robot_xy_yaw: See `plan_standoff`.
        profile: See `plan_standoff`.
        occupancy: See `plan_standoff`.

    Raises:
        Refused: OCCUPIED or BAD_REQUEST, see `plan_standoff`.
    """
    settings = _settings(profile)
    target = np.asarray(target_m, dtype=np.float64)
    robot = np.asarray(robot_xy_yaw, dtype=np.float64)
    if target.shape != (3,) or robot.shape != (3,) or not np.all(np.isfinite(np.concatenate([target, robot]))):
        raise Refused(Status.BAD_REQUEST, f"a stand-off needs finite numbers: target {target.tolist()}, robot {robot.tolist()}")
    places = _ring(target, robot, settings, all_round=occupancy is not None)
    clearance = np.full(len(places), np.nan)
    if occupancy is not None:
        clearance = _room(places, occupancy) - settings.footprint_radius_m
        kept = _free(places, target, robot, clearance, occupancy, settings)
        places, clearance = places[kept], clearance[kept]
    distance = np.linalg.norm(places - target[:2], axis=1)
    height = target[2] - settings.floor_z_m
    seen = np.ones(len(places), dtype=bool)
    spare = np.full(len(places), ENOUGH_REACH_M)
    for off in (-settings.arrival_m, 0.0, settings.arrival_m):
        if profile.view is not None:
            seen &= in_view(distance + off, height, profile.view)
        if profile.reach is not None:
            spare = np.minimum(spare, reach_to_spare_m(distance + off, height, profile.reach))
    reached = spare >= 0.0
    terms = {
        "distance": 1.0 - np.abs(distance - settings.preferred_m) / max(settings.max_m - settings.min_m, 1e-6),
        "clearance": np.clip((np.nan_to_num(clearance) - settings.clearance_m) / ENOUGH_CLEARANCE_M, 0.0, 1.0),
        "near_robot": 1.0 / (1.0 + np.linalg.norm(places - robot[:2], axis=1)),
        "reach": np.clip(spare / ENOUGH_REACH_M, 0.0, 1.0),
    }
    score = sum((WEIGHTS[name] * value for name, value in terms.items()), start=np.zeros(len(places)))
    return Places(places, distance, clearance, score, seen, reached, spare)


def reach_to_spare_m(distance_m: FloatArray, height_m: float, reach: Reach) -> FloatArray:
    """How far a target straight ahead lies inside the shell that the hand can get to; negative outside it.

    Args:
        distance_m: From the base's axis to the target in the ground plane, shape (N,).
        height_m: Of the target over the floor.
        reach: The shell around the shoulder. Shoulders sit on both sides, so the sign of its y does not matter.
    """
    shoulder = np.asarray(reach.shoulder_m)
    apart = np.hypot(np.hypot(np.asarray(distance_m, dtype=np.float64) - shoulder[0], shoulder[1]), height_m - shoulder[2])
    return np.asarray(np.minimum(reach.max_m - apart, apart - reach.min_m), dtype=np.float64)


def hand_to_spare_m(point_m: ArrayLike, reach: Reach) -> float:
    """How far a point lies inside the shell that one of the hands can get to; negative outside of both.

    Args:
        point_m: Over the floor under the base, x forward, shape (3,).
        reach: The shell around the left or the right shoulder.
    """
    x, y, z = np.asarray(point_m, dtype=np.float64)
    shoulder = np.asarray(reach.shoulder_m)
    apart = float(np.linalg.norm(np.array([x, abs(y), z]) - [shoulder[0], abs(shoulder[1]), shoulder[2]]))
    return min(reach.max_m - apart, apart - reach.min_m)


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


def _ring(target: FloatArray, robot: FloatArray, settings: StandoffSettings, *, all_round: bool) -> FloatArray:
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


def _room(places: FloatArray, occupancy: OccupancyMap) -> FloatArray:
    """Exact distance from places, shape (N, 2), to the nearest cell that is not known to be free; cut off at `_FAR_M`.

    `OccupancyMap.clearances` is that of the centre of the place's cell: up to a cell more or less, which next to a table decides.
    """
    cell = occupancy.resolution_m
    local = occupancy.origin.inverse().apply(np.column_stack([places, np.zeros(len(places))]))[:, :2] / cell
    margin = int(np.ceil(_FAR_M / cell))
    low = np.floor(local.min(axis=0)).astype(int) - margin
    high = np.ceil(local.max(axis=0)).astype(int) + margin
    data = np.asarray(occupancy.data)
    blocked = np.ones((high[1] - low[1], high[0] - low[0]), dtype=bool)  # beyond the map nothing is known
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, data.shape[::-1])
    if x1 > x0 and y1 > y0:
        part = data[y0:y1, x0:x1]
        blocked[y0 - low[1] : y1 - low[1], x0 - low[0] : x1 - low[0]] = (part < 0) | (part >= occupancy.occupied_from)
    centres = np.argwhere(blocked)[:, ::-1] + low + 0.5
    if len(centres) == 0:
        return np.full(len(places), _FAR_M)
    # The nearest square is among those with the nearest centres.
    _, nearest = KDTree(centres).query(local, k=np.arange(1, min(8, len(centres)) + 1))
    off = np.maximum(np.abs(centres[nearest] - local[:, None, :]) - 0.5, 0.0)
    return np.asarray(np.minimum(np.linalg.norm(off, axis=-1).min(axis=1) * cell, _FAR_M), dtype=np.float64)


def _free(
    places: FloatArray, target: FloatArray, robot: FloatArray, clearance: FloatArray, occupancy: OccupancyMap, settings: StandoffSettings
) -> BoolArray:
    roomy = clearance >= settings.clearance_m
    if not np.any(roomy):
        best = float(clearance.max())
        raise Refused(
            Status.OCCUPIED,
            f"no place {settings.min_m:g} to {settings.max_m:g} m from the target is known to be free: the best leaves {best:.2f} m "
            f"around the footprint, needed are {settings.clearance_m:g} m (profile.standoff.footprint_radius_m and clearance_m)",
            clearance_m=best,
        )
    sighted = roomy & occupancy.sees(places, target[:2], blind_m=settings.target_radius_m)
    if not np.any(sighted):
        raise Refused(
            Status.OCCUPIED,
            f"from none of {int(np.count_nonzero(roomy))} free places is the line to the target free of obstacles "
            "(profile.standoff.target_radius_m)",
        )
    walkable = sighted & _connected(places, robot[:2], occupancy, settings)
    if not np.any(walkable):
        raise Refused(
            Status.OCCUPIED,
            f"none of {int(np.count_nonzero(sighted))} free places around the target is connected with where the robot stands "
            f"({robot[0]:.2f}, {robot[1]:.2f}) by known free floor that is {2.0 * settings.footprint_radius_m:.2f} m wide "
            "(profile.standoff.footprint_radius_m)",
        )
    return np.asarray(walkable, dtype=np.bool_)


def _connected(places: FloatArray, robot_xy: FloatArray, occupancy: OccupancyMap, settings: StandoffSettings) -> BoolArray:
    """Whether a disc can get from the robot to each place."""
    (column, row), inside = occupancy.cells(robot_xy)
    if not inside:
        return np.zeros(len(places), dtype=bool)
    clearance = occupancy.clearance_m
    # A robot that already stands nearer to an obstacle than its footprint allows, or where its sensor is blind, gets away as it came.
    height, width = clearance.shape
    around = int(np.ceil(2.0 * settings.footprint_radius_m / occupancy.resolution_m))
    rows = slice(max(row - around, 0), min(row + around + 1, height))
    columns = slice(max(column - around, 0), min(column + around + 1, width))
    passable = clearance >= settings.footprint_radius_m
    own = min(float(clearance[row, column]), settings.footprint_radius_m)
    passable[rows, columns] |= (clearance[rows, columns] >= own) & (np.asarray(occupancy.data)[rows, columns] < occupancy.occupied_from)
    parts, _ = ndimage.label(passable, structure=np.ones((3, 3)))
    index, within = occupancy.cells(places)
    part = parts[np.where(within, index[:, 1], 0), np.where(within, index[:, 0], 0)]
    return np.asarray(within & (part > 0) & (part == parts[row, column]), dtype=np.bool_)


def _settings(profile: RobotProfile) -> StandoffSettings:
    if profile.standoff is None:
        raise Refused(Status.BAD_REQUEST, f"robot '{profile.name}' has no stand-off settings (profile.standoff), so it cannot go anywhere")
    return profile.standoff
