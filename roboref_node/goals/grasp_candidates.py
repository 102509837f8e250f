"""Where a two-finger gripper could take an object: poses from above, at the rim and from the side, not yet checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.goals.hand import HandPoses
from roboref_node.goals.observed import Target
from roboref_node.goals.profile import GraspSettings, Gripper

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_GRIP_M = 0.005
"""Least overlap of fingers and object along the approach: below it nothing holds."""
PALM_GAP_M = 3e-3
"""Between the palm and the top of what is between the fingers."""
RIM_BAND_M = 0.008
"""Points this far below the top belong to the rim."""
RIM_ERROR_M = 0.003
"""Rims farther from a circle than this are taken as they are seen."""
SUNK_M = 0.012
"""What is seen this far below the rim and through its opening is inside."""
FLAT_SHARE = 0.4
"""The same two for flat things, as shares of their height: a plate's rim is a centimetre over its floor."""
MOUTH_SHARE = 0.75
FLAT = 0.5
LEANING = 0.9
"""A thing lower than this share of its rim's radius, whose rim's band is this much wider than high, leans outwards by more than
friction holds: a plate. Bowls and cups are higher."""
LEANING_DEPTH_M = 0.005
"""How deep a leaning rim is pinched: its lip and no more. Deeper, the inner finger pushes down on the slope, and the plate out."""
LIP_M = 0.028
"""Width across a lip in which something can lie between the fingers: farther inwards is the floor."""
RIM_TOP = 85.0
"""Percentile of the heights of a rim's points that is its top: the highest readings are noise."""
SIDE_BEARINGS_RAD = np.radians([0.0, -20.0, 20.0, -40.0, 40.0, -60.0, 60.0])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Unchecked poses.

    Args:
        poses: In the base frame.
        window_m: See `roboref_node.goals.hand.grip`, shape (N,).
        kind: "top" or "side" per pose.
        seen: How much of the two contacts the camera saw, 0 to 1, shape (N,).
        pinch: Whether only a lip is held, on which a slope cannot be measured, bool, shape (N,).
    """

    poses: HandPoses
    window_m: FloatArray
    kind: tuple[str, ...]
    seen: FloatArray
    pinch: BoolArray

    def __getitem__(self, index: NDArray[np.intp]) -> Candidates:
        kinds = tuple(self.kind[i] for i in index)
        return Candidates(self.poses[index], self.window_m[index], kinds, self.seen[index], self.pinch[index])


def candidates(target: Target, hand: Gripper, settings: GraspSettings, radial: FloatArray) -> Candidates:
    """All poses worth checking.

    Args:
        target: The object.
        hand: The gripper.
        settings: How finely to search.
        radial: Unit vector in the support plane from the robot to the object, shape (3,).
    """
    parts = [_from_above(target, hand, settings), _at_the_rim(target, hand, settings)]
    if settings.side_grasps:
        parts.append(_from_the_side(target, hand, settings, radial))
    kept = [part for part in parts if part is not None]
    return Candidates(
        HandPoses(np.concatenate([part.poses.origins_m for part in kept]), np.concatenate([part.poses.axes for part in kept])),
        np.concatenate([part.window_m for part in kept]),
        tuple(kind for part in kept for kind in part.kind),
        np.concatenate([part.seen for part in kept]),
        np.concatenate([part.pinch for part in kept]),
    )


def axes_of(closing: FloatArray, approach: FloatArray) -> FloatArray:
    """Rotation matrices, shape (N, 3, 3), with columns closing, approach x closing, approach."""
    return np.stack([closing, np.cross(approach, closing), approach], axis=-1)


def tip_heights(target: Target, hand: Gripper, settings: GraspSettings, wanted_m: tuple[float, ...]) -> FloatArray:
    """Heights of the tips over the support for wanted depths below the top, within what fingers and support allow."""
    deepest = max(settings.support_clearance_m, target.peak_m - hand.finger_depth_m + PALM_GAP_M)
    return np.unique(np.maximum([target.top_m - depth for depth in wanted_m], deepest))


def _from_above(target: Target, hand: Gripper, settings: GraspSettings) -> Candidates:
    yaw = np.linspace(0.0, np.pi, settings.yaw_count, endpoint=False)
    tips = tip_heights(target, hand, settings, (settings.grip_depth_m, hand.finger_depth_m))
    closing = target.direction(yaw)
    across = np.cross(target.up, closing)
    flat = target.cloud_m[:: max(1, len(target.cloud_m) // 1000)] - target.centre_m
    reach = flat @ across.T
    half_length = 0.5 * (reach.max(axis=0) - reach.min(axis=0))
    offsets = np.array([0.0, -0.4, 0.4])
    # Grids over yaw, tip height and offset along the object, flattened in this order.
    i, j, k = (index.ravel() for index in np.meshgrid(range(len(yaw)), range(len(tips)), range(len(offsets)), indexing="ij"))
    shift = offsets[k] * half_length[i]
    origins = target.centre_m + across[i] * shift[:, None] + tips[j][:, None] * target.up
    count = len(i)
    approach = np.broadcast_to(-target.up, (count, 3))
    seen = 1.0 - np.abs(closing[i] @ target.view)
    return Candidates(
        HandPoses(origins, axes_of(closing[i], approach)), np.full(count, np.inf), ("top",) * count, seen, np.zeros(count, dtype=np.bool_)
    )


def _at_the_rim(target: Target, hand: Gripper, settings: GraspSettings) -> Candidates | None:
    """Fingers on both sides of a wall: only for objects that are open at the top."""
    flat = target.cloud_m - target.centre_m
    first, second = target.narrow, np.cross(target.up, target.narrow)
    x, y = flat @ first, flat @ second
    band = min(RIM_BAND_M, FLAT_SHARE * target.top_m)
    on_rim = target.heights_m > target.top_m - band
    if np.count_nonzero(on_rim) < 10:
        return None
    # A handle shifts the middle of the object, not that of its rim.
    cx, cy, rim_radius = _circle(x[on_rim], y[on_rim])
    if not _is_open(target, cx * first + cy * second, rim_radius):
        return None
    x, y = x - cx, y - cy
    radius = np.hypot(x, y)
    bins = 2 * settings.yaw_count
    index = np.floor((np.arctan2(y[on_rim], x[on_rim]) / (2.0 * np.pi) + 0.5) * bins).astype(np.intp) % bins
    count = np.bincount(index, minlength=bins)
    used = np.flatnonzero(count >= 2)
    if not len(used):  # from afar a rim is a few points, each in a direction of its own
        return None
    wall = np.bincount(index, weights=radius[on_rim], minlength=bins)[used] / count[used]
    angle = ((used + 0.5) / bins - 0.5) * 2.0 * np.pi
    closing = target.direction(angle)
    tips = tip_heights(target, hand, settings, (settings.rim_depth_m, 0.5 * settings.rim_depth_m, MIN_GRIP_M))
    low, high = np.percentile(radius[on_rim], (10.0, 90.0))
    leaning = target.top_m < FLAT * rim_radius and high - low > LEANING * band
    if leaning:
        rim_top = float(np.percentile(target.heights_m[on_rim], RIM_TOP))
        tips = np.array([max(settings.support_clearance_m, rim_top - LEANING_DEPTH_M)])
    i, j = (grid.ravel() for grid in np.meshgrid(range(len(used)), range(len(tips)), indexing="ij"))
    centre = target.centre_m + cx * first + cy * second
    origins = centre + closing[i] * wall[i][:, None] + tips[j][:, None] * target.up
    approach = np.broadcast_to(-target.up, (len(i), 3))
    # Of the near wall the camera sees the outside only; of the far one the inside, where the fingers could hit something.
    seen = 0.5 + 0.5 * (closing[i] @ target.view)
    window = np.full(len(i), min(hand.max_opening_m, LIP_M if leaning else 1.4 * rim_radius))
    return Candidates(HandPoses(origins, axes_of(closing[i], approach)), window, ("top",) * len(i), seen, np.full(len(i), leaning))


def _circle(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Middle and radius of the circle through points in the plane, by least squares (Kasa 1976); about the origin when they are none."""
    solution, _, rank, _ = np.linalg.lstsq(np.column_stack([2.0 * x, 2.0 * y, np.ones(len(x))]), x * x + y * y, rcond=None)
    square = float(solution[2] + solution[0] ** 2 + solution[1] ** 2)
    if rank == 3 and square > 0.0:
        radius = float(np.sqrt(square))
        error = np.hypot(x - solution[0], y - solution[1]) - radius
        if float(np.sqrt(np.mean(error**2))) < max(RIM_ERROR_M, 0.06 * radius) and radius < 0.15:
            return float(solution[0]), float(solution[1]), radius
    return 0.0, 0.0, float(np.median(np.hypot(x, y)))


