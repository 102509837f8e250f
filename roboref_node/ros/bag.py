"""A rosbag2 as topics: the recorded bytes with the recorded QoS, paced by the recorded times."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, QosDurability, QosReliability
from rosbags.rosbag2 import Reader

from roboref_node.replay.bag import check_there, reading
from roboref_node.ros.definitions import message_class
from roboref_node.status import Refused, Status

_DEPTH = 10


class RecordedMessage(NamedTuple):
    """One message as it was recorded."""

    topic: str
    time_ns: int
    cdr: bytes


class Bag:
    """Topics, types and messages of a rosbag2 (mcap or sqlite3).

    Args:
        path: Folder of the bag.

    Raises:
        Refused: BAD_REQUEST with the reader's own words when it is no readable bag, or holds no message.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            check_there(self.path)
            with reading(self.path):
                self._reader = Reader(self.path)
                self._reader.open()
        except Refused as refused:
            raise Refused(refused.status, f"cannot read the bag {self.path}: {refused.sentence}", path=str(self.path)) from refused
        self._connections: dict[str, list[Connection]] = {}
        for connection in self._reader.connections:
            self._connections.setdefault(connection.topic, []).append(connection)
        if self._reader.message_count == 0:
            raise Refused(Status.BAD_REQUEST, f"the bag {self.path} holds no messages", path=str(self.path))

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """Names of the recorded topics."""
        return tuple(self._connections)

    @property
    def start_ns(self) -> int:
        """Time of the first message."""
        return int(self._reader.start_time)

    @property
    def duration_s(self) -> float:
        """From the first to the last message."""
        return float(self._reader.duration) / 1e9

    def message_type(self, topic: str) -> Any:
        """The Python class of the topic's messages.

        Raises:
            Refused: BAD_REQUEST when the package of that type is not installed.
        """
        return message_class(self._connections[topic][0].msgtype, topic)

    def qos(self, topic: str) -> QoSProfile:
        """The recorded QoS; a latched topic keeps all of its messages for late subscribers."""
        connections = self._connections[topic]
        offered = [profile for connection in connections for profile in getattr(connection.ext, "offered_qos_profiles", [])]
        latched = topic == "/tf_static" or any(profile.durability is QosDurability.TRANSIENT_LOCAL for profile in offered)
        best_effort = bool(offered) and all(profile.reliability is QosReliability.BEST_EFFORT for profile in offered)
        count = sum(connection.msgcount for connection in connections)
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=min(max(count, 1), 1000) if latched else max([_DEPTH, *(profile.depth for profile in offered)]),
            reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def messages(self) -> Iterator[RecordedMessage]:
        """All messages in the order of recording.

        Raises:
            Refused: BAD_REQUEST when the file is damaged further in.
        """
        messages = self._reader.messages()
        while True:
            with reading(self.path):
                connection, time_ns, data = next(messages, (None, 0, b""))
            if connection is None:
                return
            yield RecordedMessage(connection.topic, int(time_ns), bytes(data))
