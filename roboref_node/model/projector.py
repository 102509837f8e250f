"""Space-to-depth and the small MLP that bring tower tokens to the width of the language model."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from roboref_node.model.config import PROJECTOR_STRIDES


class SpaceToDepth(nn.Module):
    """Group `stride` x `stride` neighbouring tokens into one with as many times the channels.

    The token grid is zero-padded at the bottom and right to a multiple of the stride. Channels of a group are ordered row by
    row: [r0c0, r0c1, ..., r1c0, ...]; groups are ordered row by row.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, side*side, c] -> [N, ceil(side/stride)**2, c*stride**2]."""
        count, length, channels = tokens.shape
        side, stride = int(length**0.5), self.stride
        if side * side != length:
            raise ValueError(f"{length} tokens are not a square grid")
        grid = tokens.reshape(count, side, side, channels)
        if missing := -side % stride:
            grid = functional.pad(grid, (0, 0, 0, missing, 0, missing))
        out = grid.shape[1] // stride
        grid = grid.reshape(count, out, stride, out, stride, channels)  # [N, row, r, column, c, channel]
        return grid.permute(0, 1, 3, 2, 4, 5).reshape(count, out * out, stride * stride * channels)


class Projector(nn.Module):
    """Projector of one modality. `layers` has the slots of the published checkpoints, parameter-free ones included.

    Args:
        kind: Key of `PROJECTOR_STRIDES`.
        channels: Channels of a tower token (for merged scales: of all scales together).
        width: Width of the language model.
    """

    def __init__(self, kind: str, channels: int, width: int) -> None:
        super().__init__()
        stride = PROJECTOR_STRIDES[kind]
        group = channels * stride * stride
        layers: list[nn.Module] = [SpaceToDepth(stride), nn.LayerNorm(group)]
        if stride == 3:
            layers += [nn.Linear(group, 3 * channels), nn.GELU(), nn.LayerNorm(3 * channels)]
            group = 3 * channels
        layers += [nn.Linear(group, width), nn.GELU(), nn.Linear(width, width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tower tokens [N, P, c] -> language-model tokens [N, T, d]."""
        return cast(Tensor, self.layers(tokens))


def merge_tiles(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Lay the token grids of row-major tiles out as one image.

    Args:
        tokens: [rows*columns, s*s, c].
        rows: Tiles from top to bottom.
        columns: Tiles from left to right.

    Returns:
        [rows*s, columns*s, c].
    """
    side, channels = int(tokens.shape[1] ** 0.5), tokens.shape[2]
    grid = tokens.reshape(rows, columns, side, side, channels)
    return grid.permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, channels)


def split_tiles(grid: Tensor, rows: int, columns: int) -> Tensor:
    """Inverse of `merge_tiles`: [rows*s, columns*s, c] -> [rows*columns, s*s, c]."""
    side, channels = grid.shape[0] // rows, grid.shape[2]
    tiles = grid.reshape(rows, side, columns, side, channels).permute(0, 2, 1, 3, 4)
    return tiles.reshape(rows * columns, side * side, channels)


def scale_blocks(scales: list[int], block: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of tiles at each scale: the earlier ones are squares, `block` is the last one's."""
    return [*((scale // scales[0], scale // scales[0]) for scale in scales[:-1]), block]


def merge_scales(tokens: Tensor, block: tuple[int, int], scales: list[int], output_scale: int) -> tuple[Tensor, tuple[int, int]]:
    """Merge the tiles of one image at several scales into one grid with the channels of all scales (S2, arXiv 2403.13043).

    Args:
        tokens: Tower tokens of all tiles of the image, scale after scale, [N, s*s, c].
        block: Rows and columns of tiles of the last scale; the earlier ones are squares.
        scales: Sides of the scales in pixels, ascending.
        output_scale: Index of the scale that gives the output grid.

    Returns:
        Merged grid [rows*s, columns*s, c*scales] and its block (rows, columns).
    """
    blocks = scale_blocks(scales, block)
    expected = sum(rows * columns for rows, columns in blocks)
    if tokens.shape[0] != expected:
        raise ValueError(f"{tokens.shape[0]} tiles for the blocks {blocks}, expected {expected}")
    grids, start = [], 0
    for rows, columns in blocks:
        grids.append(merge_tiles(tokens[start : start + rows * columns], rows, columns))
        start += rows * columns
    size = tuple(grids[output_scale].shape[:2])
    # In fp32, as the published models were trained: area averages of bf16 values differ in the last bits otherwise.
    merged = [
        functional.interpolate(grid.permute(2, 0, 1)[None].float(), size=size, mode="area")[0].permute(1, 2, 0).to(grid.dtype)
        for grid in grids
    ]
    return torch.cat(merged, dim=-1), blocks[output_scale]
