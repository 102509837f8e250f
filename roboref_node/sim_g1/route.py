"""A simple grid planner: the shortest way of a disc over known free floor. The stand-in for Nav2 in the simulated world, nothing more."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from roboref_node.goals.occupancy import OccupancyMap

FloatArray = NDArray[np.float64]

_LEAVE_M = 0.4
"""A robot that stands nearer to furniture than the inflation allows may walk this far to get away from it."""
_SHY_M = 0.25
"""Nearer than this to an obstacle, beyond the robot's own radius, a step costs up to three times as much."""


def find_route(occupancy: OccupancyMap, start_xy_m: ArrayLike, goal_xy_m: ArrayLike, radius_m: float) -> FloatArray | None:
    """Dijkstra over the eight neighbours of each cell.

    Args:
        occupancy: Map; unknown cells are obstacles.
        start_xy_m: Where the robot is, map frame.
        goal_xy_m: Where it wants to be, map frame.
        radius_m: Of the robot: cells with less clearance are closed.

    Returns:
        Way points from start to goal, shape (N, 2), N >= 2; None when there is no way.
    """
    clearance = occupancy.clearance_m
    height, width = clearance.shape
    spare = clearance - radius_m
    (start, goal), inside = occupancy.cells(np.array([start_xy_m, goal_xy_m], dtype=np.float64))
    if not np.all(inside):
        return None
    rows, columns = np.indices(clearance.shape)
    near_start = np.hypot(rows - start[1], columns - start[0]) * occupancy.resolution_m <= _LEAVE_M
    # Around the start it may stay as near to obstacles as it stands now.
    open_cells = (spare >= 0.0) | (near_start & (clearance > 0.0) & (clearance >= clearance[start[1], start[0]]))
    if not open_cells[goal[1], goal[0]]:
        return None
    first = int(start[1] * width + start[0])
    graph = _graph(open_cells, 1.0 + 2.0 * np.clip(1.0 - spare / _SHY_M, 0.0, 1.0))
    _, previous = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    cell, cells = int(goal[1] * width + goal[0]), []
    while cell >= 0:
        cells.append(cell)
        cell = int(previous[cell])
    if cells[-1] != first:
        return None
    centres = (np.stack([np.array(cells[::-1]) % width, np.array(cells[::-1]) // width], axis=-1) + 0.5) * occupancy.resolution_m
    way = occupancy.origin.apply(np.column_stack([centres, np.zeros(len(centres))]))[:, :2]
    return np.concatenate([[np.asarray(start_xy_m, dtype=np.float64)], way[1:-1], [np.asarray(goal_xy_m, dtype=np.float64)]])


def _graph(open_cells: NDArray[np.bool_], cost: FloatArray) -> sparse.csr_matrix:
    """Edges between neighbouring open cells, weighted by length times the mean cost; each edge once."""
    height, width = open_cells.shape
    number = np.arange(height * width).reshape(height, width)
    sources, targets, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(down, height), slice(max(0, right), width - max(0, -right)))
        both = open_cells[here] & open_cells[there]
        sources.append(number[here][both])
        targets.append(number[there][both])
        weights.append(np.hypot(down, right) * 0.5 * (cost[here] + cost[there])[both])
    joined = (np.concatenate(weights), (np.concatenate(sources), np.concatenate(targets)))
    return sparse.csr_matrix(joined, shape=(height * width, height * width))
