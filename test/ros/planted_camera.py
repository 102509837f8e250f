"""A small camera over DDS with one thing wrong: what it publishes, how, and what it says of itself can each be planted."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.transforms import message_from_transform

WIDTH, HEIGHT = 160, 120
CAMERA = CameraModel(150.0, 150.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
OPTICAL = "planted_optical_frame"
BASE_FROM_OPTICAL = Transform.from_rotation(np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]]), [0.5, 0.1, 0.8])


def scene():
    """Two boxes on a table, seen from above: colour, and depth in millimetres."""
    rgb = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    depth_mm = np.full((HEIGHT, WIDTH), 800, np.uint16)
    for rows, columns, color, height_mm in (
        (slice(30, 62), slice(40, 70), (210, 30, 30), 60),
        (slice(55, 95), slice(95, 125), (30, 60, 200), 90),
    ):
        rgb[rows, columns] = color
        depth_mm[rows, columns] -= height_mm
    return rgb, depth_mm


@dataclass
class Plan:
    """What the camera does; the defaults are healthy.

    `edit` gets the dictionary of messages {color, color_info, depth, depth_info} before each is published and may change or remove them.
    """

    rate_hz: float = 30.0
    edit: object = lambda messages: None
    depth_type: object = Image
    reliable: bool = True
    pose: object = BASE_FROM_OPTICAL
    parents: tuple = (("base_link", OPTICAL),)
    tf_stamp_offset_ns: int | None = None
    static_durability: object = DurabilityPolicy.TRANSIENT_LOCAL
    stamp_ns: object = time.time_ns
    clocks: tuple = ()
    publishers: int = 1
    transforms: list = field(default_factory=list)


class PlantedCamera:
    """Publishes a `Plan` in a domain of its own until `close`."""

    def __init__(self, plan, domain):
        self.plan = plan
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self._nodes = [
            Node(f"planted_{i}", context=self._context, enable_rosout=False) for i in range(max(1, plan.publishers, len(plan.clocks)))
        ]
        node = self._nodes[0]
        reliability = ReliabilityPolicy.RELIABLE if plan.reliable else ReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(depth=5, reliability=reliability)
        kinds = {
            "color": (COLOR, Image),
            "color_info": (COLOR_INFO, CameraInfo),
            "depth": (DEPTH, plan.depth_type),
            "depth_info": (DEPTH_INFO, CameraInfo),
        }
        self._publishers = {key: node.create_publisher(kind, name, profile) for key, (name, kind) in kinds.items()}
        self._more = [other.create_publisher(Image, COLOR, profile) for other in self._nodes[1 : plan.publishers]]
        self._clocks = [(self._nodes[i].create_publisher(Clock, "/clock", 10), offset) for i, offset in enumerate(plan.clocks)]
        static = QoSProfile(depth=10, durability=plan.static_durability)
        self._static = node.create_publisher(TFMessage, "/tf_static", static)
        self._tf = node.create_publisher(TFMessage, "/tf", 10)
        self._static.publish(TFMessage(transforms=self._transforms(0) if plan.tf_stamp_offset_ns is None else []))
        self._stop = threading.Event()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _transforms(self, stamp_ns):
        return [
            message_from_transform(self.plan.pose, parent=parent, child=child, stamp_ns=stamp_ns) for parent, child in self.plan.parents
        ]

    def _run(self):
        rgb, depth_mm = scene()
        while not self._stop.wait(1 / self.plan.rate_hz):
            stamp_ns = self.plan.stamp_ns()
            info = info_from_camera(CAMERA, stamp_ns=stamp_ns, frame_id=OPTICAL)
            messages = {
                "color": color_message(rgb, stamp_ns=stamp_ns, frame_id=OPTICAL), "color_info": info,
                "depth": depth_message(depth_mm, stamp_ns=stamp_ns, frame_id=OPTICAL),
                "depth_info": info_from_camera(CAMERA, stamp_ns=stamp_ns, frame_id=OPTICAL),
            }  # fmt: skip
            if self.plan.depth_type is not Image:
                messages["depth"] = PointCloud2()
            self.plan.edit(messages)
            if self.plan.tf_stamp_offset_ns is not None:
                self._tf.publish(TFMessage(transforms=self._transforms(stamp_ns + self.plan.tf_stamp_offset_ns)))
            for publisher, offset_ns in self._clocks:
                clock = Clock()
                clock.clock.sec, clock.clock.nanosec = divmod(stamp_ns + offset_ns, 10**9)
                publisher.publish(clock)
            for key, message in messages.items():
                self._publishers[key].publish(message)
            for publisher in self._more:
                publisher.publish(messages["color"])

    def close(self):
        self._stop.set()
        self._thread.join(2.0)
        self._executor.shutdown(timeout_sec=1.0)
        for node in self._nodes:
            node.destroy_node()
        self._context.try_shutdown()
