"""A camera 0.8 m above a table, looking straight down on one red box: images and TF over DDS, with faults on request."""

from __future__ import annotations

import threading
import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.ros.transforms import message_from_transform

WIDTH, HEIGHT, FOCAL_PX, TABLE_M, BOX_TOP_M = 320, 240, 300.0, 0.80, 0.75
CAMERA = CameraModel(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
BOX_ROWS, BOX_COLUMNS = slice(100, 120), slice(150, 175)
BOX_PX = (162.0, 109.5)
OPTICAL = "camera_color_optical_frame"
BASE_FROM_OPTICAL = Transform.from_rotation(np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]]), [0.5, 0.1, TABLE_M])
BOX_M = BASE_FROM_OPTICAL.apply(CAMERA.unproject(np.array(BOX_PX), np.array(BOX_TOP_M)))


def images():
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rgb[BOX_ROWS, BOX_COLUMNS] = (210, 30, 30)
    depth_mm = np.full((HEIGHT, WIDTH), round(1000 * TABLE_M), np.uint16)
    depth_mm[BOX_ROWS, BOX_COLUMNS] = round(1000 * BOX_TOP_M)
    return rgb, depth_mm


class SyntheticCamera:
    """Publishes at 15 Hz of system time from construction to `close`.

    Attributes `running`, `skew_ns` (depth later than colour), `frame_id`, `stamp_offset_ns` and `calibration` make faults.
    """

    def __init__(self, context):
        self.running, self.skew_ns, self.frame_id, self.stamp_offset_ns = True, 0, OPTICAL, 0
        self.calibration = CAMERA
        self.rgb, self.depth_mm = images()
        self._node = Node("synthetic_camera", context=context)
        kinds = {COLOR: Image, DEPTH: Image, COLOR_INFO: CameraInfo, DEPTH_INFO: CameraInfo}
        self._publishers = {name: self._node.create_publisher(kind, name, 5) for name, kind in kinds.items()}
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = self._node.create_publisher(TFMessage, "/tf_static", latched)
        self._tf = self._node.create_publisher(TFMessage, "/tf", 10)
        static = message_from_transform(BASE_FROM_OPTICAL, parent="base_link", child=OPTICAL, stamp_ns=0)
        self._static.publish(TFMessage(transforms=[static]))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def publish_transform(self, child, stamp_ns):
        """One dynamic transform of the camera pose at `stamp_ns`."""
        self._tf.publish(
            TFMessage(transforms=[message_from_transform(BASE_FROM_OPTICAL, parent="base_link", child=child, stamp_ns=stamp_ns)])
        )

    def _run(self):
        while not self._stop.wait(1 / 15):
            if self.running:
                self._publish(time.time_ns() + self.stamp_offset_ns)

    def _publish(self, stamp_ns):
        frame = self.frame_id
        infos = {COLOR_INFO: stamp_ns, DEPTH_INFO: stamp_ns + self.skew_ns}
        for name, stamp in infos.items():
            self._publishers[name].publish(info_from_camera(self.calibration, stamp_ns=stamp, frame_id=frame))
        self._publishers[COLOR].publish(color_message(self.rgb, stamp_ns=stamp_ns, frame_id=frame))
        self._publishers[DEPTH].publish(depth_message(self.depth_mm, stamp_ns=stamp_ns + self.skew_ns, frame_id=frame))

    def close(self):
        self._stop.set()
        self._thread.join(2.0)
        self._node.destroy_node()
