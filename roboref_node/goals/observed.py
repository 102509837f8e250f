"""What one camera saw of an object, in the base frame, with what it cannot have seen filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roboref_node.geometry.box import dense
from roboref_node.geometry.cut_off import OpenEnds
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.geometry.lift import SurfacePoint
    from roboref_node.geometry.segment import ObjectSegment

FloatArray = NDArray[np.float64]

MOST_POINTS = 2500
DEEPEST_M = 5.0
"""The inside is filled in so far below a top: of readings from another world it would fill the memory."""
BALL_RMS_M = 0.0025
BALL_POINTS = 1500
CROWN = 0.6
"""Of a ball's radius: what is seen reaches at least so far above the centre."""
LYING_RADIUS_M = 0.012
"""Of a thinner body too little is hidden to matter."""
LYING_LOW = 0.5
"""Below this height over the axis, as a share of the radius, the far side of a lying body is not seen."""
LYING_SPREAD = 0.1
"""Median deviation of where its points say that the axis is, as a share of the radius: a box's are twice as far apart."""
LYING_SHARE = 0.5
"""Share of the points that lie on the round side; the rest is the end that faces the camera."""
LYING_POINTS = 400
LOW_TAN = 0.45
"""Tangent of the angle under which the top is looked down on: from higher up whatever top there is is seen."""
GRAZING_TAN, GRAZED = 0.25, 0.5
"""So low the back of a top gives no readings: one that is seen this share of its width deep may go on."""
SUMMIT_M, SUMMIT_COLUMNS, TOP_SEEN_M = 0.006, 10, 0.008
"""The highest readings, in columns across the view: where they reach no deeper than this, no top was seen, only an edge."""
CELL_M = 0.008
LAYER_M = 0.015
"""Spacing of the points that stand for the inside of an object: less than a finger's width."""
PEAK_BANDS_M = ((0.030, 0.020), (0.010, 0.0))
"""Depths below the top between which the width of a body is compared to see whether it tapers."""
TAPER, PEAK_WIDTH_M, PEAK_M = 0.2, 0.025, 0.03
"""Least loss of width per height, greatest width at the top, and how far beyond what was seen the sides are continued."""
PEAK_SPARE_M = 0.006
"""By so much may a point end higher than its sides say."""
HIDDEN_DROP_M = 0.006
"""How far below the top the farthest visible points of an object lie when its far side is hidden by its own curvature."""


