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

FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]
LabelImage = NDArray[np.int32]


@dataclass(frozen=True)
class CreaseSettings:
    """When a valley separates.

    Args:
        reach_px: Distance over which the bend is measured.
        bend: Smallest bend, as the sum of the two slopes against the image plane; 0.45 is about 25 degrees.
        noise_sigmas: Smallest bend in standard deviations of its noise.
        min_region_px: Regions of fewer pixels are left to their neighbours.
    """

    reach_px: int = 3
    bend: float = 0.45
    noise_sigmas: float = 3.0
    min_region_px: int = 30


def smooth_inverse(depth_m: FloatImage) -> tuple[FloatImage, BoolImage]:
    """Inverse depth averaged over the known pixels of 3x3, and which pixels are known; float32 and bool (H, W)."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    inverse = np.divide(np.float32(1.0), depth_m, out=np.zeros_like(depth_m), where=known)
    total = cv2.boxFilter(inverse, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(known.astype(np.float32), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=known)
    return mean.astype(np.float32), known


def valleys(w: FloatImage, focal_px: float, noise_w: float, settings: CreaseSettings) -> BoolImage:
    """Pixels in a valley.

    Args:
        w: Smoothed inverse depth, NaN where unknown, (H, W).
        focal_px: Focal length of this image.
        noise_w: Standard deviation of the unsmoothed inverse depth.
        settings: When a valley separates.
    """
    k = settings.reach_px
    # Second difference of three 3x3 means: sqrt(1 + 1 + 4) / 3 of the pixel noise.
    noise = np.float32(settings.noise_sigmas * noise_w * np.sqrt(6.0) / 3.0)
    # A bend of slope s over k pixels of size z / f changes z by k s z / f, so w by k s w / f.
    least = w * np.float32(k * settings.bend / focal_px) + noise
    out = np.zeros(w.shape, dtype=np.bool_)
    height, width = w.shape
    for dv, du in ((0, k), (k, 0), (k - 1, k - 1), (k - 1, 1 - k)):
        centre = (slice(dv, height - dv), slice(abs(du), width - abs(du)))
        if centre[0].start >= centre[0].stop or centre[1].start >= centre[1].stop:
            continue
        ahead = w[2 * dv : height, abs(du) + du : width - abs(du) + du]
        behind = w[0 : height - 2 * dv, abs(du) - du : width - abs(du) - du]
        out[centre] |= ahead + behind - 2 * w[centre] > least[centre]
    return out


def regions(foreground: BoolImage, valley: BoolImage, w: FloatImage, settings: CreaseSettings, jump: float) -> tuple[LabelImage, int]:
    """Label the foreground between valleys, then hand each valley pixel to the nearest region that it continues in depth.

    Args:
        foreground: Pixels that can belong to an object, (H, W).
        valley: Pixels that separate.
        w: Smoothed inverse depth.
        settings: Smallest region.
        jump: Largest relative step of inverse depth between a valley pixel and the region it joins.

    Returns:
        Labels, 0 = none, int32 (H, W), and the number of labels including 0.
    """
    core = (foreground & ~valley).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4, ltype=cv2.CV_32S)
    small = stats[:, cv2.CC_STAT_AREA] < settings.min_region_px
    small[0] = True
    keep = np.cumsum(~small).astype(np.int32)
    keep[small] = 0
    labels = keep[labels]
    loose = foreground & (labels == 0)
    if not (labels > 0).any() or not loose.any():
        return labels, int(keep.max()) + 1
    distance, nearest = cv2.distanceTransformWithLabels((labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.flatnonzero(labels.reshape(-1) > 0)
    # DIST_LABEL_PIXEL numbers the zero pixels in raster order from 1.
    index = owner[nearest[loose] - 1]
    there, here = w.reshape(-1)[index], w[loose]
    joins = (np.abs(there - here) < jump * here) & (distance[loose] <= 2 * settings.reach_px + 1)
    labels[loose] = np.where(joins, labels.reshape(-1)[index], 0)
    return labels, int(keep.max()) + 1
