"""How the gripper stands when it lets go of an object, and whether there is room for it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.geometry.planes import Plane
from roboref_node.geometry.transform import Transform
from roboref_node.goals.hand import PALM_LENGTH_M, HandPoses, clearance
from roboref_node.goals.profile import Gripper, Orientation, PlaceSettings, RobotProfile
from roboref_node.goals.reach import approach_axis
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.goals.place import HeldObject

FloatArray = NDArray[np.float64]

OUTLIERS = 2
"""Obstacle points nearer than all others that are put down to noise."""
DOWN = -0.9
"""Greatest cosine between the approach and the support's normal of a gripper that comes from above."""
SPARE_M = 0.02
"""Beyond what the gripper needs, so that what it needs is not cut off."""
STEP_M = 0.01
"""Between the poses on the way down that stand for all of it: less than a finger is wide."""
TURNS_RAD = (np.pi, 0.5 * np.pi, -0.5 * np.pi)
"""About the vertical; the others in which a gripper that comes from above could let go as well."""


def release_pose(foot_m: FloatArray, normal: FloatArray, held: HeldObject, profile: RobotProfile) -> Transform:
    """Tool pose at release: the object's base over the point, a small gap under it.

    Args:
        foot_m: The point on the support, base frame, shape (3,).
        normal: Of the support, base frame, shape (3,).
        held: What is held.
        profile: Robot of kind arm.
    """
    bottom = foot_m + normal * profile.place.release_height_m
    rotation = _rotation(foot_m, normal, held, profile)
    if held.bottom_in_tool_m is None:
        return Transform.from_rotation(rotation, bottom + normal * held.grasp_height_m)
    return Transform.from_rotation(rotation, bottom - rotation @ np.asarray(held.bottom_in_tool_m))


def _rotation(foot_m: FloatArray, normal: FloatArray, held: HeldObject, profile: RobotProfile) -> FloatArray:
    kept = held.base_from_tool
    if profile.place.orientation is Orientation.KEPT and kept is not None:
        return kept.rotation
    assert profile.reach is not None
    radial = _across(foot_m - np.asarray(profile.reach.shoulder_m), normal)
    if radial is None:
        radial = _across(np.array([0.0, 1.0, 0.0]), normal)
        assert radial is not None
    if kept is None or approach_axis(kept.quaternion_xyzw) @ normal < DOWN:
        closing = np.cross(normal, radial)
        return np.stack([closing, np.cross(-normal, closing), -normal], axis=1)
    # Straight down, what is held from the side would lie on its side: it is turned about the vertical only.
    outward = _across(approach_axis(kept.quaternion_xyzw), normal)
    if outward is None:
        return kept.rotation
    angle = float(np.arctan2(np.cross(outward, radial) @ normal, outward @ radial))
    return np.asarray(Rotation.from_rotvec(angle * normal).as_matrix() @ kept.rotation, dtype=np.float64)


def _across(vector: FloatArray, normal: FloatArray) -> FloatArray | None:
    """Unit vector of the part of a vector across a normal; None when that is shorter than a millimetre."""
    flat = vector - (vector @ normal) * normal
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-3 else None


def turned(pose: Transform, angle_rad: float, about_m: FloatArray) -> Transform:
    """A pose turned about the vertical through a point, shape (3,), z of its frame being up."""
    turn = Rotation.from_rotvec([0.0, 0.0, angle_rad])
    rotation = turn * Rotation.from_quat(pose.quaternion_xyzw)
    return Transform(rotation.as_quat(), about_m + turn.as_matrix() @ (pose.translation_m - about_m))


def gripper_room(tip_m: float, hand: Gripper) -> tuple[tuple[str, float, float], ...]:
    """Room that a gripper needs that comes from above: part, height over the support above which it counts, radius around the tool.

    Args:
        tip_m: Height of the finger tips over the support at release.
        hand: The gripper.
    """
    fingers = np.hypot(0.5 * hand.max_opening_m + hand.finger_thickness_m, 0.5 * hand.finger_width_m)
    body = 0.5 * np.hypot(hand.palm_width_m, hand.palm_depth_m)
    return (
        ("fingers", max(tip_m, 0.0), float(fingers) + hand.clearance_m),
        ("body", max(tip_m + hand.finger_depth_m, 0.0), float(body) + hand.clearance_m),
    )


