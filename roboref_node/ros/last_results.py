"""The end of a node that has accepted goals: nobody who waits for a result may be left without it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager

_ANSWER_S = 0.5
_LEAVE_S = 0.25
"""A result leaves some turns of the executor after it is known; and a client asks for it only once it knows that its goal is accepted."""


@contextmanager
def results_leave(waiting: Sized) -> Iterator[None]:
    """Around what ends a node's goals: waits until their results have left, while the executor still spins on its thread.

    Args:
        waiting: The goals without result; each vanishes from it when its result is known.
    """
    promised = len(waiting)
    yield
    if not promised:
        return
    deadline = time.monotonic() + _ANSWER_S
    while waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(_LEAVE_S)
