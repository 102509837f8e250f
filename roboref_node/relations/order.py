"""Relations among many: the n-th from the left, the nearest to something. Computed for all bodies at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.relations.arrangement import DistanceKind, distance
from roboref_node.relations.body import Body
from roboref_node.relations.verdict import Verdict, judge

FloatArray = NDArray[np.float64]


class Order(str, Enum):
    """Where counting starts: the body counted first is the leftmost, ..., the nearest to the viewer."""

    LEFT = "left"
    RIGHT = "right"
    FRONT = "front"
    BACK = "back"
    TOP = "top"
    BOTTOM = "bottom"


def coordinates(bodies: Sequence[Body], order: Order, *, up: ArrayLike | None = None) -> FloatArray:
    """Number by which bodies in an optical frame are counted, ascending, shape (N,), metres.

    Args:
        bodies: At least one.
        order: Where counting starts.
        up: Vertical direction, needed for TOP and BOTTOM.

    Raises:
        ValueError: `up` is missing.
    """
    centres = np.stack([body.center_m for body in bodies])
    if order in (Order.LEFT, Order.RIGHT):
        values = centres[:, 0]
    elif order in (Order.FRONT, Order.BACK):
        values = np.array([body.corners_m[:, 2].min() for body in bodies])
    else:
        if up is None:
            raise ValueError(f"counting from the {order.value} needs the vertical direction 'up'")
        values = -centres @ (np.asarray(up, dtype=np.float64) / np.linalg.norm(up))
    return np.asarray(-values if order in (Order.RIGHT, Order.BACK, Order.BOTTOM) else values, dtype=np.float64)


def ranks(bodies: Sequence[Body], order: Order, *, up: ArrayLike | None = None) -> NDArray[np.intp]:
    """Place of each body in the count, 1 = first, shape (N,)."""
    place = np.empty(len(bodies), dtype=np.intp)
    place[np.argsort(coordinates(bodies, order, up=up), kind="stable")] = np.arange(1, len(bodies) + 1)
    return place


def nth(bodies: Sequence[Body], index: int, n: int, order: Order, *, up: ArrayLike | None = None, tolerance_m: float = 0.0) -> Verdict:
    """Whether body `index` is the n-th (from 1) in the count.

    The margin is the gap to the neighbours in the count when it is, minus the distance to the place of the n-th when it is not.

    Raises:
        ValueError: `n` is not between 1 and the number of bodies.
    """
    if not 1 <= n <= len(bodies):
        raise ValueError(f"there is no number {n} of {len(bodies)} bodies")
    values = coordinates(bodies, order, up=up)
    sorted_values = np.sort(values)
    if ranks(bodies, order, up=up)[index] == n:
        neighbours = sorted_values[max(n - 2, 0) : n + 1]
        gaps = np.diff(neighbours)
        return judge(float(gaps.min()) if len(gaps) else np.inf, tolerance_m, "m")
    return judge(-abs(float(values[index] - sorted_values[n - 1])), tolerance_m, "m")


def nearest(
    bodies: Sequence[Body], index: int, anchor: Body, *, kind: DistanceKind = DistanceKind.CENTRE, tolerance_m: float = 0.0
) -> Verdict:
    """Whether body `index` is the nearest of all to `anchor`; the margin is its lead over the best other one."""
    apart = np.array([distance(body, anchor, kind) for body in bodies])
    others = np.delete(apart, index)
    return judge(float(others.min() - apart[index]) if len(others) else np.inf, tolerance_m, "m")


def farthest(
    bodies: Sequence[Body], index: int, anchor: Body, *, kind: DistanceKind = DistanceKind.CENTRE, tolerance_m: float = 0.0
) -> Verdict:
    """Whether body `index` is the farthest of all from `anchor`; the margin is its lead over the best other one."""
    apart = np.array([distance(body, anchor, kind) for body in bodies])
    others = np.delete(apart, index)
    return judge(float(apart[index] - others.max()) if len(others) else np.inf, tolerance_m, "m")