def _is_open(target: Target, offset_m: FloatArray, rim_radius: float) -> bool:
    """Whether the camera looks into the object: enough of it is seen below the rim through the middle of the rim's opening."""
    centre = target.centre_m + offset_m
    cloud, heights = target.cloud_m[: target.seen], target.heights_m[: target.seen]
    sunk = heights < target.top_m - min(SUNK_M, 1.2 * FLAT_SHARE * target.top_m)
    below = cloud[sunk]
    if len(below) == 0:
        return False
    # Where the line of sight to a point passes the height of the rim.
    eye_height = float((target.eye_m - target.centre_m) @ target.up)
    if eye_height <= target.top_m:
        return False
    share = (eye_height - target.top_m) / (eye_height - heights[sunk])
    passed = target.eye_m + share[:, None] * (below - target.eye_m) - centre
    passed -= (passed @ target.up)[:, None] * target.up
    inside = np.linalg.norm(passed, axis=1) < MOUTH_SHARE * rim_radius
    flat = cloud - centre
    flat = flat - (flat @ target.up)[:, None] * target.up
    band = min(RIM_BAND_M, FLAT_SHARE * target.top_m)
    covered = (heights > target.top_m - band) & (np.linalg.norm(flat, axis=1) < 0.5 * rim_radius)
    return bool(np.count_nonzero(inside) >= 5 and np.count_nonzero(covered) <= 0.1 * np.count_nonzero(inside))


