"""The frames of the cell, as TF sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import arm_chain, arm_frames

WORLD_FRAME = "world"
BASE_FRAME = "base_link"
CAMERA_FRAME = "camera_link"
OPTICAL_FRAME = "camera_color_optical_frame"
CAMERA_FROM_OPTICAL = Transform(np.array([-0.5, 0.5, -0.5, 0.5]), np.zeros(3))
"""REP-103 body axes (x forward, z up) from optical axes (z forward, y down); the same origin."""


@dataclass(frozen=True, eq=False)
class FrameTransform:
    """One edge of the frame tree: `parent_from_child`, and whether it ever changes."""

    parent: str
    child: str
    parent_from_child: Transform
    is_static: bool


def cell_frames(world_from_optical: Transform, joints_rad: Sequence[float]) -> tuple[FrameTransform, ...]:
    """The whole frame tree: world → base_link → ... → tool0, and world → camera_link → camera_color_optical_frame."""
    world_from_camera = world_from_optical @ CAMERA_FROM_OPTICAL.inverse()
    fixed = [
        FrameTransform(WORLD_FRAME, BASE_FRAME, Transform.identity(), True),
        FrameTransform(WORLD_FRAME, CAMERA_FRAME, world_from_camera, True),
        FrameTransform(CAMERA_FRAME, OPTICAL_FRAME, CAMERA_FROM_OPTICAL, True),
    ]
    arm = [
        FrameTransform(parent, child, pose, joint.axis is None)
        for joint, (parent, child, pose) in zip(arm_chain(), arm_frames(joints_rad), strict=True)
    ]
    return (*fixed, *arm)
