"""A place that a model points at need not be free to the centimetre: the nearest spot of the same support where the object fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roboref_node.geometry.lift import LiftSettings, SurfacePoint, lift_many
from roboref_node.geometry.planes import Plane
from roboref_node.goals.neighbourhood import cloud_around, support_plane
from roboref_node.goals.place import HeldObject, PlaceGoal, plan_place, small_object
from roboref_node.goals.release import OUTLIERS, gripper_extent_m, release_pose, room_for_gripper
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.geometry.transform import Transform
    from roboref_node.goals.profile import RobotProfile

FloatArray = NDArray[np.float64]

STEP_M = 0.01
DIRECTIONS = 16
SAME_SUPPORT_M = 0.008
"""A spot this near to the plane of the support lies on it."""
TRIES = 8
"""Spots that are planned in full."""


def plan_place_near(
    frame: Frame,
    surface: SurfacePoint,
    base_from_optical: Transform,
    profile: RobotProfile,
    held: HeldObject | None,
    *,
    within_m: float,
    lift_settings: LiftSettings | None = None,
) -> tuple[PlaceGoal, SurfacePoint]:
    """`plan_place` at a point, or where that is OCCUPIED or UNREACHABLE at the nearest spot around it.

    Args:
        frame: The frame that `surface` was lifted from.
        surface: The point, colour optical frame.
        base_from_optical: Camera pose at the image's stamp.
        profile: Robot of kind arm.
        held: What is held.
        within_m: How far the spot may lie from the point, on the same support; 0: there or nowhere.
        lift_settings: What counts as one surface.

    Returns:
        The goal, and the surface point that it is for.

    Raises:
        Refused: What `plan_place` says of the point itself.
    """
    try:
        return plan_place(frame, surface, base_from_optical, profile, held), surface
    except Refused as refused:
        if refused.status not in (Status.OCCUPIED, Status.UNREACHABLE) or within_m <= 0.0:
            raise
        first = refused
    hand = profile.gripper
    assert hand is not None  # `plan_place` refuses without
    held = held or small_object(hand)
    spots, cloud, plane = _spots(frame, surface, profile, held, within_m, lift_settings)
    if first.status is Status.UNREACHABLE and profile.reach is not None:
        # Along the edge of the reach spots fail together: the nearest to the robot is the likeliest.
        shoulder = np.asarray(profile.reach.shoulder_m)
        spots.sort(key=lambda spot: float(np.linalg.norm(base_from_optical.apply(spot.position_m) - shoulder)))
    normal, optical_from_base = base_from_optical.rotate(plane.normal), base_from_optical.inverse()
    tries = 0
    for spot in spots:
        pose = release_pose(base_from_optical.apply(plane.project(spot.position_m)), normal, held, profile)
        if room_for_gripper(cloud, plane, optical_from_base @ pose, hand, profile.place) is not None:
            continue
        tries += 1
        try:
            return plan_place(frame, spot, base_from_optical, profile, held), spot
        except Refused:
            if tries == TRIES:
                break
    raise first


def _spots(
    frame: Frame, surface: SurfacePoint, profile: RobotProfile, held: HeldObject, within_m: float, lift_settings: LiftSettings | None
) -> tuple[list[SurfacePoint], FloatArray, Plane]:
    """Points of the same support with room for the object, nearest first; the points around, and the support."""
    origin = np.asarray(surface.position_m)
    assert profile.gripper is not None
    room_m = held.radius_m + profile.place.clearance_m
    cloud = cloud_around(frame, origin, within_m + max(room_m, gripper_extent_m(held, profile.gripper)))
    plane = support_plane(cloud, origin, np.asarray(surface.normal))
    grid = _rings(plane, plane.project(origin), within_m)
    pixels = frame.camera.project(grid)
    on_image = frame.camera.on_image(np.nan_to_num(pixels, nan=-9.0))
    found = [p for p in lift_many(frame, pixels[on_image], lift_settings, search=False) if isinstance(p, SurfacePoint)]
    level = [p for p in found if abs(float(plane.signed_distance(p.position_m))) <= SAME_SUPPORT_M]
    obstacles = plane.project(cloud[plane.signed_distance(cloud) > profile.place.obstacle_height_m])
    if level and len(obstacles) > OUTLIERS:
        distance, _ = cKDTree(obstacles).query([p.position_m for p in level], k=OUTLIERS + 1)
        level = [p for p, free in zip(level, np.asarray(distance)[:, -1], strict=True) if free >= room_m]
    return sorted(level, key=lambda p: float(np.linalg.norm(p.position_m - origin))), cloud, plane


def _rings(plane: Plane, centre_m: FloatArray, within_m: float) -> FloatArray:
    """Points of circles around a point of a plane, shape (N, 3)."""
    first = np.cross(plane.normal, np.eye(3)[int(np.argmin(np.abs(plane.normal)))])
    first /= np.linalg.norm(first)
    second = np.cross(plane.normal, first)
    radii = np.arange(STEP_M, within_m + 1e-9, STEP_M)
    angles = np.arange(DIRECTIONS) * (2.0 * np.pi / DIRECTIONS)
    circle = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    return np.asarray((centre_m + radii[:, None, None] * circle).reshape(-1, 3))
