"""The two ends of `bench_ingest`: a camera, and the least that a subscriber can do. ``python -m ... camera|floor``."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from roboref_node.geometry.camera import CameraModel
from roboref_node.ros import qos
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.process import run

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30.0
FRAME = "camera_color_optical_frame"


class CameraNode(Node):
    """Publishes one random pair of images over and over, with fresh stamps."""

    def __init__(self) -> None:
        super().__init__("bench_camera")
        self.finished = threading.Event()
        self.exit_status = 0
        rng = np.random.default_rng(0)
        stamp_ns = time.time_ns()
        camera = CameraModel(600.0, 600.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
        rgb = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        depth_mm = rng.integers(500, 1500, (HEIGHT, WIDTH), dtype=np.uint16)
        self._messages: dict[str, Any] = {
            COLOR_INFO: info_from_camera(camera, stamp_ns=stamp_ns, frame_id=FRAME),
            DEPTH_INFO: info_from_camera(camera, stamp_ns=stamp_ns, frame_id=FRAME),
            DEPTH: depth_message(depth_mm, stamp_ns=stamp_ns, frame_id=FRAME),
            COLOR: color_message(rgb, stamp_ns=stamp_ns, frame_id=FRAME),
        }
        self._outlets = {
            name: self.create_publisher(type(message), name, qos.images(reliable=False)) for name, message in self._messages.items()
        }

    def start(self) -> None:
        """Begin to publish."""
        self.create_timer(1.0 / RATE_HZ, self._publish)

    def close(self) -> bool:
        """Nothing to stop."""
        return True

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for name, message in self._messages.items():
            message.header.stamp = stamp
            self._outlets[name].publish(message)


class FloorNode(Node):
    """Bare subscriptions to both images that keep the last message: what rclpy costs before anybody does anything."""

    def __init__(self) -> None:
        super().__init__("bench_floor")
        self.finished = threading.Event()
        self.exit_status = 0
        self.last: dict[str, Any] = {}
        self.count = 0
        for name in (COLOR, DEPTH):
            self.create_subscription(Image, name, partial(self._keep, name), qos.images(reliable=False))

    def start(self) -> None:
        """Nothing to start."""

    def close(self) -> bool:
        """Tell how much has arrived."""
        print(f"received {self.count} images")
        return True

    def _keep(self, name: str, message: Image) -> None:
        self.last[name] = message
        self.count += 1


def main() -> int:
    """Run one of the two."""
    return run(CameraNode if sys.argv[1] == "camera" else FloorNode, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
