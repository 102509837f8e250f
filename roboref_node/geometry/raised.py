"""A shelf, or a flat top, that an object was not told apart from: the level plane in a segment on which the rest of it stands."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.crop import Crop
from roboref_node.geometry.lift import SurfacePoint
from roboref_node.geometry.planes import Plane

FloatArray = NDArray[np.float64]
BoolImage = NDArray[np.bool_]

BIN_M = 0.004
LOWEST_M = 0.025
"""A level lower than this over the support may be the inside of a plate or a bowl."""
ABOVE_M = 0.010
"""The point that was asked for lies at least this far over the level on which its object stands."""
MIN_SHARE = 0.10
CONTRAST = 2.5
"""A level holds this share of the segment's pixels, and this many times what a layer of the same height holds elsewhere."""
BESIDE = 0.6
"""Share of the level that lies beside what stands on it, not within it: a box's top does, the floor of a bowl does not."""
MIN_PIXELS = 60
MOST_POINTS = 3000


def level_below(crop: Crop, pixels: BoolImage, support: Plane, surface: SurfacePoint) -> Plane | None:
    """The level plane within a segment, parallel to its support, that lies below the point that was asked for.

    Args:
        crop: Depth.
        pixels: The segment, (h, w).
        support: Its support, normal up.
        surface: The point.
    """
    point_m = float(support.signed_distance(surface.position_m))
    if point_m < LOWEST_M + ABOVE_M:
        return None
    heights = crop.heights(support)[pixels]
    if not heights.size:
        return None
    counts = np.bincount(np.maximum(heights / BIN_M, 0.0).astype(np.intp)).astype(np.float64)
    layers = np.convolve(counts, np.ones(3), mode="same")
    first, last = int(LOWEST_M / BIN_M), int((point_m - ABOVE_M) / BIN_M) - 1
    if last <= first or last > len(layers):
        return None
    best = first + int(np.argmax(layers[first:last]))
    if layers[best] < max(MIN_SHARE * len(heights), CONTRAST * float(np.median(layers[layers > 0.0])), MIN_PIXELS):
        return None
    level = heights[np.abs(heights - (best + 0.5) * BIN_M) < 1.5 * BIN_M]
    return Plane(support.normal, support.offset_m - float(np.median(level)))


def stands_on(crop: Crop, pixels: BoolImage, before: Crop, segment: BoolImage, level: Plane) -> bool:
    """Whether what was found above a level stands on it, and is not the wall around it.

    Args:
        crop: Depth of what was found above the level.
        pixels: It, (h, w).
        before: Depth of the whole segment.
        segment: The whole segment in `before`.
        level: The plane.
    """
    if np.count_nonzero(pixels) < MIN_PIXELS:
        return False
    flat = segment & (np.abs(before.heights(level)) < 1.5 * BIN_M)
    first = np.cross(level.normal, np.eye(3)[int(np.argmin(np.abs(level.normal)))])
    first /= np.linalg.norm(first)
    second = np.cross(level.normal, first)
    axes = np.stack([first, second], axis=1)
    standing, around = (_thinned(c.points(m)) @ axes for c, m in ((crop, pixels), (before, flat)))
    if len(around) < MIN_PIXELS:
        return False
    hull = cv2.convexHull((1e3 * standing).astype(np.float32))
    beside = [cv2.pointPolygonTest(hull, (float(x), float(y)), False) < 0 for x, y in 1e3 * around[:: max(1, len(around) // 200)]]
    return float(np.mean(beside)) > BESIDE


def _thinned(points: FloatArray) -> FloatArray:
    return points[:: max(1, len(points) // MOST_POINTS)]
