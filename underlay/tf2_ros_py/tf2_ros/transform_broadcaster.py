"""Sends transforms of moving frames."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage


class TransformBroadcaster:
    """Publishes on ``/tf``.

    Args:
        node: The node that publishes.
        qos: A profile or a depth (default: reliable, depth 100).
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100) if qos is None else qos)

    # The genuine API's name.
    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Sends one transform, or several in one message."""
        self.pub_tf.publish(TFMessage(transforms=transforms_of(transform)))


def transforms_of(transform: TransformStamped | Iterable[TransformStamped]) -> list[TransformStamped]:
    """One or several transforms as a list."""
    return [transform] if isinstance(transform, TransformStamped) else list(transform)
