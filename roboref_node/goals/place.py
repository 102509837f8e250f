"""Where to put what the gripper holds: the support at a point, checked to be free, level and in reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.planes import Plane
from roboref_node.geometry.transform import Transform
from roboref_node.goals.neighbourhood import cloud_around, support_plane
from roboref_node.goals.profile import Gripper, Orientation, RobotProfile
from roboref_node.goals.reach import Reachability, ReachSphere, approach_axis
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.geometry.lift import SurfacePoint
    from roboref_node.geometry.segment import ObjectSegment
    from roboref_node.goals.grasp import GraspCandidate

FloatArray = NDArray[np.float64]

OUTLIERS = 2
"""Obstacle points nearer than all others that are put down to noise."""
CELL_M = 0.004
ROUND_M = 0.003
"""Added to the radius of what was seen of a footprint: its edge lies beyond its outermost points."""


@dataclass(frozen=True, eq=False)
class HeldObject:
    """What the gripper holds.

    Args:
        size_m: Footprint along and across, and height, when it stands as it stood when it was grasped, shape (3,).
        grasp_height_m: Height of the tool's origin over the object's lowest point.
        base_from_tool: Tool pose of the grasp, so that the orientation can be kept; None when it is not known.
        bottom_in_tool_m: Middle of the object's base in the tool frame, shape (3,); None: straight below the tool.
        round_m: Radius of the circle around its middle that holds what was seen of its footprint; None: not known.
    """

    size_m: FloatArray
    grasp_height_m: float
    base_from_tool: Transform | None = None
    bottom_in_tool_m: FloatArray | None = None
    round_m: float | None = None

    def __post_init__(self) -> None:
        size = np.array(self.size_m, dtype=np.float64)
        if size.shape != (3,) or not np.all(np.isfinite(size)) or np.any(size < 0.0) or not np.isfinite(self.grasp_height_m):
            raise ValueError(f"a held object needs three sizes of at least 0 and a finite grasp height, not {self.size_m}")
        size.setflags(write=False)
        object.__setattr__(self, "size_m", size)

    @property
    def radius_m(self) -> float:
        """Radius of the circle around the footprint: free of obstacles for every yaw.

        Half of the box's diagonal, unless what was seen is rounder; never less than half of its longer side.
        """
        diagonal = 0.5 * float(np.hypot(self.size_m[0], self.size_m[1]))
        if self.round_m is None:
            return diagonal
        return min(diagonal, max(self.round_m, 0.5 * float(self.size_m[:2].max())))

    @staticmethod
    def of_grasp(segment: ObjectSegment, grasp: GraspCandidate, base_from_optical: Transform) -> HeldObject:
        """What the gripper holds after a grasp.

        Raises:
            Refused: NO_DEPTH when the segment has no box.
        """
        if segment.box is None:
            raise Refused(Status.NO_DEPTH, "the object has no box, so its footprint and height are not known")
        box = segment.box
        up = base_from_optical.rotate(np.asarray(box.rotation)[:, 2])
        bottom = base_from_optical.apply(box.center_m) - 0.5 * float(box.size_m[2]) * up
        in_tool = grasp.pose.inverse().apply(bottom)
        apart = segment.cloud_m - np.asarray(box.center_m)
        apart = apart - (apart @ np.asarray(box.rotation)[:, 2])[:, None] * np.asarray(box.rotation)[:, 2]
        round_m = float(np.percentile(np.linalg.norm(apart, axis=1), 99.0)) + ROUND_M if len(apart) else None
        return HeldObject(box.size_m, float((grasp.pose.translation_m - bottom) @ up), grasp.pose, in_tool, round_m)


@dataclass(frozen=True, eq=False)
class PlaceGoal:
    """Where to open the gripper.

    Args:
        pose: base_from_tool at release; z = approach, x = closing direction.
        approach: The pose before, straight above.
        free_radius_m: Distance from the point to the nearest obstacle, at most the neighbourhood's.
        support_height_m: Height of the support at the point, along z of the base frame.
        supported: Share of the footprint that is seen to be support.
        support_normal: Base frame, shape (3,).
    """

    pose: Transform
    approach: Transform
    free_radius_m: float
    support_height_m: float
    supported: float
    support_normal: FloatArray


def plan_place(
    frame: Frame,
    surface: SurfacePoint,
    base_from_optical: Transform,
    profile: RobotProfile,
    held: HeldObject | None,
    *,
    reachability: Reachability | None = None,
) -> PlaceGoal:
    """Plan to put the held object down on the surface at a point.

    The surface may be a table, the top of an object or the inside of a container: its plane is fitted around the point, whatever
    rises above it is an obstacle, and the footprint must lie on it.

    Args:
        frame: The frame that `surface` was lifted from.
        surface: The point, colour optical frame.
        base_from_optical: Camera pose at the image's stamp.
        profile: Robot of kind arm.
        held: What is held; None: anything that fits the gripper, held at its lowest point.
        reachability: Decides what can be reached; a sphere shell around the shoulder when None.

    Raises:
        Refused: OCCUPIED (obstacle, too little support, too steep), UNREACHABLE, NO_DEPTH, or BAD_REQUEST for a robot without gripper.
    """
    hand, settings = profile.gripper, profile.place
    if hand is None or profile.reach is None:
        raise Refused(Status.BAD_REQUEST, f"robot '{profile.name}' has no gripper (profile.gripper), so it cannot place")
    if held is None:
        side = hand.max_object_m / np.sqrt(2.0)
        held = HeldObject(np.array([side, side, 0.0]), 0.0)
    looked_at = max(settings.neighbourhood_m, held.radius_m + settings.clearance_m + 0.02)
    cloud = cloud_around(frame, np.asarray(surface.position_m), looked_at)
    if len(cloud) < 20:
        raise Refused(Status.NO_DEPTH, f"{len(cloud)} pixels around the point have depth, a place needs 20", points=len(cloud))
    plane = support_plane(cloud, np.asarray(surface.position_m), np.asarray(surface.normal))
    normal = base_from_optical.rotate(plane.normal)
    tilt = float(np.arccos(np.clip(normal[2], -1.0, 1.0)))
    if tilt > settings.max_tilt_rad:
        raise Refused(
            Status.OCCUPIED,
            f"the surface is tilted by {np.degrees(tilt):.0f} degrees, at most {np.degrees(settings.max_tilt_rad):.0f} would hold the "
            "object (profile.place.max_tilt_rad)",
            tilt_rad=tilt,
        )
    foot = plane.project(surface.position_m)
    heights, apart = _polar(cloud, plane, foot)
    pose = _pose(base_from_optical.apply(foot), normal, held, profile)
    free = _free_radius(heights, apart, settings.obstacle_height_m, looked_at)
    needed = held.radius_m + settings.clearance_m
    if free < needed:
        raise Refused(
            Status.OCCUPIED,
            f"an obstacle is {1e3 * free:.0f} mm from the point, the object needs {1e3 * needed:.0f} mm (its radius of "
            f"{1e3 * held.radius_m:.0f} mm and profile.place.clearance_m)",
            free_radius_m=free,
            needed_m=needed,
        )
    _check_gripper(heights, apart, pose, normal, settings.release_height_m + held.grasp_height_m, hand, looked_at)
    supported = _supported(cloud, plane, foot, held.radius_m, settings.obstacle_height_m)
    if supported < settings.min_supported:
        raise Refused(
            Status.OCCUPIED,
            f"{100 * supported:.0f} % of the object's footprint is seen to be supported, needed are {100 * settings.min_supported:.0f} % "
            "(profile.place.min_supported)",
            supported=supported,
        )
    approach = Transform(pose.quaternion_xyzw, pose.translation_m + normal * settings.approach_distance_m)
    for checked in (ReachSphere(profile), reachability):
        for candidate in (pose, approach) if checked is not None else ():
            if checked is not None and float(checked.margins([candidate])[0]) < 0.0:
                raise Refused(
                    Status.UNREACHABLE,
                    f"the place is out of reach: {checked.explain(candidate)}",
                    position_m=candidate.translation_m.tolist(),
                )
    return PlaceGoal(pose, approach, free, float(base_from_optical.apply(foot)[2]), supported, normal)


def _polar(cloud: FloatArray, plane: Plane, foot: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Height over the plane and distance from the foot point in the plane of each point."""
    heights = plane.signed_distance(cloud)
    flat = cloud - foot
    apart = np.sqrt(np.maximum(np.einsum("ij,ij->i", flat, flat) - heights**2, 0.0))
    return heights, np.asarray(apart, dtype=np.float64)


