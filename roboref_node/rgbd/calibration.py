"""CameraInfo messages to camera models, and whether they belong to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roboref_node.geometry.camera import CameraModel
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo


def camera_from_info(info: CameraInfo, *, rectified: bool) -> CameraModel:
    """The pinhole model of the images that come with `info`.

    Args:
        info: Calibration, with binning and region of interest.
        rectified: True when the image topic carries rectified images (``image_rect``): then P counts and there is no distortion.

    Raises:
        Refused: BAD_REQUEST when the camera is not calibrated or the distortion model is unknown.
    """
    roi = info.roi
    return CameraModel.from_camera_info(
        width=int(info.width),
        height=int(info.height),
        K=[float(x) for x in info.k],
        D=[float(x) for x in info.d],
        distortion_model=info.distortion_model,
        P=[float(x) for x in info.p],
        R=[float(x) for x in info.r],
        binning_x=int(info.binning_x),
        binning_y=int(info.binning_y),
        roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height), bool(roi.do_rectify)),
        rectified=rectified,
    )


def check_size(camera: CameraModel, *, width: int, height: int, what: str) -> None:
    """Refuse an image that the calibration is not for.

    Raises:
        Refused: NO_CAMERA when the sizes differ.
    """
    if (camera.width, camera.height) != (width, height):
        raise Refused(
            Status.NO_CAMERA,
            f"the {what} camera info is for {camera.width}x{camera.height} images, the image has {width}x{height}; "
            f"publish the info that belongs to the image topic",
            info_size=[camera.width, camera.height],
            image_size=[width, height],
        )
