"""How long something takes, by a clock that may be a simulation's."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import time

from rclpy.clock import Clock


class Stopwatch:
    """Time by a clock since this was made, or how long that clock has stood still, whichever is longer.

    A slow simulation is given its time, and one that has stopped is noticed. A simulated clock reads 0 until the first ``/clock``
    comes: what it jumps by then does not count.

    Args:
        clock: A node's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_ns = self._last_ns = clock.now().nanoseconds
        self._moved_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Seconds so far; to be asked again and again, because that is how a clock is seen to stand still."""
        now_ns = self._clock.now().nanoseconds
        if now_ns != self._last_ns:
            self._last_ns, self._moved_s = now_ns, time.monotonic()
        self._start_ns = self._start_ns or now_ns
        return max((now_ns - self._start_ns) / 1e9, time.monotonic() - self._moved_s)
