"""Whether what the camera sees lies where the robot may go: the extrinsics, the image's frame and the zones, held against each other."""

from __future__ import annotations

import numpy as np

from roboref_node.doctor.findings import Finding, Level
from roboref_node.frame import Frame
from roboref_node.goals.profile import RobotProfile
from roboref_node.goals.workspace import Workspace
from roboref_node.ros.transforms import TransformSource
from roboref_node.status import Refused

_ROWS, _COLUMNS = 18, 24
"""Grid of pixels that are looked at."""

_UPWARDS = 0.5
"""An optical axis that climbs more steeply than this (sine) looks at the ceiling: the frame is hardly an optical one."""


def check_view(frame: Frame, transforms: TransformSource, profile: RobotProfile) -> list[Finding]:
    """Which share of the depth image lies in the workspace; nothing when that cannot be known, which other findings then tell.

    Args:
        frame: The newest look.
        transforms: TF.
        profile: The robot with its zones.
    """
    try:
        named = {name: transforms.lookup(name, frame.frame_id, frame.stamp_ns) for name in profile.frames_needed}
        depth_m = frame.depth_m
    except Refused:
        return []
    camera = frame.camera if frame.depth_camera is None else frame.depth_camera
    rows, columns = (np.linspace(0, n - 1, 2 * k + 1)[1::2].astype(int) for n, k in zip(depth_m.shape, (_ROWS, _COLUMNS), strict=True))
    v, u = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    known = np.isfinite(depth_m[v, u])
    if not known.any():
        return []
    points = camera.unproject(np.stack([u, v], axis=-1)[known].astype(np.float64), depth_m[v, u][known].astype(np.float64))
    if frame.color_from_depth is not None:
        points = frame.color_from_depth.apply(points)
    goal_from_optical = named[profile.goal_frame]
    allowed, nearest = 0, None
    for point in goal_from_optical.apply(points):
        try:
            Workspace.of(profile).check(point, transforms=named)
            allowed += 1
        except Refused as refusal:
            if nearest is None or refusal.details.get("outside_m", np.inf) < nearest.details.get("outside_m", np.inf):
                nearest = refusal
    if allowed or nearest is None:
        what = f"{100 * allowed / len(points):.0f} % of what the camera sees lies in the workspace of {profile.name}"
        return [Finding("view", Level.OK, what)]
    up = float(goal_from_optical.rotate(np.array([0.0, 0.0, 1.0]))[2])
    axis = f"; the axis z of {frame.frame_id} points upwards (sine {up:.2f}), an optical frame's points where the camera looks"
    what = f"none of {len(points)} points that the camera sees lies in the workspace of {profile.name}: at best, {nearest.sentence}"
    why = "every question is refused with OUT_OF_WORKSPACE: the camera's pose, the frame of its images or the zones are wrong"
    fix = (
        f"ros2 run tf2_ros tf2_echo {profile.goal_frame} {frame.frame_id}   (x right, y down, z forward; metres); "
        "then correct the hand-eye calibration or profile.zones, or point the camera at the table"
    )
    return [Finding("view", Level.ERROR, what + (axis if up > _UPWARDS else ""), why, fix)]
