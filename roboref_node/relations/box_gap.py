"""The exact distance between two oriented boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roboref_node.relations.body import Body

FloatArray = NDArray[np.float64]

_EDGES = np.array([(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit])
"""Corners at both ends of each edge, in the order of `Body.corners_m`, where one bit of the index belongs to one axis."""
_PARALLEL = 1e-12
"""Squared sine below which two edges count as parallel."""


def box_gap(a: Body, b: Body) -> float:
    """Distance in metres between the nearest points of two boxes, 0 where they meet.

    Boxes that meet have no separating plane. Of others the nearest points are a corner and a point of the other box, or inner points
    of two edges that are not parallel; each is found in closed form.
    """
    if not _apart(a, b):
        return 0.0
    return min(points_gap(a.corners_m, b), points_gap(b.corners_m, a), _edges_gap(a, b))


def points_gap(points_m: FloatArray, box: Body) -> float:
    """Smallest distance in metres of points, shape (N, 3), from a box, 0 where one is inside."""
    local = np.abs((points_m - box.center_m) @ np.asarray(box.axes))
    beyond = np.maximum(local - 0.5 * np.asarray(box.size_m), 0.0)
    return float(np.sqrt(np.einsum("ij,ij->i", beyond, beyond).min()))


def _apart(a: Body, b: Body) -> bool:
    """Whether a plane separates the boxes: across one of 6 faces or along one edge of each (Gottschalk et al., OBBTree, 1996)."""
    first, second = np.asarray(a.axes).T, np.asarray(b.axes).T
    crossed = np.cross(first[:, None], second[None]).reshape(9, 3)
    crossed = crossed[np.einsum("ij,ij->i", crossed, crossed) > _PARALLEL]
    normals = np.concatenate([first, second, crossed])
    one, other = a.corners_m @ normals.T, b.corners_m @ normals.T
    return bool(np.any((one.min(axis=0) > other.max(axis=0)) | (other.min(axis=0) > one.max(axis=0))))


def _edges_gap(a: Body, b: Body) -> float:
    """Smallest distance between inner points of an edge of each, infinite where no two edges face each other."""
    start, end = (a.corners_m[_EDGES[:, k]][:, None] for k in (0, 1))
    other_start, other_end = (b.corners_m[_EDGES[:, k]][None] for k in (0, 1))
    u, v = np.broadcast_arrays(end - start, other_end - other_start)
    normal = np.cross(u, v)
    square = np.einsum("ijk,ijk->ij", normal, normal)
    lengths = np.einsum("ijk,ijk->ij", u, u) * np.einsum("ijk,ijk->ij", v, v)
    skew = square > np.maximum(_PARALLEL * lengths, np.finfo(np.float64).tiny)
    square = np.where(skew, square, 1.0)
    way = other_start - start
    s = np.einsum("ijk,ijk->ij", np.cross(way, v), normal) / square
    t = np.einsum("ijk,ijk->ij", np.cross(way, u), normal) / square
    facing = skew & (s >= 0.0) & (s <= 1.0) & (t >= 0.0) & (t <= 1.0)
    distance = np.abs(np.einsum("ijk,ijk->ij", way, normal)) / np.sqrt(square)
    return float(np.where(facing, distance, np.inf).min())
