"""From one image to the square tiles of a tower: which grid, in which order, resized how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roboref_node.model.resampling import bicubic


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """A picture as uint8 (H, W, 3), whatever it came as.

    Args:
        image: PIL image of any 8-bit mode, or uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB order.

    Raises:
        ValueError: More than 8 bits per channel (a metric depth image goes through `relative_depth_image` first), or another shape,
            or no pixels.
    """
    array = _pixels(image)
    if array.size == 0:
        raise ValueError(f"image has shape {array.shape}, expected at least one pixel")
    return array


def _pixels(image: Any) -> NDArray[np.uint8]:
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


def stretched_tile(image: Any, tile: int, device: torch.device | str = "cpu") -> Tensor:
    """``resize``: the whole image as one tile, area-averaged; [1, S, S, 3]."""
    return torch.from_numpy(cv2.resize(as_rgb(image), (tile, tile), interpolation=cv2.INTER_AREA))[None].to(device)


def dynamic_tiles(
    image: Any, tile: int, min_tiles: int, max_tiles: int, *, device: torch.device | str = "cpu", pillow: bool | None = None
) -> Tensor:
    """``dynamic``: a grid in row-major order, then, unless the grid is a single tile, a thumbnail of the whole image; [N, S, S, 3].

    Args:
        image: See `as_rgb`.
        tile: Side of a tile, pixels.
        min_tiles: See `choose_grid`.
        max_tiles: See `choose_grid`.
        device: Where the tiles are wanted.
        pillow: Resize with Pillow rather than on the device; the values are the same. None: on a CPU.
    """
    picture = _Picture(image, torch.device(device), pillow)
    columns, rows = choose_grid(picture.width, picture.height, min_tiles, max_tiles, tile)
    tiles = picture.cut(columns, rows, tile)
    return tiles if len(tiles) == 1 else torch.cat([tiles, picture.cut(1, 1, tile)])


def dynamic_s2_tiles(
    image: Any, scales: Sequence[int], max_tiles: int, *, device: torch.device | str = "cpu", pillow: bool | None = None
) -> tuple[Tensor, tuple[int, int]]:
    """``dynamic_s2``: square grids of all scales but the last, then a grid by aspect ratio with at least as many tiles as the last scale.

    Args:
        image: See `as_rgb`.
        scales: Sides of the scales in pixels, ascending; the first is the side S of a tile.
        max_tiles: Most tiles of the last grid.
        device: See `dynamic_tiles`.
        pillow: See `dynamic_tiles`.

    Returns:
        Tiles [N, S, S, 3] and the (rows, columns) of the last grid.

    Raises:
        ValueError: `max_tiles` is less than the last scale needs.
    """
    tile = scales[0]
    fewest = (scales[-1] // tile) ** 2
    if max_tiles < fewest:
        raise ValueError(f"a tile budget of {max_tiles} is less than the {fewest} tiles that the scales {list(scales)} need")
    picture = _Picture(image, torch.device(device), pillow)
    columns, rows = choose_grid(picture.width, picture.height, fewest, max_tiles, tile)
    squares = [picture.cut(scale // tile, scale // tile, tile) for scale in scales[:-1]]
    return torch.cat([*squares, picture.cut(columns, rows, tile)]), (rows, columns)


class _Picture:
    """A picture to stretch and cut. Where all three channels are equal, as in depth images, one does: the same values in half the time."""

    def __init__(self, image: Any, device: torch.device, pillow: bool | None) -> None:
        pixels = as_rgb(image)
        self.height, self.width = pixels.shape[:2]
        grey = np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
        pixels = np.ascontiguousarray(pixels[..., :1]) if grey else pixels
        self._device = device
        self._picture = Image.fromarray(pixels[..., 0] if grey else pixels)
        by_pillow = device.type == "cpu" if pillow is None else pillow
        self._pixels = None if by_pillow else torch.from_numpy(np.array(pixels)).to(device)

    def cut(self, columns: int, rows: int, tile: int) -> Tensor:
        """Stretch to the grid (bicubic) and cut it row by row; uint8 [rows*columns, S, S, 3]."""
        if self._pixels is None:
            # One axis after the other: Pillow 13 does the vertical one first where that is cheaper, and the rounding in between then gives
            # other values than the Pillow 11 that the models were trained with (up to 17 of 255 on noise).
            wide = self._picture.resize((columns * tile, self.height), Image.Resampling.BICUBIC)
            stretched = np.array(wide.resize((columns * tile, rows * tile), Image.Resampling.BICUBIC))
            pixels = torch.from_numpy(stretched.reshape(*stretched.shape[:2], -1)).to(self._device)
        else:
            pixels = bicubic(self._pixels, columns * tile, rows * tile)
        tiles = pixels.reshape(rows, tile, columns, tile, -1).transpose(1, 2).reshape(rows * columns, tile, tile, -1)
        return tiles.expand(-1, -1, -1, 3)
