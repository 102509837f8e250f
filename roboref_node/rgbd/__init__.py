"""Colour, depth and calibration messages become a `Frame`; works on messages of rclpy and of a bag alike."""

from roboref_node.rgbd.calibration import camera_from_info, check_size
from roboref_node.rgbd.calibration_history import CalibrationHistory
from roboref_node.rgbd.decoding import ImageMessage, decode_color, decode_depth_image, frame_name, stamp_ns
from roboref_node.rgbd.pair import DepthTrust, FindExtrinsics, RgbdPair, build_frame
from roboref_node.rgbd.settings import DepthSettings

__all__ = [
    "CalibrationHistory",
    "DepthSettings",
    "DepthTrust",
    "FindExtrinsics",
    "ImageMessage",
    "RgbdPair",
    "build_frame",
    "camera_from_info",
    "check_size",
    "decode_color",
    "decode_depth_image",
    "frame_name",
    "stamp_ns",
]
