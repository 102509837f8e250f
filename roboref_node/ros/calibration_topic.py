"""The calibration of a camera, taken from the middleware when a question asks for it."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo

from roboref_node.ros.qos import LATCHED, explain_silence

_LOOK_S = 0.1


class _TakenOnDemand(CallbackGroup):
    """Keeps a subscription out of every executor: the middleware holds its last message until `_take` asks for it.

    A calibration at 30 Hz would otherwise cost as many wake-ups of Python as the images.
    """

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class CalibrationTopic:
    """The last CameraInfo of one topic.

    A publisher that latches it, and tells it once, is heard by a second subscription. That one comes only when such a publisher is seen
    and nothing has arrived: every other publisher would warn of a subscriber whose QoS does not match.

    Args:
        node: Carries the subscriptions; never woken by them.
        topic: Resolved name.
        qos: Profile of the subscription.
    """

    def __init__(self, node: Node, topic: str, qos: QoSProfile) -> None:
        self._node, self._topic, self._qos = node, topic, qos
        self._subscriptions = [self._subscribe(qos)]
        self._last: CameraInfo | None = None
        self._lock = threading.Lock()
        self._looked_s = 0.0

    def _subscribe(self, qos: QoSProfile) -> Any:
        return self._node.create_subscription(CameraInfo, self._topic, lambda _: None, qos, callback_group=_TakenOnDemand())

    def newest(self) -> CameraInfo | None:
        """The newest message, None before the first."""
        with self._lock:
            for subscription in self._subscriptions:
                handle = subscription.handle
                with handle:
                    while (taken := handle.take_message(CameraInfo, False)) is not None:
                        self._last = taken[0]
            if self._last is None:
                self._look_for_latched()
            return self._last

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
