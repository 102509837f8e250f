"""Do depth and colour show the same thing at the same pixel? Their edges are compared, for every shift of one against the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH_PX = 320
"""Images are compared at about this width: edges are then some pixels wide, and noise is averaged away."""

_REACH = 0.08
"""Largest shift that is looked for, as a share of the width. A mount 5 cm off at 1 m gives 5 to 8 %."""

_STEP = 0.015
"""Depth step, as a share of the distance, that makes an edge."""

_HOLE_PX = 9
"""Holes up to this width are shadows that objects cast for the sensor; behind them is what the next known pixels show."""

_MIN_EDGES = 60
"""Fewer edge pixels say nothing."""

_MIN_SHIFT = 0.012
"""Shifts below this share of the width (8 px of 640) are within what cameras and shadows do to edges."""


@dataclass(frozen=True)
class Alignment:
    """Where the edges of depth lie against those of colour.

    Args:
        shift_px: Columns and rows of the colour image by which depth must be moved to fit best.
        agreement: How well the edges fit as they are, as a share of how well they fit at best; 1 = nowhere better.
        edges: Edge pixels of depth that were compared.
    """

    shift_px: tuple[int, int]
    agreement: float
    edges: int

    @property
    def is_off(self) -> bool:
        """True when the images are certainly shifted against each other."""
        return self.agreement < 0.6 and self.edges >= _MIN_EDGES


def compare_edges(rgb: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> Alignment | None:
    """Shift between the edges of two images of one size, or None when there are too few to tell.

    Args:
        rgb: Colour image (H, W, 3).
        depth_m: Depth (H, W) in metres, NaN = unknown.
    """
    scale = max(1, round(rgb.shape[1] / _WIDTH_PX))
    size = (rgb.shape[1] // scale, rgb.shape[0] // scale)
    color = _color_edges(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    depth = _depth_edges(depth_m[scale // 2 :: scale, scale // 2 :: scale][: size[1], : size[0]])
    reach = max(4, round(_REACH * size[0]))
    depth[:reach], depth[-reach:], depth[:, :reach], depth[:, -reach:] = 0, 0, 0, 0
    edges = int(np.count_nonzero(depth))
    if edges < _MIN_EDGES:
        return None
    scores = _scores(color, depth, reach) / edges
    usual = float(np.median(scores))
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    best = float(scores[row, column]) - usual
    nearby = round(max(1.0, _MIN_SHIFT * size[0]))
    here = float(scores[reach - nearby : reach + nearby + 1, reach - nearby : reach + nearby + 1].max()) - usual
    if best < 3 * float(np.std(scores)) or best < 0.05:
        return None
    return Alignment((int(column - reach) * scale, int(row - reach) * scale), max(0.0, here) / best, edges)


def _color_edges(rgb: NDArray[Any]) -> NDArray[np.float32]:
    """1 on the strongest edges, falling off within two pixels."""
    lab = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), (3, 3), 0).astype(np.float32)
    dx, dy = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.sqrt((dx * dx + dy * dy).sum(axis=2))
    strong = float(np.quantile(strength, 0.95))
    edges = np.minimum(strength / max(strong, 1e-3), 1.0)
    return np.asarray(cv2.GaussianBlur(edges, (0, 0), 1.0), dtype=np.float32)


def _depth_edges(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where the distance jumps, with narrow holes taken for the farther side."""
    known = np.isfinite(depth_m)
    farthest = cv2.dilate(np.where(known, depth_m, 0.0).astype(np.float32), np.ones((_HOLE_PX, _HOLE_PX)))
    z = np.where(known, depth_m, np.where(farthest > 0, farthest, np.nan))
    edges = np.zeros(z.shape, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        # A slanted plane has slope but no bend: the second difference is small on it, whatever its tilt.
        for axis in (0, 1):
            before, here, after = (np.take(z, range(i, z.shape[axis] - 2 + i), axis) for i in range(3))
            bend = np.abs(after - 2 * here + before) > _STEP * here
            inner = (slice(1, -1), slice(None)) if axis == 0 else (slice(None), slice(1, -1))
            edges[inner] = np.maximum(edges[inner], bend)
    return edges


def _scores(color: NDArray[np.float32], depth: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Sum of the colour edges under the depth edges for each shift (rows, columns) from -reach to reach."""
    inner = np.ascontiguousarray(depth[reach:-reach, reach:-reach])
    return np.asarray(cv2.matchTemplate(color, inner, cv2.TM_CCORR), dtype=np.float32)
