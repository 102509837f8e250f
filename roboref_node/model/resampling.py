"""Pillow's 8-bit bicubic resize as tensor operations, value for value, so that tiles can be cut on the GPU."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

PRECISION_BITS = 22
"""Fractional bits of Pillow's integer weights (libImaging/Resample.c)."""


def bicubic(pixels: Tensor, width: int, height: int) -> Tensor:
    """Resize as ``Image.resize((width, height), BICUBIC)`` of Pillow up to 12 does: horizontally, round to 8 bits, vertically, round again.

    Args:
        pixels: uint8 [H, W, C].
        width: Of the result.
        height: Of the result.

    Returns:
        uint8 [height, width, C].
    """
    if pixels.shape[1] != width:
        pixels = _resize_axis(pixels, 1, width)
    if pixels.shape[0] != height:
        pixels = _resize_axis(pixels, 0, height)
    return pixels


def _resize_axis(pixels: Tensor, axis: int, size: int) -> Tensor:
    """Weighted sum of a few source rows or columns per target; 32 bits suffice for it, as in Pillow."""
    sources, weights = (table.to(pixels.device) for table in _taps(pixels.shape[axis], size))
    wide = pixels.int()
    shape = (1, -1, 1) if axis else (-1, 1, 1)
    total = torch.full((), 1 << (PRECISION_BITS - 1), dtype=torch.int32, device=pixels.device)
    for tap in range(sources.shape[0]):
        total = total + wide.index_select(axis, sources[tap]) * weights[tap].reshape(shape)
    return (total >> PRECISION_BITS).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[Tensor, Tensor]:
    """Source index and integer weight of every tap, int64 and int32 [taps, target]; unused taps weigh 0."""
    scale = source / target
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    rows = []
    for position in range(target):
        centre = (position + 0.5) * scale
        first, last = max(0, int(centre - support + 0.5)), min(source, int(centre + support + 0.5))
        weights = [_cubic((index - centre + 0.5) * (1.0 / stretch)) for index in range(first, last)]
        total = sum(weights)
        rows.append((first, [_fixed_point(weight * (1.0 / total)) for weight in weights]))
    count = max(len(weights) for _, weights in rows)
    indices = torch.tensor([[min(first + tap, source - 1) for first, _ in rows] for tap in range(count)])
    table = torch.tensor([[weights[tap] if tap < len(weights) else 0 for _, weights in rows] for tap in range(count)], dtype=torch.int32)
    return indices, table


def _cubic(x: float) -> float:
    """Keys' kernel with a = -0.5."""
    x = abs(x)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


def _fixed_point(weight: float) -> int:
    return int(math.copysign(0.5, weight) + weight * (1 << PRECISION_BITS))
