"""What a question was answered from, kept as it arrived: the messages of the frame, their calibrations, the transforms at its stamp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roboref_node.geometry.transform import Transform
from roboref_node.rgbd import RgbdPair

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo


@dataclass
class Evidence:
    """Grows while a question is answered, so that a refusal keeps what was there before it.

    Args:
        pair: Colour and depth, None before there is a frame.
        color_info: Calibration of the colour camera.
        depth_info: Calibration of the depth camera.
        transforms: ``named_frame_from_optical`` at the stamp of the image.
        color_from_depth: Extrinsics of a depth camera of its own.
    """

    pair: RgbdPair | None = None
    color_info: CameraInfo | None = None
    depth_info: CameraInfo | None = None
    transforms: dict[str, Transform] = field(default_factory=dict)
    color_from_depth: Transform | None = None
