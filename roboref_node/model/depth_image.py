"""Metric depth as the model sees it: relative, 8 bit, three channels, near bright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SPECK_SHARE = 1e-4
"""Readings that take up less than this share of the image are no object that anybody asks for."""
_SPECK_RATIO = 1.5
"""They do not count when they are nearer than everything else by more than this factor."""
_SAMPLE_STRIDE = 16


def relative_depth_image(depth_m: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Inverse depth, min-max over the valid pixels, as RoboRefer was trained on (relative Depth-Anything-V2 maps).

    A few wrong readings right before the camera would turn all else black: what is far nearer than all the rest is as bright as the
    nearest of it.

    Args:
        depth_m: Metres along the optical axis, (H, W); NaN, inf and values <= 0 are holes.

    Returns:
        uint8 (H, W, 3); the nearest pixel is 255, the farthest and the holes are 0. A map without contrast is all 0.
    """
    depth = np.asarray(depth_m, dtype=np.float32)
    valid = np.isfinite(depth) & (depth > 0)
    with np.errstate(over="ignore"):
        inverse = np.divide(1.0, depth, out=np.zeros_like(depth), where=valid)
    valid &= np.isfinite(inverse)
    image = np.zeros((*depth.shape, 3), dtype=np.uint8)
    if not valid.any():
        return image
    readings = inverse[valid]
    low, high = float(readings.min()), float(readings[readings <= _nearest(readings)].max())
    if high - low < 1e-9:
        return image
    scaled = np.where(valid, (inverse - low) * (255.0 / (high - low)), 0.0)
    image[:] = np.clip(scaled, 0.0, 255.0).astype(np.uint8)[..., None]
    return image


def _nearest(readings: NDArray[np.float32]) -> float:
    """The largest inverse depth that is no speck's."""
    highest, count = float(readings.max()), int(_SPECK_SHARE * readings.size)
    if count == 0:
        return highest
    # Ordering a whole image takes milliseconds, and hardly any has specks.
    sample = readings[::_SAMPLE_STRIDE]
    if highest <= _SPECK_RATIO * float(np.partition(sample, -sample.size // 100)[-sample.size // 100]):
        return highest
    return _SPECK_RATIO * float(np.partition(readings, -count - 1)[-count - 1])
