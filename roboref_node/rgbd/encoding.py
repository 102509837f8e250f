"""Metric depth as cameras send it and files keep it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """What a RealSense sends as 16UC1: whole millimetres, 0 where nothing is known or beyond 65.5 m.

    Args:
        depth_m: Distances along the optical axis in metres, NaN or infinite where unknown, (H, W).
    """
    millimetres = np.rint(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0)
    return np.where((millimetres > 0.0) & (millimetres < 65_535.0), millimetres, 0.0).astype(np.uint16)
