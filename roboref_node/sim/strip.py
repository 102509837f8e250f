"""A picture series of the cell: what happened, in one PNG, without a video codec."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.sim.cell import SimulatedCell

PERIOD_S = 0.5
"""Simulated time between two pictures while something moves."""
COLUMNS = 6
WIDTH_PX = 240
_BAR_PX = 22


class PictureSeries:
    """Collects small pictures of a cell and writes them as one sheet.

    Args:
        period_s: Least simulated time between two pictures.
        width_px: Width of each picture.
    """

    def __init__(self, period_s: float = PERIOD_S, width_px: int = WIDTH_PX) -> None:
        self._period_s, self._width = period_s, width_px
        self._pictures: list[NDArray[np.uint8]] = []
        self._last_ns: int | None = None

    def __len__(self) -> int:
        return len(self._pictures)

    def note(self, cell: SimulatedCell) -> None:
        """Take a picture if the last one is old enough; to be called after every step."""
        if self._last_ns is None or cell.stamp_ns - self._last_ns >= self._period_s * 1e9 - 1:
            caption = f"{cell.arm.stage.value} {100 * cell.arm.progress:.0f} %" if cell.arm.busy else "still"
            self.add(cell.render().rgb, f"{cell.stamp_ns / 1e9:.1f} s  {caption}")
            self._last_ns = cell.stamp_ns

    def add(self, rgb: NDArray[np.uint8], caption: str) -> None:
        """Take a picture, uint8 (H, W, 3), with a line of text over it."""
        height = round(rgb.shape[0] * self._width / rgb.shape[1])
        small = cv2.resize(rgb, (self._width, height), interpolation=cv2.INTER_AREA)
        bar = np.full((_BAR_PX, self._width, 3), 255, dtype=np.uint8)
        cv2.putText(bar, caption, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        self._pictures.append(np.concatenate([bar, small]))

    def write(self, path: str | Path, columns: int = COLUMNS) -> Path:
        """Write all pictures, row by row, as one PNG.

        Raises:
            ValueError: There is no picture.
            OSError: The file cannot be written.
        """
        if not self._pictures:
            raise ValueError("there is no picture to write")
        height = max(picture.shape[0] for picture in self._pictures)
        cells = [np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0)), constant_values=255) for p in self._pictures]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % min(columns, len(cells)))
        width = min(columns, len(self._pictures))
        rows = [np.concatenate(cells[i : i + width], axis=1) for i in range(0, len(cells), width)]
        sheet = np.concatenate(rows)
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{path} could not be written")
        return Path(path)
