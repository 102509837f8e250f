"""Sends transforms that never change, also to those who join later."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from .transform_broadcaster import transforms_of


class StaticTransformBroadcaster:
    """Publishes on ``/tf_static``, latched. Each message holds every transform sent so far, because only the last one is latched.

    As in the genuine package the first transform of a child frame stays: sending another one for the same child changes nothing.

    Args:
        node: The node that publishes.
        qos: A profile or a depth (default: reliable, transient local, depth 1).
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self.net_message = TFMessage()
        self._child_frame_ids: set[str] = set()

    # The genuine API's name.
    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Adds one or several transforms and sends all of them."""
        for new in transforms_of(transform):
            if new.child_frame_id not in self._child_frame_ids:
                self._child_frame_ids.add(new.child_frame_id)
                self.net_message.transforms.append(new)
        self.pub_tf.publish(self.net_message)
