"""Grasps for a two-finger gripper from what one camera saw of an object, checked and ranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp_candidates import MIN_GRIP_M, Candidates, candidates
from roboref_node.goals.hand import HandPoses, clearance, cut_off, grip, hits_object, lowest_point
from roboref_node.goals.observed import Target, in_plane, observe
from roboref_node.goals.profile import Gripper, RobotProfile
from roboref_node.goals.reach import Reachability, ReachSphere, approach_axis
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.geometry.cut_off import OpenEnds
    from roboref_node.geometry.lift import SurfacePoint
    from roboref_node.geometry.segment import ObjectSegment

FloatArray = NDArray[np.float64]

COARSE_POINTS = 400
FINE_POINTS = 2500
FINE_POSES = 24
SCENE_POINTS = 1000
FLOOR_M = 0.003
"""How far the tips may seem to reach into the floor of a plate."""
FREE_SPACE_M = 0.04
"""Clearance beyond which more is no better."""
SAME_POINT_M = 0.007
"""Scene points this near the object's cloud are the object: its border, which the segment leaves out, or readings beside it."""
WEIGHTS = {"opening": 0.15, "clearance": 0.2, "reach": 0.1, "upright": 0.15, "centred": 0.15, "flat": 0.1, "seen": 0.05, "deep": 0.1}
"""Share of each term, all between 0 and 1, in the score."""


@dataclass(frozen=True, eq=False)
class GraspCandidate:
    """One grasp that passed every check.

    Args:
        pose: base_from_tool: z = approach, x = closing direction, origin between the finger tips.
        pregrasp: The same, back along the approach.
        width_m: Opening to set before the approach: the object plus a margin on both sides.
        score: 0 to 1, higher is better.
        kind: "top" or "side".
        clearance_m: Gap between the open gripper on its way and everything but the object; at most `FREE_SPACE_M`.
        object_width_m: Extent of the object between the fingers.
    """

    pose: Transform
    pregrasp: Transform
    width_m: float
    score: float
    kind: str
    clearance_m: float
    object_width_m: float


def plan_grasps(
    segment: ObjectSegment,
    surface: SurfacePoint,
    base_from_optical: Transform,
    profile: RobotProfile,
    scene_cloud_base: FloatArray | None = None,
    *,
    reachability: Reachability | None = None,
) -> tuple[GraspCandidate, ...]:
    """Plan antipodal grasps from above, at the rim and from the side.

    Args:
        segment: The object.
        surface: The point that was asked for; stands in for the object when the segment has no support.
        base_from_optical: Camera pose at the image's stamp.
        profile: Robot of kind arm.
        scene_cloud_base: Everything the camera saw, base frame, shape (M, 3); may contain the object and its support. None: the
            surroundings are not checked.
        reachability: Decides what can be reached; a sphere shell around the shoulder when None.

    Returns:
        At most ``profile.grasp.max_candidates`` grasps, best first, at least one.

    Raises:
        Refused: TOO_WIDE (also when the object was cut off and its rest may be where a finger goes), OCCUPIED or UNREACHABLE,
            whichever check the best candidates failed last; BAD_REQUEST when the robot has no gripper; NO_DEPTH when the object's
            cloud is empty.
    """
    hand = profile.gripper
    if hand is None or profile.reach is None:
        raise Refused(Status.BAD_REQUEST, f"robot '{profile.name}' has no gripper (profile.gripper), so it cannot pick")
    settings = profile.grasp
    target = observe(segment, surface, base_from_optical)
    if target.top_m < settings.support_clearance_m + MIN_GRIP_M:
        raise Refused(
            Status.UNREACHABLE,
            f"the object rises {1e3 * target.top_m:.1f} mm over its support, the fingers need "
            f"{1e3 * (settings.support_clearance_m + MIN_GRIP_M):.1f} mm (profile.grasp.support_clearance_m)",
            height_m=target.top_m,
        )
    radial = in_plane(target.centre_m - np.asarray(profile.reach.shoulder_m), target.up, target.narrow)
    around = _surroundings(
        scene_cloud_base, target, settings.support_clearance_m, settings.pregrasp_distance_m + hand.finger_depth_m + 0.15
    )
    # Everything is tried on a few points first; the best are measured again on many.
    coarse = _evaluate(candidates(target, hand, settings, radial), target, target.thinned(COARSE_POINTS), around, profile, steepest=np.inf)
    fine_cloud = target.thinned(FINE_POINTS)
    refusal: Refused | None = None
    for start in range(0, len(coarse.score), FINE_POSES):
        batch = coarse.poses[np.arange(start, min(start + FINE_POSES, len(coarse.score)))]
        try:
            fine = _evaluate(batch, target, fine_cloud, around, profile, steepest=settings.max_contact_slope)
            return _ranked(fine, profile, radial, target.up, reachability)
        except Refused as refused:
            refusal = refusal or refused
    assert refusal is not None
    if refusal.status is Status.TOO_WIDE and coarse.obstructed and "cut_off_by" not in refusal.details:
        raise Refused(
            Status.OCCUPIED,
            f"neighbours are in the way of {coarse.obstructed} poses, and of those they leave {refusal.sentence}",
            **refusal.details,
        )
    raise refusal


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """Poses that fit, are free and within the reach sphere, best first, with what was measured on them, and how many were not free."""

    poses: Candidates
    width_m: FloatArray
    opening_m: FloatArray
    gap_m: FloatArray
    score: FloatArray
    obstructed: int


