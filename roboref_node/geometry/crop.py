"""A rectangle of a depth image with its rays, thinned to a bounded number of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.lift import ray_map
from roboref_node.geometry.planes import Plane

FloatArray = NDArray[np.float64]
FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Crop:
    """A rectangle of the depth image, thinned by `stride`.

    Args:
        depth_m: Float32 (h, w).
        rays: x and y of the rays, float32 (h, w, 2).
        origin: Column and row of the first pixel in the image.
        stride: Image pixels per crop pixel.
    """

    depth_m: FloatImage
    rays: FloatImage
    origin: tuple[int, int]
    stride: int

    def points(self, mask: BoolImage) -> FloatArray:
        """Points of a mask, shape (N, 3)."""
        z = self.depth_m[mask].astype(np.float64)
        return np.column_stack([self.rays[mask].astype(np.float64) * z[:, None], z])

    def heights(self, plane: Plane) -> FloatImage:
        """Signed distance of every pixel from a plane, NaN where unknown."""
        slope = self.rays @ plane.normal[:2].astype(np.float32) + np.float32(plane.normal[2])
        return np.asarray(slope * self.depth_m + np.float32(plane.offset_m), dtype=np.float32)


def rectangle_around(camera: CameraModel, uv_px: FloatArray, depth_m: float, extent_m: float) -> tuple[int, int, int, int]:
    """The image rectangle (u0, v0, u1, v1) that shows a square of half side `extent_m` at a depth."""
    half_u = max(camera.fx * extent_m / depth_m, 12.0)
    half_v = max(camera.fy * extent_m / depth_m, 12.0)
    u, v = uv_px
    return (
        max(int(u - half_u), 0),
        max(int(v - half_v), 0),
        min(int(u + half_u) + 1, camera.width),
        min(int(v + half_v) + 1, camera.height),
    )


def cut(
    depth_m: FloatImage, camera: CameraModel, rectangle: tuple[int, int, int, int], stride: int | None, max_pixels: int = 60_000
) -> Crop:
    """Cut (u0, v0, u1, v1) out of the depth image with its rays; a stride of None thins it to at most `max_pixels`."""
    u0, v0, u1, v1 = rectangle
    s = stride or max(1, int(np.ceil(np.sqrt((u1 - u0) * (v1 - v0) / max_pixels))))
    depth = np.ascontiguousarray(depth_m[v0:v1:s, u0:u1:s], dtype=np.float32)
    if camera.distortion_model is DistortionModel.NONE:
        rays = np.empty((*depth.shape, 2), dtype=np.float32)
        rays[..., 0] = (np.arange(u0, u1, s) - camera.cx) / camera.fx
        rays[..., 1] = ((np.arange(v0, v1, s) - camera.cy) / camera.fy)[:, None]
    else:
        rays = np.ascontiguousarray(ray_map(camera)[v0:v1:s, u0:u1:s])
        depth[np.isnan(rays[..., 0])] = np.nan
    return Crop(depth, rays, (u0, v0), s)
