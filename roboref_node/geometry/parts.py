"""Parts of one object that a valley or a shadow separates: the neck of a bottle, the inside of a cup."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.crop import Crop
from roboref_node.geometry.planes import Plane

FloatArray = NDArray[np.float64]
BoolImage = NDArray[np.bool_]

MAX_CHROMA_STEP = 20.0
"""Largest distance of the mean a*, b* (CIELAB) of two parts of one object; shading alone moves it by up to 10."""
MAX_POINTS = 500
SHADOW_PX = 4
"""Width of the shadow without depth that a rim throws, beyond the half width of a valley."""


@dataclass(frozen=True, eq=False)
class Part:
    """Points of a part, seen from the side: along the horizontal across the view, away from the camera, and up.

    Args:
        across_m: Shape (n,).
        away_m: Shape (n,).
        up_m: Height over the support, shape (n,).
    """

    across_m: FloatArray
    away_m: FloatArray
    up_m: FloatArray

    def span(self, low: float = 0.03) -> tuple[float, float]:
        """Extent across the view between two quantiles."""
        left, right = np.quantile(self.across_m, [low, 1 - low])
        return float(left), float(right)


def join_parts(
    pixels: BoolImage, labels: NDArray[np.int32], crop: Crop, support: Plane, rgb: NDArray[np.uint8] | None, reach_px: int
) -> BoolImage:
    """Add to a part what belongs to the same object.

    Args:
        pixels: The part at the point, (h, w).
        labels: All parts, 0 = none, (h, w).
        crop: Depth of the crop.
        support: Plane below, normal up.
        rgb: Colours of the crop, (h, w, 3); without them necks are not joined.
        reach_px: Half width of a valley.
    """
    side = 2 * (reach_px + SHADOW_PX) + 1
    refused: set[int] = set()
    while True:
        near = cv2.dilate(pixels.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
        touching = np.bincount(labels[near & ~pixels], minlength=1)
        touching[0] = 0
        candidates = [int(i) for i in np.flatnonzero(touching >= 10) if int(i) not in refused]
        if not candidates:
            return pixels
        view = _view(pixels, crop)
        mine = _part(pixels, crop, support, view)
        for other in candidates:
            mask = labels == other
            part = _part(mask, crop, support, view)
            if _is_container(mine, part) or (
                rgb is not None and _is_neck(mine, part) and _chroma_distance(rgb, pixels, mask) < MAX_CHROMA_STEP
            ):
                pixels = pixels | mask
                break
            refused.add(other)


def _view(mask: BoolImage, crop: Crop) -> FloatArray:
    """Mean ray of some pixels: at the border of the image it is not the optical axis, and one sees another side of a body."""
    x, y = crop.rays[mask].mean(axis=0, dtype=np.float64)
    return np.asarray(np.array([x, y, 1.0]) / np.sqrt(x * x + y * y + 1.0), dtype=np.float64)


def _part(mask: BoolImage, crop: Crop, support: Plane, view: FloatArray) -> Part:
    index = np.flatnonzero(mask)
    index = index[:: max(1, len(index) // MAX_POINTS)]
    z = crop.depth_m.reshape(-1)[index].astype(np.float64)
    points = np.column_stack([crop.rays.reshape(-1, 2)[index].astype(np.float64) * z[:, None], z])
    across = np.cross(support.normal, view)
    length = float(np.linalg.norm(across))
    across = across / length if length > 0.05 else np.array([1.0, 0.0, 0.0])
    return Part(points @ across, points @ np.cross(across, support.normal), support.signed_distance(points))


def _is_neck(first: Part, second: Part) -> bool:
    """Whether the upper part sits on the shoulder of a tall lower one: above it, narrower, on its axis, at its distance.

    A small object that stands on a large one has the same shape; the caller compares the colours.
    """
    upper, lower = (first, second) if np.median(first.up_m) > np.median(second.up_m) else (second, first)
    bottom, (foot, top) = np.quantile(upper.up_m, 0.05), np.quantile(lower.up_m, [0.05, 0.95])
    (ul, ur), (ll, lr) = upper.span(), lower.span()
    width = lr - ll
    return bool(
        bottom > top - 0.015
        and ur - ul < 0.75 * width
        and abs(ul + ur - ll - lr) / 2 < 0.12 * width
        and abs(np.median(upper.away_m) - np.median(lower.away_m)) < 0.75 * width
        and top - foot > 0.5 * width
    )


def _is_container(first: Part, second: Part) -> bool:
    """Whether the farther part is the hollow inside of the nearer one: equally high, as wide, just behind, farthest in its middle."""
    inside, outside = (first, second) if np.median(first.away_m) > np.median(second.away_m) else (second, first)
    tops = [float(np.quantile(part.up_m, 0.96)) for part in (inside, outside)]
    (il, ir), (ol, or_) = inside.span(), outside.span()
    width = max(ir - il, or_ - ol)
    if abs(tops[0] - tops[1]) > max(0.012, 0.12 * max(tops)) or min(ir - il, or_ - ol) < 0.6 * width:
        return False
    if abs(il + ir - ol - or_) / 2 > 0.2 * width or np.quantile(inside.away_m, 0.95) - np.quantile(outside.away_m, 0.05) > 1.5 * width:
        return False
    wall = inside.up_m > np.median(inside.up_m)
    offset = np.abs(2 * inside.across_m[wall] - il - ir) / (ir - il)
    middle, edges = inside.away_m[wall][offset < 0.4], inside.away_m[wall][offset > 0.7]
    return bool(len(middle) > 3 and len(edges) > 3 and np.median(middle) - np.median(edges) > 0.08 * width)


def _chroma_distance(rgb: NDArray[np.uint8], first: BoolImage, second: BoolImage) -> float:
    means = [cv2.cvtColor(rgb[part].reshape(-1, 1, 3), cv2.COLOR_RGB2LAB).reshape(-1, 3)[:, 1:].mean(axis=0) for part in (first, second)]
    return float(np.linalg.norm(means[0] - means[1]))