def _evaluate(
    found: Candidates, target: Target, cloud: FloatArray, around: FloatArray, profile: RobotProfile, *, steepest: float
) -> _Evaluated:
    hand, settings = profile.gripper, profile.grasp
    assert hand is not None
    held = grip(hand, found.poses, cloud, found.window_m)
    exists = np.isfinite(held.low_m) & (held.width_m > 0.0)
    # The edge of the object lies beyond its outermost point, by half their spacing on average.
    widths = held.width_m + target.spacing_m
    fits = exists & (widths <= hand.max_object_m)
    slopes = np.where(found.pinch, np.minimum(held.slope, settings.max_contact_slope), held.slope)
    index = np.flatnonzero(fits & (slopes <= steepest))
    if len(index) == 0:
        raise _too_wide(widths[exists], slopes[fits], profile)
    # On the few points of the coarse pass the ends between the fingers are no better known than the slope.
    if target.ends is not None and np.isfinite(steepest):
        into = cut_off(hand, found.poses[index], held[index], target.ends.points_m, target.ends.outward)
        if np.all(into.any(axis=1)):
            raise _cut_off(into, target.ends)
        index = index[~into.any(axis=1)]
    # The gripper closes on the middle of what it holds.
    found = _shifted(found[index], 0.5 * (held.low_m[index] + held.high_m[index]))
    width, slope, depth = widths[index], slopes[index] if np.isfinite(steepest) else np.zeros(len(index)), held.depth_m[index]
    opening = np.minimum(hand.max_opening_m, width + 2.0 * (hand.opening_margin_m + hand.clearance_m))

    travel, floor = settings.pregrasp_distance_m, settings.support_clearance_m
    low = lowest_point(hand, found.poses, opening, target.up) - target.support_m
    # Beside a lip that is pinched lies the floor of a plate, nearer to the tips than its readings are exact.
    raised = HandPoses(found.poses.origins_m - found.poses.axes[:, :, 2] * (found.pinch * FLOOR_M)[:, None], found.poses.axes)
    own = hits_object(hand, raised, opening, cloud, travel)
    gap = clearance(hand, found.poses, opening, around, travel, FREE_SPACE_M)
    blocked = own | (gap < hand.clearance_m) | (low < floor - 1e-6)
    if np.all(blocked):
        raise _occupied(gap[~own & (low >= floor - 1e-6)], len(own), hand)
    obstructed = int(np.count_nonzero(gap < hand.clearance_m))
    free = np.flatnonzero(~blocked)
    found, width, slope, depth, opening, gap = found[free], width[free], slope[free], depth[free], opening[free], gap[free]

    sphere = ReachSphere(profile)
    tips, approach = found.poses.origins_m, found.poses.axes[:, :, 2]
    margin = np.minimum(sphere.margins_of(tips, approach), sphere.margins_of(tips - approach * travel, approach))
    if np.all(margin < 0.0):
        best = found.poses[np.array([int(np.argmax(margin))])]
        raise _unreachable(_transform(best.axes[0], best.origins_m[0]), sphere, travel, len(margin))
    # Off the middle an object hangs askew. Along the approach and along the vertical the grip may be anywhere.
    aside = found.poses.origins_m - target.centre_m
    for axis in (approach, np.broadcast_to(target.up, approach.shape)):
        aside = aside - np.einsum("ij,ij->i", aside, axis)[:, None] * axis
    half_extent = max(0.5 * float(np.ptp((target.cloud_m - target.centre_m) @ target.narrow)), 1e-3)
    terms = {
        "opening": 1.0 - width / hand.max_opening_m,
        "clearance": gap / FREE_SPACE_M,
        "reach": np.clip(2.0 * margin, 0.0, 1.0),
        "upright": 0.5 - 0.5 * approach[:, 2],
        "centred": np.clip(1.0 - np.linalg.norm(aside, axis=1) / half_extent, 0.0, 1.0),
        "flat": 1.0 / (1.0 + slope),
        "seen": found.seen,
        "deep": np.clip(depth / hand.finger_depth_m, 0.0, 1.0),
    }
    score = sum((WEIGHTS[name] * value for name, value in terms.items()), start=np.zeros(len(margin)))
    order = np.argsort(-score, kind="stable")
    order = order[margin[order] >= 0.0]
    return _Evaluated(found[order], width[order], opening[order], gap[order], score[order], obstructed)


