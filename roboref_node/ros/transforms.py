"""Transforms at the stamp of an image: waited for without blocking an executor, never the latest one instead."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from rclpy.time import Time
from tf2_ros import TransformException

from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.ros.transform_buffer import TransformBuffer

_POLL_S = 0.02


def transform_from_message(message: TransformStamped) -> Transform:
    """``header.frame_id`` from ``child_frame_id``."""
    q, t = message.transform.rotation, message.transform.translation
    return Transform(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))


def message_from_transform(parent_from_child: Transform, *, parent: str, child: str, stamp_ns: int) -> TransformStamped:
    """The message that TF broadcasters take."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(int(stamp_ns), 1_000_000_000)
    q, t = message.transform.rotation, message.transform.translation
    q.x, q.y, q.z, q.w = (float(x) for x in parent_from_child.quaternion_xyzw)
    t.x, t.y, t.z = (float(x) for x in parent_from_child.translation_m)
    return message


def pose_from_transform(frame_from_tool: Transform) -> Pose:
    """Position and orientation of the tool in the frame."""
    pose = Pose()
    q, p = pose.orientation, pose.position
    q.x, q.y, q.z, q.w = (float(x) for x in frame_from_tool.quaternion_xyzw)
    p.x, p.y, p.z = (float(x) for x in frame_from_tool.translation_m)
    return pose


def transform_from_pose(pose: Pose) -> Transform:
    """The inverse of `pose_from_transform`.

    Raises:
        ValueError: A number is not finite, or the quaternion is no rotation.
    """
    q, p = pose.orientation, pose.position
    return Transform(np.array([q.x, q.y, q.z, q.w]), np.array([p.x, p.y, p.z]))


def pose_stamped(frame_from_tool: Transform, *, frame_id: str, stamp_ns: int) -> PoseStamped:
    """`pose_from_transform` with the header of an image."""
    message = PoseStamped(pose=pose_from_transform(frame_from_tool))
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return message


