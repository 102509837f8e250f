"""Filters that put out one message of each input when their stamps belong together.

Two promises are stricter than those of the genuine package: a callback that raises leaves the synchronizer usable (there its lock stays
held and the next message blocks for ever), and a callback may feed messages into the synchronizer.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from .filters import SimpleFilter

_HEADERLESS_LOG_PERIOD_S = 5.0


class TimeSynchronizer(SimpleFilter):
    """Puts out sets of messages with the same stamp, one call at a time.

    Args:
        fs: The filters to listen to; the callback gets one message of each, in this order.
        queue_size: How many messages of each filter wait for their partners; of more than that the oldest stamps are dropped.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        # Held while callbacks run, so that sets come in order and never two at a time.
        self.lock = threading.RLock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Listens to these filters."""
        # One {stamp in nanoseconds: message} for each filter.
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index) for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Takes a message of one filter."""
        stamp = msg.header.stamp
        with self.lock:
            self._store(msg, stamp.sec * 1_000_000_000 + stamp.nanosec, my_queue)
            common = set(my_queue)
            for queue in self.queues:
                common &= queue.keys()
            for stamp_ns in sorted(common):
                self._put_out([stamp_ns] * len(self.queues))

    def _store(self, msg: Any, stamp_ns: int, queue: dict[int, Any]) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _put_out(self, stamps_ns: Sequence[int]) -> bool:
        """Hands the messages with these stamps to the callbacks, unless one of them has gone."""
        if not all(stamp_ns in queue for queue, stamp_ns in zip(self.queues, stamps_ns, strict=True)):
            return False
        # Taken out first: a callback that raises must not get the same set again with the next message.
        self.signalMessage(*[queue.pop(stamp_ns) for queue, stamp_ns in zip(self.queues, stamps_ns, strict=True)])
        return True


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Puts out sets of messages whose stamps lie closer together than `slop`.

    With each message its nearest partners are looked for; the first set that is close enough goes out, without waiting for a better one.

    Args:
        fs: The filters to listen to; the callback gets one message of each, in this order.
        queue_size: How many messages of each filter wait for their partners; of more than that the oldest stamps are dropped.
        slop: Seconds that the oldest and the newest stamp of a set must differ less than; 0 therefore never fits.
        allow_headerless: Give messages without a header the time of their arrival as stamp; otherwise they are logged and dropped.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False) -> None:
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless
        super().__init__(fs, queue_size)

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Takes a message of one filter."""
        arrived_ns = self._stamp_ns(msg)
        if arrived_ns is None:
            return
        slop_ns = self.slop.nanoseconds
        with self.lock:
            self._store(msg, arrived_ns, my_queue)
            choices: list[list[int]] = []
            for index, queue in enumerate(self.queues):
                if index == my_queue_index:
                    choices.append([arrived_ns])
                    continue
                near = [stamp_ns for stamp_ns in queue if -slop_ns <= stamp_ns - arrived_ns <= slop_ns]
                if not near:
                    return
                choices.append(near if len(near) == 1 else sorted(near, key=lambda stamp_ns: abs(stamp_ns - arrived_ns)))
            for stamps_ns in itertools.product(*choices):
                if max(stamps_ns) - min(stamps_ns) < slop_ns and self._put_out(stamps_ns):
                    return

    def _stamp_ns(self, msg: Any) -> int | None:
        stamp = getattr(getattr(msg, "header", None), "stamp", None)
        if stamp is None:
            if self.allow_headerless:
                return int(ROSClock().now().nanoseconds)
            get_logger("message_filters_approx").warning(
                f"{type(msg).__name__} has no header.stamp to synchronize by; with allow_headerless it gets the time of its arrival",
                throttle_duration_sec=_HEADERLESS_LOG_PERIOD_S,
            )
            return None
        if isinstance(stamp, Time):
            return int(stamp.nanoseconds)
        return int(stamp.sec * 1_000_000_000 + stamp.nanosec)
