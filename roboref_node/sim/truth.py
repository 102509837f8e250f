"""What the sensors do not tell: the true state, and which object a point of the world belongs to by exact distances to the true shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.sim.meshes import Mesh, catalogue
from roboref_node.sim.scene import ObjectSpec, SceneSpec

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellTruth:
    """What the sensors do not tell.

    Args:
        spec: The scene; its poses are those of the start.
        object_poses: world_from_object now; frames stand on the object's base, z up.
        depth_m: Depth without noise, float32 (H, W).
        instance: int16 (H, W), index into ``spec.objects`` or -1.
    """

    spec: SceneSpec
    object_poses: tuple[Transform, ...]
    depth_m: NDArray[np.float32]
    instance: NDArray[np.int16]


def distance_to_object_m(item: ObjectSpec, world_from_object: Transform, point_m: ArrayLike) -> float:
    """Distance of a world point, shape (3,), to an object; 0 inside its material (the hollow of a cup is outside)."""
    own = world_from_object.inverse().apply(np.asarray(point_m, dtype=np.float64))
    half = np.array(item.extent_m) / 2
    centered = own - [0.0, 0.0, half[2]]
    if item.shape == "ball":
        return max(float(np.linalg.norm(centered)) - float(half[0]), 0.0)
    if item.shape == "box":
        return float(np.linalg.norm(np.maximum(np.abs(centered) - half, 0.0)))
    if item.shape == "cylinder":
        beside, above = float(np.hypot(centered[0], centered[1]) - half[0]), float(abs(centered[2]) - half[2])
        return float(np.hypot(max(beside, 0.0), max(above, 0.0)))
    mesh = catalogue()[item.variant].mesh
    if mesh is None:
        raise ValueError(f"variant {item.variant} of shape {item.shape!r} has no mesh")
    return _distance_to_mesh(mesh, own)


def object_at_point(objects: Sequence[ObjectSpec], poses: Sequence[Transform], point_m: ArrayLike, tolerance_m: float = 0.01) -> int | None:
    """Index of the nearest object within a tolerance of a world point, or None."""
    if not objects:
        return None
    distances = [distance_to_object_m(item, pose, point_m) for item, pose in zip(objects, poses, strict=True)]
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] <= tolerance_m else None


def _distance_to_mesh(mesh: Mesh, point: FloatArray) -> float:
    a, b, c = (mesh.vertices_m[mesh.faces[:, i]] - point for i in range(3))
    if _winding_number(a, b, c) > 0.5:
        return 0.0
    return float(min(_squared_to_triangles(a, b, c).min(), *(_squared_to_edges(p, q).min() for p, q in ((a, b), (b, c), (c, a)))) ** 0.5)


def _winding_number(a: FloatArray, b: FloatArray, c: FloatArray) -> float:
    """Of closed triangles around the origin: 1 inside, 0 outside. Solid angle formula of Van Oosterom and Strackee (1983)."""
    na, nb, nc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a))]
    return float(2 * np.arctan2(triple, na * nb * nc + dots[0] * nc + dots[1] * na + dots[2] * nb).sum() / (4 * np.pi))


def _squared_to_triangles(a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    """Squared distance from the origin to each triangle's interior; infinite where the foot of the perpendicular is outside."""
    normal = np.cross(b - a, c - a)
    area = np.maximum(np.einsum("ij,ij->i", normal, normal), 1e-30)
    height = np.einsum("ij,ij->i", a, normal)
    # Barycentric coordinates of the foot, each from the sub-triangle opposite one corner.
    inside = [np.einsum("ij,ij->i", np.cross(p, q), normal) >= 0 for p, q in ((b, c), (c, a), (a, b))]
    return np.where(inside[0] & inside[1] & inside[2], height * height / area, np.inf)


def _squared_to_edges(start: FloatArray, end: FloatArray) -> FloatArray:
    along = end - start
    length = np.maximum(np.einsum("ij,ij->i", along, along), 1e-30)
    nearest = start + np.clip(-np.einsum("ij,ij->i", start, along) / length, 0.0, 1.0)[:, None] * along
    return np.asarray(np.einsum("ij,ij->i", nearest, nearest), dtype=np.float64)