def _from_the_side(target: Target, hand: Gripper, settings: GraspSettings, radial: FloatArray) -> Candidates | None:
    lowest = settings.support_clearance_m + 0.5 * max(hand.palm_depth_m, hand.finger_width_m)
    highest = target.top_m - MIN_GRIP_M
    if lowest >= highest:
        return None
    heights = np.unique(np.clip([0.5 * target.top_m, 0.75 * target.top_m], lowest, highest))
    left = np.cross(target.up, radial)
    approach = np.cos(SIDE_BEARINGS_RAD)[:, None] * radial + np.sin(SIDE_BEARINGS_RAD)[:, None] * left
    along = (target.cloud_m[:: max(1, len(target.cloud_m) // 1000)] - target.centre_m) @ approach.T
    front, back = along.min(axis=0), along.max(axis=0)
    depth = np.minimum(hand.finger_depth_m - 1e-3, np.maximum(0.5 * (back - front) + 0.01, MIN_GRIP_M))
    i, j = (grid.ravel() for grid in np.meshgrid(range(len(approach)), range(len(heights)), indexing="ij"))
    origins = target.centre_m + approach[i] * (front + depth)[i][:, None] + heights[j][:, None] * target.up
    closing = np.cross(target.up, approach[i])
    seen = 1.0 - np.abs(closing @ target.view)
    return Candidates(
        HandPoses(origins, axes_of(closing, approach[i])),
        np.full(len(i), np.inf),
        ("side",) * len(i),
        seen,
        np.zeros(len(i), dtype=np.bool_),
    )
