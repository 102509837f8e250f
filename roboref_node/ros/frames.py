"""The last pairs of a camera: received on a node and thread of their own, kept as messages, handed out by time."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from message_filters import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roboref_node.rgbd import ImageMessage, RgbdPair, frame_name, stamp_ns
from roboref_node.ros.calibration_topic import JUMP_BACK_NS, CalibrationTopic
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.qos import explain_silence, images, loss_counters
from roboref_node.status import Refused, Status

_QUEUE = 10
"""Messages per stream that wait for their partner, at least."""

_STAMPS = 300
"""Stamps of a stream that are remembered, to tell a stream that comes late from one that is stamped otherwise."""

_INTERVALS = 5
"""Arrivals whose median distance is a stream's period: one pause, a restart say, does not change it."""


@dataclass(frozen=True)
class CameraTopics:
    """Fully resolved topic names, and how the images travel.

    Args:
        color: Image or, with `color_compressed`, CompressedImage.
        color_info: CameraInfo of the colour image.
        depth: Image or, with `depth_compressed`, CompressedImage of the compressedDepth transport.
        depth_info: CameraInfo of the depth image; nobody needs to publish it when depth is registered.
        color_compressed: Type of the colour topic.
        depth_compressed: Type of the depth topic.
        reliable: Ask for reliable delivery; excludes best-effort publishers.
    """

    color: str
    color_info: str
    depth: str
    depth_info: str
    color_compressed: bool = False
    depth_compressed: bool = False
    reliable: bool = False


@dataclass
class _Stream:
    topic: str
    count: int = 0
    last_ns: int = 0
    """Newest stamp."""
    arrived_s: float = 0.0
    """When the newest message arrived, monotonic."""
    arrived_ns: int = 0
    """The same on the clock that stamps are compared with."""
    newest: ImageMessage | None = None
    lost: int = 0
    """Messages that the middleware has lost on the way."""
    incompatible: int = 0
    """Publishers met whose QoS does not match."""
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    """Between the last arrivals."""
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_STAMPS))
    """The last stamps."""


