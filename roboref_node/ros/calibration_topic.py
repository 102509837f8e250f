"""The calibration of a camera, taken from the middleware when a question asks for it."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from roboref_node.ros.qos import explain_silence


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

    Args:
        node: Carries the subscription; never woken by it.
        topic: Resolved name.
        qos: Profile of the subscription.
    """

    def __init__(self, node: Node, topic: str, qos: QoSProfile) -> None:
        self._node, self._topic, self._qos = node, topic, qos
        self._subscription = node.create_subscription(CameraInfo, topic, lambda _: None, qos, callback_group=_TakenOnDemand())
        self._last: CameraInfo | None = None
        self._lock = threading.Lock()

    def newest(self) -> CameraInfo | None:
        """The newest message, None before the first."""
        handle = self._subscription.handle
        with self._lock, handle:
            while (taken := handle.take_message(CameraInfo, False)) is not None:
                self._last = taken[0]
            return self._last

    def explain(self) -> str:
        """One clause on why there is none."""
        return explain_silence(self._node, self._topic, self._qos)