class TransformSource:
    """Lookups in a tf2 buffer that another thread fills.

    Args:
        buffer: The buffer; created with a node, so that a jump of simulated time clears it.
        timeout_s: How long `lookup` waits, in wall-clock seconds: simulated time may stand still.
        explain: A clause on why transforms may not arrive at all, "" when nothing is known.
    """

    def __init__(self, buffer: TransformBuffer, timeout_s: float, explain: Callable[[], str] = lambda: "") -> None:
        self._buffer = buffer
        self.timeout_s = timeout_s
        self._explain = explain

    def lookup(self, target: str, source: str, stamp_ns: int, *, canceled: Callable[[], bool] = lambda: False) -> Transform:
        """``target_from_source`` at `stamp_ns`, interpolated.

        Blocks the calling thread (a worker, never an executor's) until the transform is there or the timeout has passed.

        Raises:
            Refused: TF_UNAVAILABLE when the frames are not connected, or by two ways; TF_STALE when they are, but not at this time;
                CANCELED.
        """
        self._check_tree(target, source)
        if stamp_ns < 0:
            sentence = f"the stamp of the image is {stamp_ns / 1e9:.3f} s, and TF knows no time before 0: set the camera driver's stamps"
            raise Refused(Status.TF_STALE, sentence, stamp_ns=stamp_ns)
        stamp = Time(nanoseconds=stamp_ns)
        arrived = threading.Event()
        future = self._buffer.wait_for_transform_async(target, source, stamp)
        future.add_done_callback(lambda _: arrived.set())
        deadline = time.monotonic() + self.timeout_s
        try:
            while not arrived.wait(min(_POLL_S, max(0.0, deadline - time.monotonic()))):
                if canceled():
                    raise Refused(Status.CANCELED, f"canceled while waiting for the transform from {source} to {target}")
                # The second look closes a gap: a transform that arrives between the buffer's check and its registration is not announced.
                settled = self._is_too_old(target, source, stamp_ns) or self._buffer.can_transform(target, source, stamp)
                if settled or time.monotonic() >= deadline:
                    break
            found = self._buffer.lookup_transform(target, source, stamp)
            self._check_finite(found, target, source)
            return transform_from_message(found)
        except TransformException as error:
            raise self._refusal(target, source, stamp_ns, error) from error
        finally:
            if not future.done():
                future.cancel()

    def lag_s(self, target: str, source: str, stamp_ns: int) -> float | None:
        """How much older than `stamp_ns` the newest transform is; None when all of the chain is static. Does not wait.

        Raises:
            Refused: TF_UNAVAILABLE when the frames are not connected, or by two ways.
        """
        self._check_tree(target, source)
        try:
            latest = self._buffer.lookup_transform(target, source, Time())
        except TransformException as error:
            sentence = f"no transform from {source} to {target}: {error}{self._hint()}"
            raise Refused(Status.TF_UNAVAILABLE, sentence, target=target, source=source) from error
        self._check_finite(latest, target, source)
        latest_ns = int(latest.header.stamp.sec) * 1_000_000_000 + int(latest.header.stamp.nanosec)
        return None if latest_ns == 0 else (stamp_ns - latest_ns) / 1e9

    def _check_tree(self, target: str, source: str) -> None:
        self._buffer.restore_static()
        contradiction = self._buffer.watch.find_contradiction(target, source)
        if contradiction:
            sentence = f"the transform from {source} to {target} is not certain: {contradiction}"
            raise Refused(Status.TF_UNAVAILABLE, sentence, target=target, source=source)

    @staticmethod
    def _check_finite(found: TransformStamped, target: str, source: str) -> None:
        """tf2 itself refuses NaN, but lets infinite numbers pass."""
        t, q = found.transform.translation, found.transform.rotation
        numbers = (t.x, t.y, t.z, q.x, q.y, q.z, q.w)
        if not all(map(math.isfinite, numbers)):
            sentence = (
                f"the transform from {source} to {target} is not finite: position ({t.x:g}, {t.y:g}, {t.z:g}) m; a broadcaster is wrong"
            )
            raise Refused(Status.TF_UNAVAILABLE, sentence, target=target, source=source)

    def _hint(self) -> str:
        reason = self._explain()
        return f"; {reason}" if reason else ""

    def _latest_ns(self, target: str, source: str) -> int | None:
        """Stamp of the newest common transform; 0 when all of the chain is static, None when there is no chain."""
        try:
            latest = self._buffer.lookup_transform(target, source, Time())
        except TransformException:
            return None
        return int(latest.header.stamp.sec) * 1_000_000_000 + int(latest.header.stamp.nanosec)

    def _is_too_old(self, target: str, source: str, stamp_ns: int) -> bool:
        """True when the buffer starts after `stamp_ns`: no waiting brings that transform."""
        latest_ns = self._latest_ns(target, source)
        return latest_ns is not None and latest_ns >= stamp_ns

    def _refusal(self, target: str, source: str, stamp_ns: int, error: Exception) -> Refused:
        latest_ns = self._latest_ns(target, source)
        if latest_ns is None:
            return Refused(
                Status.TF_UNAVAILABLE,
                f"no transform from {source} to {target} after {self.timeout_s:g} s (tf_timeout_s): {error}{self._hint()}",
                target=target,
                source=source,
            )
        gap_s = (stamp_ns - latest_ns) / 1e9
        where = (
            f"the newest transform is {gap_s:.3f} s older than the image"
            if gap_s > 0
            else f"the image is {-gap_s:.3f} s too old for the buffer"
        )
        return Refused(
            Status.TF_STALE,
            f"no transform from {source} to {target} at the stamp of the image: {where} "
            f"(waited up to tf_timeout_s = {self.timeout_s:g} s, tf_cache_s is kept); are camera and robot clocks the same?",
            target=target,
            source=source,
            gap_s=gap_s,
        )
