"""Overlap of boxes: in the image, along the axes, turned about the vertical, and turned in any way.

Every function takes batches on the leading axes and broadcasts them. A box with a number that is not finite, or without volume, overlaps
nothing: its score is 0, never NaN, so that no answer of a model can poison a mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError

Floats = NDArray[np.float64]

_INSIDE = 1e-9  # relative to the box: a corner on the other box's side belongs to the intersection
_CORNERS_2D = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]) / 2
_CORNERS_3D = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_EDGES_3D = np.array([(i, j) for i in range(8) for j in range(i + 1, 8) if bin(i ^ j).count("1") == 1])


def iou_2d(first: ArrayLike, second: ArrayLike) -> Floats:
    """IoU of image boxes, ``|A ∩ B| / |A ∪ B|`` (the spatial reward of Scene-R1).

    Args:
        first: Boxes (..., 4) as x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
        second: The same.

    Returns:
        (...) in [0, 1].
    """
    return _iou_of_intervals(np.asarray(first, float), np.asarray(second, float), 2)


def iou_aabb_3d(first: ArrayLike, second: ArrayLike) -> Floats:
    """IoU of axis-aligned boxes, ``|A ∩ B| / |A ∪ B|`` (perception reward of 3D-R1; ScanRefer's Acc@.25 and Acc@.5).

    Args:
        first: Boxes (..., 6) as minimum x, y, z and maximum x, y, z in metres.
        second: The same.

    Returns:
        (...) in [0, 1].
    """
    return _iou_of_intervals(np.asarray(first, float), np.asarray(second, float), 3)


def aabb_from_centre_size(boxes: ArrayLike) -> Floats:
    """Boxes (..., 6) from centre and full extents to minimum and maximum corner."""
    values = np.asarray(boxes, float)
    return np.concatenate([values[..., :3] - values[..., 3:] / 2, values[..., :3] + values[..., 3:] / 2], axis=-1)


def iou_yaw_3d(first: ArrayLike, second: ArrayLike) -> Floats:
    """IoU of boxes that stand upright: area of the clipped footprints times the overlap in height (objects of SpatialLM).

    Args:
        first: Boxes (..., 7) as centre x, y, z, full extents along the box's own x, y, z in metres, and yaw about +z in radians.
        second: The same.

    Returns:
        (...) in [0, 1].
    """
    a, b = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    valid = np.isfinite(a).all(-1) & np.isfinite(b).all(-1) & (a[..., 3:6] > 0).all(-1) & (b[..., 3:6] > 0).all(-1)
    a, b = (np.where(valid[..., None], box, [0, 0, 0, 1, 1, 1, 0]) for box in (a, b))
    with np.errstate(all="ignore"):
        area = _footprint_overlap(a, b)
        top = np.minimum(a[..., 2] + a[..., 5] / 2, b[..., 2] + b[..., 5] / 2)
        bottom = np.maximum(a[..., 2] - a[..., 5] / 2, b[..., 2] - b[..., 5] / 2)
        shared = area * np.clip(top - bottom, 0, None)
        return _ratio(shared, a[..., 3:6].prod(-1), b[..., 3:6].prod(-1), valid)


def iou_oriented_3d(first: tuple[ArrayLike, ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike, ArrayLike]) -> Floats:
    """IoU of boxes turned in any way (9 degrees of freedom, the detections of 3D-RFT).

    The intersection of two boxes is the convex hull of the corners of each inside the other and of the points where an edge of one
    meets a side of the other.

    Args:
        first: Centres (..., 3) and full extents (..., 3) in metres, rotations (..., 3, 3) whose columns are the box's axes.
        second: The same.

    Returns:
        (...) in [0, 1].
    """
    centre_a, size_a, turn_a = (np.asarray(part, float) for part in first)
    centre_b, size_b, turn_b = (np.asarray(part, float) for part in second)
    shape = np.broadcast_shapes(centre_a.shape[:-1], centre_b.shape[:-1])
    scores = np.zeros(shape)
    centre_a, size_a, centre_b, size_b = (np.broadcast_to(part, (*shape, 3)) for part in (centre_a, size_a, centre_b, size_b))
    turn_a, turn_b = (np.broadcast_to(part, (*shape, 3, 3)) for part in (turn_a, turn_b))
    for index in np.ndindex(shape):
        a, b = (centre_a[index], size_a[index], turn_a[index]), (centre_b[index], size_b[index], turn_b[index])
        valid = np.asarray(all(np.isfinite(part).all() for part in (*a, *b)) and (a[1] > 0).all() and (b[1] > 0).all())
        with np.errstate(all="ignore"):
            if valid and np.linalg.norm(a[0] - b[0]) < (np.linalg.norm(a[1]) + np.linalg.norm(b[1])) / 2:
                scores[index] = _ratio(np.asarray(_shared_volume(a, b)), a[1].prod(), b[1].prod(), valid)
    return scores


def _iou_of_intervals(a: Floats, b: Floats, axes: int) -> Floats:
    valid = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    with np.errstate(all="ignore"):
        shared = np.clip(np.minimum(a[..., axes:], b[..., axes:]) - np.maximum(a[..., :axes], b[..., :axes]), 0, None).prod(-1)
        size_a, size_b = (np.clip(box[..., axes:] - box[..., :axes], 0, None).prod(-1) for box in (a, b))
        return _ratio(shared, size_a, size_b, valid & (size_a > 0) & (size_b > 0))


def _ratio(shared: Floats, size_a: Floats, size_b: Floats, valid: NDArray[np.bool_]) -> Floats:
    union = size_a + size_b - shared
    score = np.divide(shared, union, out=np.zeros(np.broadcast_shapes(np.shape(union), np.shape(valid))), where=valid & (union > 0))
    return np.asarray(np.clip(np.nan_to_num(score, nan=0.0, posinf=0.0), 0.0, 1.0))


def _footprint_overlap(a: Floats, b: Floats) -> Floats:
    """Area shared by two rectangles: of the convex polygon of corners inside the other and of crossings of edges, at most 24 points."""
    corners_a, corners_b = _footprint(a), _footprint(b)
    next_a, next_b = np.roll(corners_a, -1, axis=-2), np.roll(corners_b, -1, axis=-2)
    edge_a, edge_b = (next_a - corners_a)[..., :, None, :], (next_b - corners_b)[..., None, :, :]
    gap = corners_b[..., None, :, :] - corners_a[..., :, None, :]
    scale = np.linalg.norm(edge_a, axis=-1) * np.linalg.norm(edge_b, axis=-1)
    cross = _cross(edge_a, edge_b)
    parallel = np.abs(cross) <= _INSIDE * scale
    along_a = _cross(gap, edge_b) / np.where(parallel, 1.0, cross)
    along_b = _cross(gap, edge_a) / np.where(parallel, 1.0, cross)
    crosses = ~parallel & (along_a >= 0) & (along_a <= 1) & (along_b >= 0) & (along_b <= 1)
    crossings = corners_a[..., :, None, :] + along_a[..., None] * edge_a
    flat = (*crossings.shape[:-3], 16)
    points = np.concatenate([corners_a, corners_b, crossings.reshape(*flat, 2)], axis=-2)  # (..., 24, 2)
    valid = np.concatenate([_contains(b, corners_a), _contains(a, corners_b), crosses.reshape(flat)], axis=-1)
    # Points that do not count are replaced by one that does: a doubled corner adds no area.
    first = np.take_along_axis(points, valid.argmax(-1)[..., None, None], axis=-2)
    points = np.where(valid[..., None], points, first)
    points = points - points.mean(-2, keepdims=True)
    order = np.argsort(np.arctan2(points[..., 1], points[..., 0]), axis=-1)
    points = np.take_along_axis(points, order[..., None], axis=-2)
    area = _cross(points, np.roll(points, -1, axis=-2)).sum(-1) / 2
    return np.where(valid.any(-1), np.abs(area), 0.0)


def _footprint(box: Floats) -> Floats:
    """Corners (..., 4, 2) of the footprint, anticlockwise."""
    local = _CORNERS_2D * box[..., None, 3:5]
    cos, sin = np.cos(box[..., 6])[..., None], np.sin(box[..., 6])[..., None]
    x, y = local[..., 0], local[..., 1]
    return np.stack([box[..., None, 0] + cos * x - sin * y, box[..., None, 1] + sin * x + cos * y], axis=-1)


def _contains(box: Floats, points: Floats) -> NDArray[np.bool_]:
    gap = points - box[..., None, :2]
    cos, sin = np.cos(box[..., 6])[..., None], np.sin(box[..., 6])[..., None]
    local = np.stack([cos * gap[..., 0] + sin * gap[..., 1], cos * gap[..., 1] - sin * gap[..., 0]], axis=-1)
    return np.asarray((np.abs(local) <= box[..., None, 3:5] * (0.5 + _INSIDE)).all(-1))


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _shared_volume(a: tuple[Floats, Floats, Floats], b: tuple[Floats, Floats, Floats]) -> float:
    points = np.concatenate([_points_inside(a, b), _points_inside(b, a)])
    if len(points) < 4:
        return 0.0
    try:
        return float(ConvexHull(points).volume)
    except QhullError:  # flat: the boxes touch and share nothing
        return 0.0


def _points_inside(box: tuple[Floats, Floats, Floats], other: tuple[Floats, Floats, Floats]) -> Floats:
    """Corners of `box` inside `other`, and where its edges cross the sides of `other`; world coordinates (N, 3)."""
    centre, size, turn = other
    corners = box[0] + (_CORNERS_3D * box[1]) @ box[2].T
    local = ((corners - centre) @ turn) / size  # `other` becomes the unit cube about the origin
    start, end = local[_EDGES_3D[:, 0]], local[_EDGES_3D[:, 1]]
    way = end - start
    share = (np.array([-0.5, 0.5])[:, None, None] - start) / np.where(way == 0, np.nan, way)  # (2, 12, 3): side, edge, axis
    crossings = start[None, :, None, :] + share[..., None] * way[None, :, None, :]
    candidates = np.concatenate([local, crossings[(share >= 0) & (share <= 1)]])
    inside = candidates[(np.abs(candidates) <= 0.5 + _INSIDE).all(-1)]
    return np.asarray((inside * size) @ turn.T + centre)
