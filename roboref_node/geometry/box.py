"""The box around an object: which of its readings are solid, and the smallest box that stands on the support."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.creases import flying
from roboref_node.geometry.crop import Crop
from roboref_node.geometry.planes import Plane, fit_plane

FloatArray = NDArray[np.float64]
FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]

MAX_INCIDENCE_RAD = 1.40
"""A surface of an object is not seen at a larger angle to its normal."""


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """A box standing on a support.

    Args:
        center_m: Shape (3,).
        rotation: Columns are the box's axes, the longer horizontal one first, the support's normal third, shape (3, 3).
        size_m: Full extents along these axes, shape (3,).
    """

    center_m: FloatArray
    rotation: FloatArray
    size_m: FloatArray


def solid_pixels(pixels: BoolImage, crop: Crop, focal_px: float) -> BoolImage:
    """The mask without readings that hang behind its outline or show the background: they would stretch the box."""
    w = np.where(pixels, 1.0 / np.where(pixels, crop.depth_m, np.float32(1.0)), np.float32(0.0)).astype(np.float32)
    core = cv2.erode(pixels.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    near = cv2.dilate(np.where(core, w, np.float32(0.0)), np.ones((5, 5), np.uint8))
    # Two pixels further on the steepest surface that is still one.
    step = 2 * np.tan(MAX_INCIDENCE_RAD) / focal_px
    behind = (near > 0) & (w < near * np.float32(1 - step))
    solid = pixels & ~behind & ~flying(crop.depth_m, focal_px, MAX_INCIDENCE_RAD)
    return np.asarray(solid if solid.sum() >= 10 else pixels, dtype=np.bool_)


def dense(flat_m: FloatImage, cell_m: float = 0.006, least: int = 4) -> BoolImage:
    """Points of a footprint, shape (N, 2), that are not stray: at least `least` lie within the 3x3 cells around, bool (N,)."""
    if len(flat_m) < 100:
        return np.ones(len(flat_m), dtype=np.bool_)
    cell = ((flat_m - flat_m.min(axis=0)) / np.float32(cell_m)).astype(np.int64)
    height, width = int(cell[:, 1].max()) + 1, int(cell[:, 0].max()) + 1
    if height * width > 1_000_000:
        return np.ones(len(flat_m), dtype=np.bool_)
    count = np.bincount(cell[:, 1] * width + cell[:, 0], minlength=height * width).reshape(height, width).astype(np.float32)
    around = cv2.boxFilter(count, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    kept = around[cell[:, 1], cell[:, 0]] >= least
    return np.asarray(kept if np.count_nonzero(kept) >= 10 else np.ones(len(flat_m)), dtype=np.bool_)


def stand_box(cloud_m: FloatArray, support: Plane | None, up: FloatArray | None) -> tuple[OrientedBox | None, float]:
    """The smallest box around a cloud with one axis along the support's normal, reaching down to it, and the height.

    Args:
        cloud_m: Shape (N, 3).
        support: The plane the object stands on.
        up: Vertical axis used without a support; the cloud's thinnest direction when that is unknown too.
    """
    if support is not None:
        axis = support.normal
    elif up is not None:
        axis = up
    else:
        try:
            axis = fit_plane(cloud_m)[0].facing(np.zeros(3)).normal
        except ValueError:
            return None, 0.0
    heights = cloud_m @ axis
    top = float(np.quantile(heights, 0.99))
    bottom = -support.offset_m if support is not None else float(np.quantile(heights, 0.01))
    first = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    flat = np.column_stack([cloud_m @ first, cloud_m @ second]).astype(np.float32)
    (cu, cv_), (su, sv), angle = cv2.minAreaRect(flat[dense(flat)])
    turn = np.radians(angle)
    if su < sv:
        su, sv, turn = sv, su, turn + np.pi / 2
    x = np.cos(turn) * first + np.sin(turn) * second
    rotation = np.column_stack([x, np.cross(axis, x), axis])
    height = max(top - bottom, 0.0)
    center = cu * first + cv_ * second + (bottom + height / 2) * axis
    return OrientedBox(center, rotation, np.array([su, sv, height])), height
