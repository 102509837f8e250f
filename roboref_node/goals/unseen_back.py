"""The side of an object that the camera cannot see, made from what it sees: of balls, of round things that lie, of what is seen low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

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
ONE_FACE = 0.3
"""The nearest edge of a body is farther from the middle of what is seen than this share of its width: one face is seen."""
CELL_M = 0.008
"""Spacing of what is filled in across the ground: less than a finger's thickness."""
LARGEST_M = 2.0
"""Of what is larger no hand takes hold; its inside would fill the memory."""
HIDDEN_DROP_M = 0.006
"""How far below the top the farthest visible points of an object lie when its far side is hidden by its own curvature."""


def with_back(
    cloud: FloatArray, support_m: float, up: FloatArray, first: FloatArray, view: FloatArray, eye: FloatArray, *, part: bool
) -> tuple[FloatArray, int, FloatArray]:
    """An object's cloud with its far side, where that is hidden.

    Args:
        cloud: What was seen, base frame, shape (N, 3).
        support_m: Height of the support along `up`.
        up: Unit normal of the support, shape (3,).
        first: Any unit vector across it, shape (3,).
        view: Unit vector across it from the camera to the object, shape (3,); zero when the camera looks straight down.
        eye: Where the camera is, shape (3,).
        part: Whether the object may go on unseen where something stands before it.

    Returns:
        The cloud, the same array when nothing is hidden; how many points of it, from its beginning, were seen; and the cloud with
        points where its top must be, when that was not seen.
    """
    heights = cloud @ up - support_m
    whole = _ball(cloud, heights, up, first)
    if whole is not None:
        return whole, 0, whole
    whole = _lying(cloud, heights, up, view)
    if whole is not None:
        return whole, len(cloud), whole
    whole = _from_below(cloud, heights, up, view, eye, float(eye @ up) - support_m, part=part)
    if whole is not None:
        return whole, len(cloud), _filled(whole, up, view)
    whole = _completed(cloud, up, view)
    return whole, len(cloud), whole


def _ball(cloud: FloatArray, heights: FloatArray, up: FloatArray, first: FloatArray) -> FloatArray | None:
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
    left, turns, upright = np.cross(up, view), np.radians(np.arange(-85, 90, 5)), np.inf
    for step in (np.radians(0.5), 0.0):  # all directions by 5 degrees, then around the best one by half a degree
        across = np.cos(turns)[:, None] * view + np.sin(turns)[:, None] * left
        axes = flat[low] @ across.T + half[low][:, None]
        spread = np.median(np.abs(axes - np.median(axes, axis=0)), axis=0)
        level = flat[low] @ across.T
        upright = min(upright, float(np.median(np.abs(level - np.median(level, axis=0)), axis=0).min()))
        best = int(np.argmin(spread))
        turns = turns[best] + np.arange(-10, 11) * step
    across, axis = across[best], float(np.median(axes[:, best]))
    off = np.abs(radius - np.hypot(flat @ across - axis, radius * sink))
    # The face of a low box agrees better on where it is itself.
    if spread[best] > min(LYING_SPREAD * radius, upright) or np.mean(off < BALL_RMS_M) < LYING_SHARE:
        return None
    sinks = np.clip(heights / radius - 1.0, -1.0, 1.0)
    far = axis + radius * np.sqrt(1.0 - sinks * sinks)
    return np.concatenate([cloud, cloud + (far - cloud @ across)[:, None] * across])


def _from_below(
    cloud: FloatArray, heights: FloatArray, up: FloatArray, view: FloatArray, eye: FloatArray, eye_m: float, *, part: bool
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
    ends = [float(np.median(along[side])) for side in (across <= left + band, across >= right - band)]
    sides, width = 0.5 * sum(ends), right - left
    # Of a part that has its nearest edge at one of its ends only one face is seen, aslant: it is as deep as that is long.
    edge = (float(np.median(across[along <= front + 0.1 * np.ptp(along)])) - left) / width
    if part and abs(edge - 0.5) > ONE_FACE:
        sides += 0.5 * (width + (ends[1] - ends[0]) ** 2 / width)
    axis = max(sides, front + 0.5 * (right - left)) * view + 0.5 * (left + right) * np.cross(up, view)
    flat = cloud - (cloud @ up)[:, None] * up
    return np.concatenate([cloud, 2.0 * axis - flat + (cloud @ up)[:, None] * up])


def _filled(whole: FloatArray, up: FloatArray, view: FloatArray) -> FloatArray:
    """A front and the back that was made of it, with the top between them, of which nothing was seen."""
    left = np.cross(up, view)
    across, along, heights = whole @ left, whole @ view, whole @ up
    if max(np.ptp(across), np.ptp(along)) > LARGEST_M:
        return whole
    column = np.floor((across - across.min()) / CELL_M).astype(np.intp)
    count = int(column.max()) + 1
    front, back, top = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, -np.inf)
    for extreme, value, choose in ((front, along, np.minimum), (back, along, np.maximum), (top, heights, np.maximum)):
        choose.at(extreme, column, value)
    steps = np.ceil(np.maximum(back - front, 0.0) / CELL_M).astype(np.intp) + 1
    index = np.repeat(np.arange(count), np.where(np.isfinite(top), steps, 0))
    step = np.arange(len(index)) - np.searchsorted(index, index)
    depth = np.minimum(front[index] + step * CELL_M, back[index])
    aside = across.min() + (index + 0.5) * CELL_M
    filled = aside[:, None] * left + depth[:, None] * view + top[index][:, None] * up
    return np.asarray(np.concatenate([whole, filled]), dtype=np.float64)


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
