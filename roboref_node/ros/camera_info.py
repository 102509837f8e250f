"""Camera models to CameraInfo messages."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from roboref_node.geometry.camera import CameraModel, DistortionModel


def info_from_camera(camera: CameraModel, *, stamp_ns: int, frame_id: str) -> CameraInfo:
    """The calibration message of `camera`, for images that are published as they come from the lens."""
    info = CameraInfo(width=camera.width, height=camera.height)
    info.header.frame_id = frame_id
    info.header.stamp.sec, info.header.stamp.nanosec = divmod(int(stamp_ns), 1_000_000_000)
    none = camera.distortion_model is DistortionModel.NONE
    info.distortion_model = DistortionModel.PLUMB_BOB.value if none else camera.distortion_model.value
    info.d = [0.0] * 5 if none else [float(x) for x in camera.coefficients]
    info.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
