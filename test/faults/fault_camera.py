"""A small camera over a table whose every message can be spoilt on its way out: images, calibrations and TF over DDS."""

from __future__ import annotations

import threading
import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.transforms import message_from_transform

WIDTH, HEIGHT, FOCAL_PX, TABLE_M, BOX_TOP_M = 160, 120, 150.0, 0.80, 0.75
CAMERA = CameraModel(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
BOX_ROWS, BOX_COLUMNS = slice(50, 60), slice(76, 86)
BOX_PX = (80.5, 54.5)
BASE, LINK, OPTICAL = "base_link", "camera_link", "camera_color_optical_frame"
BASE_FROM_OPTICAL = Transform.from_rotation(np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]]), [0.5, 0.1, TABLE_M])
BOX_M = BASE_FROM_OPTICAL.apply(CAMERA.unproject(np.array(BOX_PX), np.array(BOX_TOP_M)))
BOX_ANSWER = f"[({(BOX_PX[0] + 0.5) / WIDTH:.4f}, {(BOX_PX[1] + 0.5) / HEIGHT:.4f})]"
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def pictures(scale=1):
    """Colour (RGB) and depth in millimetres of a red box of 5 cm on a table, `scale` times the usual size."""
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rgb[BOX_ROWS, BOX_COLUMNS] = (210, 30, 30)
    depth_mm = np.full((HEIGHT, WIDTH), round(1000 * TABLE_M), np.uint16)
    depth_mm[BOX_ROWS, BOX_COLUMNS] = round(1000 * BOX_TOP_M)
    return tuple(np.repeat(np.repeat(image, scale, 0), scale, 1) for image in (rgb, depth_mm))


def calibration(scale=1):
    """The camera of `pictures(scale)`."""
    width, height = scale * WIDTH, scale * HEIGHT
    return CameraModel(scale * FOCAL_PX, scale * FOCAL_PX, (width - 1) / 2, (height - 1) / 2, width, height)


class FaultyCamera:
    """Publishes from construction to `close`; TF base_link > camera_link moves (each time, to the same place), the rest is static.

    Args:
        graph: The test's own node and context.
        namespace: Put before the camera's topics; TF topics get it too.
        rate_hz: Pairs per second.

    `spoil[name]` takes a message of "color", "depth", "color_info", "depth_info" or "tf" and returns what is published instead,
    None for nothing. `mend` undoes all faults.
    """

    def __init__(self, graph, namespace="", rate_hz=10.0):
        self._node = Node(f"faulty_camera{namespace.replace('/', '_')}", context=graph.context)
        self._namespace = namespace
        self._names = {"color": COLOR, "depth": DEPTH, "color_info": COLOR_INFO, "depth_info": DEPTH_INFO}
        self._tf_names = {"tf": f"{namespace}/tf", "tf_static": f"{namespace}/tf_static"}
        self._publishers = {}
        self._lock = threading.RLock()
        self._rate_hz = rate_hz
        self.set_defaults()
        self._altered, self._extra = False, []
        self.open()
        self._static = self._node.create_publisher(TFMessage, self._tf_names["tf_static"], LATCHED)
        self.publish_static(Transform.identity(), LINK, OPTICAL)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def set_defaults(self):
        """The healthy camera."""
        self.running, self.spoil, self.period_s, self.skew_ns, self.stamp_offset_ns = True, {}, 1.0 / self._rate_hz, 0, 0
        self.scale, self.frame_id, self.depth_frame_id, self.tf_offset_ns = 1, OPTICAL, OPTICAL, 0
        self.clock_ns = time.time_ns

    def mend(self):
        """Undo all faults."""
        with self._lock:
            self.set_defaults()
            while self._extra:
                self._node.destroy_publisher(self._extra.pop())
            if self._altered:
                self.open()

    def publish_from_elsewhere(self, kind, name, message, qos):
        """From a publisher of its own, which exists until `mend`."""
        publisher = self._node.create_publisher(kind, name, qos)
        self._extra.append(publisher)
        publisher.publish(message)

    def publish(self, name, message):
        """On the topic of that name, now."""
        self._publishers[name].publish(message)

    def topic(self, name):
        """Resolved name of "color", "depth" and so on."""
        return f"{self._namespace}/{self._names[name]}" if name in self._names else self._tf_names[name]

    def open(self, qos=5, compressed=()):
        """Create the publishers of images and calibrations, those named in `compressed` with the compressed transports' types."""
        with self._lock:
            self.shut()
            self._altered = bool(compressed) or qos != 5
            kinds = {"color": Image, "depth": Image, "color_info": CameraInfo, "depth_info": CameraInfo}
            for name, kind in kinds.items():
                suffix = {"color": "/compressed", "depth": "/compressedDepth"}[name] if name in compressed else ""
                kind = CompressedImage if suffix else kind
                self._publishers[name] = self._node.create_publisher(kind, self.topic(name) + suffix, qos)
            if "tf" not in self._publishers:
                self._publishers["tf"] = self._node.create_publisher(TFMessage, self._tf_names["tf"], 10)

    def shut(self, *names):
        """Destroy those publishers, all of the camera's without names."""
        with self._lock:
            self._altered = True
            for name in names or ("color", "depth", "color_info", "depth_info"):
                publisher = self._publishers.pop(name, None)
                if publisher is not None:
                    self._node.destroy_publisher(publisher)

    def publish_static(self, parent_from_child, parent, child):
        """One latched transform."""
        self._static.publish(TFMessage(transforms=[message_from_transform(parent_from_child, parent=parent, child=child, stamp_ns=0)]))

    def publish_transform(self, parent_from_child, parent, child, stamp_ns):
        """One transform on /tf."""
        message = message_from_transform(parent_from_child, parent=parent, child=child, stamp_ns=stamp_ns)
        self._publishers["tf"].publish(TFMessage(transforms=[message]))

    def publish_pair(self, stamp_ns, only=("tf", "color_info", "depth_info", "depth", "color")):
        """One look, spoilt as `spoil` says."""
        rgb, depth_mm = pictures(self.scale)
        camera = calibration(self.scale)
        pose = message_from_transform(BASE_FROM_OPTICAL, parent=BASE, child=LINK, stamp_ns=stamp_ns + self.tf_offset_ns)
        messages = {
            "tf": TFMessage(transforms=[pose]),
            "color_info": info_from_camera(camera, stamp_ns=stamp_ns, frame_id=self.frame_id),
            "depth_info": info_from_camera(camera, stamp_ns=stamp_ns + self.skew_ns, frame_id=self.depth_frame_id),
            "depth": depth_message(depth_mm, stamp_ns=stamp_ns + self.skew_ns, frame_id=self.depth_frame_id),
            "color": color_message(rgb, stamp_ns=stamp_ns, frame_id=self.frame_id),
        }
        for name in only:
            message = self.spoil.get(name, lambda message: message)(messages[name])
            if message is not None and name in self._publishers:
                self._publishers[name].publish(message)

    def _run(self):
        while not self._stop.wait(self.period_s):
            with self._lock:
                self.publish_pair(self.clock_ns() + self.stamp_offset_ns) if self.running else None

    def close(self):
        """End the thread and the node."""
        self._stop.set()
        self._thread.join(2.0)
        self._node.destroy_node()
