"""Where one object ends and the next begins in a depth image: valleys of the inverse depth, and the regions between them.

Objects are mostly convex, so the surface bends away from the camera across their own edges and towards it where two objects,
or an object and its support, meet (local convexity, Stein et al. 2014, "Object Partitioning using Local Convexity"). In inverse
depth planes are linear, and a positive second difference is a valley; the far side of a depth step is one too.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.parameters import check_settings, setting

FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]
LabelImage = NDArray[np.int32]


@dataclass(frozen=True)
class CreaseSettings:
    """When a valley separates."""

    reach_m: float = setting(
        "Distance over which the bend is measured; at least three pixels.", default=0.006, unit="m", minimum=0.001, maximum=0.1
    )
    bend: float = setting(
        "Smallest bend, as the sum of the two slopes against the image plane; 0.45 is about 25 degrees.",
        default=0.45,
        minimum=0.01,
        maximum=10.0,
    )
    noise_sigmas: float = setting("Smallest bend in standard deviations of its noise.", default=3.0, minimum=0.0, maximum=100.0)
    min_region_px: int = setting("Regions of fewer pixels are left to their neighbours.", default=30, unit="px", minimum=1, maximum=10_000)

    def __post_init__(self) -> None:
        check_settings(self)

    def reach_px(self, pixels_per_metre: float) -> int:
        """Reach in pixels of an image, 3 to 8."""
        return int(np.clip(round(self.reach_m * pixels_per_metre), 3, 8))


def smooth_inverse(depth_m: FloatImage, side: int = 3) -> tuple[FloatImage, BoolImage]:
    """Inverse depth averaged over the known pixels of a square, and which pixels are known; float32 and bool (H, W)."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    inverse = np.divide(np.float32(1.0), depth_m, out=np.zeros_like(depth_m), where=known)
    total = cv2.boxFilter(inverse, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(known.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=known)
    return mean.astype(np.float32), known


def valleys(w: FloatImage, focal_px: float, noise_w: float, reach_px: int, settings: CreaseSettings) -> BoolImage:
    """Pixels in a valley, where the surface bends towards the camera, widened by one pixel but never onto a ridge.

    A valley can have gaps where two surfaces happen to continue each other; the widening closes them. Ridges are spared,
    because the thin rim of a cup is what joins its inside to its outside.

    Args:
        w: Smoothed inverse depth, NaN where unknown, (H, W).
        focal_px: Focal length of this image.
        noise_w: Standard deviation of `w`.
        reach_px: Distance over which the bend is measured.
        settings: When a valley separates.
    """
    k = reach_px
    # The second difference of three means has sqrt(1 + 1 + 4) times their noise.
    noise = np.float32(settings.noise_sigmas * noise_w * np.sqrt(6.0))
    # A bend of slope s over k pixels of size z / f changes z by k s z / f, so w by k s w / f.
    least = w * np.float32(k * settings.bend / focal_px) + noise
    valley = np.zeros(w.shape, dtype=np.bool_)
    ridge = np.zeros(w.shape, dtype=np.bool_)
    height, width = w.shape
    for dv, du in ((0, k), (k, 0), (k - 1, k - 1), (k - 1, 1 - k)):
        if height <= 2 * dv or width <= 2 * abs(du):
            continue
        centre = (slice(dv, height - dv), slice(abs(du), width - abs(du)))
        ahead = w[2 * dv : height, abs(du) + du : width - abs(du) + du]
        behind = w[0 : height - 2 * dv, abs(du) - du : width - abs(du) - du]
        bend = ahead + behind - 2 * w[centre]
        # NaN compares false: the unknown is neither.
        valley[centre] |= bend > least[centre]
        ridge[centre] |= bend < -least[centre]
    wide = cv2.dilate(valley.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(valley | (wide & ~ridge), dtype=np.bool_)


def flying(depth_m: FloatImage, focal_px: float, max_incidence_rad: float = 1.40) -> BoolImage:
    """Pixels that hang between two surfaces: their readings step away from both neighbours along the rows or the columns.

    Args:
        depth_m: Metres, NaN where unknown, (H, W).
        focal_px: Focal length of this image.
        max_incidence_rad: A steeper surface is taken for a smear.
    """
    limit = depth_m * np.float32(np.tan(max_incidence_rad) / focal_px)
    out = np.zeros(depth_m.shape, dtype=np.bool_)
    for axis in (0, 1):
        step = np.nan_to_num(np.abs(np.diff(depth_m, axis=axis)), nan=np.inf)
        edge = [(0, 0), (0, 0)]
        edge[axis] = (1, 1)
        padded = np.pad(step, edge, constant_values=0.0)
        before, after = (padded[:-1], padded[1:]) if axis == 0 else (padded[:, :-1], padded[:, 1:])
        out |= np.minimum(before, after) > limit
    return out


def regions(foreground: BoolImage, valley: BoolImage, w: FloatImage, min_region_px: int, reach_px: int, jump: float) -> LabelImage:
    """Label the foreground between valleys, then hand each valley pixel to the nearest region that it continues in depth.

    Args:
        foreground: Pixels that can belong to an object, (H, W).
        valley: Pixels that separate.
        w: Smoothed inverse depth.
        min_region_px: Regions of fewer pixels are handed out like valley pixels.
        reach_px: Half width of the valleys.
        jump: Largest relative step of inverse depth between a valley pixel and the region it joins.

    Returns:
        Labels, 0 = none, int32 (H, W).
    """
    labels = _components((foreground & ~valley).astype(np.uint8), min_region_px)
    loose = foreground & (labels == 0)
    if not (labels > 0).any() or not loose.any():
        return labels
    distance, nearest = cv2.distanceTransformWithLabels((labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.flatnonzero(labels.reshape(-1) > 0)
    # DIST_LABEL_PIXEL numbers the zero pixels in raster order from 1.
    index = owner[nearest[loose] - 1]
    there, here = w.reshape(-1)[index], w[loose]
    joins = (np.abs(there - here) < jump * here) & (distance[loose] <= 2 * reach_px + 2)
    labels[loose] = np.where(joins, labels.reshape(-1)[index], 0)
    return labels


def piece_at(mask: BoolImage, depth_m: FloatImage, pixel: tuple[int, int], focal_px: float, max_incidence_rad: float = 1.40) -> BoolImage:
    """The part of a mask around a pixel that no depth step divides, with the border that such steps leave it.

    Args:
        mask: (H, W).
        depth_m: Metres, NaN where unknown, (H, W).
        pixel: Row and column.
        focal_px: Focal length of this image.
        max_incidence_rad: A steeper slope is a step.
    """
    limit = depth_m * np.float32(np.tan(max_incidence_rad) / focal_px)
    whole = mask.copy()
    for axis in (0, 1):
        step = np.abs(np.diff(depth_m, axis=axis))
        one, other = (slice(1, None), slice(None, -1)) if axis == 0 else ((slice(None), slice(1, None)), (slice(None), slice(None, -1)))
        whole[one] &= ~(step > limit[one])
        whole[other] &= ~(step > limit[one])
    _, pieces = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)
    row, column = pixel
    piece = whole & (pieces == pieces[row, column]) & whole[row, column]
    beside = cv2.dilate(np.where(piece, depth_m, np.float32(0.0)), np.ones((3, 3), np.uint8))
    return np.asarray(piece | (mask & (beside > 0) & (np.abs(depth_m - beside) <= limit)), dtype=np.bool_)


def _components(mask: NDArray[np.uint8], least_px: int) -> LabelImage:
    """Labels of the 4-connected components of at least `least_px` pixels, 0 = none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4, ltype=cv2.CV_32S)
    keep = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False
    return np.asarray(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels])
