"""Where to put what the gripper holds: the support at a point, checked to be free, level and in reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.planes import Plane
from roboref_node.geometry.transform import Transform
from roboref_node.goals.neighbourhood import cloud_around, support_plane
from roboref_node.goals.profile import Gripper, RobotProfile
from roboref_node.goals.reach import Reachability, ReachSphere, approach_axis
from roboref_node.goals.release import DOWN, TURNS_RAD, gripper_extent_m, nearest_m, release_pose, room_for_gripper, turned
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.geometry.lift import SurfacePoint
    from roboref_node.geometry.segment import ObjectSegment
    from roboref_node.goals.grasp import GraspCandidate

FloatArray = NDArray[np.float64]

CELL_M = 0.004
EVEN = 0.1
"""The points of a footprint lie on average this share of its radius off its middle because the nearer ones are seen more densely."""
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
        turns_rad: By how much pose and approach may be turned about the vertical through the point: there is room for the gripper then too.
    """

    pose: Transform
    approach: Transform
    free_radius_m: float
    support_height_m: float
    supported: float
    support_normal: FloatArray
    turns_rad: tuple[float, ...] = ()


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
    held = held or small_object(hand)
    looked_at = max(settings.neighbourhood_m, held.radius_m + settings.clearance_m + 0.02)
    cloud = cloud_around(frame, np.asarray(surface.position_m), max(looked_at, gripper_extent_m(held, hand)))
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
    foot_base = base_from_optical.apply(foot)
    pose = release_pose(foot_base, normal, held, profile)
    free = nearest_m(apart[heights > settings.obstacle_height_m], looked_at)
    needed = held.radius_m + settings.clearance_m
    if free < needed:
        raise Refused(
            Status.OCCUPIED,
            f"an obstacle is {1e3 * free:.0f} mm from the point, the object needs {1e3 * needed:.0f} mm (its radius of "
            f"{1e3 * held.radius_m:.0f} mm and profile.place.clearance_m)",
            free_radius_m=free,
            needed_m=needed,
        )
    optical_from_base = base_from_optical.inverse()
    no_room = room_for_gripper(cloud, plane, optical_from_base @ pose, hand, settings)
    if no_room is not None:
        raise no_room
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
    turns: tuple[float, ...] = ()
    if approach_axis(pose.quaternion_xyzw) @ normal < DOWN:
        others = {turn: optical_from_base @ turned(pose, turn, foot_base) for turn in TURNS_RAD}
        turns = tuple(turn for turn, other in others.items() if room_for_gripper(cloud, plane, other, hand, settings) is None)
    return PlaceGoal(pose, approach, free, float(foot_base[2]), supported, normal, turns)


def small_object(hand: Gripper) -> HeldObject:
    """What is put when nothing is known of it: as wide as fits between the fingers, held at its lowest point."""
    side = hand.max_object_m / np.sqrt(2.0)
    return HeldObject(np.array([side, side, 0.0]), 0.0)


def _polar(cloud: FloatArray, plane: Plane, foot: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Height over the plane and distance from the foot point in the plane of each point."""
    heights = plane.signed_distance(cloud)
    flat = cloud - foot
    apart = np.sqrt(np.maximum(np.einsum("ij,ij->i", flat, flat) - heights**2, 0.0))
    return heights, np.asarray(apart, dtype=np.float64)


def _supported(cloud: FloatArray, plane: Plane, foot: FloatArray, radius_m: float, tolerance_m: float) -> float:
    """Share of the disc's cells in which there is support. Cells that nothing is seen in count as not supported."""
    first = np.cross(plane.normal, np.eye(3)[int(np.argmin(np.abs(plane.normal)))])
    first /= np.linalg.norm(first)
    second = np.cross(plane.normal, first)
    near = cloud[np.abs(plane.signed_distance(cloud)) <= tolerance_m] - foot
    x, y = near @ first, near @ second
    inside = x * x + y * y <= radius_m * radius_m
    # Of the half disc that holds most points: across an edge the other half tells nothing of how dense they are.
    sides = np.arange(8) * (np.pi / 4.0)
    most = int(np.count_nonzero(inside[:, None] & (np.outer(x, np.cos(sides)) + np.outer(y, np.sin(sides)) >= 0.0), axis=0).max(initial=0))
    density = most / (0.5 * np.pi * radius_m**2) if radius_m > 0.0 else 0.0
    if density <= 0.0:
        return 0.0 if radius_m > 0.0 else 1.0
    # Cells hold four points on average where there is support: smaller ones would be empty by chance.
    cell = max(CELL_M, 2.0 / np.sqrt(density))
    count = int(np.ceil(radius_m / cell))
    grid = (np.arange(-count, count + 1)) * cell
    wanted = grid[:, None] ** 2 + grid[None, :] ** 2 <= radius_m**2
    i, j = np.rint(x / cell).astype(np.intp) + count, np.rint(y / cell).astype(np.intp) + count
    within = (i >= 0) & (i <= 2 * count) & (j >= 0) & (j <= 2 * count)
    points = np.zeros(wanted.shape)
    np.add.at(points, (i[within], j[within]), 1.0)
    # A cell across the edge of the support holds fewer points than the others: it counts when more than half of it is there.
    usual = float(np.median(points[wanted & (points > 0.0)])) if np.any(points[wanted]) else 1.0
    share = float(np.count_nonzero(points[wanted] >= 0.5 * usual) / np.count_nonzero(wanted))
    # A small footprint has few cells; where its points lie on average tells the place of an edge better.
    offset = float(np.hypot(x[inside].mean(), y[inside].mean())) / radius_m
    return share if offset < EVEN else min(share, _share_before_edge(offset))


def _share_before_edge(offset: float) -> float:
    """Share of a disc on one side of a straight edge, from how far the middle of that side is from the disc's, in radii."""
    edge = np.linspace(1.0, -0.999, 400)
    share = 1.0 - (np.arccos(edge) - edge * np.sqrt(1.0 - edge**2)) / np.pi
    return float(np.interp(offset, (2.0 / 3.0) * (1.0 - edge**2) ** 1.5 / (np.pi * share), share))
