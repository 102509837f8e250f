"""The catalogue of object shapes: true dimensions and, where MuJoCo has no primitive, a closed triangle mesh.

MuJoCo cannot rescale a mesh at run time, so each shape comes in a fixed set of variants (a dimension set per small/large and
index). Every mesh stands on z = 0 with its axis on the z axis and is a closed surface, so that ray casts and shading of hollow
shapes (cup, bowl) are right on both sides of the wall.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

SHAPES = ("box", "cylinder", "ball", "cup", "bowl", "bottle", "plate", "cone")
SIZES = ("small", "large")
PRIMITIVES = ("box", "cylinder", "ball")
VARIANTS_PER_SIZE = 6
CHARACTERISTIC_M = {"small": (0.045, 0.056), "large": (0.078, 0.095)}
_CATALOGUE_SEED = 20240917
_SEGMENTS = 32


@dataclass(frozen=True, eq=False)
class Mesh:
    """Closed triangle mesh: vertices_m float64 (N, 3), faces int32 (M, 3), counter-clockwise seen from outside."""

    vertices_m: NDArray[np.float64]
    faces: NDArray[np.int32]


@dataclass(frozen=True)
class Variant:
    """One dimension set of one shape.

    Args:
        index: Position in `catalogue`.
        shape: One of `SHAPES`.
        size: One of `SIZES`.
        extent_m: Full extents along the object's x, y, z.
        radius_m: Radius of the smallest circle around the object's axis that holds its footprint, handle included.
        rest_height_m: Height above the object's base at which something put on its middle would stand.
        rest_radius_m: Radius of the flat area up there; 0 when nothing can stand on it.
        mesh: None for the primitives (box, cylinder, ball).
    """

    index: int
    shape: str
    size: str
    extent_m: tuple[float, float, float]
    radius_m: float
    rest_height_m: float
    rest_radius_m: float
    mesh: Mesh | None = field(default=None, repr=False, compare=False)


@cache
def catalogue() -> tuple[Variant, ...]:
    """All variants, ``len(SHAPES) * len(SIZES) * VARIANTS_PER_SIZE`` of them, the same in every process."""
    rng = np.random.default_rng(_CATALOGUE_SEED)
    variants: list[Variant] = []
    for shape in SHAPES:
        for size in SIZES:
            low, high = CHARACTERISTIC_M[size]
            for step in range(VARIANTS_PER_SIZE):
                diameter = low + (high - low) * (step + rng.uniform(0.2, 0.8)) / VARIANTS_PER_SIZE
                variants.append(_variant(len(variants), shape, size, diameter, rng))
    return tuple(variants)


@cache
def variants_of(shape: str, size: str) -> tuple[Variant, ...]:
    """The variants of one shape and size class."""
    return tuple(v for v in catalogue() if v.shape == shape and v.size == size)


def _variant(index: int, shape: str, size: str, diameter: float, rng: np.random.Generator) -> Variant:
    def aspect(low: float, high: float) -> float:
        return diameter * float(rng.uniform(low, high))

    def make(
        mesh: Mesh | None, extent: tuple[float, float, float], radius: float, rest_height: float = 0.0, rest_radius: float = 0.0
    ) -> Variant:
        return Variant(index, shape, size, extent, radius, rest_height, rest_radius, mesh)

    if shape == "box":
        x, y, z = aspect(0.95, 1.08), aspect(0.85, 1.0), aspect(0.75, 1.1)
        return make(None, (x, y, z), float(np.hypot(x, y)) / 2, z, min(x, y) / 2)
    if shape == "cylinder":
        height = aspect(0.85, 1.3)
        return make(None, (diameter, diameter, height), diameter / 2, height, diameter / 2)
    if shape == "ball":
        return make(None, (diameter, diameter, diameter), diameter / 2)
    if shape == "cup":
        mesh = _cup(diameter * 0.48, aspect(0.95, 1.2))
    elif shape == "bowl":
        mesh = _bowl(diameter * 0.68, aspect(0.5, 0.62))
    elif shape == "bottle":
        mesh = _bottle(diameter * 0.38, aspect(2.0, 2.4))
    elif shape == "plate":
        mesh = _plate(diameter * 0.98, aspect(0.24, 0.30))
    else:
        mesh = _lathe(np.array([[0.0, 0.0], [diameter * 0.53, 0.0], [0.0, aspect(1.25, 1.6)]]))
    low, high = mesh.vertices_m.min(axis=0), mesh.vertices_m.max(axis=0)
    extent = (float(high[0] - low[0]), float(high[1] - low[1]), float(high[2] - low[2]))
    radius = float(np.hypot(mesh.vertices_m[:, 0], mesh.vertices_m[:, 1]).max())
    if shape == "plate":
        return make(mesh, extent, radius, _PLATE_FLOOR_M, 0.62 * radius)
    return make(mesh, extent, radius)


_PLATE_FLOOR_M = 0.005


def _cup(radius: float, height: float) -> Mesh:
    wall = 0.07 * radius + 0.0012
    body = _lathe(
        np.array([[0.0, 0.0], [0.9 * radius, 0.0], [radius, 0.12 * height], [radius, height], [radius - wall, height],
                  [radius - wall, 0.14 * height], [0.88 * radius - wall, wall], [0.0, wall]])
    )  # fmt: skip
    tube = 0.13 * radius + 0.001
    return _join(body, _handle(radius - 0.5 * wall, 0.52 * height, 0.3 * height, 0.62 * radius, tube))


def _bowl(radius: float, height: float) -> Mesh:
    wall = 0.05 * radius + 0.001
    foot = 0.42 * radius
    turn = np.linspace(0.0, 1.0, 7) * np.pi / 2
    outer = np.stack([foot + (radius - foot) * np.sin(turn), height * (1 - np.cos(turn))], axis=1)
    inner = np.stack([foot - wall + (radius - foot) * np.sin(turn), wall + (height - wall) * (1 - np.cos(turn))], axis=1)[::-1]
    return _lathe(np.concatenate([[[0.0, 0.0]], outer, inner, [[0.0, wall]]]))


def _bottle(radius: float, height: float) -> Mesh:
    neck = 0.38 * radius
    turn = np.linspace(0.0, 1.0, 5) * np.pi / 2
    shoulder = np.stack([neck + (radius - neck) * np.cos(turn), height * (0.58 + 0.16 * np.sin(turn))], axis=1)
    cap = 1.25 * neck
    top = [[neck, 0.9 * height], [cap, 0.9 * height], [cap, height], [0.0, height]]
    return _lathe(np.concatenate([[[0.0, 0.0], [0.93 * radius, 0.0], [radius, 0.03 * height]], shoulder, top]))


def _plate(radius: float, height: float) -> Mesh:
    floor = _PLATE_FLOOR_M
    return _lathe(
        np.array([[0.0, 0.0], [0.66 * radius, 0.0], [radius, height - 0.003], [radius, height], [0.95 * radius, height],
                  [0.70 * radius, floor + 0.001], [0.66 * radius, floor], [0.0, floor]])
    )  # fmt: skip


def _lathe(profile_m: NDArray[np.float64], segments: int = _SEGMENTS) -> Mesh:
    """Revolve a profile, (N, 2) of (radius, z), around z. It starts on the axis at the bottom and ends on it at the top."""
    angle = np.arange(segments) * (2 * np.pi / segments)
    ring = profile_m[1:-1]
    vertices = np.stack(
        [ring[:, :1] * np.cos(angle), ring[:, :1] * np.sin(angle), np.broadcast_to(ring[:, 1:], (len(ring), segments))], axis=-1
    ).reshape(-1, 3)
    bottom, top = len(vertices), len(vertices) + 1
    vertices = np.concatenate([vertices, [[0.0, 0.0, profile_m[0, 1]], [0.0, 0.0, profile_m[-1, 1]]]])
    here = np.arange(segments)
    after = (here + 1) % segments
    faces = [np.stack([np.full(segments, bottom), after, here], axis=1)]
    for row in range(len(ring) - 1):
        a, b = row * segments, (row + 1) * segments
        faces += [np.stack([a + here, a + after, b + after], axis=1), np.stack([a + here, b + after, b + here], axis=1)]
    last = (len(ring) - 1) * segments
    faces.append(np.stack([last + here, last + after, np.full(segments, top)], axis=1))
    return Mesh(vertices, np.concatenate(faces).astype(np.int32))


def _handle(x: float, z: float, half_height: float, reach: float, tube: float) -> Mesh:
    """Half an elliptic torus in the x-z plane whose two ends start inside the wall at radius `x`, capped."""
    bend = np.linspace(-np.pi / 2, np.pi / 2, 11)
    around = np.arange(8) * (2 * np.pi / 8)
    centre = np.stack([x + reach * np.cos(bend), np.zeros_like(bend), z + half_height * np.sin(bend)], axis=1)
    outward = np.stack([np.cos(bend), np.zeros_like(bend), np.sin(bend)], axis=1)
    side = np.array([0.0, 1.0, 0.0])
    vertices = (centre[:, None] + tube * (np.cos(around)[:, None] * outward[:, None] + np.sin(around)[:, None] * side)).reshape(-1, 3)
    here = np.arange(8)
    after = (here + 1) % 8
    faces = []
    for row in range(len(bend) - 1):
        a, b = row * 8, (row + 1) * 8
        faces += [np.stack([a + here, a + after, b + after], axis=1), np.stack([a + here, b + after, b + here], axis=1)]
    start, end = len(vertices), len(vertices) + 1
    last = (len(bend) - 1) * 8
    faces += [np.stack([np.full(8, start), after, here], axis=1), np.stack([last + here, last + after, np.full(8, end)], axis=1)]
    return Mesh(np.concatenate([vertices, centre[:1], centre[-1:]]), np.concatenate(faces).astype(np.int32))


def _join(first: Mesh, second: Mesh) -> Mesh:
    faces = np.concatenate([first.faces, second.faces + len(first.vertices_m)])
    return Mesh(np.concatenate([first.vertices_m, second.vertices_m]), faces.astype(np.int32))
