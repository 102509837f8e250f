"""Exact depth images of boxes and open containers on a table, by casting rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.lift import SurfacePoint
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]
CAMERA = CameraModel(300.0, 300.0, 159.5, 119.5, 320, 240)


@dataclass(frozen=True)
class Block:
    """A box on the table, or inside the scene: base centre, full size, yaw."""

    base_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float = 0.0

    def entry(self, origin: FloatArray, rays: FloatArray) -> FloatArray:
        """Ray parameter at which each ray enters the box; inf where it misses."""
        turn = Rotation.from_euler("z", -self.yaw_rad).as_matrix()
        o = turn @ (origin - np.asarray(self.base_m))
        d = rays @ turn.T
        low = np.array([-0.5 * self.size_m[0], -0.5 * self.size_m[1], 0.0])
        high = np.array([0.5 * self.size_m[0], 0.5 * self.size_m[1], self.size_m[2]])
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (low - o) / d, (high - o) / d
        near, far = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
        return np.where((near <= far) & (near > 0), near, np.inf)


def tray(base_m: tuple[float, float, float], inner_m: float, wall_m: float, height_m: float, floor_m: float = 0.004) -> tuple[Block, ...]:
    """A square open container."""
    x, y, z = base_m
    outer, off = inner_m + 2 * wall_m, 0.5 * (inner_m + wall_m)
    return (
        Block(base_m, (outer, outer, floor_m)),
        Block((x - off, y, z), (wall_m, outer, height_m)),
        Block((x + off, y, z), (wall_m, outer, height_m)),
        Block((x, y - off, z), (outer, wall_m, height_m)),
        Block((x, y + off, z), (outer, wall_m, height_m)),
    )


def render(
    base_from_optical: Transform,
    blocks: tuple[Block, ...],
    *,
    table_m: tuple[float, float, float, float] = (-1.0, -2.0, 3.0, 2.0),
    table_tilt_rad: float = 0.0,
    noise_m: float = 0.0,
) -> Frame:
    """Depth of the table z = 0 (x and y from first to second corner, tilted about y) with blocks on it; no floor below."""
    v, u = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
    rays = base_from_optical.rotate(CAMERA.rays(np.stack([u, v], axis=-1)))
    eye = base_from_optical.translation_m
    normal = np.array([np.sin(table_tilt_rad), 0.0, np.cos(table_tilt_rad)])
    pivot = np.array([0.5, 0.0, 0.0])
    depth = ((pivot - eye) @ normal) / (rays @ normal)
    hit = eye + rays * depth[..., None]
    on_table = (
        (depth > 0) & (hit[..., 0] > table_m[0]) & (hit[..., 1] > table_m[1]) & (hit[..., 0] < table_m[2]) & (hit[..., 1] < table_m[3])
    )
    depth = np.where(on_table, depth, np.inf)
    for block in blocks:
        depth = np.minimum(depth, block.entry(eye, rays))
    image = np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)
    if noise_m:
        image += np.random.default_rng(9).normal(scale=noise_m, size=image.shape).astype(np.float32)
    return Frame(np.zeros((CAMERA.height, CAMERA.width, 3), dtype=np.uint8), image, CAMERA)


def surface_at(
    base_from_optical: Transform, point_m: tuple[float, float, float], normal: tuple[float, float, float] = (0, 0, 1)
) -> SurfacePoint:
    """What a lift of the pixel over a known point gives."""
    optical = base_from_optical.inverse()
    position = optical.apply(point_m)
    return SurfacePoint(CAMERA.project(position), position, optical.rotate(normal), np.eye(3) * 1e-6, 100, 0.001, 0.0005)
