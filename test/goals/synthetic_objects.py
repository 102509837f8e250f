"""Clouds of simple objects on a table as one camera sees them: only surfaces that face it, nothing else hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.geometry.lift import SurfacePoint
from roboref_node.geometry.planes import Plane
from roboref_node.geometry.segment import ObjectSegment
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]


def camera_pose(eye_m: tuple[float, float, float] = (0.0, 0.0, 0.6), look_at_m: tuple[float, float, float] = (0.5, 0.0, 0.05)) -> Transform:
    """base_from_optical of a camera that looks at a point; image rows run downwards."""
    eye, target = np.asarray(eye_m), np.asarray(look_at_m)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return Transform.from_rotation(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def box(size_m: tuple[float, float, float], count: int = 4000) -> tuple[FloatArray, FloatArray]:
    """Points and outward normals of a box whose base centre is the origin."""
    rng = np.random.default_rng(1)
    points, normals = [], []
    for axis, side in ((0, -1), (0, 1), (1, -1), (1, 1), (2, 1)):
        p = rng.uniform(-0.5, 0.5, (count // 5, 3))
        p[:, axis] = 0.5 * side
        n = np.zeros((count // 5, 3))
        n[:, axis] = side
        points.append(p * size_m + [0, 0, 0.5 * size_m[2]])
        normals.append(n)
    return np.concatenate(points), np.concatenate(normals)


def cylinder(radius_m: float, height_m: float, count: int = 4000, *, wall_m: float | None = None) -> tuple[FloatArray, FloatArray]:
    """A cylinder, or a cup when it has a wall; seen from outside and, for a cup, inside."""
    rng = np.random.default_rng(2)
    a = rng.uniform(0, 2 * np.pi, count)
    ring = np.stack([np.cos(a), np.sin(a), np.zeros(count)], axis=1)
    z = np.array([0.0, 0.0, 1.0])
    parts = [(ring * radius_m + rng.uniform(0, height_m, count)[:, None] * z, ring)]
    low = 0.0 if wall_m is None else radius_m - wall_m
    parts.append((ring * np.sqrt(rng.uniform(low**2, radius_m**2, count))[:, None] + height_m * z, np.tile(z, (count, 1))))
    if wall_m is not None:
        parts.append((ring * low + rng.uniform(wall_m, height_m, count)[:, None] * z, -ring))
        parts.append((ring * low * np.sqrt(rng.uniform(0, 1, count))[:, None] + wall_m * z, np.tile(z, (count, 1))))
    return np.concatenate([p for p, _ in parts]), np.concatenate([n for _, n in parts])


def ball(radius_m: float, count: int = 6000) -> tuple[FloatArray, FloatArray]:
    """A ball that touches the origin from above."""
    n = np.random.default_rng(3).normal(size=(count, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    return n * radius_m + [0, 0, radius_m], n


def round_bowl(radius_m: float, wall_m: float, count: int = 6000) -> tuple[FloatArray, FloatArray]:
    """The lower half of a hollow ball that touches the origin from above, open at the top."""
    n = np.random.default_rng(4).normal(size=(count, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    n[:, 2] = -np.abs(n[:, 2])
    middle = [0, 0, radius_m]
    return np.concatenate([n * radius_m + middle, n * (radius_m - wall_m) + middle]), np.concatenate([n, -n])


@dataclass(frozen=True)
class Seen:
    """One object in front of one camera."""

    segment: ObjectSegment
    surface: SurfacePoint
    base_from_optical: Transform
    cloud_base: FloatArray


def look(
    shape: tuple[FloatArray, FloatArray],
    position_m: tuple[float, float, float] = (0.5, 0.0, 0.0),
    yaw_rad: float = 0.0,
    *,
    base_from_optical: Transform | None = None,
    base_from_world: Transform | None = None,
    noise_m: float = 0.0,
) -> Seen:
    """Put a shape on the table z = position_m[2], keep what faces the camera and describe it in the optical frame.

    Visible is what faces the camera. Of a cup that leaves the outside of the near wall, the rim, the inside of the far wall and the
    bottom; that the near wall may cover a part of the latter two is left out.
    """
    base_from_optical = base_from_optical or camera_pose()
    turn = Rotation.from_euler("z", yaw_rad).as_matrix()
    points = shape[0] @ turn.T + position_m
    normals = shape[1] @ turn.T
    up, down = np.array([0.0, 0.0, 1.0]), np.asarray(position_m)
    to_camera = base_from_optical.translation_m - points
    visible = np.einsum("ij,ij->i", normals, to_camera) > 0.05 * np.linalg.norm(to_camera, axis=1)
    cloud = points[visible]
    if noise_m:
        cloud = cloud + np.random.default_rng(4).normal(scale=noise_m, size=cloud.shape)
    if base_from_world is not None:
        cloud, up, down = base_from_world.apply(cloud), base_from_world.rotate(up), base_from_world.apply(down)
        base_from_optical = base_from_world @ base_from_optical
    optical = base_from_optical.inverse()
    in_optical = optical.apply(cloud)
    support = Plane.through(optical.apply(down), optical.rotate(up))
    segment = ObjectSegment(np.zeros((2, 2), dtype=bool), in_optical, support, None, float(np.ptp(cloud @ up)))
    nearest = in_optical[int(np.argmin(np.linalg.norm(in_optical, axis=1)))]
    toward = -nearest / np.linalg.norm(nearest)
    surface = SurfacePoint(np.zeros(2), nearest, toward, np.eye(3) * 1e-6, 50, 0.001, 0.001)
    return Seen(segment, surface, base_from_optical, cloud)


def table(low: tuple[float, float] = (0.15, -0.45), high: tuple[float, float] = (0.9, 0.45), count: int = 8000) -> FloatArray:
    """Points of the table top z = 0."""
    xy = np.random.default_rng(5).uniform(low, high, (count, 2))
    return np.concatenate([xy, np.zeros((count, 1))], axis=1)
