"""The catalogue's shapes as convex pieces: what MuJoCo's contacts need where its pictures need one closed mesh.

A hollow shape (cup, bowl, plate) is cut into sectors; all sectors of one band are the same piece, turned about the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from roboref_node.sim.meshes import Variant, catalogue

FloatArray = NDArray[np.float64]

SECTORS = 16
_RING = 32
"""Vertices per ring of the catalogue's turned shapes."""
_CORNERS = 16
"""Of whole rings: fewer corners are fewer contacts with what they stand on."""
_LIFTED_M = 0.0005
_HOLLOW_DENSITY, _SOLID_DENSITY = 900.0, 350.0
"""Of walls and of full bodies, which are thought of as light or hollow, in kg/m3."""
_MASS_KG = (0.03, 0.35)


@dataclass(frozen=True, eq=False)
class Piece:
    """One convex piece: the corners of its hull in the object's frame, and the angles about z at which it occurs."""

    corners_m: FloatArray
    turns_rad: tuple[float, ...] = (0.0,)


@cache
def pieces(index: int) -> tuple[Piece, ...]:
    """Convex pieces of a variant of the catalogue; empty for the primitives, which MuJoCo knows itself."""
    variant = catalogue()[index]
    if variant.mesh is None:
        return ()
    vertices = variant.mesh.vertices_m
    if variant.shape == "cone":
        return (Piece(vertices),)
    rows = _rows(variant)
    if variant.shape == "bottle":
        # Bottom to shoulder, neck, cap: each is convex as a whole.
        return (_turned(rows[:7]), _turned(rows[6:8]), _turned(rows[8:]))
    if variant.shape == "cup":
        walls = [_sector([rows[0], rows[1], rows[4], rows[5]]), _sector([rows[1], rows[2], rows[3], rows[4]])]
        floor = _turned(np.array([rows[0], [rows[5][0], rows[5][1]]]))
        return (floor, *walls, *_handle(vertices[6 * _RING + 2 :]))
    if variant.shape == "bowl":
        outer, inner = rows[:7], rows[7:][::-1]
        floor = _turned(np.array([[outer[0][0], 0.0], [inner[0][0], inner[0][1]]]))
        return (floor, *(_sector([*outer[i : i + 3], *inner[i : i + 3][::-1]]) for i in (0, 2, 4)))
    # plate: a disc and a slanted rim
    return (_turned(np.array([rows[0], rows[5]])), _sector([rows[0], rows[1], rows[2], rows[3], rows[4]]))


def mass_kg(variant: Variant) -> float:
    """Mass of an object of this variant."""
    x, y, z = variant.extent_m
    if variant.shape in ("cup", "bowl", "plate"):
        # About the volume of the walls: a fifth of the enclosing box.
        return float(np.clip(0.2 * x * y * z * _HOLLOW_DENSITY, *_MASS_KG))
    share = {"box": 1.0, "cylinder": 0.785, "ball": 0.524, "cone": 0.262, "bottle": 0.6}[variant.shape]
    return float(np.clip(share * x * y * z * _SOLID_DENSITY, *_MASS_KG))


def _rows(variant: Variant) -> FloatArray:
    """(radius, height) of the rings of a turned shape, from outside below to the end, shape (N, 2)."""
    assert variant.mesh is not None
    count = {"cup": 6, "bowl": 14, "bottle": 10, "plate": 6}[variant.shape]
    ring = variant.mesh.vertices_m[: count * _RING].reshape(count, _RING, 3)
    return np.asarray(ring[:, 0, [0, 2]], dtype=np.float64)


def _turned(rows: FloatArray) -> Piece:
    """The hull of whole rings."""
    angle = np.arange(_CORNERS) * (2.0 * np.pi / _CORNERS)
    x, y = rows[:, :1] * np.cos(angle), rows[:, :1] * np.sin(angle)
    return Piece(np.stack([x, y, np.broadcast_to(rows[:, 1:], x.shape)], axis=-1).reshape(-1, 3))


def _sector(rows: list[FloatArray]) -> Piece:
    """The hull of one sector of some rings, and the angles of all sectors."""
    profile = np.array(rows)
    # The object stands on its floor piece alone: sixteen sectors that touch the table would be contacts without use.
    profile[:, 1] = np.maximum(profile[:, 1], _LIFTED_M)
    angle = np.array([-0.5, 0.0, 0.5]) * (2.0 * np.pi / SECTORS)
    x, y = profile[:, :1] * np.cos(angle), profile[:, :1] * np.sin(angle)
    corners = np.stack([x, y, np.broadcast_to(profile[:, 1:], x.shape)], axis=-1).reshape(-1, 3)
    return Piece(corners, tuple(float(2.0 * np.pi * i / SECTORS) for i in range(SECTORS)))


def _handle(vertices: FloatArray) -> list[Piece]:
    """A cup's handle, in steps of two rings."""
    rings = vertices[:88].reshape(11, 8, 3)
    return [Piece(rings[i : i + 3].reshape(-1, 3)) for i in range(0, 9, 2)]
