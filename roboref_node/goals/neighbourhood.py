"""The depth pixels around a point as a cloud, and the support that the point lies on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.lift import ray_map
from roboref_node.geometry.planes import Plane, fit_plane

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.geometry.segment import ObjectSegment

FloatArray = NDArray[np.float64]

MAX_POINTS = 20_000
FIT_RADII_M = (0.02, 0.04, 0.08)
FIT_BAND_M = 0.006


def cloud_around(frame: Frame, centre_m: FloatArray, radius_m: float) -> FloatArray:
    """Depth points of a frame near a point.

    Args:
        frame: Registered or unregistered; only the pixels in question are lifted.
        centre_m: Colour optical frame, shape (3,).
        radius_m: Points farther away than this along any axis are left out.

    Returns:
        Colour optical frame, shape (N, 3), at most about `MAX_POINTS`.
    """
    camera = frame.camera if frame.depth_camera is None else frame.depth_camera
    to_colour = frame.color_from_depth
    centre = centre_m if to_colour is None else to_colour.inverse().apply(centre_m)
    low, high = _window(camera, centre, radius_m)
    if np.any(low >= high):
        return np.empty((0, 3))
    stride = max(1, int(np.ceil(np.sqrt(float(np.prod(high - low)) / MAX_POINTS))))
    v, u = np.mgrid[low[1] : high[1] : stride, low[0] : high[0] : stride]
    depth = frame.depth_m[v, u].astype(np.float64)
    near = np.abs(depth - centre[2]) <= 1.8 * radius_m  # False for NaN.
    u, v, depth = u[near], v[near], depth[near]
    if camera.distortion_model is DistortionModel.NONE:
        points = np.stack([(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth], axis=-1)
    else:
        flat = ray_map(camera)[v, u].astype(np.float64)
        points = np.concatenate([flat * depth[:, None], depth[:, None]], axis=-1)
        points = points[np.all(np.isfinite(points), axis=-1)]
    points = points[np.all(np.abs(points - centre) <= 1.8 * radius_m, axis=-1)]
    return points if to_colour is None else to_colour.apply(points)


def surroundings(frame: Frame, segment: ObjectSegment, margin_m: float = 0.20) -> FloatArray:
    """Depth points of an object and of what stands around it, as obstacles for a grasp.

    Args:
        frame: The frame that `segment` was found in.
        segment: The object.
        margin_m: How far beyond the object's extent to look.

    Returns:
        Colour optical frame, shape (N, 3).
    """
    low, high = segment.cloud_m.min(axis=0), segment.cloud_m.max(axis=0)
    return cloud_around(frame, 0.5 * (low + high), margin_m + 0.5 * float(np.max(high - low)))


def _window(camera: CameraModel, centre_m: FloatArray, radius_m: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and past-the-last column and row of the pixels that can show a ball around a point."""
    size = np.array([camera.width, camera.height])
    pixel = camera.project(centre_m)
    if not np.all(np.isfinite(pixel)):
        return np.zeros(2, dtype=np.intp), np.zeros(2, dtype=np.intp)
    half = np.array([camera.fx, camera.fy]) * radius_m / max(centre_m[2] - radius_m, 0.25 * centre_m[2])
    low = np.clip(np.floor(pixel - half), 0, size).astype(np.intp)
    high = np.clip(np.ceil(pixel + half) + 1, 0, size).astype(np.intp)
    return low, high


def support_plane(cloud_m: FloatArray, position_m: FloatArray, normal: FloatArray) -> Plane:
    """The plane that a point lies on, fitted over growing discs as long as there are points on it.

    A normal from a few pixels is a degree or more off, which is centimetres at the border of a footprint.

    Args:
        cloud_m: Points around, shape (N, 3).
        position_m: The point, shape (3,).
        normal: First guess of the normal, shape (3,); the result points to the same side.
    """
    plane = Plane.through(position_m, normal)
    distance = np.linalg.norm(cloud_m - position_m, axis=1)
    for radius in FIT_RADII_M:
        near = cloud_m[(distance < radius) & (np.abs(plane.signed_distance(cloud_m)) < FIT_BAND_M)]
        if len(near) < 20:
            continue
        try:
            fitted, _ = fit_plane(near)
        except ValueError:  # all on one line: a larger disc may know more
            continue
        if fitted.normal @ plane.normal < 0.0:
            fitted = fitted.flipped()
        # A strip of points (a rim, an edge) fits any plane through it.
        if fitted.normal @ plane.normal > 0.97 and abs(float(fitted.signed_distance(position_m))) < FIT_BAND_M:
            plane = fitted
    return plane
