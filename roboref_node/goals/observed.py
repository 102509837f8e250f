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
from roboref_node.goals.unseen_back import CELL_M, with_back
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.geometry.lift import SurfacePoint
    from roboref_node.geometry.segment import ObjectSegment

FloatArray = NDArray[np.float64]

MOST_POINTS = 2500
DEEPEST_M = 5.0
"""The inside is filled in so far below a top: of readings from another world it would fill the memory."""
MOST_ENDS = 2000
LAYER_M = 0.015
"""Spacing of the points that stand for the inside of an object: less than a finger's width."""
PEAK_BANDS_M = ((0.030, 0.020), (0.010, 0.0))
"""Depths below the top between which the width of a body is compared to see whether it tapers."""
TAPER, PEAK_WIDTH_M, PEAK_M = 0.2, 0.025, 0.03
"""Least loss of width per height, greatest width at the top, and how far beyond what was seen the sides are continued."""
PEAK_SPARE_M = 0.006
"""By so much may a point end higher than its sides say."""


@dataclass(frozen=True, eq=False)
class Target:
    """An object as the planner sees it, in the base frame.

    Args:
        cloud_m: Its surface, shape (N, 3): what was seen, and then what was filled in.
        seen: How many of these points were seen; 0 for a ball, of which a whole one stands for what was seen.
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
    seen: int
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
    eye = np.asarray(base_from_optical.translation_m, dtype=np.float64)
    whole, seen, solid = with_back(cloud, support, up, first, view, eye, part=segment.ends is not None)
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
        seen,
        _spacing(whole),
        _inside(solid, solid @ up - support, up, narrow),
        heights,
        up,
        support,
        narrow,
        centre,
        top,
        _peak(whole @ np.cross(up, view), heights, top),
        view,
        eye,
        None if segment.ends is None else _down_to(support, _through(segment.ends.moved(base_from_optical), view, cloud, whole), up),
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


def _through(ends: OpenEnds, view: FloatArray, cloud: FloatArray, whole: FloatArray) -> OpenEnds:
    """The ends and what is straight behind them, as far as there is more of the object than was seen: there it was cut off as well."""
    more_m = min(float((whole @ view).max()) - float((cloud @ view).max()), DEEPEST_M)
    layers = max(1, int(np.ceil(more_m / LAYER_M)))
    kept = np.arange(0, len(ends.points_m), max(1, len(ends.points_m) * layers // MOST_ENDS))
    k, layer = (index.ravel() for index in np.meshgrid(kept, np.arange(layers), indexing="ij"))
    return OpenEnds(ends.points_m[k] + (layer * LAYER_M)[:, None] * view, ends.outward[k], tuple(ends.causes[i] for i in k))


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
