"""Metric depth as the model sees it: relative, 8 bit, three channels, near bright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def relative_depth_image(depth_m: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Inverse depth, min-max over the valid pixels, as RoboRefer was trained on (relative Depth-Anything-V2 maps).

    Args:
        depth_m: Metres along the optical axis, (H, W); NaN, inf and values <= 0 are holes.

    Returns:
        uint8 (H, W, 3); the nearest pixel is 255, the farthest and the holes are 0. A map without contrast is all 0.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    image = np.zeros((*depth_m.shape, 3), dtype=np.uint8)
    if not valid.any():
        return image
    inverse = np.divide(1.0, depth_m, out=np.zeros(depth_m.shape, dtype=np.float32), where=valid)
    low, high = float(inverse[valid].min()), float(inverse[valid].max())
    if high - low < 1e-9:
        return image
    scaled = np.where(valid, (inverse - low) * (255.0 / (high - low)), 0.0)
    image[:] = np.clip(scaled, 0.0, 255.0).astype(np.uint8)[..., None]
    return image
