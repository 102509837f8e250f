"""Goals without a camera pose: planned level with the largest plane in view, and given in the camera's optical frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from roboref_node.frame import Frame
from roboref_node.geometry.planes import fit_plane_ransac
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import Reach, RobotProfile
from roboref_node.goals.zones import Zone, ZoneType
from roboref_node.referral import Referral
from roboref_node.status import Refused

LEVEL = "level"
"""Name of the frame that is planned in; no answer is given in it."""


def level_from_optical(frame: Frame) -> Transform:
    """A frame whose z axis is the normal of the largest plane in view that is not a wall, with its origin under the camera.

    Raises:
        Refused: NO_DEPTH when the frame has no such plane.
    """
    camera = frame.camera if frame.depth_camera is None else frame.depth_camera
    rows, columns = np.nonzero(np.isfinite(frame.depth_m[::4, ::4]))
    uv = np.stack([4.0 * columns, 4.0 * rows], axis=-1)
    points = camera.unproject(uv, frame.depth_m[::4, ::4][rows, columns].astype(np.float64))
    points = points[np.isfinite(points).all(axis=-1)]
    if frame.color_from_depth is not None:
        points = frame.color_from_depth.apply(points)
    up = np.array([0.0, -0.77, -0.64])  # a camera that looks 40 degrees down, give or take 50
    try:
        plane, _ = fit_plane_ransac(points, 0.01, np.random.default_rng(0), iterations=256, up=up, max_tilt_rad=0.87)
    except Refused as refusal:
        sentence = f"there is no --camera-pose, and nothing level in view that would tell where up is: {refusal.sentence}"
        raise Refused(refusal.status, sentence, **refusal.details) from None
    z = plane.normal
    x = np.cross([0.0, 0.0, 1.0], z)
    x = np.array([1.0, 0.0, 0.0]) if np.linalg.norm(x) < 1e-6 else -x / np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    foot = -plane.offset_m * z
    return Transform.from_rotation(rotation, -rotation @ foot)


def unlimited(profile: RobotProfile, width_px: int) -> RobotProfile:
    """The robot without reach limits and zones, its goals in the frame ``level``."""
    everywhere = Zone(type=ZoneType.KEEP_IN_BOX, frame=LEVEL, min_m=(-20.0, -20.0, -20.0), max_m=(20.0, 20.0, 20.0))
    reach = None if profile.reach is None else Reach(min_m=0.0, max_m=10.0)
    return replace(profile, base_frame=LEVEL, goal_frame=LEVEL, zones={"everywhere": everywhere}, reach=reach)


def in_optical(referral: Referral, level_from_optical: Transform, frame_id: str) -> Referral:
    """An answer from the frame ``level`` as people get it: in the camera's optical frame, with what was not checked."""
    moved = in_frame(referral, level_from_optical.inverse(), frame_id)
    sentence = referral.sentence
    if moved.goal is not None:
        x, y, z = moved.goal.translation_m
        where = f" at ({x:.3f}, {y:.3f}, {z:.3f}) m in {frame_id}; no --camera-pose, so reach and workspace are unchecked"
        sentence = sentence.split(" at (")[0] + where
    return replace(moved, sentence=sentence, details={**referral.details, "workspace_checked": False})


def in_frame(referral: Referral, frame_from_goal: Transform, frame: str) -> Referral:
    """The same poses and points in another frame.

    Args:
        referral: An answer.
        frame_from_goal: Leads from its goal frame to the other one.
        frame: Name of the other one.
    """

    def moved(pose: Transform | None) -> Transform | None:
        return None if pose is None else frame_from_goal @ pose

    position: Any = referral.position_m
    covariance: Any = referral.position_covariance_m2
    if position is not None:
        position = tuple(float(x) for x in frame_from_goal.apply(np.asarray(position)))
    if covariance is not None:
        covariance = tuple(float(x) for x in frame_from_goal.rotate_covariance(np.reshape(covariance, (3, 3))).ravel())
    return replace(
        referral,
        goal=moved(referral.goal),
        approach=moved(referral.approach),
        position_m=position,
        position_covariance_m2=covariance,
        grasps=tuple(replace(g, pose=frame_from_goal @ g.pose, pregrasp=frame_from_goal @ g.pregrasp) for g in referral.grasps),
        goal_frame=frame,
    )
