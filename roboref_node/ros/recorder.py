"""Recording topics into a rosbag2 (mcap) without the rosbag2 stack: raw messages in, raw messages out."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from roboref_node.ros.definitions import learn, message_class
from roboref_node.status import Refused, Status

_NO_LIMIT = QosTime(2147483647, 4294967295)


class Recorder:
    """Subscribes to topics that exist and writes what arrives until `close`.

    Args:
        node: Node that subscribes; someone else spins it.
        folder: Folder of the new bag; must not exist.
        topics: Topics to record; those that nobody publishes yet are joined by `look` when they appear.

    Raises:
        Refused: BAD_REQUEST when the folder exists or cannot be written.
    """

    def __init__(self, node: Node, folder: Path, topics: Sequence[str]) -> None:
        self._node = node
        self._wanted = list(topics)
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._lock = threading.Lock()
        self._closed = False
        self._folder = folder
        self._failure: Refused | None = None
        self.counts: dict[str, int] = {}
        try:
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise Refused(Status.BAD_REQUEST, f"the bag {folder} cannot be written: {error}") from None

    def check(self) -> None:
        """Whether everything so far could be written.

        Raises:
            Refused: BAD_REQUEST when a message could not be written: the disk is full, or gone.
        """
        if self._failure is not None:
            raise self._failure

    def look(self) -> list[str]:
        """Subscribe to wanted topics that have appeared; returns those still missing."""
        offered = dict(self._node.get_topic_names_and_types())
        for topic in [t for t in self._wanted if t not in self.counts and t in offered]:
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                self._subscribe(topic, offered[topic][0], [publisher.qos_profile for publisher in publishers])
        return [t for t in self._wanted if t not in self.counts]

    def close(self) -> None:
        """Finish the bag; later messages are ignored.

        Raises:
            Refused: BAD_REQUEST when its end cannot be written.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                try:
                    self._writer.close()
                except (WriterError, OSError) as error:
                    self._fail(error)
        self.check()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            sentence = f"the bag {self._folder} could not be written after {sum(self.counts.values())} messages: {error}"
            self._failure = Refused(Status.BAD_REQUEST, sentence, path=str(self._folder))

    def _subscribe(self, topic: str, kind: str, offered: Sequence[QoSProfile]) -> None:
        """Hear every publisher: what asks for less than each of them offers matches all."""
        latched = [profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered]
        reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
        kind_of_message = message_class(kind, topic)
        learn(self._store, kind, topic)
        with self._lock:
            connection = self._writer.add_connection(
                topic, kind, typestore=self._store, serialization_format="cdr", offered_qos_profiles=[_recorded(reliable, any(latched))]
            )
        self.counts[topic] = 0

        def store(raw: Any) -> None:
            with self._lock:
                if self._closed or self._failure is not None:
                    return
                try:
                    self._writer.write(connection, time.time_ns(), bytes(raw))
                    self.counts[topic] += 1
                except (WriterError, OSError) as error:
                    self._fail(error)

        # What some have latched and others do not takes two: who latches is then heard twice, which is better than not at all.
        for durable in sorted(set(latched)):
            qos = QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=100 if durable else 30,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if durable else DurabilityPolicy.VOLATILE,
            )
            self._node.create_subscription(kind_of_message, topic, store, qos, raw=True)


def _recorded(reliable: bool, latched: bool) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        10,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _NO_LIMIT,
        _NO_LIMIT,
        QosLiveliness.AUTOMATIC,
        _NO_LIMIT,
        False,
    )
