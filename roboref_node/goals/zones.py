"""Zones of the workspace: boxes and polygon prisms, to stay in or to keep out of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.parameters import check_settings, setting


class ZoneType(str, Enum):
    """Shape of a zone and which side of its boundary is allowed."""

    KEEP_IN_BOX = "keep_in_box"
    KEEP_OUT_BOX = "keep_out_box"
    KEEP_IN_PRISM = "keep_in_prism"
    KEEP_OUT_PRISM = "keep_out_prism"

    @property
    def keeps_in(self) -> bool:
        """True when goals must be inside."""
        return self in (ZoneType.KEEP_IN_BOX, ZoneType.KEEP_IN_PRISM)

    @property
    def is_box(self) -> bool:
        """True for boxes, False for prisms."""
        return self in (ZoneType.KEEP_IN_BOX, ZoneType.KEEP_OUT_BOX)


@dataclass(frozen=True)
class Zone:
    """One zone, axis-aligned in its own frame. Boundaries belong to the zone, so touching a keep-out zone is being in it.

    Boxes use `min_m` and `max_m`, prisms `polygon_m` and `z_range_m`; giving the other pair is an error.
    """

    type: ZoneType = setting("Shape, and whether goals must stay in or out.")
    frame: str = setting("Frame in which the zone is fixed.")
    min_m: tuple[float, ...] = setting("Lowest corner x, y, z of a box.", default=(), unit="m")
    max_m: tuple[float, ...] = setting("Highest corner x, y, z of a box.", default=(), unit="m")
    polygon_m: tuple[float, ...] = setting("Corners of a prism's polygon: x0, y0, x1, y1, ...", default=(), unit="m")
    z_range_m: tuple[float, ...] = setting("Lowest and highest z of a prism.", default=(), unit="m")

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.frame:
            raise ValueError("frame is empty")
        if self.type.is_box:
            if self.polygon_m or self.z_range_m:
                raise ValueError(f"a {self.type.value} takes min_m and max_m, not polygon_m or z_range_m")
            if len(self.min_m) != 3 or len(self.max_m) != 3:
                raise ValueError(f"a {self.type.value} needs min_m and max_m of 3 numbers each")
            if any(low >= high for low, high in zip(self.min_m, self.max_m, strict=True)):
                raise ValueError(f"min_m {list(self.min_m)} is not below max_m {list(self.max_m)} on every axis")
        else:
            if self.min_m or self.max_m:
                raise ValueError(f"a {self.type.value} takes polygon_m and z_range_m, not min_m or max_m")
            if len(self.polygon_m) < 6 or len(self.polygon_m) % 2:
                raise ValueError(f"polygon_m has {len(self.polygon_m)} numbers; it needs x, y of at least 3 corners")
            if len(self.z_range_m) != 2 or self.z_range_m[0] >= self.z_range_m[1]:
                raise ValueError(f"z_range_m is {list(self.z_range_m)}; it needs a lower and a higher z")
            edges = np.roll(self.corners_m, -1, axis=0) - self.corners_m
            if np.any(np.linalg.norm(edges, axis=1) < 1e-6):
                raise ValueError("polygon_m has the same corner twice in a row")
            if _crosses_itself(self.corners_m):
                raise ValueError("polygon_m crosses itself or has no area")

    @property
    def corners_m(self) -> NDArray[np.float64]:
        """Polygon corners of a prism, shape (K, 2)."""
        return np.asarray(self.polygon_m, dtype=np.float64).reshape(-1, 2)

    def contains(self, points_m: ArrayLike) -> NDArray[np.bool_]:
        """Which points, shape (..., 3) in the zone's frame, are inside or on the boundary; NaN is never inside."""
        points = np.asarray(points_m, dtype=np.float64)
        if self.type.is_box:
            inside = np.all((points >= self.min_m) & (points <= self.max_m), axis=-1)
            return np.asarray(inside, dtype=np.bool_)
        height = (points[..., 2] >= self.z_range_m[0]) & (points[..., 2] <= self.z_range_m[1])
        return np.asarray(height & points_in_polygon(points[..., :2], self.corners_m), dtype=np.bool_)

    def crossings(self, start_m: ArrayLike, end_m: ArrayLike) -> NDArray[np.float64]:
        """Where the way between two points may pass the zone's boundary, as shares of the way between 0 and 1, shape (N,).

        Between two of them that follow each other the way is all inside or all outside.

        Args:
            start_m: Shape (3,), in the zone's frame.
            end_m: Shape (3,).
        """
        start, way = np.asarray(start_m, dtype=np.float64), np.subtract(end_m, start_m)
        if self.type.is_box:
            ahead = np.concatenate([np.subtract(self.min_m, start), np.subtract(self.max_m, start)])
            pace = np.concatenate([way, way])
        else:
            edge = np.roll(self.corners_m, -1, axis=0) - self.corners_m
            across = np.stack([edge[:, 1], -edge[:, 0]], axis=1)
            ahead = np.append(np.sum((self.corners_m - start[:2]) * across, axis=1), np.subtract(self.z_range_m, start[2]))
            pace = np.append(across @ way[:2], [way[2], way[2]])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = ahead / pace
        return np.asarray(share[(share > 0.0) & (share < 1.0)], dtype=np.float64)

    def distance(self, point_m: ArrayLike) -> float:
        """Distance in metres from one point, shape (3,) in the zone's frame, to the zone; 0 inside."""
        point = np.asarray(point_m, dtype=np.float64)
        if self.type.is_box:
            return float(np.linalg.norm(point - np.clip(point, self.min_m, self.max_m)))
        vertical = point[2] - min(max(point[2], self.z_range_m[0]), self.z_range_m[1])
        a = self.corners_m
        edge = np.roll(a, -1, axis=0) - a
        along = np.clip(np.sum((point[:2] - a) * edge, axis=1) / np.sum(edge * edge, axis=1), 0.0, 1.0)
        flat = float(np.min(np.linalg.norm(point[:2] - (a + along[:, None] * edge), axis=1)))
        flat = 0.0 if bool(points_in_polygon(point[:2], a)) else flat
        return float(np.hypot(flat, vertical))


def points_in_polygon(points_m: ArrayLike, corners_m: ArrayLike, *, boundary_m: float = 1e-9) -> NDArray[np.bool_]:
    """Which points lie in a simple polygon, by the crossing number; points on an edge count as inside.

    Args:
        points_m: Shape (..., 2).
        corners_m: Shape (K, 2), either orientation, not closed.
        boundary_m: Width of the edge.
    """
    p = np.asarray(points_m, dtype=np.float64)[..., None, :]
    a = np.asarray(corners_m, dtype=np.float64)
    b = np.roll(a, -1, axis=0)
    edge = b - a
    along = np.clip(np.sum((p - a) * edge, axis=-1) / np.maximum(np.sum(edge * edge, axis=-1), 1e-300), 0.0, 1.0)
    on_edge = np.linalg.norm(p - (a + along[..., None] * edge), axis=-1) <= boundary_m
    straddles = (a[:, 1] > p[..., 1]) != (b[:, 1] > p[..., 1])
    rise = np.where(edge[:, 1] == 0.0, 1.0, edge[:, 1])
    crosses = straddles & (p[..., 0] < a[:, 0] + (p[..., 1] - a[:, 1]) * edge[:, 0] / rise)
    return np.asarray((np.count_nonzero(crosses, axis=-1) % 2 == 1) | np.any(on_edge, axis=-1), dtype=np.bool_)


def _crosses_itself(corners: NDArray[np.float64]) -> bool:
    x, y = corners.T
    area = 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    if abs(area) < 1e-9:
        return True
    n = len(corners)

    def turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    for i in range(n):
        a, b = corners[i], corners[(i + 1) % n]
        for j in range(i + 2, n):
            if (j + 1) % n == i:
                continue
            c, d = corners[j], corners[(j + 1) % n]
            # Edges on one line, such as both tops of a U, turn nowhere and meet only where their ranges do.
            if np.any(np.maximum(a, b) < np.minimum(c, d)) or np.any(np.maximum(c, d) < np.minimum(a, b)):
                continue
            if turn(a, b, c) * turn(a, b, d) <= 0 and turn(c, d, a) * turn(c, d, b) <= 0:
                return True
    return False
