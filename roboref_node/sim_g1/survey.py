"""The map that a robot would have of a flat: an occupancy grid from a survey by ray casting, unknown where no ray came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from roboref_node.geometry.transform import Transform
from roboref_node.goals.occupancy import UNKNOWN, OccupancyMap
from roboref_node.sim_g1.body import BODY_RADIUS_M
from roboref_node.sim_g1.floor_plan import FloorPlan

RESOLUTION_M = 0.05
_MARGIN_M = 0.5
_RANGE_M = 6.0
_RAYS = 1440
OCCUPIED, FREE = 100, 0


def survey(plan: FloorPlan, *, viewpoints: int = 6) -> OccupancyMap:
    """Look around from a few random places of the floor and note what a range finder would see.

    Every block counts over its full outline, a table top too: what a 3D lidar's projection to the floor gives. The inside of
    furniture and whatever lies in its shadow stays unknown.
    """
    low = -np.asarray(plan.half_size_m) - _MARGIN_M
    shape = tuple(int(np.ceil(2.0 * -edge / RESOLUTION_M)) for edge in low[::-1])
    rows, columns = np.indices(shape)
    centres = low + (np.stack([columns, rows], axis=-1) + 0.5) * RESOLUTION_M
    # A cell that a block touches at all is occupied, as in any grid that is built from many hits.
    solid = plan.clearance_m(centres) < 0.5 * RESOLUTION_M
    data = np.full(shape, UNKNOWN, dtype=np.int8)
    for place in _viewpoints(plan, low, solid, viewpoints):
        _look(data, solid, place)
    return OccupancyMap(data, RESOLUTION_M, Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([low[0], low[1], 0.0])))


def _viewpoints(plan: FloorPlan, low: NDArray[np.float64], solid: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Places (column, row) where the robot fits, all in the largest connected part of the floor."""
    roomy = ndimage.distance_transform_edt(~solid) * RESOLUTION_M > BODY_RADIUS_M + RESOLUTION_M
    rows, columns = np.indices(solid.shape)
    inside = np.all(np.abs(low + (np.stack([columns, rows], axis=-1) + 0.5) * RESOLUTION_M) < plan.half_size_m, axis=-1)
    parts, number = ndimage.label(roomy & inside)
    largest = parts == 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(parts), parts, np.arange(1, number + 1))))
    free = np.argwhere(largest)
    chosen = np.random.default_rng([plan.seed, 0x63]).choice(len(free), size=min(count, len(free)), replace=False)
    return np.asarray(free[chosen][:, ::-1], dtype=np.float64)


def _look(data: NDArray[np.int8], solid: NDArray[np.bool_], place: NDArray[np.float64]) -> None:
    """Mark what a turn of rays from one place sees."""
    angles = np.arange(_RAYS) * (2.0 * np.pi / _RAYS)
    steps = np.arange(0.0, _RANGE_M / RESOLUTION_M, 0.5)
    points = place + 0.5 + steps[None, :, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None, :]
    index = np.floor(points).astype(np.intp)
    height, width = solid.shape
    inside = (index[..., 0] >= 0) & (index[..., 0] < width) & (index[..., 1] >= 0) & (index[..., 1] < height)
    column, row = np.where(inside, index[..., 0], 0), np.where(inside, index[..., 1], 0)
    hit = solid[row, column] | ~inside
    before = np.cumsum(hit, axis=1) == 0
    data[row[before], column[before]] = FREE
    first = np.argmax(hit, axis=1)
    ray = np.flatnonzero(hit.any(axis=1) & inside[np.arange(_RAYS), first])
    data[row[ray, first[ray]], column[ray, first[ray]]] = OCCUPIED
