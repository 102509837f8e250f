"""Relations in an object's own sense: its front, its left, what it faces. They need an orientation and are refused without one.

Definitions after SpatialReasoner (Ma et al., arXiv 2504.20024): angles between the object's axes and the vector to the other object.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.relations.body import Body
from roboref_node.relations.verdict import Verdict, judge

FloatArray = NDArray[np.float64]

FACING_CONE_RAD = float(np.radians(30.0))


class Side(str, Enum):
    """Side of an object, in its own sense."""

    FRONT = "front"
    BACK = "back"
    LEFT = "left"
    RIGHT = "right"


def at_front_of(a: Body, b: Body, *, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` lies before `b` as `b` looks: the angle between the front of `b` and the way to `a` is below 90 degrees.

    Raises:
        Refused: AMBIGUOUS when `b` has no orientation (also in all functions below).
    """
    return _half_space(b.own_axis(0), a.center_m - b.center_m, tolerance_rad)


def at_back_of(a: Body, b: Body, *, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` lies behind `b` as `b` looks."""
    return -at_front_of(a, b, tolerance_rad=tolerance_rad)


def at_left_of(a: Body, b: Body, *, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` lies on the left hand of `b`: the angle to its *left* axis is below 90 degrees."""
    return _half_space(b.own_axis(1), a.center_m - b.center_m, tolerance_rad)


def at_right_of(a: Body, b: Body, *, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` lies on the right hand of `b`."""
    return -at_left_of(a, b, tolerance_rad=tolerance_rad)


def facing(a: Body, b: Body, *, tolerance_rad: float = 0.0, cone_rad: float = FACING_CONE_RAD) -> Verdict:
    """Whether `a` faces `b`: its front ray hits the box of `b`, or the way to `b` is within `cone_rad` of its front."""
    return _looks_at(a, a.own_axis(0), b, tolerance_rad, cone_rad)


def back_to(a: Body, b: Body, *, tolerance_rad: float = 0.0, cone_rad: float = FACING_CONE_RAD) -> Verdict:
    """Whether `a` turns its back to `b`."""
    return _looks_at(a, -a.own_axis(0), b, tolerance_rad, cone_rad)


def faces_rather(a: Body, b: Body, c: Body, *, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` faces `b` rather than `c`: the smaller angle to its front."""
    front = a.own_axis(0)
    return judge(_angle(front, c.center_m - a.center_m) - _angle(front, b.center_m - a.center_m), tolerance_rad, "rad")


def angle_between(a: Body, b: Body) -> float:
    """Angle between the fronts of two objects, 0 to pi."""
    return _angle(a.own_axis(0), b.own_axis(0))


def same_direction(a: Body, b: Body, *, within_rad: float = FACING_CONE_RAD, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` and `b` look the same way, within an angle."""
    return judge(within_rad - angle_between(a, b), tolerance_rad, "rad")


def opposite_direction(a: Body, b: Body, *, within_rad: float = FACING_CONE_RAD, tolerance_rad: float = 0.0) -> Verdict:
    """Whether `a` and `b` look opposite ways, within an angle."""
    return judge(within_rad - (np.pi - angle_between(a, b)), tolerance_rad, "rad")


def parallel(a: Body, b: Body, *, within_rad: float = FACING_CONE_RAD, tolerance_rad: float = 0.0) -> Verdict:
    """Whether the fronts of `a` and `b` lie on parallel lines, same or opposite, within an angle."""
    angle = angle_between(a, b)
    return judge(within_rad - min(angle, np.pi - angle), tolerance_rad, "rad")


def perpendicular(a: Body, b: Body, *, within_rad: float = FACING_CONE_RAD, tolerance_rad: float = 0.0) -> Verdict:
    """Whether the fronts of `a` and `b` are at right angles, within an angle."""
    return judge(within_rad - abs(angle_between(a, b) - 0.5 * np.pi), tolerance_rad, "rad")


def side_towards(a: Body, viewer_m: ArrayLike) -> tuple[Side, float]:
    """Which side of `a` a viewer at a point, shape (3,), sees: the axis with the largest cosine.

    Returns:
        The side, and by how much its cosine beats that of the next one.
    """
    way = np.asarray(viewer_m, dtype=np.float64) - a.center_m
    front, left = (float(np.cos(_angle(a.own_axis(k), way))) for k in (0, 1))
    cosines = {Side.FRONT: front, Side.BACK: -front, Side.LEFT: left, Side.RIGHT: -left}
    ranked = sorted(cosines, key=lambda side: -cosines[side])
    return ranked[0], cosines[ranked[0]] - cosines[ranked[1]]


def _half_space(axis: FloatArray, way: FloatArray, tolerance_rad: float) -> Verdict:
    if float(np.linalg.norm(way)) < 1e-9:
        return judge(0.0, tolerance_rad, "rad")
    return judge(0.5 * np.pi - _angle(axis, way), tolerance_rad, "rad")


def _looks_at(a: Body, axis: FloatArray, b: Body, tolerance_rad: float, cone_rad: float) -> Verdict:
    margin = cone_rad - _angle(axis, b.center_m - a.center_m)
    if margin < 0.0 and _hits(a.center_m, axis, b):
        # A wide thing that is hit off its centre; half the angle under which it is seen is the scale of that.
        middle = b.center_m - a.center_m
        margin = max(_angle(middle, corner - a.center_m) for corner in b.corners_m)
    return judge(margin, tolerance_rad, "rad")


def _hits(origin: FloatArray, direction: FloatArray, body: Body) -> bool:
    """Whether a ray meets a box: overlap of the three slabs."""
    axes = np.asarray(body.axes)
    o, d = (origin - body.center_m) @ axes, direction @ axes
    d = np.where(np.abs(d) < 1e-12, 1e-12, d)
    half = 0.5 * np.asarray(body.size_m)
    first, second = (-half - o) / d, (half - o) / d
    enter, leave = float(np.minimum(first, second).max()), float(np.maximum(first, second).min())
    return leave >= max(enter, 0.0)


def _angle(a: FloatArray, b: FloatArray) -> float:
    """Angle of two vectors; pi / 2 when one of them has no length, where no direction is meant. Exact for small angles too."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if lengths < 1e-12:
        return 0.5 * float(np.pi)
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b)))
