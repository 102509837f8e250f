"""The history of one frame relative to its parents: kept for a while when it moves, one value when it is static.

Plain floats in tuples and bisection: a lookup costs microseconds, which NumPy on arrays of three and four numbers does not reach.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from .exceptions import ExtrapolationException


class Placement(NamedTuple):
    """``parent_from_child``: metres, unit quaternion in the order x, y, z, w."""

    parent: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


class StaticCache:
    """A frame that never moves: the last placement holds at every time, and clearing the buffer keeps it."""

    is_static = True

    def __init__(self) -> None:
        self._placement: Placement | None = None

    def insert(self, stamp_ns: int, placement: Placement) -> bool:
        """Replaces the placement; always accepted."""
        self._placement = placement
        return True

    def at(self, stamp_ns: int) -> Placement | None:
        """The placement, whatever the time."""
        return self._placement

    def latest(self) -> tuple[int, str | None]:
        """Stamp 0, which means "any", and the parent."""
        return 0, None if self._placement is None else self._placement.parent

    def span(self) -> tuple[int, int, int]:
        """Oldest stamp, newest stamp and number of placements."""
        return 0, 0, 1

    def clear(self) -> None:
        """Nothing: a static transform is as true after a jump of time as before."""


class TimeCache:
    """The placements of a moving frame, oldest first, none older than the newest by more than `length_ns`."""

    is_static = False

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._stamps: list[int] = []
        self._placements: list[Placement] = []

    def insert(self, stamp_ns: int, placement: Placement) -> bool:
        """Adds a placement at its place in time; False when it is older than what the cache keeps.

        Placements may arrive out of order. One that is already there, stamp and values, is not stored twice; of several with one stamp the
        first and the last are kept, between which lookups never look. Stricter than the genuine package, where a sender that never changes
        its stamps fills the memory.
        """
        stamps = self._stamps
        if stamps:
            horizon_ns = stamps[-1] - self._length_ns
            if stamps[0] < horizon_ns:
                first = bisect_right(stamps, horizon_ns - 1)
                del stamps[:first], self._placements[:first]
            if stamp_ns < horizon_ns:
                return False
        position = bisect_right(stamps, stamp_ns)
        first = bisect_left(stamps, stamp_ns, hi=position)
        if placement in self._placements[first:position]:
            return True
        if position - first == 2:
            self._placements[position - 1] = placement
            return True
        stamps.insert(position, stamp_ns)
        self._placements.insert(position, placement)
        return True

    def at(self, stamp_ns: int) -> Placement | None:
        """The placement at a time (0 is the newest), interpolated; None when the cache is empty.

        Where the parent changed between two placements, the older one holds until the newer one.

        Raises:
            ExtrapolationException: The time lies outside of what is stored.
        """
        stamps = self._stamps
        if not stamps:
            return None
        newest_ns = stamps[-1]
        if stamp_ns in (0, newest_ns):
            return self._placements[-1]
        if len(stamps) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {stamp_ns / 1e9:.6f}, but only time {newest_ns / 1e9:.6f} is in the buffer"
            )
        if stamp_ns > newest_ns:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {stamp_ns / 1e9:.6f} "
                f"but the latest data is at time {newest_ns / 1e9:.6f}"
            )
        if stamp_ns <= stamps[0]:
            if stamp_ns == stamps[0]:
                return self._placements[0]
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {stamp_ns / 1e9:.6f} "
                f"but the earliest data is at time {stamps[0] / 1e9:.6f}"
            )
        newer = bisect_right(stamps, stamp_ns)
        one, two = self._placements[newer - 1], self._placements[newer]
        before_ns = stamps[newer - 1]
        if before_ns == stamp_ns or one.parent != two.parent:
            return one
        return _interpolate(one, two, (stamp_ns - before_ns) / (stamps[newer] - before_ns))

    def latest(self) -> tuple[int, str | None]:
        """Newest stamp and the parent at that time; (0, None) when empty."""
        return (self._stamps[-1], self._placements[-1].parent) if self._stamps else (0, None)

    def span(self) -> tuple[int, int, int]:
        """Oldest stamp, newest stamp and number of placements."""
        return (self._stamps[0], self._stamps[-1], len(self._stamps)) if self._stamps else (0, 0, 0)

    def clear(self) -> None:
        """Forgets every placement."""
        self._stamps.clear()
        self._placements.clear()


def _interpolate(one: Placement, two: Placement, ratio: float) -> Placement:
    """Linear in the translation, along the shorter arc in the rotation (spherical linear interpolation)."""
    (ax, ay, az), (bx, by, bz) = one.translation, two.translation
    (qx, qy, qz, qw), (rx, ry, rz, rw) = one.rotation, two.rotation
    rest = 1.0 - ratio
    translation = (rest * ax + ratio * bx, rest * ay + ratio * by, rest * az + ratio * bz)
    cosine = qx * rx + qy * ry + qz * rz + qw * rw
    sign = 1.0 if cosine >= 0.0 else -1.0
    # acos is ill-conditioned near 1, atan2 of the chord is not: the half angles from |p - q| and |p + q|.
    chord = math.sqrt((qx - sign * rx) ** 2 + (qy - sign * ry) ** 2 + (qz - sign * rz) ** 2 + (qw - sign * rw) ** 2)
    across = math.sqrt((qx + sign * rx) ** 2 + (qy + sign * ry) ** 2 + (qz + sign * rz) ** 2 + (qw + sign * rw) ** 2)
    angle = 2.0 * math.atan2(chord, across)
    sine = math.sin(angle)
    if sine > 1e-12:
        a, b = math.sin(rest * angle) / sine, sign * math.sin(ratio * angle) / sine
    else:
        a, b = rest, sign * ratio
    return Placement(one.parent, translation, (a * qx + b * rx, a * qy + b * ry, a * qz + b * rz, a * qw + b * rw))