class FrameStore:
    """Ring buffer of the last colour and depth pairs. Callbacks store a reference and return; nothing is decoded here.

    Three ways to ask, as in LeRobot's cameras: `latest` never blocks and refuses what is too old, `at` finds the pair of a
    stamp, `wait` blocks until there is a fresh pair.

    Args:
        node: Carries the subscriptions; the caller spins it, alone, in a single-threaded executor on a thread of its own.
        topics: Where the images come from.
        slop_s: Largest difference of stamps within a pair, 0 = equal stamps only (``sync_slop_s``).
        keep: Number of pairs kept, and of images that wait for a partner that comes later (``frame_buffer``).
        now_ns: Clock against which the age of a frame is taken; simulated time where that is in use.
    """

    def __init__(self, node: Node, topics: CameraTopics, *, slop_s: float, keep: int, now_ns: Callable[[], int]) -> None:
        self._node = node
        self._slop_s = slop_s
        self._now_ns = now_ns
        self._qos = images(reliable=topics.reliable)
        self._pairs: deque[RgbdPair] = deque(maxlen=keep)
        self._waiting = max(_QUEUE, keep)
        self._changed = threading.Condition()
        self.count = 0
        """Pairs received so far."""
        self._color = _Stream(topics.color)
        self._depth = _Stream(topics.depth)
        self._start_pairing()
        image_type = {False: Image, True: CompressedImage}
        for stream, compressed, receive in (
            (self._color, topics.color_compressed, self._on_color),
            (self._depth, topics.depth_compressed, self._on_depth),
        ):
            node.create_subscription(image_type[compressed], stream.topic, receive, self._qos, event_callbacks=loss_counters(node, stream))
        self._infos = {
            name: CalibrationTopic(node, topic, reliable=topics.reliable, now_ns=now_ns)
            for name, topic in (("color", topics.color_info), ("depth", topics.depth_info))
        }

    def calibrations(self, pair: RgbdPair, timeout_s: float) -> tuple[CameraInfo, CameraInfo | None]:
        """The calibrations of the cameras when they took a pair: of colour, and of depth or None when none has ever arrived.

        Args:
            pair: Colour and depth.
            timeout_s: How long to wait for the first one of colour.

        Raises:
            Refused: NO_CAMERA when none of colour has ever arrived, or one changed about then.
        """
        deadline = time.monotonic() + timeout_s
        while (color := self._infos["color"].at(stamp_ns(pair.color))) is None:
            if time.monotonic() >= deadline:
                raise Refused(Status.NO_CAMERA, f"no camera info: {self._infos['color'].explain()}")
            time.sleep(0.01)
        return color, self._infos["depth"].at(stamp_ns(pair.depth))

    def latest(self, max_age_s: float) -> RgbdPair:
        """The newest pair, at once.

        Raises:
            Refused: NO_CAMERA when a stream is silent, SYNC_SKEW when both flow but do not pair, FRAME_STALE when the newest
                pair is older than `max_age_s` (or as far in the future: another clock).
        """
        with self._changed:
            pair = self._pairs[-1] if self._pairs else None
        now_ns = self._now_ns()
        if pair is not None and abs(now_ns - pair.stamp_ns) <= max_age_s * 1e9:
            self._check_source(max_age_s)
            return pair
        raise self._refusal(pair, max_age_s, now_ns)

    def _check_source(self, max_age_s: float) -> None:
        """A paused simulation may be asked, one that has ended may not: its last image stays fresh for ever by a clock that stands still.

        Raises:
            Refused: FRAME_STALE when nothing has come for `max_age_s` of real time and nobody publishes any more.
        """
        for stream in (self._color, self._depth):
            silent_s = time.monotonic() - stream.arrived_s
            if silent_s > max_age_s and not self._node.count_publishers(stream.topic):
                raise Refused(
                    Status.FRAME_STALE,
                    f"nobody publishes {stream.topic} any more: its newest image came {silent_s:.3f} s ago (max_frame_age_s is "
                    f"{max_age_s:g}) and is fresh only by a clock that stands still; has the simulation or the bag ended?",
                    silent_s=silent_s,
                    topic=stream.topic,
                )

    def at(self, wanted_ns: int, tolerance_s: float) -> RgbdPair:
        """The pair whose colour stamp is nearest to `wanted_ns`.

        Raises:
            Refused: NO_CAMERA when there is no pair at all, FRAME_STALE when none lies within `tolerance_s`.
        """
        with self._changed:
            pairs = list(self._pairs)
        if not pairs:
            raise self._refusal(None, tolerance_s, self._now_ns())
        best = min(pairs, key=lambda pair: abs(pair.stamp_ns - wanted_ns))
        gap_s = abs(best.stamp_ns - wanted_ns) / 1e9
        if gap_s > tolerance_s:
            raise Refused(
                Status.FRAME_STALE,
                f"no frame at stamp {wanted_ns / 1e9:.3f} s: the nearest of the last {len(pairs)} is {gap_s:.3f} s away "
                f"(stamp_tolerance_s = {tolerance_s:g}, frame_buffer = {self._pairs.maxlen})",
                gap_s=gap_s,
            )
        return best

    def before(self, pair: RgbdPair, count: int) -> list[RgbdPair]:
        """Up to `count` pairs before `pair`, the newest first."""
        with self._changed:
            older = [other for other in self._pairs if other.stamp_ns < pair.stamp_ns]
        return older[::-1][:count]

    def wait(self, max_age_s: float, timeout_s: float, *, canceled: Callable[[], bool] = lambda: False) -> RgbdPair:
        """`latest`, but waits up to `timeout_s` (wall clock) for a pair that is fresh enough.

        Raises:
            Refused: As `latest`, after the timeout; CANCELED.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.latest(max_age_s)
            except Refused:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
            if canceled():
                raise Refused(Status.CANCELED, "canceled while waiting for a frame")
            with self._changed:
                self._changed.wait(min(left_s, 0.05))

    @property
    def period_s(self) -> float:
        """Usual time between two messages of the slower stream, 0 before there are some."""
        return max(median(list(stream.intervals_s) or [0.0]) for stream in (self._color, self._depth))

    def read(self, max_age_s: float, silent_after_s: float) -> CameraReading:
        """Counters, ages and problems; asks the graph only about topics that are silent.

        Args:
            max_age_s: Oldest frame that may be used.
            silent_after_s: A stream that has brought nothing for longer has stopped.
        """
        now_ns = self._now_ns()
        with self._changed:
            pair, pairs = (self._pairs[-1] if self._pairs else None), self.count
        told = {name: topic.poll() for name, topic in self._infos.items()}
        problem = ""
        try:
            self.latest(max_age_s)
        except Refused as refused:
            problem = refused.sentence
        return CameraReading(
            color=self._read_stream(self._color, max_age_s, silent_after_s, now_ns),
            depth=self._read_stream(self._depth, max_age_s, silent_after_s, now_ns),
            pairs=pairs,
            skew_s=None if pair is None else pair.skew_ns / 1e9,
            pairing_problem=problem,
            calibration_problem="" if told["color"] else self._infos["color"].explain(),
        )

    def _read_stream(self, stream: _Stream, max_age_s: float, silent_after_s: float, now_ns: int) -> StreamReading:
        counts = (stream.count, stream.lost, stream.incompatible)
        newest = stream.newest
        if newest is None:
            return StreamReading(stream.topic, *counts, problem=explain_silence(self._node, stream.topic, self._qos))
        silent_s = time.monotonic() - stream.arrived_s
        stamp = stamp_ns(newest)
        age_s = (now_ns - stamp) / 1e9
        problem, stopped = "", silent_s > silent_after_s
        if stopped:
            problem = f"nothing on {stream.topic} for {silent_s:.1f} s: {explain_silence(self._node, stream.topic, self._qos)}"
        elif abs(age_s) > max_age_s:
            problem = self._staleness(stream, age_s, max_age_s, now_ns)
        encoding = str(newest.format if hasattr(newest, "format") else newest.encoding)
        return StreamReading(stream.topic, *counts, silent_s, age_s, encoding, frame_name(newest), stamp, stopped, problem)

    def _start_pairing(self) -> None:
        self._filters = (SimpleFilter(), SimpleFilter())
        if self._slop_s > 0:
            self._synchronizer = ApproximateTimeSynchronizer(self._filters, self._waiting, self._slop_s)
        else:
            self._synchronizer = TimeSynchronizer(self._filters, self._waiting)
        self._synchronizer.registerCallback(self._on_pair)

    def _on_color(self, message: ImageMessage) -> None:
        self._receive(message, self._color, 0)

    def _on_depth(self, message: ImageMessage) -> None:
        self._receive(message, self._depth, 1)

    def _receive(self, message: ImageMessage, stream: _Stream, index: int) -> None:
        now_ns = stamp_ns(message)
        if now_ns < stream.last_ns - JUMP_BACK_NS:
            # The synchronizer drops whatever is older than its queue, so after a restart it would never pair again.
            with self._changed:
                self._pairs.clear()
            self._color.last_ns = self._depth.last_ns = now_ns
            self._color.stamps_ns.clear()
            self._depth.stamps_ns.clear()
            self._start_pairing()
        stream.last_ns = now_ns
        stream.stamps_ns.append(now_ns)
        stream.newest = message
        arrived_s = time.monotonic()
        if stream.count:
            stream.intervals_s.append(arrived_s - stream.arrived_s)
        stream.count += 1
        stream.arrived_s, stream.arrived_ns = arrived_s, self._now_ns()
        self._filters[index].signalMessage(message)

    def _on_pair(self, color: ImageMessage, depth: ImageMessage) -> None:
        with self._changed:
            self._pairs.append(RgbdPair(color, depth))
            self.count += 1
            self._changed.notify_all()

    def _refusal(self, pair: RgbdPair | None, max_age_s: float, now_ns: int) -> Refused:
        silent = [stream for stream in (self._color, self._depth) if not stream.count]
        if silent:
            reasons = "; ".join(explain_silence(self._node, stream.topic, self._qos) for stream in silent)
            return Refused(Status.NO_CAMERA, f"no image: {reasons}", topics=[stream.topic for stream in silent])
        ages_s = {stream.topic: (now_ns - stream.last_ns) / 1e9 for stream in (self._color, self._depth)}
        if all(abs(age) <= max_age_s for age in ages_s.values()) or pair is None:
            skew_s = abs(self._color.last_ns - self._depth.last_ns) / 1e9
            late = self._late()
            if late is not None:
                late_s, count = late
                return Refused(
                    Status.SYNC_SKEW,
                    f"colour and depth have the same stamps, but one of them comes {late_s:.3f} s after the other, when the image it "
                    f"belongs to is gone: {self._waiting} wait, {count} are needed; raise frame_buffer above that, or mend the stamps if "
                    "nothing is that late: sync_slop_s would pair what was not taken together",
                    late_s=late_s,
                    needed=count,
                )
            return Refused(
                Status.SYNC_SKEW,
                f"colour and depth arrive, but their stamps do not pair: the last two are {skew_s:.4f} s apart, "
                f"sync_slop_s allows {self._slop_s:g} s",
                skew_s=skew_s,
                slop_s=self._slop_s,
            )
        stream = max((self._color, self._depth), key=lambda stream: abs(ages_s[stream.topic]))
        age_s = ages_s[stream.topic]
        return Refused(Status.FRAME_STALE, self._staleness(stream, age_s, max_age_s, now_ns), age_s=age_s, topic=stream.topic)

    def _late(self) -> tuple[float, int] | None:
        """By how many seconds one stream comes after the other although their stamps match, and how many images wait meanwhile."""
        first, last = sorted((self._color, self._depth), key=lambda stream: -stream.last_ns)
        gaps = [abs(stamp - last.last_ns) for stamp in list(first.stamps_ns)]
        if not gaps or min(gaps) > self._slop_s * 1e9:
            return None
        count = len(gaps) - gaps.index(min(gaps))
        return ((first.last_ns - last.last_ns) / 1e9, count) if count > self._waiting else None

    @staticmethod
    def _staleness(stream: _Stream, age_s: float, max_age_s: float, now_ns: int) -> str:
        late_s = (stream.arrived_ns - stream.last_ns) / 1e9
        if now_ns == 0:
            reason = "use_sim_time is on and no /clock has arrived"
        elif age_s < 0 or late_s > max_age_s:
            arrival = "" if age_s < 0 else f"it was {late_s:.3f} s old when it arrived, so "
            reason = (
                f"max_frame_age_s is {max_age_s:g}; {arrival}it travels too slowly, or camera and node have different clocks: "
                "synchronise the hosts, or set use_sim_time for simulations and bags"
            )
        else:
            reason = f"max_frame_age_s is {max_age_s:g}; did the camera stop?"
        when = f"{age_s:.3f} s old" if age_s >= 0 else f"stamped {-age_s:.3f} s in the future"
        return f"the newest image of {stream.topic} is {when}: {reason}"
