"""RGB-D frames of a rosbag2 (mcap or sqlite3), read without a ROS installation and decoded only when asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.replay.topics import BagTopics
from roboref_node.replay.transforms import TransformTree
from roboref_node.rgbd import CalibrationHistory, DepthSettings, DepthTrust, RgbdPair, build_frame
from roboref_node.rgbd.stamped_bytes import HEADER_STAMP_BYTES, header_stamp_ns
from roboref_node.status import Refused, Status

_MCAP_END = b"\x89MCAP0\r\n"
"""What a complete mcap file ends with."""

_STORE = get_typestore(Stores.ROS2_JAZZY)
"""What is read of a bag is the same in every distribution of ROS 2. Whatever else it holds is nobody's business: definitions that cannot be
read, or whose hash is another one than that of this library, say nothing of the images."""

_IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


SLOP_S = 0.02
"""Largest difference of stamps of a pair, when nothing is said; as of the refer node."""


def declared(*, rectified: bool) -> DepthTrust:
    """What holds for bags of which nothing else is known: `rectified` says that the image topics carry rectified images."""
    return DepthTrust.of(DepthSettings(), rectified=rectified)


class RgbdBag:
    """Random access to the frames of a bag.

    One pass over the bag notes stamps and keeps TF and calibrations; images stay on disk until a frame is asked for. The bag
    stays open until `close`, because opening it costs as much as reading seconds of it.

    Args:
        path: Folder of the bag, or its single mcap file.
        topics: Where things are.
        trust: What is declared about the depth topic.
        slop_s: Largest difference of stamps of a colour and depth pair.

    Raises:
        Refused: BAD_REQUEST when the bag cannot be read or lacks a topic; the sentence lists what it holds.
    """

    def __init__(
        self, path: str | Path, topics: BagTopics | None = None, trust: DepthTrust | None = None, *, slop_s: float = SLOP_S
    ) -> None:
        self.path = Path(path)
        self.topics = topics or BagTopics()
        self.trust = trust or declared(rectified=False)
        self.transforms = TransformTree()
        self.slop_s = slop_s
        self._color: list[tuple[int, int]] = []
        self._depth: list[tuple[int, int]] = []
        self._infos = {topic: CalibrationHistory[Any](topic) for topic in (self.topics.color_info, self.topics.depth_info)}
        check_there(self.path)
        with reading(self.path):
            self._reader = Reader(self.path)
            self._reader.open()
            self._index(self._reader)

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def __enter__(self) -> RgbdBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of the colour images, ascending."""
        return [stamp for stamp, _ in self._color]

    @property
    def duration_s(self) -> float:
        """From the first to the last colour image."""
        return (self._color[-1][0] - self._color[0][0]) / 1e9

    def frame_at(self, stamp_ns: int, tolerance_s: float = 0.05) -> Frame:
        """The frame whose colour image is nearest to a stamp.

        Raises:
            Refused: FRAME_STALE when none is within the tolerance; SYNC_SKEW when it has no depth image within the slop;
                NO_CAMERA, BAD_REQUEST or TF_* from building the frame.
        """
        color = _nearest(self._color, stamp_ns)
        gap_s = abs(color[0] - stamp_ns) / 1e9
        if gap_s > tolerance_s:
            raise Refused(
                Status.FRAME_STALE,
                f"the nearest image is {gap_s:.3f} s away from the asked time (tolerance {tolerance_s:g} s); {self._extent()}",
                gap_s=gap_s,
            )
        depth = _nearest(self._depth, color[0])
        if abs(depth[0] - color[0]) > self.slop_s * 1e9:
            raise Refused(
                Status.SYNC_SKEW,
                f"the nearest depth image is {abs(depth[0] - color[0]) / 1e6:.1f} ms away from the colour image "
                f"(sync_slop_s = {self.slop_s:g})",
            )
        with reading(self.path):
            pair = RgbdPair(self._read(self.topics.color, color), self._read(self.topics.depth, depth))
        info = self._infos[self.topics.color_info].at(color[0])
        if info is None:
            infos = self._topics_of("sensor_msgs/msg/CameraInfo")
            raise Refused(Status.NO_CAMERA, f"{self.path} has no message on {self.topics.color_info}; its calibrations: {infos}")
        return build_frame(pair, info, self._infos[self.topics.depth_info].at(depth[0]), self.trust, self.transforms.lookup)

    def _extent(self) -> str:
        count = f"the bag holds {len(self._color)} images"
        one_stamp = len(self._color) > 1 and self.duration_s == 0
        return f"{count}, all with the stamp {self._color[0][0] / 1e9:.3f} s" if one_stamp else f"{count} in {self.duration_s:.3f} s"

    def _topics_of(self, *kinds: str) -> str:
        return ", ".join(dict.fromkeys(c.topic for c in self._reader.connections if c.msgtype in kinds)) or "none"

    def _index(self, reader: Reader) -> None:
        held = {c.topic: c.msgtype for c in reader.connections}
        for topic, kinds in ((self.topics.color, _IMAGE_TYPES), (self.topics.depth, _IMAGE_TYPES)):
            if held.get(topic) not in kinds:
                raise Refused(
                    Status.BAD_REQUEST, f"{self.path} has no image topic {topic}; its image topics: {self._topics_of(*_IMAGE_TYPES)}"
                )
        if self.topics.color == self.topics.depth:
            raise Refused(Status.BAD_REQUEST, f"{self.topics.color} is given for colour and for depth")
        wanted = {self.topics.color: self._color, self.topics.depth: self._depth}
        told: list[Any] = []  # static transforms since the last colour image: they count from the next one on, as they did live
        for connection, recorded_ns, raw in reader.messages(connections=[c for c in reader.connections if self._needed(c)]):
            if connection.topic in wanted:
                stamp_ns = header_stamp_ns(bytes(raw[:HEADER_STAMP_BYTES]))
                wanted[connection.topic].append((stamp_ns, recorded_ns))
                if told and connection.topic == self.topics.color:
                    self._add_static(told, stamp_ns)
            elif connection.msgtype == "sensor_msgs/msg/CameraInfo":
                self._note_info(connection, recorded_ns, bytes(raw))
            elif connection.topic.endswith("/tf_static"):
                told.append(deserialize(raw, connection.msgtype))
            else:
                self._add_transforms(deserialize(raw, connection.msgtype))
        if not (self._color and self._depth):
            raise Refused(Status.BAD_REQUEST, f"{self.path} has {len(self._color)} colour and {len(self._depth)} depth images")
        self._color.sort()
        self._depth.sort()
        self._add_static(told, self._color[-1][0] + 1)

    def _note_info(self, connection: Connection, recorded_ns: int, raw: bytes) -> None:
        """Keep a calibration; one without a stamp counts from when it was recorded."""
        if connection.topic in self._infos:
            stamp_ns = header_stamp_ns(raw) or recorded_ns
            self._infos[connection.topic].note(stamp_ns, raw[HEADER_STAMP_BYTES:], lambda: deserialize(raw, connection.msgtype))

    def _needed(self, connection: Connection) -> bool:
        return connection.topic in vars(self.topics).values() or connection.msgtype == "tf2_msgs/msg/TFMessage"

    def _add_static(self, told: list[Any], from_ns: int) -> None:
        for message in told:
            self._add_transforms(message, from_ns)
        told.clear()

    def _add_transforms(self, message: Any, static_from_ns: int | None = None) -> None:
        """Add those of a message; static ones with the time from which they count, which is not the stamp that they carry."""
        for item in message.transforms:
            t, q = item.transform.translation, item.transform.rotation
            stamp_ns = item.header.stamp.sec * 1_000_000_000 + item.header.stamp.nanosec if static_from_ns is None else static_from_ns
            try:
                transform = Transform(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
            except ValueError:
                continue  # tf2 drops transforms that are not finite or not a rotation as well
            self.transforms.add(item.header.frame_id, item.child_frame_id, stamp_ns, transform, static=static_from_ns is not None)

    def _read(self, topic: str, entry: tuple[int, int]) -> Any:
        stamp_ns, recorded_ns = entry
        connections = [c for c in self._reader.connections if c.topic == topic]
        for connection, _, raw in self._reader.messages(connections=connections, start=recorded_ns, stop=recorded_ns + 1):
            if header_stamp_ns(bytes(raw[:HEADER_STAMP_BYTES])) == stamp_ns:  # recorded by a slow /clock, many images have one time
                return deserialize(raw, connection.msgtype)
        raise Refused(Status.BAD_REQUEST, f"{self.path} lost a message on {topic}: it changed while it was read")


def deserialize(raw: bytes | memoryview, kind: str) -> Any:
    """A message of ROS itself from CDR."""
    return _STORE.deserialize_cdr(raw, kind)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around whatever reads a bag.

    Raises:
        Refused: BAD_REQUEST when the bag is damaged. Which error a damage shows itself by is up to the storage: SQLite, zstd and lz4
            have their own, and a file that ends too early is met as wrong numbers and as missing bytes.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(Status.BAD_REQUEST, f"{path} is no readable rosbag2: {str(error) or type(error).__name__}") from error


def check_there(path: Path) -> None:
    """Whether there is a bag at all.

    Raises:
        Refused: BAD_REQUEST when there is nothing, or a bag of ROS 1, or a folder that is no bag, or one whose recording was killed.
    """
    if not path.exists():
        raise Refused(Status.BAD_REQUEST, f"the bag {path} does not exist")
    if path.is_file():
        if path.suffix == ".bag":
            convert = f"rosbags-convert --src {path} --dst {path.with_suffix('')} --dst-typestore ros2_jazzy"
            raise Refused(Status.BAD_REQUEST, f"{path} is a bag of ROS 1; convert it: `{convert}`")
        if _is_cut_off(path):
            raise Refused(Status.BAD_REQUEST, f"{path} ends too early, its recording was cut off: {_recover(path)}")
    elif not (path / "metadata.yaml").is_file():
        files = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
        hint = ""
        if files:
            what = _recover(files[0]) if _is_cut_off(files[0]) else f"give {files[0]}, or run `ros2 bag reindex {path}`"
            hint = f": its recording was cut off; {what}"
        raise Refused(Status.BAD_REQUEST, f"{path} is no bag, it has no metadata.yaml{hint}")


def _is_cut_off(file: Path) -> bool:
    """Whether an mcap file lacks its end; without it the file cannot be read, with new metadata neither."""
    if file.suffix != ".mcap":
        return False
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - len(_MCAP_END)))
        return stream.read() != _MCAP_END


def _recover(file: Path) -> str:
    whole = file.with_stem(f"{file.stem}_recovered")
    return f"run `mcap recover {file} -o {whole}`, and give {whole}"


def _nearest(entries: list[tuple[int, int]], stamp_ns: int) -> tuple[int, int]:
    at = bisect_left(entries, (stamp_ns, -1))
    return min(entries[max(0, at - 1) : at + 1], key=lambda entry: abs(entry[0] - stamp_ns))