@dataclass(frozen=True, eq=False)
class Target:
    """An object as the planner sees it, in the base frame.

    Args:
        cloud_m: Its surface, shape (N, 3).
        spacing_m: Distance of neighbouring points.
        inside_m: Points below its surface, down to the support: hidden from the camera, and taken for a part of it, shape (K, 3).
        heights_m: Their heights over the support, shape (N,).
        up: Unit normal of the support, shape (3,).
        support_m: Height of the support along `up` in the base frame.
        narrow: Unit vector in the support plane along the object's smallest extent, shape (3,).
        centre_m: Middle of the object in the support plane, at the support's height, shape (3,).
        top_m: Height of the object over the support.
        peak_m: Height at which a body that tapers to a point ends: the point itself is too fine to be seen. Else `top_m`.
        view: Unit vector in the support plane from the camera to the object, shape (3,); zero when it looks straight down.
        eye_m: Where the camera is, shape (3,).
        ends: Where it may go on unseen, down to the support; None where it is seen to end all around.
    """

    cloud_m: FloatArray
    spacing_m: float
    inside_m: FloatArray
    heights_m: FloatArray
    up: FloatArray
    support_m: float
    narrow: FloatArray
    centre_m: FloatArray
    top_m: float
    peak_m: float
    view: FloatArray
    eye_m: FloatArray
    ends: OpenEnds | None

    def direction(self, angle_rad: FloatArray) -> FloatArray:
        """Unit vectors in the support plane, turned from `narrow` about `up`, shape (N, 3)."""
        return np.cos(angle_rad)[:, None] * self.narrow + np.sin(angle_rad)[:, None] * np.cross(self.up, self.narrow)

    def thinned(self, count: int) -> FloatArray:
        """About `count` points of the surface, evenly over their order, the extreme ones, which set the widths, and the inside."""
        cloud = self.cloud_m
        if len(cloud) > count:
            along = cloud @ self.direction(np.linspace(0.0, np.pi, 12, endpoint=False)).T
            keep = np.concatenate([np.arange(0, len(cloud), -(-len(cloud) // count)), along.argmin(axis=0), along.argmax(axis=0)])
            cloud = cloud[np.unique(keep)]
        return np.concatenate([cloud, self.inside_m])


def observe(segment: ObjectSegment, surface: SurfacePoint, base_from_optical: Transform) -> Target:
    """The object in the base frame, with what a grasp needs to know about it.

    Without a support plane the robot's up direction and the lowest visible point stand in for it, so that the fingers never go
    deeper than what was seen. The hidden back of a rounded object is added, see `_completed`.

    Raises:
        Refused: NO_DEPTH when the segment has no points.
    """
    cloud = base_from_optical.apply(np.asarray(segment.cloud_m)[:: max(1, len(segment.cloud_m) // MOST_POINTS)])
    if len(cloud) < 5:
        raise Refused(Status.NO_DEPTH, f"the object has {len(cloud)} points with depth, a grasp needs 5", points=len(cloud))
    if segment.support is not None:
        up = base_from_optical.rotate(segment.support.normal)
        origin = base_from_optical.apply(-segment.support.offset_m * np.asarray(segment.support.normal))
        support = float(up @ origin)
    else:
        up = np.array([0.0, 0.0, 1.0])
        support = float(min(np.percentile(cloud[:, 2], 1.0), base_from_optical.apply(surface.position_m)[2]))
    view = in_plane(cloud.mean(axis=0) - base_from_optical.translation_m, up, None)
    # Stray readings behind the outline would be taken for a far side that falls away.
    first = in_plane(np.eye(3)[int(np.argmin(np.abs(up)))], up, None)
    cloud = cloud[dense((cloud @ np.stack([first, np.cross(up, first)], axis=1)).astype(np.float32))]
    whole = _ball(cloud, cloud @ up - support, up)
    if whole is None:
        whole = _lying(cloud, cloud @ up - support, up, view)
    eye_m = float(base_from_optical.translation_m @ up) - support
    if whole is None:
        whole = _from_below(cloud, cloud @ up - support, up, view, base_from_optical.translation_m, eye_m)
    if whole is None:
        whole = _completed(cloud, up, view)
    if segment.box is not None and whole is cloud:
        axes = base_from_optical.rotate(np.asarray(segment.box.rotation).T)[:2]
        narrow = in_plane(axes[int(np.argmin(np.asarray(segment.box.size_m)[:2]))], up, axes[0])
        centre = base_from_optical.apply(segment.box.center_m)
    else:
        narrow, centre = _calipers(whole, up)
    centre = centre - (centre @ up - support) * up
    heights = whole @ up - support
    top = float(np.percentile(heights, 99.0))
    return Target(
        whole,
        _spacing(whole),
        _inside(whole, heights, up, narrow),
        heights,
        up,
        support,
        narrow,
        centre,
        top,
        _peak(whole @ np.cross(up, view), heights, top),
        view,
        np.asarray(base_from_optical.translation_m, dtype=np.float64),
        None if segment.ends is None else _down_to(support, segment.ends.moved(base_from_optical), up),
    )


def _peak(across_m: FloatArray, heights_m: FloatArray, top_m: float) -> float:
    """Where the two sides of a body that tapers meet, at most `PEAK_M` over what was seen of it."""
    widths = []
    for low, high in PEAK_BANDS_M:
        band = across_m[(heights_m > top_m - low) & (heights_m <= top_m - high)]
        if len(band) < 5:
            return top_m
        widths.append(float(np.subtract(*np.percentile(band, (95.0, 5.0)))))
    (low_a, high_a), (low_b, high_b) = PEAK_BANDS_M
    taper = (widths[0] - widths[1]) / (0.5 * (low_a + high_a - low_b - high_b))
    if taper < TAPER or widths[1] > PEAK_WIDTH_M:
        return top_m
    return top_m + float(np.clip(widths[1] / taper - 0.5 * (low_b + high_b) + PEAK_SPARE_M, 0.0, PEAK_M))


def _ball(cloud: FloatArray, heights: FloatArray, up: FloatArray) -> FloatArray | None:
    """The whole surface of a ball when the cloud is a part of one, on or over the support, else None.

    The rim of a ball is seen at a grazing angle and has no depth there: its visible part alone is far narrower than the ball.
    """
    middle = cloud.mean(axis=0)
    p = cloud - middle
    # |p - c|^2 = r^2 is linear in c and r^2 - c^2.
    solution, _, rank, _ = np.linalg.lstsq(np.column_stack([2.0 * p, np.ones(len(p))]), np.einsum("ij,ij->i", p, p), rcond=None)
    square = float(solution[3] + solution[:3] @ solution[:3])
    if rank < 4 or square <= 0.0:
        return None
    centre, radius = solution[:3] + middle, float(np.sqrt(square))
    rms = float(np.sqrt(np.mean((np.linalg.norm(cloud - centre, axis=1) - radius) ** 2)))
    lift = float((centre - cloud[0]) @ up + heights[0])
    if rms > min(BALL_RMS_M, 0.08 * radius) or lift < 0.8 * radius or float(np.ptp(heights)) < 0.6 * radius:
        return None
    # Of a ball the crown is seen; a bowl of the same curvature, seen from outside and inside, ends at the height of the centre.
    if float(np.percentile(heights, 99.0)) < lift + CROWN * radius:
        return None
    step = np.arange(BALL_POINTS) + 0.5
    height, turn = 1.0 - 2.0 * step / BALL_POINTS, step * np.pi * (3.0 - np.sqrt(5.0))
    flat = np.sqrt(1.0 - height**2)
    first = in_plane(np.eye(3)[int(np.argmin(np.abs(up)))], up, None)
    sphere = (flat * np.cos(turn))[:, None] * first + (flat * np.sin(turn))[:, None] * np.cross(up, first) + height[:, None] * up
    return np.asarray(centre + radius * sphere, dtype=np.float64)


def _lying(cloud: FloatArray, heights: FloatArray, up: FloatArray, view: FloatArray) -> FloatArray | None:
    """The cloud with its far side when it is the near side of a round body that lies on the support, such as a can; else None.

    The lower the camera, the less of the far side falls away before the eye, and the more of it is hidden.
    """
    radius = 0.5 * float(np.percentile(heights, 99.0))
    if not np.any(view) or radius < LYING_RADIUS_M:
        return None
    few = slice(None, None, max(1, len(cloud) // LYING_POINTS))
    flat, sink = cloud[few], heights[few] / radius - 1.0
    half = radius * np.sqrt(np.maximum(1.0 - sink * sink, 0.0))
    # So low only the near side is seen. Each of its points says where the axis is; the direction in which they agree is across it.
    low = sink < LYING_LOW
    if np.count_nonzero(low) < 20:
        return None
    left, turns = np.cross(up, view), np.radians(np.arange(-85, 90, 5))
    for step in (np.radians(0.5), 0.0):  # all directions by 5 degrees, then around the best one by half a degree
        across = np.cos(turns)[:, None] * view + np.sin(turns)[:, None] * left
        axes = flat[low] @ across.T + half[low][:, None]
        spread = np.median(np.abs(axes - np.median(axes, axis=0)), axis=0)
        best = int(np.argmin(spread))
        turns = turns[best] + np.arange(-10, 11) * step
    across, axis = across[best], float(np.median(axes[:, best]))
    off = np.abs(radius - np.hypot(flat @ across - axis, radius * sink))
    if spread[best] > LYING_SPREAD * radius or np.mean(off < BALL_RMS_M) < LYING_SHARE:
        return None
    sinks = np.clip(heights / radius - 1.0, -1.0, 1.0)
    far = axis + radius * np.sqrt(1.0 - sinks * sinks)
    return np.concatenate([cloud, cloud + (far - cloud @ across)[:, None] * across])


def _from_below(
    cloud: FloatArray, heights: FloatArray, up: FloatArray, view: FloatArray, eye: FloatArray, eye_m: float
) -> FloatArray | None:
    """The cloud with its half-turn when the camera is so low that it cannot have seen the top, and so not how deep the body is; else None.

    It is taken to be at least as deep as it is wide. The sides of a round or a square body end, as seen, half its depth behind its front.
    """
    top = float(np.percentile(heights, 99.0))
    along, across = cloud @ view, cloud @ np.cross(up, view)
    front, (left, right) = float(np.percentile(along, 1.0)), np.percentile(across, (1.0, 99.0))
    above = (eye_m - top) / max(front - float(eye @ view), 1e-3)
    if above > LOW_TAN or right - left < 1e-3:
        return None
    summit = heights > top - max(SUMMIT_M, 0.05 * top)
    column = np.clip(((across - left) / (right - left) * SUMMIT_COLUMNS).astype(np.intp), 0, SUMMIT_COLUMNS - 1)
    seen = [
        np.ptp(np.percentile(along[summit & (column == k)], (5.0, 95.0))) for k in range(SUMMIT_COLUMNS) if np.any(summit & (column == k))
    ]
    if float(np.median(seen)) > max(TOP_SEEN_M, GRAZED * (right - left) if above < GRAZING_TAN else 0.0):
        return None
    band = 0.1 * (right - left)
    sides = 0.5 * (float(np.median(along[across <= left + band])) + float(np.median(along[across >= right - band])))
    axis = max(sides, front + 0.5 * (right - left)) * view + 0.5 * (left + right) * np.cross(up, view)
    flat = cloud - (cloud @ up)[:, None] * up
    return np.concatenate([cloud, 2.0 * axis - flat + (cloud @ up)[:, None] * up])


def _completed(cloud: FloatArray, up: FloatArray, view: FloatArray) -> FloatArray:
    """The cloud, with its half-turn about the vertical through its top where the camera cannot have seen its far side.

    A ball or a bottle hides its far side behind its own curvature: the farthest visible points then lie clearly below the top. The
    far edge of a box, a plate or a cup is seen from above and lies at the top; nothing is added to those.
    """
    if not np.any(view):
        return cloud
    heights, along, across = cloud @ up, cloud @ view, cloud @ np.cross(up, view)
    top = float(np.percentile(heights, 99.0))
    low, high = float(across.min()), float(across.max())
    middle = 0.5 * (low + high)
    central = np.abs(across - middle) < 0.25 * (high - low)
    if np.count_nonzero(central) < 10:
        return cloud
    far = float(np.percentile(along[central], 99.0))
    drop = top - float(np.median(heights[central & (along >= far)]))
    summit = heights > top - 0.004
    if drop < HIDDEN_DROP_M or np.count_nonzero(summit) < 3:
        return cloud
    axis = float(np.mean(along[summit])) * view + middle * np.cross(up, view)
    flat = cloud - heights[:, None] * up
    return np.concatenate([cloud, 2.0 * axis - flat + heights[:, None] * up])


def _spacing(cloud: FloatArray) -> float:
    """Spacing of a cloud's points, in the wider of the two directions: distance of the fourth neighbour of the middle one of 200."""
    distance, _ = cKDTree(cloud).query(cloud[:: max(1, len(cloud) // 200)], k=[5])
    return float(np.median(distance[np.isfinite(distance)])) if len(cloud) > 5 else 0.0


def _inside(cloud: FloatArray, heights: FloatArray, up: FloatArray, first: FloatArray) -> FloatArray:
    """Points straight below the highest point of every cell of the support plane.

    The camera sees a shell. A finger that misses the front and the top of a box would still run into the box.
    """
    second = np.cross(up, first)
    x, y = np.floor(cloud @ first / CELL_M).astype(np.int64), np.floor(cloud @ second / CELL_M).astype(np.int64)
    key = (x - x.min()) * (int(np.ptp(y)) + 1) + (y - y.min())
    order = np.lexsort((-heights, key))
    tops = order[np.flatnonzero(np.diff(key[order], prepend=-1))]
    below = heights[tops][:, None] - np.arange(0.5, max(1.0, min(float(heights.max()), DEEPEST_M) / LAYER_M))[None, :] * LAYER_M
    column, layer = np.nonzero(below > 0.0)
    drop = heights[tops][column] - below[column, layer]
    return np.asarray(cloud[tops[column]] - drop[:, None] * up, dtype=np.float64)


def _down_to(support_m: float, ends: OpenEnds, up: FloatArray) -> OpenEnds:
    """The ends and what is straight below them: where the top was cut off, so was the hidden side under it."""
    heights = ends.points_m @ up - support_m
    layers = max(1.0, np.ceil(min(heights.max(), DEEPEST_M) / LAYER_M))
    k, layer = np.nonzero(np.arange(layers)[None, :] * LAYER_M < np.maximum(heights, LAYER_M)[:, None])
    return OpenEnds(ends.points_m[k] - (layer * LAYER_M)[:, None] * up, ends.outward[k], tuple(ends.causes[i] for i in k))


def _calipers(cloud: FloatArray, up: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Direction in the plane across `up` with the smallest extent of the cloud, and the middle of the cloud in that plane."""
    cloud = cloud[:: max(1, len(cloud) // 1000)]
    first = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    first /= np.linalg.norm(first)
    angle = np.arange(36) * (np.pi / 36)
    for step in (np.pi / 360, 0.0):  # All directions by 5 degrees, then around the best one by half a degree.
        directions = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * np.cross(up, first)
        extent = cloud @ directions.T
        low, high = extent.min(axis=0), extent.max(axis=0)
        k = int(np.argmin(high - low))
        angle = angle[k] + np.arange(-10, 11) * step
    narrow, across = directions[k], np.cross(up, directions[k])
    other = cloud @ across
    centre = 0.5 * (low[k] + high[k]) * narrow + 0.5 * (other.min() + other.max()) * across
    return narrow, centre


def in_plane(vector: FloatArray, up: FloatArray, fallback: FloatArray | None) -> FloatArray:
    """Unit vector of the part of `vector` across `up`; the fallback's, or zero, when there is none."""
    flat = vector - (vector @ up) * up
    length = float(np.linalg.norm(flat))
    if length > 1e-6:
        return np.asarray(flat / length, dtype=np.float64)
    return np.zeros(3) if fallback is None else in_plane(fallback, up, None)