def _free_radius(heights: FloatArray, apart: FloatArray, above_m: float, limit_m: float) -> float:
    obstacles = apart[heights > above_m]
    if len(obstacles) <= OUTLIERS:
        return limit_m
    return min(float(np.partition(obstacles, OUTLIERS)[OUTLIERS]), limit_m)


def _check_gripper(
    heights: FloatArray, apart: FloatArray, pose: Transform, normal: FloatArray, tip_m: float, hand: Gripper, limit_m: float
) -> None:
    """A gripper that comes from above must not meet what stands higher than its tips, such as the walls of a container."""
    if approach_axis(pose.quaternion_xyzw) @ normal > -0.9:
        return  # From the side the gripper is beside the object; which way it comes is the motion planner's business.
    for part, height, needed in gripper_room(tip_m, hand):
        free = _free_radius(heights, apart, height, limit_m)
        if free < needed:
            raise Refused(
                Status.OCCUPIED,
                f"the gripper's {part} would meet something {1e3 * free:.0f} mm from the point, needed are "
                f"{1e3 * needed:.0f} mm (profile.gripper)",
                free_radius_m=free,
                needed_m=needed,
            )


def gripper_room(tip_m: float, hand: Gripper) -> tuple[tuple[str, float, float], ...]:
    """Room that a gripper needs that comes from above: part, height over the support above which it counts, radius around the point.

    Args:
        tip_m: Height of the finger tips over the support at release.
        hand: The gripper.
    """
    return (
        ("fingers", max(tip_m, 0.0), 0.5 * hand.max_opening_m + hand.finger_thickness_m + hand.clearance_m),
        ("body", max(tip_m + hand.finger_depth_m, 0.0), 0.5 * hand.palm_width_m + hand.clearance_m),
    )