def _ranked(
    fine: _Evaluated, profile: RobotProfile, radial: FloatArray, up: FloatArray, solver: Reachability | None
) -> tuple[GraspCandidate, ...]:
    travel = profile.grasp.pregrasp_distance_m
    ranked: list[GraspCandidate] = []
    best: Transform | None = None
    for i, kind in enumerate(fine.poses.kind):
        if len(ranked) == profile.grasp.max_candidates:
            break
        pose = _upright(fine.poses.poses.axes[i], fine.poses.poses.origins_m[i], radial, up)
        best = best or pose
        pair = (pose, _back(pose, travel))
        # The sphere was asked already: it is cheap and necessary. A solver decides about what is left.
        chosen = pair if solver is None else _solved(solver, pair)
        if chosen is not None:
            ranked.append(
                GraspCandidate(
                    pose=chosen[0],
                    pregrasp=chosen[1],
                    width_m=float(fine.opening_m[i]),
                    score=float(fine.score[i]),
                    kind=kind,
                    clearance_m=float(fine.gap_m[i]),
                    object_width_m=float(fine.width_m[i]),
                )
            )
    if not ranked:
        assert best is not None and solver is not None
        raise _unreachable(best, solver, travel, len(fine.score))
    return tuple(ranked)


def _surroundings(scene: FloatArray | None, target: Target, floor_m: float, radius_m: float) -> FloatArray:
    """Scene points near the object that are neither the object nor its support."""
    if scene is None or len(scene) == 0:
        return np.empty((0, 3))
    cloud: FloatArray = np.asarray(scene, dtype=np.float64)[:: max(1, len(scene) // (20 * SCENE_POINTS))]
    offset = cloud - target.centre_m
    height = offset @ target.up
    near = (np.einsum("ij,ij->i", offset, offset) < (radius_m + target.top_m) ** 2) & (height > floor_m)
    cloud = cloud[near]
    cloud = cloud[:: max(1, -(-len(cloud) // (2 * SCENE_POINTS)))]
    if len(cloud) == 0:
        return cloud
    distance, _ = cKDTree(target.cloud_m).query(cloud, distance_upper_bound=SAME_POINT_M)
    cloud = cloud[~np.isfinite(distance)]
    return cloud[:: max(1, -(-len(cloud) // SCENE_POINTS))]


def _shifted(found: Candidates, middle_m: FloatArray) -> Candidates:
    poses = HandPoses(found.poses.origins_m + found.poses.axes[:, :, 0] * middle_m[:, None], found.poses.axes)
    return Candidates(poses, found.window_m, found.kind, found.seen, found.pinch)


def _transform(axes: FloatArray, origin: FloatArray) -> Transform:
    return Transform.from_rotation(axes, origin)


def _upright(axes: FloatArray, origin: FloatArray, radial: FloatArray, up: FloatArray) -> Transform:
    """The pose, turned by half a turn about its approach where needed: of two equal grasps the same one is always meant."""
    sign = 1.0 if axes[:, 0] @ np.cross(up, radial) >= 0.0 else -1.0
    return _transform(axes * np.array([sign, sign, 1.0]), origin)


def _back(pose: Transform, distance_m: float) -> Transform:
    return Transform(pose.quaternion_xyzw, pose.translation_m - approach_axis(pose.quaternion_xyzw) * distance_m)


def _solved(solver: Reachability, pair: tuple[Transform, Transform]) -> tuple[Transform, Transform] | None:
    """The grasp and its pregrasp, or both with the fingers exchanged, whichever the solver can reach."""
    half_turn = Transform(np.array([0.0, 0.0, 1.0, 0.0]), np.zeros(3))
    for choice in (pair, (pair[0] @ half_turn, pair[1] @ half_turn)):
        if float(np.min(solver.margins(choice))) >= 0.0:
            return choice
    return None


def _too_wide(widths: FloatArray, slopes: FloatArray, profile: RobotProfile) -> Refused:
    hand = profile.gripper
    assert hand is not None
    if len(slopes):
        return Refused(
            Status.TOO_WIDE,
            f"only slanted parts of the object fit between the fingers: the flattest has a slope of {float(np.min(slopes)):.2f}, "
            f"{profile.grasp.max_contact_slope:g} would hold (profile.grasp.max_contact_slope)",
            slope=float(np.min(slopes)),
            max_width_m=hand.max_object_m,
        )
    if len(widths) == 0:
        return Refused(Status.TOO_WIDE, "no part of the object lies between the fingers in any pose", max_width_m=hand.max_object_m)
    narrowest = float(np.min(widths))
    return Refused(
        Status.TOO_WIDE,
        f"the object is {1e3 * narrowest:.0f} mm wide where it is narrowest, the gripper takes {1e3 * hand.max_object_m:.0f} mm "
        "(profile.gripper.max_opening_m minus opening_margin_m on both sides)",
        width_m=narrowest,
        max_width_m=hand.max_object_m,
    )


def _cut_off(into: NDArray[np.bool_], ends: OpenEnds) -> Refused:
    met = np.flatnonzero(into.any(axis=0))
    causes = sorted({ends.causes[k].value for k in met})
    return Refused(
        Status.TOO_WIDE,
        f"none of {len(into)} poses that fit is sure: the gripper would go where the object may go on unseen, "
        f"cut off by {' and '.join(causes)}",
        candidates=len(into),
        cut_off_by=causes,
    )


def _occupied(apart: FloatArray, count: int, hand: Gripper) -> Refused:
    if len(apart) == 0:
        sentence = f"in all {count} poses that fit, the gripper would run into the object itself or its support (profile.gripper)"
        return Refused(Status.OCCUPIED, sentence, candidates=count)
    best = float(np.max(apart))
    return Refused(
        Status.OCCUPIED,
        f"there is no room for the gripper: the best of {count} poses leaves {1e3 * best:.0f} mm to a neighbour, needed are "
        f"{1e3 * hand.clearance_m:.0f} mm (profile.gripper.clearance_m)",
        clearance_m=best,
    )


def _unreachable(pose: Transform, reach: Reachability, travel: float, count: int) -> Refused:
    before = _back(pose, travel)
    worse = pose if reach.margins([pose])[0] <= reach.margins([before])[0] else before
    return Refused(
        Status.UNREACHABLE,
        f"{count} grasps fit the object but none is in reach: for the best one {reach.explain(worse)}",
        candidates=count,
        position_m=worse.translation_m.tolist(),
    )
