"""The calibration of a camera, taken from the middleware when a question asks for it."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from roboref_node.rgbd import CalibrationHistory
from roboref_node.rgbd.stamped_bytes import HEADER_STAMP_BYTES, header_stamp_ns
from roboref_node.ros.qos import LATCHED, explain_silence, images

JUMP_BACK_NS = 1_000_000_000
"""A stamp that is older than the newest one by more than this means that the camera or the bag started again."""

_LOOK_S = 0.1
_WAITING = 60
"""Messages that wait in the middleware: two seconds of them at 30 Hz, and `poll` takes them four times a second."""

_KEPT = 300
"""Different calibrations: ten seconds of a lens that zooms."""


class _TakenOnDemand(CallbackGroup):
    """Keeps a subscription out of every executor: the middleware holds its last messages until `_take` asks for them.

    A calibration at 30 Hz would otherwise cost as many wake-ups of Python as the images.
    """

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class CalibrationTopic:
    """The last CameraInfos of one topic, and which of them belongs to an image.

    A publisher that latches it, and tells it once, is heard by a second subscription. That one comes only when such a publisher is seen
    and nothing has arrived: every other publisher would warn of a subscriber whose QoS does not match.

    Args:
        node: Carries the subscriptions; never woken by them.
        topic: Resolved name.
        reliable: Ask for reliable delivery; excludes best-effort publishers.
        now_ns: Clock of the images: a message without a stamp counts from when it arrived.
    """

    def __init__(self, node: Node, topic: str, *, reliable: bool, now_ns: Callable[[], int]) -> None:
        self._node, self._topic, self._now_ns = node, topic, now_ns
        self._qos = images(reliable=reliable, depth=_WAITING)
        self._subscriptions = [self._subscribe(self._qos)]
        self._history = CalibrationHistory[CameraInfo](topic, keep=_KEPT)
        self._lock = threading.Lock()
        self._looked_s = 0.0

    def _subscribe(self, qos: QoSProfile) -> Any:
        return self._node.create_subscription(CameraInfo, self._topic, lambda _: None, qos, callback_group=_TakenOnDemand())

    def at(self, stamp_ns: int) -> CameraInfo | None:
        """The calibration of the image with this stamp, None before the first.

        Raises:
            Refused: As `CalibrationHistory.at`.
        """
        with self._lock:
            self._take()
            return self._history.at(stamp_ns)

    def poll(self) -> bool:
        """Take what waits in the middleware; True once there is a calibration."""
        with self._lock:
            self._take()
            return self._history.newest_ns is not None

    def _take(self) -> None:
        for subscription in self._subscriptions:
            handle = subscription.handle
            with handle:
                while (taken := handle.take_message(CameraInfo, True)) is not None:
                    self._note(bytes(taken[0]), int(taken[1]["received_timestamp"]))
        if self._history.newest_ns is None:
            self._look_for_latched()

    def _note(self, raw: bytes, received_ns: int) -> None:
        stamp_ns = header_stamp_ns(raw) or self._now_ns() - (time.time_ns() - received_ns)
        newest_ns = self._history.newest_ns
        if newest_ns is not None and stamp_ns < newest_ns - JUMP_BACK_NS:
            self._history.clear()
        self._history.note(stamp_ns, raw[HEADER_STAMP_BYTES:], lambda: deserialize_message(raw, CameraInfo))

    def _look_for_latched(self) -> None:
        now_s = time.monotonic()
        if len(self._subscriptions) > 1 or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if any(publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for publisher in publishers):
            self._subscriptions.append(self._subscribe(LATCHED))

    def explain(self) -> str:
        """One clause on why there is none."""
        return explain_silence(self._node, self._topic, self._qos)
