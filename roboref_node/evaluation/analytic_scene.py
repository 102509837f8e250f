"""Exact depth images of planes, boxes, balls and upright cylinders, cast through any camera model; no renderer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Floor:
    """The plane z = height of the world."""

    height_m: float = 0.0

    def cast(self, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ray parameter, inf where missed, and outward normals."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.height_m - origin[2]) / rays[..., 2]
        return _positive(t), np.broadcast_to(np.array([0.0, 0.0, 1.0]), rays.shape)


@dataclass(frozen=True)
class Wall:
    """The plane x = distance of the world, facing -x."""

    distance_m: float

    def cast(self, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ray parameter, inf where missed, and outward normals."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.distance_m - origin[0]) / rays[..., 0]
        return _positive(t), np.broadcast_to(np.array([-1.0, 0.0, 0.0]), rays.shape)


@dataclass(frozen=True)
class Box:
    """A box turned about the vertical: centre of its base, full extents, yaw."""

    base_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float = 0.0

    def cast(self, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ray parameter, inf where missed, and outward normals."""
        cosine, sine = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        half = np.array(self.size_m) / 2
        start = turn @ (origin - np.array(self.base_m) - [0.0, 0.0, half[2]])
        ahead = rays @ turn.T
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = (-half - start) / ahead, (half - start) / ahead
        enter_each = np.minimum(one, two)
        enter, leave = enter_each.max(axis=-1), np.maximum(one, two).min(axis=-1)
        axis = enter_each.argmax(axis=-1)
        normals = np.zeros(rays.shape)
        np.put_along_axis(normals, axis[..., None], -np.sign(np.take_along_axis(ahead, axis[..., None], axis=-1)), axis=-1)
        return np.where((enter < leave) & (enter > 0), enter, np.inf), normals @ turn


@dataclass(frozen=True)
class Ball:
    """A ball."""

    center_m: tuple[float, float, float]
    radius_m: float

    def cast(self, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ray parameter, inf where missed, and outward normals."""
        offset = origin - np.array(self.center_m)
        a, b = np.einsum("...i,...i->...", rays, rays), rays @ offset
        root = b * b - a * (offset @ offset - self.radius_m**2)
        t = np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        t = _positive(t)
        hit = origin + rays * np.where(np.isfinite(t), t, 0.0)[..., None]
        return t, (hit - np.array(self.center_m)) / self.radius_m


@dataclass(frozen=True)
class Cylinder:
    """An upright solid cylinder: centre of its base, radius and height."""

    base_m: tuple[float, float, float]
    radius_m: float
    height_m: float

    def cast(self, origin: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ray parameter, inf where missed, and outward normals."""
        start = origin - np.array(self.base_m)
        a = rays[..., 0] ** 2 + rays[..., 1] ** 2
        b = rays[..., 0] * start[0] + rays[..., 1] * start[1]
        root = b * b - a * (start[0] ** 2 + start[1] ** 2 - self.radius_m**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            side = _positive(np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf))
            lid = _positive((self.height_m - start[2]) / rays[..., 2])
        at = start + rays * np.where(np.isfinite(side), side, 0.0)[..., None]
        side = np.where((at[..., 2] >= 0) & (at[..., 2] <= self.height_m), side, np.inf)
        top = start + rays * np.where(np.isfinite(lid), lid, 0.0)[..., None]
        lid = np.where(top[..., 0] ** 2 + top[..., 1] ** 2 <= self.radius_m**2, lid, np.inf)
        normals = at / self.radius_m
        normals[..., 2] = 0.0
        normals[lid < side] = [0.0, 0.0, 1.0]
        return np.minimum(side, lid), normals


Solid = Floor | Wall | Box | Ball | Cylinder


@dataclass(frozen=True, eq=False)
class Truth:
    """What a perfect depth camera would see.

    Args:
        depth_m: float32 (H, W), NaN where nothing was hit.
        normals: Unit, optical frame, shape (H, W, 3).
        index: Which solid, -1 = none, (H, W).
        camera: The camera.
        world_from_optical: Its pose.
    """

    depth_m: NDArray[np.float32]
    normals: FloatArray
    index: NDArray[np.int64]
    camera: CameraModel
    world_from_optical: Transform


def cast_scene(solids: Sequence[Solid], camera: CameraModel, world_from_optical: Transform) -> Truth:
    """Cast every pixel's ray, lens distortion included."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    rays = world_from_optical.rotate(camera.rays(np.stack([u, v], axis=-1)))
    origin = world_from_optical.translation_m
    best = np.full(rays.shape[:2], np.inf)
    index = np.full(rays.shape[:2], -1)
    normals = np.zeros(rays.shape)
    for i, solid in enumerate(solids):
        # Rays have z = 1 in the optical frame, so the parameter is the depth.
        t, normal = solid.cast(origin, rays)
        nearer = t < best
        best = np.where(nearer, t, best)
        index[nearer] = i
        normals[nearer] = normal[nearer]
    depth = np.where(np.isfinite(best), best, np.nan).astype(np.float32)
    return Truth(depth, world_from_optical.inverse().rotate(normals), index, camera, world_from_optical)


def look_at(position_m: Sequence[float], target_m: Sequence[float]) -> Transform:
    """Pose world_from_optical of a level camera at a position that looks at a target."""
    position = np.asarray(position_m, dtype=np.float64)
    ahead = np.asarray(target_m, dtype=np.float64) - position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-6:
        right = np.array([0.0, -1.0, 0.0])
    right /= np.linalg.norm(right)
    return Transform.from_rotation(np.column_stack([right, np.cross(ahead, right), ahead]), position)


def _positive(t: FloatArray) -> FloatArray:
    return np.where(np.isfinite(t) & (t > 1e-9), t, np.inf)
