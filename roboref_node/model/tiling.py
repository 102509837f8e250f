"""From one image to the square tiles of a tower: which grid, in which order, resized how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Tiles = NDArray[np.uint8]
"""uint8 [N, S, S, 3], RGB."""


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """A picture as uint8 (H, W, 3), whatever it came as.

    Args:
        image: PIL image of any 8-bit mode, or uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB order.

    Raises:
        ValueError: More than 8 bits per channel (a metric depth image goes through `relative_depth_image` first), or another shape.
    """
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            raise ValueError(f"image mode {image.mode} has more than 8 bits; turn metric depth into a relative depth image first")
        return np.asarray(image.convert("RGB"))
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ValueError(f"image has dtype {array.dtype}, expected uint8; turn metric depth into a relative depth image first")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"image has shape {array.shape}, expected (H, W, 3)")
    return np.ascontiguousarray(array)


def choose_grid(width: int, height: int, min_tiles: int, max_tiles: int, tile: int) -> tuple[int, int]:
    """The (columns, rows) whose aspect ratio is nearest to the image's; as InternVL and NVILA choose it.

    On an exact tie the grid with more tiles wins if the image has more than half its pixels.

    Args:
        width: Of the image, pixels.
        height: Of the image, pixels.
        min_tiles: Fewest tiles.
        max_tiles: Most tiles.
        tile: Side of a tile, pixels.
    """
    # Grids of equal size are tried in the order of a set filled this way, because the published models were trained so.
    grids = {
        (columns, rows)
        for limit in range(min_tiles, max_tiles + 1)
        for columns in range(1, limit + 1)
        for rows in range(1, limit + 1)
        if min_tiles <= columns * rows <= max_tiles
    }
    best, best_distance = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - columns / rows)
        enough_pixels = width * height > 0.5 * tile * tile * columns * rows
        if distance < best_distance or (distance == best_distance and enough_pixels):
            best, best_distance = (columns, rows), distance
    return best


def stretched_tile(image: Any, tile: int) -> Tiles:
    """``resize``: the whole image as one tile, area-averaged; [1, S, S, 3]."""
    return np.asarray(cv2.resize(as_rgb(image), (tile, tile), interpolation=cv2.INTER_AREA), dtype=np.uint8)[None]


def dynamic_tiles(image: Any, tile: int, min_tiles: int, max_tiles: int) -> Tiles:
    """``dynamic``: a grid in row-major order, then, unless the grid is a single tile, a thumbnail of the whole image; [N, S, S, 3]."""
    picture = _picture(image)
    columns, rows = choose_grid(*picture.size, min_tiles, max_tiles, tile)
    tiles = _cut(picture, columns, rows, tile)
    return tiles if len(tiles) == 1 else np.concatenate([tiles, _cut(picture, 1, 1, tile)])


def dynamic_s2_tiles(image: Any, scales: Sequence[int], max_tiles: int) -> tuple[Tiles, tuple[int, int]]:
    """``dynamic_s2``: square grids of all scales but the last, then a grid by aspect ratio with at least as many tiles as the last scale.

    Returns:
        Tiles [N, S, S, 3] with S the first scale, and the (rows, columns) of the last grid.

    Raises:
        ValueError: `max_tiles` is less than the last scale needs.
    """
    tile = scales[0]
    fewest = (scales[-1] // tile) ** 2
    if max_tiles < fewest:
        raise ValueError(f"a tile budget of {max_tiles} is less than the {fewest} tiles that the scales {list(scales)} need")
    picture = _picture(image)
    columns, rows = choose_grid(*picture.size, fewest, max_tiles, tile)
    squares = [_cut(picture, scale // tile, scale // tile, tile) for scale in scales[:-1]]
    return np.concatenate([*squares, _cut(picture, columns, rows, tile)]), (rows, columns)


def _picture(image: Any) -> Image.Image:
    """As PIL image; with a single channel where all three are equal, as in depth images: the same values in half the time."""
    pixels = as_rgb(image)
    grey = pixels[..., 0]
    is_grey = np.array_equal(grey, pixels[..., 1]) and np.array_equal(grey, pixels[..., 2])
    return Image.fromarray(np.ascontiguousarray(grey) if is_grey else pixels)


def _cut(picture: Image.Image, columns: int, rows: int, tile: int) -> Tiles:
    """Stretch to the grid (bicubic) and cut it row by row; [rows*columns, S, S, 3]."""
    pixels = np.asarray(picture.resize((columns * tile, rows * tile), Image.Resampling.BICUBIC))
    tiles = pixels.reshape(rows, tile, columns, tile, -1).transpose(0, 2, 1, 3, 4).reshape(rows * columns, tile, tile, -1)
    return np.broadcast_to(tiles, (*tiles.shape[:3], 3))
