"""Relations of distance, contact and containment; the same in every frame."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from roboref_node.relations.body import Body
from roboref_node.relations.box_gap import box_gap, points_gap
from roboref_node.relations.verdict import Verdict, judge

FloatArray = NDArray[np.float64]


class DistanceKind(str, Enum):
    """What "distance" means.

    CENTRE: between centres (SpatialReasoner). CHAMFER: mean of all nearest-neighbour distances in both directions (the RefSpatial
    generator). GAP: between the nearest points, which is what people mean; of a body without a cloud these are those of its box.
    """

    CENTRE = "centre"
    CHAMFER = "chamfer"
    GAP = "gap"


def distance(a: Body, b: Body, kind: DistanceKind = DistanceKind.GAP) -> float:
    """Distance in metres. A gap is exact between boxes, and 0 where they meet or a cloud reaches into the other's box."""
    if kind is DistanceKind.CENTRE:
        return float(np.linalg.norm(a.center_m - b.center_m))
    if kind is DistanceKind.GAP and a.cloud_m is None and b.cloud_m is None:
        return box_gap(a, b)
    if kind is DistanceKind.GAP and (bool(np.any(a.holds(b.surface_m))) or bool(np.any(b.holds(a.surface_m)))):
        return 0.0
    if kind is DistanceKind.GAP and (a.cloud_m is None or b.cloud_m is None):
        return points_gap(a.surface_m, b) if b.cloud_m is None else points_gap(b.surface_m, a)
    forward, _ = cKDTree(b.surface_m).query(a.surface_m)
    backward, _ = cKDTree(a.surface_m).query(b.surface_m)
    return float(np.mean(np.concatenate([forward, backward])) if kind is DistanceKind.CHAMFER else min(forward.min(), backward.min()))


def near(a: Body, b: Body, *, within_m: float = 0.15, kind: DistanceKind = DistanceKind.GAP, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is next to `b`. No source publishes a limit; 15 cm suits things on a table."""
    return judge(within_m - distance(a, b, kind), tolerance_m, "m")


def far_from(a: Body, b: Body, *, beyond_m: float = 1.0, kind: DistanceKind = DistanceKind.CHAMFER, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is far from `b`; RefSpatial's limit and distance by default."""
    return judge(distance(a, b, kind) - beyond_m, tolerance_m, "m")


def touching(a: Body, b: Body, *, within_m: float = 0.01, kind: DistanceKind = DistanceKind.GAP, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` touches `b`. RefSpatial's rule, made for furniture, is ``within_m=0.1, kind=CHAMFER``."""
    return judge(within_m - distance(a, b, kind), tolerance_m, "m")


def between(a: Body, b: Body, c: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is between `b` and `c`.

    Its centre must lie over the line from `b` to `c`, and not farther to the side of it than half that line; the margin is the
    smallest distance to these limits.
    """
    line = c.center_m - b.center_m
    length = float(np.linalg.norm(line))
    if length < 1e-9:
        return judge(0.0, tolerance_m, "m")
    way = a.center_m - b.center_m
    along = float(way @ line) / length
    aside = float(np.linalg.norm(way - along * line / length))
    return judge(min(along, length - along, 0.5 * length - aside), tolerance_m, "m")


def contains(a: Body, b: Body, *, share: float = 0.3, tolerance: float = 0.05) -> Verdict:
    """Whether `a` contains `b`: more than a share of the box of `b` lies in the box of `a` (RefSpatial: 30 % of 1,000 points)."""
    grid = np.stack(np.meshgrid(*[(np.arange(10) + 0.5) / 10.0 - 0.5] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = b.center_m + (grid * b.size_m) @ np.asarray(b.axes).T
    return judge(float(np.mean(a.holds(points))) - share, tolerance, "1")


def inside(a: Body, b: Body, *, share: float = 0.3, tolerance: float = 0.05) -> Verdict:
    """Whether `a` is in `b`: `contains` the other way round."""
    return contains(b, a, share=share, tolerance=tolerance)


def on(a: Body, b: Body, *, up: ArrayLike, gap_m: float = 0.02, cover: float = 0.7, tolerance: float = 0.1) -> Verdict:
    """Whether `a` stands on `b`: its bottom at the top of `b`, and a share of its footprint over it.

    The rule of RefSpatial's free-space recipe, where furniture may be 5 cm apart; 2 cm suit things on a table. The margin is the
    smaller of both, each relative to its limit: 1 is flush and fully covered.

    Args:
        a: What stands.
        b: What it stands on.
        up: Vertical direction, shape (3,).
        gap_m: Largest distance of the bottom of `a` from the top of `b`.
        cover: Least share of the footprint.
        tolerance: Margins up to this are ambiguous.
    """
    vertical = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    gap = abs(a.extent(vertical)[0] - b.extent(vertical)[1])
    grid = np.stack(np.meshgrid(*[(np.arange(10) + 0.5) / 10.0 - 0.5] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    foot = a.center_m + (grid * a.size_m) @ np.asarray(a.axes).T
    # Seen along the vertical: whether the column through each point meets the box of b.
    middle = foot + np.outer(b.center_m @ vertical - foot @ vertical, vertical)
    covered = float(np.mean(b.holds(middle)))
    return judge(min(1.0 - gap / gap_m, (covered - cover) / (1.0 - cover) if cover < 1.0 else covered - cover), tolerance, "1")
