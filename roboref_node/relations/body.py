"""An object as the relations see it: a box, perhaps a cloud, perhaps a front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.box import OrientedBox
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]

_SIGNS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@dataclass(frozen=True, eq=False)
class Body:
    """One object. Viewer-centred relations expect bodies in an optical frame: x right, y down, z forward.

    Args:
        center_m: Centre, shape (3,).
        axes: Columns are the box's axes, shape (3, 3).
        size_m: Full extents of the box along its axes, shape (3,).
        cloud_m: Points on its surface, shape (N, 3); the box's corners and face centres stand in for it when None.
        orientation: Columns are its own front, left and up, shape (3, 3); None for things without a front (a ball, a cup).
        name: For error sentences.
    """

    center_m: FloatArray
    axes: FloatArray
    size_m: FloatArray
    cloud_m: FloatArray | None = None
    orientation: FloatArray | None = None
    name: str = "object"

    def __post_init__(self) -> None:
        if np.shape(self.center_m) != (3,) or np.shape(self.axes) != (3, 3) or np.shape(self.size_m) != (3,):
            raise ValueError(f"{self.name}: a body needs a centre (3,), axes (3, 3) and a size (3,)")
        if not np.all(np.isfinite(self.center_m)) or not np.all(np.asarray(self.size_m) >= 0.0):
            raise ValueError(f"{self.name}: a body needs a finite centre and sizes of at least 0")
        if not np.allclose(np.asarray(self.axes).T @ np.asarray(self.axes), np.eye(3), atol=1e-4):
            raise ValueError(f"{self.name}: the axes of a box must be orthonormal")

    @staticmethod
    def from_box(
        box: OrientedBox, *, cloud_m: FloatArray | None = None, orientation: ArrayLike | None = None, name: str = "object"
    ) -> Body:
        """A body from the box of a segment."""
        turned = None if orientation is None else np.asarray(orientation, dtype=np.float64)
        return Body(np.asarray(box.center_m), np.asarray(box.rotation), np.asarray(box.size_m), cloud_m, turned, name)

    @staticmethod
    def from_cloud(cloud_m: ArrayLike, up: ArrayLike, *, orientation: ArrayLike | None = None, name: str = "object") -> Body:
        """A body whose box stands upright and is turned to the smallest footprint, in steps of 3 degrees.

        Args:
            cloud_m: Shape (N, 3), N >= 1.
            up: Vertical direction, shape (3,).
            orientation: See `Body`.
            name: See `Body`.
        """
        cloud = np.asarray(cloud_m, dtype=np.float64)
        vertical = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
        first = np.cross(vertical, np.eye(3)[int(np.argmin(np.abs(vertical)))])
        first /= np.linalg.norm(first)
        angle = np.radians(np.arange(0, 90, 3))
        along = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * np.cross(vertical, first)
        across = np.cross(vertical, along)
        area = np.ptp(cloud @ along.T, axis=0) * np.ptp(cloud @ across.T, axis=0)
        best = int(np.argmin(area))
        axes = np.stack([along[best], across[best], vertical], axis=1)
        low, high = (cloud @ axes).min(axis=0), (cloud @ axes).max(axis=0)
        turned = None if orientation is None else np.asarray(orientation, dtype=np.float64)
        return Body(axes @ (0.5 * (low + high)), axes, high - low, cloud, turned, name)

    @cached_property
    def corners_m(self) -> FloatArray:
        """Corners of the box, shape (8, 3)."""
        return np.asarray(self.center_m + (_SIGNS * self.size_m) @ np.asarray(self.axes).T, dtype=np.float64)

    @cached_property
    def surface_m(self) -> FloatArray:
        """The cloud, or 5 x 5 points on each face of the box when there is none, shape (N, 3)."""
        if self.cloud_m is not None:
            return np.asarray(self.cloud_m, dtype=np.float64)
        grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 5)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        faces = [np.insert(grid, axis, side, axis=1) for axis in range(3) for side in (-0.5, 0.5)]
        return np.asarray(self.center_m + (np.concatenate(faces) * self.size_m) @ np.asarray(self.axes).T, dtype=np.float64)

    def extent(self, direction: ArrayLike) -> tuple[float, float]:
        """Lowest and highest coordinate of the box along a unit direction, shape (3,)."""
        along = self.corners_m @ np.asarray(direction, dtype=np.float64)
        return float(along.min()), float(along.max())

    def holds(self, points_m: ArrayLike) -> NDArray[np.bool_]:
        """Which points, shape (..., 3), are inside the box."""
        local = (np.asarray(points_m, dtype=np.float64) - self.center_m) @ np.asarray(self.axes)
        return np.asarray(np.all(np.abs(local) <= 0.5 * np.asarray(self.size_m) + 1e-12, axis=-1), dtype=np.bool_)

    def moved(self, target_from_source: Transform) -> Body:
        """The body in another frame. Axes turn; sizes do not."""
        return Body(
            target_from_source.apply(self.center_m),
            target_from_source.rotate(np.asarray(self.axes).T).T,
            self.size_m,
            None if self.cloud_m is None else target_from_source.apply(self.cloud_m),
            None if self.orientation is None else target_from_source.rotate(np.asarray(self.orientation).T).T,
            self.name,
        )

    def own_axis(self, column: int) -> FloatArray:
        """Front (0), left (1) or up (2) of the object itself, unit vector of shape (3,).

        Raises:
            Refused: AMBIGUOUS when the object has no orientation: its front is never guessed.
        """
        if self.orientation is None:
            raise Refused(
                Status.AMBIGUOUS,
                f"'{self.name}' has no known front, so its own left, right, front and back cannot be told; say it as you see it",
                name=self.name,
            )
        axis = np.asarray(self.orientation, dtype=np.float64)[:, column]
        return np.asarray(axis / np.linalg.norm(axis), dtype=np.float64)
