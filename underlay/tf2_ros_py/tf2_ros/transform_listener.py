"""Fills a buffer from the topics ``/tf`` and ``/tf_static``."""

from __future__ import annotations

import contextlib
import threading

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from .buffer import Buffer

_AUTHORITY = "default_authority"


class TransformListener:
    """Subscriptions that put every transform into a buffer.

    Args:
        buffer: The buffer to fill.
        node: The node that subscribes.
        spin_thread: Spin the node on an own thread. Stricter than the genuine package: it is a daemon, so it never keeps a process alive.
        qos: Profile or depth for ``/tf`` (default: reliable, depth 100).
        static_qos: Profile or depth for ``/tf_static`` (default: reliable, transient local, depth 100).
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        if qos is None:
            qos = QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST)
        if static_qos is None:
            static_qos = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST)
        self.buffer = buffer
        self.node = node
        # The node's default group would not deliver transforms while another callback of it waits for one.
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(TFMessage, "/tf", self.callback, qos, callback_group=self.group)
        self.tf_static_sub = node.create_subscription(TFMessage, "/tf_static", self.static_callback, static_qos, callback_group=self.group)
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            # The thread does not hold this object, or it would never be collected.
            self.dedicated_listener_thread = threading.Thread(target=_spin, args=(self.executor,), name="tf2_listener", daemon=True)
            self.dedicated_listener_thread.start()

    def __del__(self) -> None:
        # An attribute is missing when the constructor has raised.
        if hasattr(self, "dedicated_listener_thread"):
            # The context may be gone before this object, and the executor's handles with it.
            with contextlib.suppress(InvalidHandle):
                self.executor.shutdown()
            if self.dedicated_listener_thread is not threading.current_thread():
                self.dedicated_listener_thread.join()
        if hasattr(self, "tf_static_sub"):
            self.unregister()

    def unregister(self) -> None:
        """Ends both subscriptions."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data: TFMessage) -> None:
        """Takes a message of ``/tf``."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, _AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        """Takes a message of ``/tf_static``."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, _AUTHORITY)


def _spin(executor: SingleThreadedExecutor) -> None:
    # rclpy.shutdown in another thread ends the spinning.
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
