"""How many questions a second are looked at: a publisher that runs wild must not fill the log, the topics and the queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from roboref_node.status import Refused, Status

_BURST_S = 2.0
"""Questions of this many seconds may come at once."""

_TELL_S = 1.0
"""A flood is answered at most this often."""


class RateLimit:
    """A token bucket. Used from one thread.

    Args:
        now_s: Clock, seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._tokens: float | None = None
        self._seen_s = self._told_s = now_s()
        self._dropped = 0

    def admit(self, limit_hz: float) -> Refused | None:
        """None for a question that is within the limit.

        Otherwise the refusal to answer it with. `is_told` says whether it should be: a flood gets one answer a second.

        Args:
            limit_hz: Most questions per second (``max_questions_hz``).
        """
        now_s = self._now_s()
        most = max(1.0, limit_hz * _BURST_S)
        tokens = most if self._tokens is None else min(most, self._tokens + (now_s - self._seen_s) * limit_hz)
        self._seen_s = now_s
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return None
        self._tokens = tokens
        self._dropped += 1
        return Refused(
            Status.CANCELED,
            f"more than {limit_hz:g} questions per second (max_questions_hz); {self._dropped} were dropped so far",
            dropped=self._dropped,
        )

    def is_told(self) -> bool:
        """True at most once a second."""
        now_s = self._now_s()
        if self._dropped > 1 and now_s - self._told_s < _TELL_S:
            return False
        self._told_s = now_s
        return True
