"""Where an object ends only because nothing more of it was seen: at the image's border, behind something nearer, or without depth.

Elsewhere the outline is an end of the object: what is seen beside it is the support, the background or another object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.crop import Crop
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.planes import Plane
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolImage = NDArray[np.bool_]
_Scalar = TypeVar("_Scalar", bound=np.generic)

SHADOW_M = 0.05
"""Beside a nearer surface a stereo or structured-light camera is blind; at that surface's depth the gap is never wider than the
distance of its two eyes. A gap that holds no circle of this diameter is taken for that."""
STEP_M = 0.02
"""What is nearer than the object by this, or by six standard deviations, stands before it."""
BESIDE_PX = 2
"""So far beyond the reach of a crease, which parts an object from what stands before it, its outline may lie from there."""
RANGE = 2.0
"""Where the support would be seen only this many times farther away than the object, no reading is what empty space looks like."""
INWARDS_PX = (3, 4, 6, 8)
"""Lengths over which the way of the surface towards its end is measured, the longest that lies on the object."""
MOST_ENDS = 400


class Cause(str, Enum):
    """Why the rest of an object was not seen; the value completes "cut off by"."""

    BORDER = "the border of the image"
    OCCLUDER = "something before it"
    NO_DEPTH = "missing depth"


@dataclass(frozen=True, eq=False)
class OpenEnds:
    """Points where the visible surface of an object stops without an end.

    Args:
        points_m: On the object, shape (K, 3).
        outward: Unit vectors along the surface to where it may go on, shape (K, 3).
        causes: Why it was not seen there, one each.
    """

    points_m: FloatArray
    outward: FloatArray
    causes: tuple[Cause, ...]

    def moved(self, target_from_source: Transform) -> OpenEnds:
        """The same in another frame."""
        return OpenEnds(target_from_source.apply(self.points_m), target_from_source.rotate(self.outward), self.causes)


def open_ends(
    pixels: BoolImage, crop: Crop, camera: CameraModel, support: Plane | None, noise: DepthNoise, reach_px: int
) -> OpenEnds | None:
    """Where an object may go on unseen; None where it is seen to end all around.

    Args:
        pixels: The object in the crop, bool (h, w).
        crop: Depth around it, in the frame of `camera`.
        camera: The camera of the whole image.
        support: What the object stands on.
        noise: Depth noise of the sensor.
        reach_px: Reach of a crease in the crop; so far from another surface the object's outline stops.
    """
    z = float(np.median(crop.depth_m[pixels]))
    radius = 0.5 * SHADOW_M * camera.fx / (crop.stride * z)
    reach = reach_px + BESIDE_PX
    window = _Window.around(pixels, margin=int(2.0 * radius) + reach + 2)
    mask, depth = window.cut(pixels, False), window.cut(crop.depth_m, np.float32(np.nan))
    beyond = window.beyond(crop, camera)
    known = depth > 0.0
    sigma = float(noise.sigma_m(z))
    step = max(STEP_M, 6.0 * sigma)
    row, column = _nearest(mask)
    rise = depth - depth[row, column]
    low, empty = _of_the_support(crop, support, RANGE * z, max(0.5 * STEP_M, 4.0 * sigma))
    ground = window.cut(low, False)
    blind = window.cut(~(crop.depth_m > 0.0) & ~empty, False)
    unseen = _opened(blind | beyond, radius)
    # Readings that float between two surfaces stand alone.
    before = cv2.morphologyEx((known & ~mask & ~ground & (rise < -step)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    ended = known & ~mask & ~before & (ground | (rise > step))
    beside = mask
    for _ in range(reach):
        beside = (cv2.dilate(beside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~ended
    nearer_w = np.where(before, 1.0 / np.where(before, depth, np.float32(1.0)) - np.float32(1.0 / z), np.float32(0.0))
    veiled = before | _shadow(blind, before, nearer_w, camera.fx / crop.stride)
    parts = {Cause.BORDER: unseen & beyond, Cause.OCCLUDER: veiled, Cause.NO_DEPTH: unseen & blind}
    met = {cause: part & beside for cause, part in parts.items() if (part & beside).any()}
    if not met:
        return None
    hidden = np.any(list(met.values()), axis=0)
    v, u = np.nonzero(mask & (_distance(hidden) <= reach) & (_distance(~mask) < 2.0))
    if len(v) == 0:  # met across a corner only
        return None
    v, u = (index[:: max(1, -(-len(v) // MOST_ENDS))] for index in (v, u))
    gaps = np.stack([_distance(part)[v, u] for part in met.values()])
    row, column = _nearest(hidden)
    way = np.stack([column[v, u] - u, row[v, u] - v], axis=-1).astype(np.float64)
    way /= np.linalg.norm(way, axis=1)[:, None]
    rays = np.stack([window.cut(crop.rays[..., k], np.float32(0.0)) for k in (0, 1)], axis=-1)
    points, outward = _along_the_surface(mask, np.nan_to_num(depth), rays, v, u, way)
    return OpenEnds(points, outward, tuple(list(met)[k] for k in gaps.argmin(axis=0)))


@dataclass(frozen=True)
class _Window:
    """Rows and columns of a crop, which may lie beyond it."""

    row: int
    column: int
    height: int
    width: int

    @staticmethod
    def around(pixels: BoolImage, margin: int) -> _Window:
        """The rectangle around some pixels with a margin."""
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        return _Window(
            int(rows[0]) - margin, int(columns[0]) - margin, int(np.ptp(rows)) + 1 + 2 * margin, int(np.ptp(columns)) + 1 + 2 * margin
        )

    def cut(self, image: NDArray[_Scalar], fill: Any) -> NDArray[_Scalar]:
        """The image's pixels in the window, `fill` beyond it."""
        top, left = max(self.row, 0), max(self.column, 0)
        part = image[top : self.row + self.height, left : self.column + self.width]
        out = np.full((self.height, self.width), fill, dtype=image.dtype)
        out[top - self.row : top - self.row + part.shape[0], left - self.column : left - self.column + part.shape[1]] = part
        return out

    def beyond(self, crop: Crop, camera: CameraModel) -> BoolImage:
        """Which pixels of the window lie outside of the camera's image."""
        u = crop.origin[0] + crop.stride * (self.column + np.arange(self.width))
        v = crop.origin[1] + crop.stride * (self.row + np.arange(self.height))
        return np.asarray((u < 0) | (u >= camera.width) | ((v < 0) | (v >= camera.height))[:, None])


