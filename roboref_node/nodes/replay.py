"""The ``replay`` node: publishes a rosbag2 with its recorded QoS and, if it holds none, its time on ``/clock``."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock

from roboref_node.parameters import check_settings, setting
from roboref_node.ros.bag import Bag, RecordedMessage
from roboref_node.ros.process import run
from roboref_node.ros.working_node import WorkingNode
from roboref_node.status import Refused, Status

_CLOCK_NS = 10_000_000
"""Ticks of /clock are at least this far apart, in bag time."""

_TURN_S = 0.1
"""A loop takes at least this long: a bag of one frame, such as a recorded question, would be sent thousands of times a second."""


@dataclass(frozen=True)
class ReplaySettings:
    """Parameters of the ``replay`` node."""

    bag: str = setting("Folder of the rosbag2 (mcap or sqlite3).", default="")
    rate: float = setting("Speed as a multiple of the recorded one.", default=1.0, minimum=0.01, maximum=100.0)
    loop: bool = setting("Start again at the end; consumers see time jump back.", default=False)
    clock: bool = setting("Publish /clock when the bag holds none.", default=True)
    stay: bool = setting("Stay after the end, so that latched topics and the clock remain.", default=False)
    wait_for: str = setting("Topics, separated by commas, that need a subscriber before the first message is sent.", default="")
    wait_timeout_s: float = setting("How long to wait for those subscribers.", default=30.0, unit="s", minimum=0.0, maximum=3600.0)

    def __post_init__(self) -> None:
        check_settings(self)


class ReplayNode(WorkingNode[ReplaySettings]):
    """Plays on its own thread."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("replay", ReplaySettings, **kwargs)

    def work(self, settings: ReplaySettings) -> None:
        """Play the bag.

        Raises:
            Refused: The bag cannot be read, or nobody listens.
        """
        if not settings.bag:
            raise Refused(Status.BAD_REQUEST, "parameter bag is empty: give the folder of a rosbag2")
        bag = Bag(settings.bag)
        try:
            publishers = self._offer(bag)
            clock = None
            if settings.clock and "/clock" not in bag.topics:
                clock = self.create_publisher(Clock, "/clock", 10)
            self._wait_for_subscribers(settings, publishers)
            self.get_logger().info(f"playing {bag.path}: {bag.duration_s:.1f} s, {len(publishers)} topics, rate {settings.rate:g}")
            count = 0
            for _ in self.turns(_TURN_S):
                count += self._play(bag, settings, publishers, clock)
                if not settings.loop:
                    break
        finally:
            bag.close()
        self.get_logger().info(f"played {count} messages")
        if settings.stay:
            self.finished.wait()
        else:
            self._drain(publishers)

    def _offer(self, bag: Bag) -> dict[str, Any]:
        """One for each topic whose type is installed here; of a robot's other topics a warning is enough.

        Raises:
            Refused: There is none.
        """
        publishers: dict[str, Any] = {}
        for topic in bag.topics:
            try:
                publishers[topic] = self.create_publisher(bag.message_type(topic), topic, bag.qos(topic))
            except Refused as refused:
                self.get_logger().warning(f"{topic} is not played: {refused.sentence}")
        if not publishers:
            raise Refused(Status.BAD_REQUEST, f"the types of all topics of {bag.path} are not installed here")
        return publishers

    def _wait_for_subscribers(self, settings: ReplaySettings, publishers: dict[str, Any]) -> None:
        wanted = [name for text in settings.wait_for.split(",") if (name := text.strip())]
        unknown = [name for name in wanted if name not in publishers]
        if unknown:
            raise Refused(
                Status.BAD_REQUEST, f"parameter wait_for names {', '.join(unknown)}; what is played of the bag is {', '.join(publishers)}"
            )
        deadline = time.monotonic() + settings.wait_timeout_s
        while not self.finished.is_set():
            missing = [name for name in wanted if publishers[name].get_subscription_count() == 0]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise Refused(
                    Status.BAD_REQUEST, f"nobody subscribed to {', '.join(missing)} within wait_timeout_s = {settings.wait_timeout_s:g} s"
                )
            time.sleep(0.05)

    def _play(self, bag: Bag, settings: ReplaySettings, publishers: dict[str, Any], clock: Any) -> int:
        count, last_clock_ns = 0, 0
        started_s = time.monotonic()
        for message in bag.messages():
            due_s = started_s + (message.time_ns - bag.start_ns) / 1e9 / settings.rate
            if self.finished.wait(max(0.0, due_s - time.monotonic())):
                break
            if clock is not None and message.time_ns - last_clock_ns >= _CLOCK_NS:
                last_clock_ns = message.time_ns
                clock.publish(_clock_message(message))
            if message.topic in publishers:
                publishers[message.topic].publish(message.cdr)
                count += 1
        return count

    def _drain(self, publishers: dict[str, Any]) -> None:
        """A reliable subscriber may still be waiting for the last messages when this process ends."""
        deadline = time.monotonic() + 2.0
        for publisher in publishers.values():
            left_s = deadline - time.monotonic()
            if left_s > 0 and publisher.get_subscription_count():
                publisher.wait_for_all_acked(Duration(seconds=left_s))


def _clock_message(message: RecordedMessage) -> Clock:
    clock = Clock()
    clock.clock.sec, clock.clock.nanosec = divmod(message.time_ns, 1_000_000_000)
    return clock


def main(args: Sequence[str] | None = None) -> int:
    """Play a bag; the status is 1 when it cannot be read."""
    return run(ReplayNode, args)


if __name__ == "__main__":
    sys.exit(main())
