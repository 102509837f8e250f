"""The tree of frames over time: what is put in, and the transform between any two frames at any stored time."""

from __future__ import annotations

import math
import threading
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .rigid import NO_MOTION, Quaternion, Vector, compose, invert
from .time_cache import Placement, StaticCache, TimeCache

DEFAULT_CACHE_S = 10.0
MAX_GRAPH_DEPTH = 1000
_OLD_DATA_LOG_PERIOD_S = 2.0

# target_from_source and the time that it holds at.
Found = tuple[Vector, Quaternion, int]


class BufferCore:
    """Transforms by child frame and time; safe to use from several threads.

    Args:
        cache_time: How long placements of moving frames are kept (default 10 s).
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_ns = int(DEFAULT_CACHE_S * 1e9) if cache_time is None else duration_ns(cache_time)
        # Every known frame in the order of arrival; None for a frame that has only been a parent.
        self._frames: dict[str, TimeCache | StaticCache | None] = {}
        self._authorities: dict[str, str] = {}
        self._lock = threading.Lock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform of a moving frame. One that makes no sense or is too old is logged and ignored."""
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform that holds at every time. One that makes no sense is logged and ignored."""
        self._insert(transform, authority, is_static=True)

    def clear(self) -> None:
        """Forgets what moves; the names of the frames and the static transforms stay."""
        with self._lock:
            for cache in self._frames.values():
                if cache is not None:
                    cache.clear()

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        """`target_from_source` at a time (0: the newest at which all of the chain is known), without waiting.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException: See tf2_ros.exceptions.
        """
        with self._lock:
            found = self._lookup(target_frame, source_frame, time_ns(time), "lookupTransform")
        return _message(target_frame, source_frame, found)

    def lookup_transform_full_core(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> TransformStamped:
        """`target_from_source`, the source at one time and the target at another, while `fixed_frame` stands still.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException: See tf2_ros.exceptions.
        """
        with self._lock:
            for argument, frame in (("target_frame", target_frame), ("source_frame", source_frame), ("fixed_frame", fixed_frame)):
                self._check_known(frame, f"lookupTransform argument {argument}")
            fixed_from_source = self._lookup(fixed_frame, source_frame, time_ns(source_time), "lookupTransform")
            target_from_fixed = self._lookup(target_frame, fixed_frame, time_ns(target_time), "lookupTransform")
        translation, rotation = compose(target_from_fixed[:2], fixed_from_source[:2])
        return _message(target_frame, source_frame, (translation, rotation, target_from_fixed[2]))

    def can_transform_core(self, target_frame: str, source_frame: str, time: Time) -> tuple[bool, str]:
        """Whether the lookup would succeed, and if not, why."""
        try:
            with self._lock:
                self._lookup(target_frame, source_frame, time_ns(time), "canTransform")
        except TransformException as error:
            return False, str(error)
        return True, ""

    def can_transform_full_core(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> tuple[bool, str]:
        """Whether the lookup through a fixed frame would succeed, and if not, why."""
        try:
            self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """The newest time at which the whole chain between two frames is known; 0 when all of it is static.

        Raises:
            TransformException: A frame is not known, or nothing connects them.
        """
        with self._lock:
            for frame in (target_frame, source_frame):
                self._check_known(frame, "get_latest_common_time")
            if target_frame == source_frame:
                return Time(nanoseconds=self._newest_ns(target_frame))
            try:
                return Time(nanoseconds=self._latest_common_ns(target_frame, source_frame))
            except TransformException as error:
                # The genuine method raises nothing more particular; whoever catches more would miss it there.
                raise TransformException(str(error)) from None

    def all_frames_as_string(self) -> str:
        """One line per frame that has a parent."""
        with self._lock:
            return self._describe()

    def all_frames_as_yaml(self) -> str:
        """Per frame its parent, who sends it, how often, and the times that are stored, as YAML."""
        with self._lock:
            if not self._frames:
                return "[]"
            lines = []
            for frame, cache in self._frames.items():
                parent = None if cache is None else cache.latest()[1]
                if cache is None or parent is None:
                    continue
                oldest_ns, newest_ns, count = cache.span()
                length_ns = newest_ns - oldest_ns
                lines += [
                    f"{frame}: ",
                    f"  parent: '{parent}'",
                    f"  broadcaster: '{self._authorities.get(frame, 'no recorded authority')}'",
                    f"  rate: {count * 1e9 / max(length_ns, 100_000):.3f}",
                    f"  most_recent_transform: {newest_ns / 1e9:.6f}",
                    f"  oldest_transform: {oldest_ns / 1e9:.6f}",
                    f"  buffer_length: {length_ns / 1e9:.3f}",
                ]
            return "\n".join([*lines, ""])

    def _insert(self, message: TransformStamped, authority: str, *, is_static: bool) -> None:
        header, transform = message.header, message.transform
        stamp, t, q = header.stamp, transform.translation, transform.rotation
        x, y, z, qx, qy, qz, qw = t.x, t.y, t.z, q.x, q.y, q.z, q.w
        parent, child = header.frame_id.removeprefix("/"), message.child_frame_id.removeprefix("/")
        square = qx * qx + qy * qy + qz * qz + qw * qw
        if not parent or not child or parent == child or math.isnan(x + y + z) or not 0.0 < square < math.inf:
            _log_invalid(parent, child, (x, y, z), (qx, qy, qz, qw), authority)
            return
        norm = math.sqrt(square)
        placement = Placement(parent, (x, y, z), (qx / norm, qy / norm, qz / norm, qw / norm))
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        with self._lock:
            cache = self._frames.get(child)
            if cache is None or cache.is_static != is_static:
                cache = self._frames[child] = StaticCache() if is_static else TimeCache(self._cache_ns)
            self._frames.setdefault(parent, None)
            accepted = cache.insert(stamp_ns, placement)
            if accepted:
                self._authorities[child] = authority
        if not accepted:
            get_logger("tf2_buffer").warning(
                f"TF_OLD_DATA ignoring data from the past for frame {child} at time {stamp_ns / 1e9:.6f} (authority {authority})",
                throttle_duration_sec=_OLD_DATA_LOG_PERIOD_S,
            )

    def _check_known(self, frame: str, where: str) -> None:
        if not frame:
            raise InvalidArgumentException(f'Invalid argument "{frame}" passed to {where} - in tf2 frame_ids cannot be empty')
        if frame[0] == "/":
            raise InvalidArgumentException(f"Invalid argument \"{frame}\" passed to {where} - in tf2 frame_ids cannot start with a '/'")
        if frame not in self._frames:
            raise LookupException(f'"{frame}" passed to {where} does not exist. ')

    def _lookup(self, target: str, source: str, stamp_ns: int, where: str) -> Found:
        """`target_from_source`; the caller holds the lock."""
        if target == source:
            return (*NO_MOTION, stamp_ns or self._newest_ns(target))
        frames = self._frames
        if target not in frames or source not in frames:
            self._check_known(target, f"{where} argument target_frame")
            self._check_known(source, f"{where} argument source_frame")
        if stamp_ns == 0:
            stamp_ns = self._latest_common_ns(target, source)

        # From the source up, until the target or the end of what is known.
        top_from_source, gap = NO_MOTION, None
        frame, depth = source, 0
        while (cache := frames[frame]) is not None:
            try:
                placement = cache.at(stamp_ns)
            except ExtrapolationException as error:
                gap = error
                break
            if placement is None:
                gap = ExtrapolationException(f"No data is in the buffer for frame [{frame}]")
                break
            top_from_source = compose(placement[1:], top_from_source)
            frame = placement.parent
            if frame == target:
                return (*top_from_source, stamp_ns)
            depth += 1
            self._check_depth(depth)
        top = frame

        # From the target up, to the same frame.
        top_from_target = NO_MOTION
        frame, depth = target, 0
        while frame != top and (cache := frames[frame]) is not None:
            try:
                placement = cache.at(stamp_ns)
                if placement is None:
                    raise ExtrapolationException(f"No data is in the buffer for frame [{frame}]")
            except ExtrapolationException as error:
                raise _along(error, target, source) from None
            top_from_target = compose(placement[1:], top_from_target)
            frame = placement.parent
            if frame == source:
                return (*invert(top_from_target), stamp_ns)
            depth += 1
            self._check_depth(depth)
        if frame != top:
            raise _disconnected(target, source) if gap is None else _along(gap, target, source)
        return (*compose(invert(top_from_target), top_from_source), stamp_ns)

    def _latest_common_ns(self, target: str, source: str) -> int:
        """The newest time at which all frames between two have data, 0 when they are all static; the caller holds the lock."""
        frames = self._frames
        never = 1 << 63
        # parent -> the newest common time of the chain from the source up to it
        newest_below: dict[str, int] = {}
        common_ns = never
        frame = source
        while (cache := frames[frame]) is not None:
            stamp_ns, parent = cache.latest()
            if parent is None:
                break
            common_ns = min(stamp_ns or never, common_ns)
            if parent == target:
                return common_ns % never
            if parent in newest_below:
                self._check_depth(MAX_GRAPH_DEPTH + 1)
            newest_below[parent] = common_ns
            frame = parent

        common_ns = never
        frame, depth = target, 0
        while (cache := frames[frame]) is not None:
            stamp_ns, parent = cache.latest()
            if parent is None:
                break
            common_ns = min(stamp_ns or never, common_ns)
            if parent == source:
                return common_ns % never
            if parent in newest_below:
                return min(common_ns, newest_below[parent]) % never
            frame = parent
            depth += 1
            self._check_depth(depth)
        raise _disconnected(target, source)

    def _newest_ns(self, frame: str) -> int:
        cache = self._frames.get(frame)
        return 0 if cache is None else cache.latest()[0]

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_GRAPH_DEPTH:
            raise LookupException(f"The tf tree is invalid because it contains a loop.\n{self._describe()}\n")

    def _describe(self) -> str:
        return "".join(
            f"Frame {frame} exists with parent {cache.latest()[1] or 'NO_PARENT'}.\n"
            for frame, cache in self._frames.items()
            if cache is not None
        )


def time_ns(time: Any) -> int:
    """Nanoseconds of an rclpy Time or a builtin_interfaces Time message."""
    if hasattr(time, "nanosec"):
        return int(time.sec) * 1_000_000_000 + int(time.nanosec)
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    raise TypeError("time must have sec and nanosec, or nanoseconds.")


# A Duration has the same two forms.
duration_ns = time_ns


def _message(target: str, source: str, found: Found) -> TransformStamped:
    (x, y, z), (qx, qy, qz, qw), stamp_ns = found
    message = TransformStamped()
    header, t, q = message.header, message.transform.translation, message.transform.rotation
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    header.frame_id, message.child_frame_id = target, source
    t.x, t.y, t.z = x, y, z
    q.x, q.y, q.z, q.w = qx, qy, qz, qw
    return message


def _along(error: ExtrapolationException, target: str, source: str) -> ExtrapolationException:
    return ExtrapolationException(f"{error}, when looking up transform from frame [{source}] to frame [{target}]")


def _disconnected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not part of the same tree. "
        "Tf has two or more unconnected trees."
    )


def _log_invalid(parent: str, child: str, translation: Vector, rotation: Quaternion, authority: str) -> None:
    logger = get_logger("tf2_buffer")
    if parent == child and child:
        logger.error(f'TF_SELF_TRANSFORM: Ignoring transform from authority "{authority}" with frame_id and child_frame_id "{child}"')
    if not child:
        logger.error(f'TF_NO_CHILD_FRAME_ID: Ignoring transform from authority "{authority}" because child_frame_id not set')
    if not parent:
        logger.error(
            f'TF_NO_FRAME_ID: Ignoring transform with child_frame_id "{child}" from authority "{authority}" because frame_id not set'
        )
    if any(math.isnan(value) for value in (*translation, *rotation)):
        logger.error(
            f'TF_NAN_INPUT: Ignoring transform for child_frame_id "{child}" from authority "{authority}": {translation} {rotation}'
        )
    elif not 0.0 < sum(value * value for value in rotation) < math.inf:
        logger.error(
            f'TF_DENORMALIZED_QUATERNION: Ignoring transform for child_frame_id "{child}" from authority "{authority}" '
            f"because of an invalid quaternion in the transform {rotation}"
        )
