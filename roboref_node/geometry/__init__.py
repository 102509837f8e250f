"""Cameras, depth, planes and the lift from a pixel to a surface point."""

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.camera_file import load_camera, save_camera
from roboref_node.geometry.depth import DepthNoise, check_depth_plausible, decode_compressed_depth, decode_depth, temporal_median
from roboref_node.geometry.planes import Plane, fit_plane, fit_plane_ransac
from roboref_node.geometry.transform import Transform

__all__ = [
    "CameraModel",
    "DepthNoise",
    "DistortionModel",
    "Plane",
    "Transform",
    "check_depth_plausible",
    "decode_compressed_depth",
    "decode_depth",
    "fit_plane",
    "fit_plane_ransac",
    "load_camera",
    "save_camera",
    "temporal_median",
]
