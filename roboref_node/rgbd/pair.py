"""A pair of colour and depth messages with their calibrations: turned into a `Frame` when a question asks, not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.depth import check_depth_plausible
from roboref_node.geometry.transform import Transform
from roboref_node.rgbd.calibration import camera_from_info, check_size
from roboref_node.rgbd.decoding import ImageMessage, decode_color, decode_depth_image, frame_name, stamp_ns
from roboref_node.rgbd.settings import DepthSettings
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

FindExtrinsics = Callable[[str, str, int], Transform]
"""``target_from_source`` of two frame names at a stamp in nanoseconds; raises Refused TF_UNAVAILABLE or TF_STALE."""

_SAME_PX = 1e-3
"""Intrinsics that differ by less belong to one virtual camera: they went through text or float32 on the way."""
_SAME_COEFFICIENT = 1e-6
"""The same for the coefficients of a lens: absolute, and relative for those beyond one that rational models have."""


@dataclass(frozen=True)
class DepthTrust:
    """What the user declares about the depth topic.

    Args:
        near_m: Nearest distance that the sensor reports.
        far_m: Farthest distance that the sensor reports.
        aligned: True when the depth image is registered to the colour image even though its frame_id may differ.
        rectified: True when colour and depth come from rectified topics.
    """

    near_m: float
    far_m: float
    aligned: bool
    rectified: bool

    @staticmethod
    def of(depth: DepthSettings, *, rectified: bool) -> DepthTrust:
        """The same from parameters."""
        return DepthTrust(depth.near_m, depth.far_m, depth.aligned, rectified)


@dataclass(frozen=True)
class RgbdPair:
    """Messages of one instant; nothing is decoded yet."""

    color: ImageMessage
    depth: ImageMessage

    @property
    def stamp_ns(self) -> int:
        """Stamp of the colour image, nanoseconds."""
        return stamp_ns(self.color)

    @property
    def skew_ns(self) -> int:
        """Stamp of depth minus stamp of colour."""
        return stamp_ns(self.depth) - self.stamp_ns

    @property
    def frame_id(self) -> str:
        """Optical frame of the colour image."""
        return frame_name(self.color)

    @property
    def depth_frame_id(self) -> str:
        """Optical frame of the depth image, "" when it names none."""
        return frame_name(self.depth)


def build_frame(
    pair: RgbdPair,
    color_info: CameraInfo,
    depth_info: CameraInfo | None,
    trust: DepthTrust,
    find_extrinsics: FindExtrinsics,
) -> Frame:
    """The core's view of a pair; colour and depth are decoded when the core first looks at them.

    Depth counts as registered when both images name the same frame, or the topic is declared aligned, *and* size, intrinsics
    and lens agree. Otherwise it has a camera of its own, placed by TF at the stamp of the depth image.

    Raises:
        Refused: NO_CAMERA when a calibration is missing or belongs to another image size, BAD_REQUEST when it is unusable,
            TF_UNAVAILABLE or TF_STALE when the extrinsics of an unregistered depth camera are.
    """
    if not pair.frame_id:
        raise Refused(Status.BAD_REQUEST, "the colour image has no frame_id: set the camera driver's frame name")
    camera = camera_from_info(color_info, rectified=trust.rectified)
    _check_raw_size(pair.color, camera, "colour")
    same_frame = pair.depth_frame_id in ("", pair.frame_id)
    if depth_info is None:
        if not (same_frame or trust.aligned):
            raise Refused(
                Status.NO_CAMERA,
                f"depth comes in {pair.depth_frame_id}, colour in {pair.frame_id}, and there is no depth camera info",
            )
        depth_camera = camera
    else:
        depth_camera = camera_from_info(depth_info, rectified=trust.rectified)
    if depth_info is None:
        _check_shared_size(pair.depth, camera)
    _check_raw_size(pair.depth, depth_camera, "depth")
    registered = (same_frame or trust.aligned) and _same_camera(camera, depth_camera)
    color_from_depth = None
    if not registered:
        depth_frame = pair.depth_frame_id
        color_from_depth = Transform.identity() if same_frame else find_extrinsics(pair.frame_id, depth_frame, stamp_ns(pair.depth))
    return Frame(
        rgb_source=lambda: _checked_color(pair.color, camera),
        depth_source=lambda: _checked_depth(pair.depth, depth_camera, trust),
        camera=camera,
        stamp_ns=pair.stamp_ns,
        frame_id=pair.frame_id,
        depth_camera=None if registered else depth_camera,
        color_from_depth=color_from_depth,
        skew_ns=pair.skew_ns,
    )


def _same_camera(a: CameraModel, b: CameraModel) -> bool:
    sizes = (a.width, a.height) == (b.width, b.height)
    intrinsics = np.allclose([a.fx, a.fy, a.cx, a.cy], [b.fx, b.fy, b.cx, b.cy], rtol=0.0, atol=_SAME_PX)
    return sizes and bool(intrinsics) and _same_lens(a, b)


def _same_lens(a: CameraModel, b: CameraModel) -> bool:
    """Whether both bend rays alike.

    Every model but the equidistant one is the longest of them with zeros at its end, a pinhole with nothing but zeros. The
    equidistant one bends rays with all its coefficients zero too.
    """
    if (a.distortion_model is DistortionModel.EQUIDISTANT) != (b.distortion_model is DistortionModel.EQUIDISTANT):
        return False
    length = max(len(a.coefficients), len(b.coefficients))
    one, other = (np.pad(camera.coefficients, (0, length - len(camera.coefficients))) for camera in (a, b))
    return bool(np.allclose(one, other, rtol=_SAME_COEFFICIENT, atol=_SAME_COEFFICIENT))


def _check_raw_size(message: ImageMessage, camera: CameraModel, what: str) -> None:
    if not hasattr(message, "format"):
        check_size(camera, width=int(message.width), height=int(message.height), what=what)


def _check_shared_size(depth: ImageMessage, camera: CameraModel) -> None:
    """Depth without a calibration of its own must have the colour image's size.

    Raises:
        Refused: NO_CAMERA when it has another.
    """
    if not hasattr(depth, "format") and (int(depth.width), int(depth.height)) != (camera.width, camera.height):
        raise Refused(
            Status.NO_CAMERA,
            f"the depth image has {depth.width}x{depth.height} pixels, colour has {camera.width}x{camera.height}, and there is no depth "
            "camera info: switch on aligned depth in the driver, or publish the depth camera's info",
        )


def _checked_color(message: ImageMessage, camera: CameraModel) -> NDArray[np.uint8]:
    rgb = decode_color(message)
    check_size(camera, width=rgb.shape[1], height=rgb.shape[0], what="colour")
    return rgb


def _checked_depth(message: ImageMessage, camera: CameraModel, trust: DepthTrust) -> NDArray[np.float32]:
    depth_m = decode_depth_image(message)
    check_size(camera, width=depth_m.shape[1], height=depth_m.shape[0], what="depth")
    encoding = message.format if hasattr(message, "format") else message.encoding
    check_depth_plausible(depth_m, trust.near_m, trust.far_m, encoding)
    return depth_m