def _of_the_support(crop: Crop, support: Plane | None, range_m: float, low_m: float) -> tuple[BoolImage, BoolImage]:
    """Which pixels show the support, and at which ones it would be seen farther away than `range_m` or not at all."""
    if support is None:
        return np.zeros(crop.depth_m.shape, dtype=np.bool_), np.zeros(crop.depth_m.shape, dtype=np.bool_)
    fall = -(crop.rays @ support.normal[:2].astype(np.float32) + np.float32(support.normal[2]))
    return np.asarray(crop.heights(support) < low_m), np.asarray(fall * np.float32(range_m) < support.offset_m)


def _along_the_surface(
    mask: BoolImage, depth_m: NDArray[np.float32], rays: NDArray[np.float32], v: IntArray, u: IntArray, way: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Points of some pixels, and unit vectors in which the surface runs when its image is followed along `way`, shapes (K, 3).

    Across the line of sight where too little of the surface lies behind the pixel.
    """
    weight = cv2.blur(mask.astype(np.float32), (5, 5))
    xyz = np.dstack([rays * depth_m[..., None], depth_m]) * mask[..., None]
    smooth = cv2.blur(xyz.astype(np.float32), (5, 5)) / np.maximum(weight, np.float32(1e-6))[..., None]
    points = smooth[v, u].astype(np.float64)
    outward = np.column_stack([way, np.zeros(len(way))])
    for length in INWARDS_PX:
        row = np.clip(np.rint(v - length * way[:, 1]), 0, mask.shape[0] - 1).astype(np.int64)
        column = np.clip(np.rint(u - length * way[:, 0]), 0, mask.shape[1] - 1).astype(np.int64)
        on = mask[row, column]
        outward[on] = points[on] - smooth[row[on], column[on]]
    return points, outward / np.maximum(np.linalg.norm(outward, axis=1), 1e-9)[:, None]


def _shadow(blind: BoolImage, before: BoolImage, nearer_w: NDArray[np.float32], focal_px: float) -> BoolImage:
    """What is not seen beside something nearer because that stands between it and one of the two eyes: an object may go on there.

    Args:
        blind: Pixels without depth.
        before: What stands before the object.
        nearer_w: By how much its inverse depth is greater than the object's.
        focal_px: Focal length of this image.
    """
    if not before.any():
        return before
    _, pieces = cv2.connectedComponents(blind.astype(np.uint8), connectivity=4)
    touching = np.unique(pieces[(cv2.dilate(before.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & blind])
    row, column = _nearest(before)
    width_px = SHADOW_M * focal_px * nearer_w[row, column] + BESIDE_PX
    return np.asarray(blind & np.isin(pieces, touching) & (_distance(before) <= width_px), dtype=np.bool_)


def _opened(image: BoolImage, radius_px: float) -> BoolImage:
    """What is left of an image's regions when circles that do not fit into them are left out."""
    core = cv2.distanceTransform(image.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) > radius_px
    return image & (_distance(core) <= radius_px) if core.any() else core


def _distance(image: BoolImage) -> NDArray[np.float32]:
    """Distance of every pixel from the nearest true one, pixels."""
    return np.asarray(cv2.distanceTransform((~image).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5))


def _nearest(image: BoolImage) -> tuple[IntArray, IntArray]:
    """Row and column of the nearest true pixel for every pixel."""
    _, labels = cv2.distanceTransformWithLabels((~image).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    row, column = np.nonzero(image)
    rows, columns = np.zeros((2, len(row) + 1), dtype=np.int64)
    rows[labels[image]], columns[labels[image]] = row, column
    return rows[labels], columns[labels]
