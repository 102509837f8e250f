"""RGB-D frames into a rosbag2 (mcap) that the refer node and ``roboref replay`` run on, without a ROS installation."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.transform import Transform
from roboref_node.replay.topics import BagTopics
from roboref_node.rgbd.encoding import in_millimetres
from roboref_node.status import Refused, Status

_FOREVER = QosTime(9223372036, 854775807)
LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER,
    False,
)  # fmt: skip
"""QoS of what is published once, such as ``/tf_static``."""


class RgbdBagWriter:
    """A bag with one camera and its transforms.

    Args:
        folder: Folder of the new bag.
        topics: Where things go.

    Raises:
        Refused: BAD_REQUEST when the folder exists or cannot be written.
    """

    def __init__(self, folder: Path, topics: BagTopics | None = None) -> None:
        self._topics = topics or BagTopics()
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._types: dict[str, Any] = dict(self._store.types)
        self._connections: dict[str, Connection] = {}
        if folder.exists():
            raise Refused(Status.BAD_REQUEST, f"{folder} exists already; remove it or choose another folder")
        try:
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise Refused(Status.BAD_REQUEST, f"the bag {folder} cannot be written: {error}") from None

    def add_transform(self, parent: str, child: str, stamp_ns: int, parent_from_child: Transform, *, static: bool) -> None:
        """Write one transform to ``/tf_static`` or ``/tf``."""
        x, y, z, w = (float(q) for q in parent_from_child.quaternion_xyzw)
        transform = self._types["geometry_msgs/msg/TransformStamped"](
            header=self._header(stamp_ns, parent),
            child_frame_id=child,
            transform=self._types["geometry_msgs/msg/Transform"](
                translation=self._types["geometry_msgs/msg/Vector3"](*(float(t) for t in parent_from_child.translation_m)),
                rotation=self._types["geometry_msgs/msg/Quaternion"](x, y, z, w),
            ),
        )
        message = self._types["tf2_msgs/msg/TFMessage"](transforms=[transform])
        self._write("/tf_static" if static else "/tf", "tf2_msgs/msg/TFMessage", stamp_ns, message, latched=static)

    def add_frame(self, frame: Frame) -> None:
        """Write colour, depth (16UC1, millimetres) and both calibrations at the frame's stamp; depth must be registered."""
        stamp_ns, name = frame.stamp_ns, frame.frame_id
        info = self._info(frame.camera, stamp_ns, name)
        self._write(self._topics.color, "sensor_msgs/msg/Image", stamp_ns, self._image(frame.rgb, "rgb8", stamp_ns, name))
        self._write(self._topics.color_info, "sensor_msgs/msg/CameraInfo", stamp_ns, info)
        depth = self._image(in_millimetres(frame.depth_m), "16UC1", stamp_ns, name)
        self._write(self._topics.depth, "sensor_msgs/msg/Image", stamp_ns, depth)
        self._write(self._topics.depth_info, "sensor_msgs/msg/CameraInfo", stamp_ns, info)

    def close(self) -> None:
        """Finish the bag."""
        self._writer.close()

    def __enter__(self) -> RgbdBagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write(self, topic: str, kind: str, stamp_ns: int, message: Any, *, latched: bool = False) -> None:
        if topic not in self._connections:
            profiles = [LATCHED] if latched else []
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store, offered_qos_profiles=profiles)
        self._writer.write(self._connections[topic], stamp_ns, self._store.serialize_cdr(message, kind))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _image(self, pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Any:
        pixels = np.ascontiguousarray(pixels)
        return self._types["sensor_msgs/msg/Image"](
            header=self._header(stamp_ns, frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=np.frombuffer(pixels.tobytes(), dtype=np.uint8),
        )

    def _info(self, camera: CameraModel, stamp_ns: int, frame_id: str) -> Any:
        none = camera.distortion_model is DistortionModel.NONE
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=self._header(stamp_ns, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model=(DistortionModel.PLUMB_BOB if none else camera.distortion_model).value,
            d=np.zeros(5) if none else np.asarray(camera.coefficients, dtype=np.float64),
            k=camera.matrix.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.column_stack([camera.matrix, np.zeros(3)]).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=self._types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )
