"""An occupancy grid as the planner needs it: clearance everywhere, and whether a line of sight is free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class OccupancyMap:
    """Cells of the floor, as in nav_msgs/OccupancyGrid.

    Args:
        data: int8 (H, W); -1 = unknown, 0 = free to 100 = occupied; row = y, column = x of the grid's frame.
        resolution_m: Side of a cell.
        origin: map_from_grid: pose of the outer corner of cell (0, 0).
        occupied_from: Cells with at least this value are obstacles.

    Raises:
        Refused: BAD_REQUEST when the shape, the values or the resolution are wrong.
    """

    data: NDArray[np.int8]
    resolution_m: float
    origin: Transform
    occupied_from: int = 50

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.ndim != 2 or data.size == 0:
            raise Refused(Status.BAD_REQUEST, f"an occupancy map needs rows and columns, this one has the shape {data.shape}")
        if not (np.isfinite(self.resolution_m) and self.resolution_m > 0.0):
            raise Refused(Status.BAD_REQUEST, f"the resolution of an occupancy map must be positive, it is {self.resolution_m}")
        if data.min() < UNKNOWN or data.max() > 100:
            raise Refused(Status.BAD_REQUEST, f"cells must lie between -1 and 100, these go from {data.min()} to {data.max()}")

    @cached_property
    def clearance_m(self) -> FloatArray:
        """Distance from each cell's centre to the border of the nearest cell that is not known to be free, shape (H, W).

        Unknown cells and everything beyond the map count as obstacles.
        """
        data = np.asarray(self.data)
        free = np.pad((data >= 0) & (data < self.occupied_from), 1, constant_values=False)
        cells = ndimage.distance_transform_edt(free)[1:-1, 1:-1]
        return np.asarray(np.maximum(cells - 0.5, 0.0) * self.resolution_m, dtype=np.float64)

    def cells(self, xy_m: ArrayLike) -> tuple[NDArray[np.intp], BoolArray]:
        """Column and row of points of the map frame, shape (..., 2), and whether they are inside the map."""
        points = np.asarray(xy_m, dtype=np.float64)
        flat = np.concatenate([points, np.zeros((*points.shape[:-1], 1))], axis=-1)
        index = np.floor(self.origin.inverse().apply(flat)[..., :2] / self.resolution_m).astype(np.intp)
        inside = np.all((index >= 0) & (index < np.asarray(self.data).shape[::-1]), axis=-1)
        return index, np.asarray(inside, dtype=np.bool_)

    def clearances(self, xy_m: ArrayLike) -> FloatArray:
        """`clearance_m` at points of the map frame, shape (..., 2); 0 outside the map."""
        index, inside = self.cells(xy_m)
        column, row = np.where(inside, index[..., 0], 0), np.where(inside, index[..., 1], 0)
        return np.where(inside, self.clearance_m[row, column], 0.0)

    def sees(self, from_xy_m: ArrayLike, to_xy_m: ArrayLike, *, blind_m: float) -> BoolArray:
        """Whether no obstacle stands on the line between points of shape (N, 2) and one point (2,).

        Args:
            from_xy_m: Where one looks from.
            to_xy_m: What one looks at.
            blind_m: The last part of the line, next to the target, which does not count: that is what the target stands on.
        """
        start = np.asarray(from_xy_m, dtype=np.float64)
        line = np.asarray(to_xy_m, dtype=np.float64) - start
        length = np.linalg.norm(line, axis=-1)
        count = max(2, int(np.ceil(float(length.max(initial=0.0)) / (0.5 * self.resolution_m))))
        share = np.linspace(0.0, 1.0, count)
        points = start[:, None, :] + share[None, :, None] * line[:, None, :]
        index, inside = self.cells(points)
        value = np.asarray(self.data)[np.where(inside, index[..., 1], 0), np.where(inside, index[..., 0], 0)]
        blocks = (value >= self.occupied_from) & inside & ((1.0 - share)[None, :] * length[:, None] > blind_m)
        return np.asarray(~np.any(blocks, axis=1), dtype=np.bool_)
