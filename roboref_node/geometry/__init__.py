"""Cameras, depth, planes and the lift from a pixel to a surface point."""

from roboref_node.geometry.box import OrientedBox
from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.camera_file import load_camera, save_camera
from roboref_node.geometry.depth import (
    DepthNoise,
    check_depth_plausible,
    decode_compressed_depth,
    decode_depth,
    steady_depth,
    temporal_median,
)
from roboref_node.geometry.free_air import FreeAirSettings, PointClass, PointKind, classify_point
from roboref_node.geometry.lift import LiftSettings, SurfacePoint, lift, lift_many
from roboref_node.geometry.planes import Plane, fit_plane, fit_plane_ransac
from roboref_node.geometry.segment import MaskSource, ObjectSegment, SegmentSettings, segment_object
from roboref_node.geometry.transform import Transform
from roboref_node.geometry.uncertainty import covariance_in_target

__all__ = [
    "CameraModel",
    "DepthNoise",
    "DistortionModel",
    "FreeAirSettings",
    "LiftSettings",
    "MaskSource",
    "ObjectSegment",
    "OrientedBox",
    "Plane",
    "PointClass",
    "PointKind",
    "SegmentSettings",
    "SurfacePoint",
    "Transform",
    "check_depth_plausible",
    "classify_point",
    "covariance_in_target",
    "decode_compressed_depth",
    "decode_depth",
    "fit_plane",
    "fit_plane_ransac",
    "lift",
    "lift_many",
    "load_camera",
    "save_camera",
    "segment_object",
    "steady_depth",
    "temporal_median",
]
