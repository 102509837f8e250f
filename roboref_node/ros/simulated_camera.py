"""What the simulated worlds publish like a real robot: the clock, transforms, camera infos, depth and colour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from roboref_node.geometry.camera import CameraModel
from roboref_node.rgbd.encoding import in_millimetres
from roboref_node.ros import qos
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.messages import header
from roboref_node.ros.transforms import message_from_transform

if TYPE_CHECKING:
    from rclpy.node import Node

    from roboref_node.sim.frames import FrameTransform

START_NS = 10_000_000_000
"""Time of the first frame is one period later. Not 0, which means "no time yet" in ROS."""


class SimulatedCamera:
    """Publishes rgb8 colour, registered 16UC1 depth, both camera infos, /tf, /tf_static and /clock, all from one thread.

    Args:
        node: Owner of the publishers.
        frame_id: Optical frame of both images.
    """

    def __init__(self, node: Node, frame_id: str) -> None:
        self._frame_id = frame_id
        camera_qos = qos.images(reliable=True)  # a reliable publisher serves best-effort subscribers too
        self._color, self._depth = node.create_publisher(Image, COLOR, camera_qos), node.create_publisher(Image, DEPTH, camera_qos)
        self._infos = [node.create_publisher(CameraInfo, name, camera_qos) for name in (COLOR_INFO, DEPTH_INFO)]
        self._clock = node.create_publisher(Clock, "/clock", qos.ANSWERS)
        self._dynamic, self._fixed = TransformBroadcaster(node), StaticTransformBroadcaster(node)

    def fix(self, frames: Iterable[FrameTransform]) -> None:
        """Publish the static ones among `frames`, which stay."""
        self._fixed.sendTransform([_message(f, START_NS) for f in frames if f.is_static])

    def move(self, frames: Iterable[FrameTransform], stamp_ns: int) -> None:
        """Publish the time, and the moving ones among `frames`: before the images, so that whoever gets those can place them."""
        tick = Clock()
        tick.clock = header("", stamp_ns).stamp
        self._clock.publish(tick)
        self._dynamic.sendTransform([_message(f, stamp_ns) for f in frames if not f.is_static])

    def show(self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], camera: CameraModel, stamp_ns: int) -> None:
        """Publish one look.

        Args:
            rgb: (H, W, 3).
            depth_m: Metres along the optical axis, registered to `rgb`, (H, W).
            camera: Of both.
            stamp_ns: Of both.
        """
        for info in self._infos:
            info.publish(info_from_camera(camera, stamp_ns=stamp_ns, frame_id=self._frame_id))
        self._depth.publish(depth_message(in_millimetres(depth_m), stamp_ns=stamp_ns, frame_id=self._frame_id))
        self._color.publish(color_message(rgb, stamp_ns=stamp_ns, frame_id=self._frame_id))


def _message(frame: FrameTransform, stamp_ns: int) -> object:
    return message_from_transform(frame.parent_from_child, parent=frame.parent, child=frame.child, stamp_ns=stamp_ns)
