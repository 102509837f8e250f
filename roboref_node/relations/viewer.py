"""Relations as the viewer sees them: bodies in an optical frame, x right, y down, z forward.

Definitions after the RefSpatial generator (Zhou et al., RoboRefer, arXiv 2506.04308): left and right compare centres, front and behind
compare the nearest corners, above and below compare centres in the image's or in the world's vertical.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roboref_node.relations.body import Body
from roboref_node.relations.verdict import Verdict, judge


def left_of(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is to the left of `b`: centre x."""
    return judge(b.center_m[0] - a.center_m[0], tolerance_m, "m")


def right_of(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is to the right of `b`: centre x."""
    return -left_of(a, b, tolerance_m=tolerance_m)


def in_front_of(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is nearer to the viewer than `b`: z of the nearest corner of each box."""
    return judge(float(b.corners_m[:, 2].min() - a.corners_m[:, 2].min()), tolerance_m, "m")


def behind(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is farther from the viewer than `b`: z of the nearest corner of each box."""
    return -in_front_of(a, b, tolerance_m=tolerance_m)


def above_in_image(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is higher than `b` along the image's vertical: centre y, which points down."""
    return judge(b.center_m[1] - a.center_m[1], tolerance_m, "m")


def below_in_image(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether `a` is lower than `b` along the image's vertical."""
    return -above_in_image(a, b, tolerance_m=tolerance_m)


def above_in_world(a: Body, b: Body, *, up: ArrayLike, tolerance_m: float = 0.0) -> Verdict:
    """Whether the centre of `a` is higher than that of `b` along `up`, shape (3,), from gravity or TF."""
    vertical = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    return judge(float((a.center_m - b.center_m) @ vertical), tolerance_m, "m")


def below_in_world(a: Body, b: Body, *, up: ArrayLike, tolerance_m: float = 0.0) -> Verdict:
    """Whether the centre of `a` is lower than that of `b` along `up`."""
    return -above_in_world(a, b, up=up, tolerance_m=tolerance_m)


def closer_to_viewer(a: Body, b: Body, *, tolerance_m: float = 0.0) -> Verdict:
    """Whether the centre of `a` is nearer to the camera than that of `b`: length, not depth."""
    return judge(float(np.linalg.norm(b.center_m) - np.linalg.norm(a.center_m)), tolerance_m, "m")


def turn_to_face(a: Body) -> tuple[float, float]:
    """Angles in radians by which the camera must turn to have `a` in its middle: to the right, and then downwards.

    As a head pans and tilts: right about the camera's own vertical, down about its horizontal as that turn leaves it.
    """
    x, y, z = (float(value) for value in a.center_m)
    return float(np.arctan2(x, z)), float(np.arctan2(y, np.hypot(x, z)))


def taller(a: Body, b: Body, *, up: ArrayLike, tolerance: float = 0.1) -> Verdict:
    """Whether `a` is taller than `b` along `up`; relative difference, see `_relative`."""
    vertical = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    heights = [float(np.subtract(*body.extent(vertical)[::-1])) for body in (a, b)]
    return _relative(heights[0], heights[1], tolerance)


def wider(a: Body, b: Body, *, up: ArrayLike, tolerance: float = 0.1) -> Verdict:
    """Whether the longest horizontal side of the box of `a` is longer than that of `b`; relative difference."""
    return _relative(_horizontal(a, up), _horizontal(b, up), tolerance)


def bigger(a: Body, b: Body, *, tolerance: float = 0.1) -> Verdict:
    """Whether the box of `a` holds more than that of `b`; relative difference of the volumes."""
    return _relative(float(np.prod(a.size_m)), float(np.prod(b.size_m)), tolerance)


def smaller(a: Body, b: Body, *, tolerance: float = 0.1) -> Verdict:
    """Whether the box of `a` holds less than that of `b`."""
    return -bigger(a, b, tolerance=tolerance)


def _horizontal(body: Body, up: ArrayLike) -> float:
    vertical = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    level = np.abs(np.asarray(body.axes).T @ vertical) < np.sqrt(0.5)
    return float(np.max(np.asarray(body.size_m)[level])) if np.any(level) else 0.0


def _relative(a: float, b: float, tolerance: float) -> Verdict:
    """Difference over the larger of the two: antisymmetric, between -1 and 1."""
    larger = max(abs(a), abs(b))
    return judge((a - b) / larger if larger > 0.0 else 0.0, tolerance, "1")