def _supported(cloud: FloatArray, plane: Plane, foot: FloatArray, radius_m: float, tolerance_m: float) -> float:
    """Share of the disc's cells in which there is support. Cells that nothing is seen in count as not supported."""
    first = np.cross(plane.normal, np.eye(3)[int(np.argmin(np.abs(plane.normal)))])
    first /= np.linalg.norm(first)
    second = np.cross(plane.normal, first)
    near = cloud[np.abs(plane.signed_distance(cloud)) <= tolerance_m] - foot
    x, y = near @ first, near @ second
    inside = x * x + y * y <= radius_m * radius_m
    density = np.count_nonzero(inside) / (np.pi * radius_m**2) if radius_m > 0.0 else 0.0
    if density <= 0.0:
        return 0.0 if radius_m > 0.0 else 1.0
    # Cells hold four points on average where there is support: smaller ones would be empty by chance.
    cell = max(CELL_M, 2.0 / np.sqrt(density))
    count = int(np.ceil(radius_m / cell))
    grid = (np.arange(-count, count + 1)) * cell
    wanted = grid[:, None] ** 2 + grid[None, :] ** 2 <= radius_m**2
    seen = np.zeros_like(wanted)
    i = np.rint(x[inside] / cell).astype(np.intp) + count
    j = np.rint(y[inside] / cell).astype(np.intp) + count
    seen[i, j] = True
    return float(np.count_nonzero(seen & wanted) / np.count_nonzero(wanted))


def _pose(foot_base: FloatArray, normal: FloatArray, held: HeldObject, profile: RobotProfile) -> Transform:
    """Tool pose at release: the object's base on the point, a small gap under it."""
    if profile.place.orientation is Orientation.KEPT and held.base_from_tool is not None:
        rotation = held.base_from_tool.rotation
    else:
        assert profile.reach is not None
        radial = foot_base - np.asarray(profile.reach.shoulder_m)
        radial = radial - (radial @ normal) * normal
        length = float(np.linalg.norm(radial))
        closing = np.cross(normal, radial / length) if length > 1e-3 else np.cross(normal, [1.0, 0.0, 0.0])
        rotation = np.stack([closing, np.cross(-normal, closing), -normal], axis=1)
    bottom = foot_base + normal * profile.place.release_height_m
    if held.bottom_in_tool_m is None:
        origin = bottom + normal * held.grasp_height_m
    else:
        origin = bottom - rotation @ np.asarray(held.bottom_in_tool_m)
    return Transform.from_rotation(rotation, origin)