def gripper_extent_m(held: HeldObject, hand: Gripper) -> float:
    """How far from the point, along the support, the gripper may need room."""
    aside = 0.0 if held.bottom_in_tool_m is None else float(np.linalg.norm(held.bottom_in_tool_m))
    if held.base_from_tool is None or approach_axis(held.base_from_tool.quaternion_xyzw)[2] < DOWN:
        aside = aside if held.bottom_in_tool_m is None else float(np.hypot(*np.asarray(held.bottom_in_tool_m)[:2]))
        return aside + max(needed for _, _, needed in gripper_room(0.0, hand)) + SPARE_M
    return aside + hand.finger_depth_m + PALM_LENGTH_M + 0.5 * max(hand.palm_width_m, hand.palm_depth_m) + SPARE_M


def room_for_gripper(
    cloud_m: FloatArray, plane: Plane, optical_from_tool: Transform, hand: Gripper, settings: PlaceSettings
) -> Refused | None:
    """Why the gripper has no room where it lets go, or on the straight way down to there; None when it has.

    Held in the middle the tool is over the point; held by its rim or its end, an object has the gripper over its border or beside it.

    Args:
        cloud_m: Points around, optical frame, shape (N, 3).
        plane: The support, normal up.
        optical_from_tool: Tool pose at release.
        hand: The gripper.
        settings: When a spot counts as free.
    """
    heights = plane.signed_distance(cloud_m)
    tool = optical_from_tool.translation_m
    if approach_axis(optical_from_tool.quaternion_xyzw) @ plane.normal < DOWN:
        flat = cloud_m - plane.project(tool)
        apart = np.sqrt(np.maximum(np.einsum("ij,ij->i", flat, flat) - heights**2, 0.0))
        for part, height, needed in gripper_room(float(plane.signed_distance(tool)), hand):
            free = nearest_m(apart[heights > height], needed)
            if free < needed:
                return Refused(
                    Status.OCCUPIED,
                    f"the gripper's {part} would meet something {1e3 * free:.1f} mm from its middle, needed are "
                    f"{1e3 * needed:.1f} mm (profile.gripper)",
                    free_radius_m=free,
                    needed_m=needed,
                )
        return None
    way = np.append(np.arange(0.0, settings.approach_distance_m, STEP_M), settings.approach_distance_m)
    rotation = optical_from_tool.rotation
    poses = HandPoses(tool + way[:, None] * plane.normal, np.broadcast_to(rotation, (len(way), 3, 3)))
    rising = heights > settings.obstacle_height_m
    # What rises higher than the way begins was seen there only, and stands on the support below.
    beyond = np.maximum(heights[rising] - float(plane.signed_distance(tool)) - settings.approach_distance_m, 0.0)
    obstacles = cloud_m[rising] - beyond[:, None] * plane.normal
    gap = float(clearance(hand, poses, np.full(len(way), hand.max_opening_m), obstacles, 0.0, SPARE_M, spare=OUTLIERS).min())
    if gap >= hand.clearance_m:
        return None
    return Refused(
        Status.OCCUPIED,
        f"the gripper, beside what it holds, would come down {1e3 * gap:.1f} mm from something, needed are "
        f"{1e3 * hand.clearance_m:.1f} mm (profile.gripper.clearance_m)",
        clearance_m=gap,
        needed_m=hand.clearance_m,
    )


def nearest_m(apart_m: FloatArray, limit_m: float) -> float:
    """The smallest distance but for what is put down to noise, at most a limit."""
    if len(apart_m) <= OUTLIERS:
        return limit_m
    return min(float(np.partition(apart_m, OUTLIERS)[OUTLIERS]), limit_m)
