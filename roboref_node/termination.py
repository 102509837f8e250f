"""A request to end the process, by SIGINT or SIGTERM, that the main thread waits for and does not miss."""

from __future__ import annotations

import signal
import threading

_POLL_S = 0.1


class Termination:
    """Takes over SIGINT and SIGTERM; made on the main thread, which alone is told of signals."""

    def __init__(self) -> None:
        self.is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        # Not an Event: setting one takes a lock, which the interrupted thread may be holding at that moment.
        self.is_asked = True

    def wait(self, finished: threading.Event | None = None) -> None:
        """Return once a signal has come or `finished` is set.

        A wait without end would miss a signal that arrives just before it begins: the handler runs between two instructions of
        Python, and nothing would wake the thread for it. Hence a wait of many short ones.
        """
        finished = threading.Event() if finished is None else finished
        while not self.is_asked and not finished.wait(_POLL_S):
            pass
