"""Where one could put something: image regions of free table around, between and in objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from roboref_node.sim.scene import BoxRegion
from roboref_node.synth.view import ObjectView, SceneView

SEARCH_M = 0.15
"""How far from the anchor's edge a place still counts as beside it."""
CLEARANCE_M = 0.035
"""Free radius that a place needs: half of a small object's footprint plus a finger."""

BoolImage = NDArray[np.bool_]


def _offsets(view: SceneView, item: ObjectView) -> NDArray[np.float64]:
    return np.asarray(view.ground_m - np.array([item.right_m, item.forward_m]))


def free_table(view: SceneView) -> BoolImage:
    """Table pixels that keep `CLEARANCE_M` from every footprint and from the table's edge and shelf, (H, W); kept with the view."""
    free = view.kept.get("free_table")
    if free is None:
        free = view.table_mask & inside_table(view, CLEARANCE_M)
        points = view.points_m[..., :2]
        for item in view.objects:
            if item.support == "table":
                offset = points - item.centre_m[:2]
                free &= np.einsum("hwi,hwi->hw", offset, offset) > (item.radius_m + CLEARANCE_M) ** 2
        view.kept["free_table"] = free
    return free


def inside_table(view: SceneView, clearance_m: float) -> BoolImage:
    """Pixels whose point keeps `clearance_m` from the table's edge and from the shelf's footprint, (H, W)."""
    inside = _edge_distance(view, view.spec.table) < -clearance_m
    if view.spec.shelf is not None:
        inside &= _edge_distance(view, view.spec.shelf) > clearance_m
    return np.asarray(inside)


def _edge_distance(view: SceneView, block: BoxRegion) -> NDArray[np.float64]:
    """Distance of every pixel's point, seen from above, to a block's outline: positive outside, (H, W)."""
    dx, dy = view.points_m[..., 0] - block.top_center_m[0], view.points_m[..., 1] - block.top_center_m[1]
    c, s = np.cos(block.yaw_rad), np.sin(block.yaw_rad)
    qx, qy = np.abs(c * dx + s * dy) - block.size_m[0] / 2, np.abs(c * dy - s * dx) - block.size_m[1] / 2
    return np.asarray(np.hypot(np.maximum(qx, 0.0), np.maximum(qy, 0.0)) + np.minimum(np.maximum(qx, qy), 0.0))


def direction_region(view: SceneView, anchor: ObjectView, direction: str | None) -> BoolImage:
    """Free table in the 90-degree sector `direction` of `anchor` (viewer's sense), None = all around, (H, W)."""
    offset = _offsets(view, anchor)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    region = free_table(view) & (distance < anchor.radius_m + CLEARANCE_M + SEARCH_M)
    if direction is None:
        return region
    axis = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "front": (0.0, -1.0), "behind": (0.0, 1.0)}[direction]
    along = offset @ np.array(axis)
    return np.asarray(region & (along > distance * np.cos(np.radians(40.0))))


def between_region(view: SceneView, one: ObjectView, other: ObjectView) -> BoolImage:
    """Free table within the strip between two objects, (H, W)."""
    axis = np.array([other.right_m - one.right_m, other.forward_m - one.forward_m])
    length = float(np.linalg.norm(axis))
    if not 0.16 < length < 0.6:
        return np.zeros((view.height, view.width), dtype=bool)
    offset = _offsets(view, one)
    along = offset @ axis / length**2
    aside = np.abs(offset[..., 0] * axis[1] - offset[..., 1] * axis[0]) / length
    return np.asarray(free_table(view) & (along > 0.2) & (along < 0.8) & (aside < 0.06))


def container_region(view: SceneView, item: ObjectView) -> BoolImage:
    """Pixels that mean "in" a bowl or cup or "on" a plate (its visible body) or "on" a box (its top face), (H, W)."""
    body = view.rendered.instance == item.index
    # The middle of a deep plate lies below its rim, and is where one puts something.
    if item.shape != "box":
        return np.asarray(body)
    top = body & (np.abs(view.points_m[..., 2] - item.top_m) < 0.012)
    return np.asarray(top)


def region_answer(region: BoolImage) -> tuple[float, float]:
    """The pixel (u, v) deepest inside the region."""
    depth = ndimage.distance_transform_cdt(np.pad(region, 1), metric="chessboard")[1:-1, 1:-1].astype(np.float64)
    rows, columns = np.nonzero(depth >= depth.max() - 0.5)
    middle = rows.mean(), columns.mean()
    nearest = int(np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2))
    return float(columns[nearest]), float(rows[nearest])
