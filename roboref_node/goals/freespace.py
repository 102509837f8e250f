"""Free places next to, above, below or between things: the free-space recipe of RefSpatial as a pure function on boxes.

Source: Zhou et al., RoboRefer (arXiv 2506.04308), appendix on placement data, and the author's generator. Where the paper and the code
differ the paper's constants are the defaults; all are settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from roboref_node.geometry.box import OrientedBox
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.goals.zones import points_in_polygon
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Direction(str, Enum):
    """Where the place lies, as the viewer sees it."""

    LEFT = "left"
    RIGHT = "right"
    FRONT = "front"
    BEHIND = "behind"
    ABOVE = "above"
    BELOW = "below"
    BETWEEN = "between"


@dataclass(frozen=True)
class FreeSpaceSettings:
    """Constants of the recipe.

    Args:
        support_gap_m: Largest distance of an object's bottom from the top of what carries it.
        support_cover: Least share of its footprint over that.
        obstacle_bottom_m: Things whose bottom is higher over the platform are no obstacles.
        obstacle_volume_ratio: Boxes larger than this many times the target's are furniture, probably hollow, and no obstacles.
        sector_rad: Opening of the search sector of the four sides.
        min_radius_m: Least radius of the sector. The code's value: the sector of the paper's 0.2 has 0.031 m2 in all, less than its own
            least area.
        start_m: Distance from the target's centre at which the sector begins.
        rays: Directions in the sector.
        radii: Distances along each.
        shrink: Scale of the footprint for above and below (the code has 0.75).
        grid: Points along each side of the area for above, below and between.
        min_area_m2: Least free area.
        visible_tolerance_m: A point is seen when the depth image agrees with it to this.
        min_visible_sector: Least share of all the sector's points that are free and seen.
        min_visible_area: The same for above, below and between.
        clearance_m: Footprints of obstacles grow by this on all sides.
    """

    support_gap_m: float = 0.05
    support_cover: float = 0.7
    obstacle_bottom_m: float = 0.20
    obstacle_volume_ratio: float = 4.236
    sector_rad: float = float(np.pi / 2)
    min_radius_m: float = 0.3
    start_m: float = 0.05
    rays: int = 90
    radii: int = 100
    shrink: float = 0.8
    grid: int = 100
    min_area_m2: float = 0.036
    visible_tolerance_m: float = 0.025
    min_visible_sector: float = 2000.0 / 9000.0
    min_visible_area: float = 0.6
    clearance_m: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sector_rad", "min_radius_m", "start_m", "shrink", "visible_tolerance_m", "obstacle_volume_ratio"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be positive")
        for name in ("support_cover", "min_visible_sector", "min_visible_area"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must lie between 0 and 1")
        if self.start_m >= self.min_radius_m or min(self.rays, self.radii, self.grid) < 2 or self.min_area_m2 < 0.0:
            raise ValueError("start_m must be below min_radius_m, rays, radii and grid at least 2, min_area_m2 at least 0")


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """Free places that the camera sees.

    Args:
        points_m: In the world frame, on the platform, shape (K, 3).
        pixels_uv: The same in the image, shape (K, 2).
        target_uv: The answer: the middle of the pixels, or the free pixel nearest to it where the middle is not free, shape (2,).
        target_m: The same in the world frame, shape (3,).
        area_m2: Free area, seen or not.
        visible: Share of all the points of the search area that are free and seen.
    """

    points_m: FloatArray
    pixels_uv: FloatArray
    target_uv: FloatArray
    target_m: FloatArray
    area_m2: float
    visible: float


def sample_free_space(
    direction: Direction,
    target: OrientedBox,
    platforms: Sequence[OrientedBox],
    others: Sequence[OrientedBox],
    camera: CameraModel,
    world_from_optical: Transform,
    depth_m: NDArray[np.float32] | None,
    *,
    second: OrientedBox | None = None,
    settings: FreeSpaceSettings | None = None,
) -> FreeSpace:
    """Find free, visible places in a direction from a target.

    All boxes are in a world frame whose z points up, standing (third axis vertical). Left, right, front and behind are the viewer's:
    front is towards the camera.

    Args:
        direction: Where to look.
        target: The anchor.
        platforms: What can carry something: tables, shelves. Only their tops count.
        others: Everything else that stands around; neither the target nor the platforms.
        camera: The camera.
        world_from_optical: Its pose.
        depth_m: Depth registered to `camera`, shape (H, W), NaN = unknown; None: only the image's borders limit what is seen.
        second: The other anchor of BETWEEN.
        settings: Constants.

    Raises:
        Refused: NOT_FOUND when nothing carries the target (or both of BETWEEN), OCCUPIED when too little is free or seen, BAD_REQUEST.
    """
    settings = settings or FreeSpaceSettings()
    if (direction is Direction.BETWEEN) != (second is not None):
        raise Refused(Status.BAD_REQUEST, "a place between needs two anchors, every other direction one")
    height, platform = _platform(direction, target, second, platforms, settings)
    points, weights = _search_area(direction, target, second, world_from_optical, settings)
    free = np.ones(len(points), dtype=bool)
    if platform is not None:
        free &= in_footprint(platform, points)
    anchors = [target] if second is None else [target, second]
    if direction not in (Direction.ABOVE, Direction.BELOW):
        for anchor in anchors:
            free &= ~in_footprint(anchor, points, settings.clearance_m)
    for other in _obstacles(others, target, height, settings, above=direction is Direction.ABOVE):
        free &= ~in_footprint(other, points, settings.clearance_m)
    area = float(weights[free].sum())
    if area < settings.min_area_m2:
        raise Refused(
            Status.OCCUPIED,
            f"{1e4 * area:.0f} cm2 are free {direction.value} the target, needed are {1e4 * settings.min_area_m2:.0f} (min_area_m2)",
            area_m2=area,
        )
    world = np.column_stack([points, np.full(len(points), height)])
    pixels, seen = _seen(world, camera, world_from_optical, depth_m, settings.visible_tolerance_m)
    good = free & seen
    share = float(np.mean(good))
    sector = direction in (Direction.LEFT, Direction.RIGHT, Direction.FRONT, Direction.BEHIND)
    needed = settings.min_visible_sector if sector else settings.min_visible_area
    if share < needed or not np.any(good):
        raise Refused(
            Status.OCCUPIED,
            f"{100 * share:.0f} % of the area {direction.value} the target are free and seen, needed are {100 * needed:.0f} % "
            f"({'min_visible_sector' if sector else 'min_visible_area'})",
            visible=share,
        )
    chosen_world, chosen_pixels = world[good], pixels[good]
    middle = chosen_pixels.mean(axis=0)
    # The middle of a ring or a half moon may lie on an obstacle: then the nearest free point stands for it.
    nearest = int(np.argmin(np.linalg.norm(chosen_pixels - middle, axis=1)))
    return FreeSpace(chosen_world, chosen_pixels, chosen_pixels[nearest], chosen_world[nearest], area, share)


def in_footprint(box: OrientedBox, xy_m: ArrayLike, grow_m: float = 0.0) -> BoolArray:
    """Which points of the ground plane, shape (..., 2), are under or over a standing box grown by a margin."""
    axes = np.asarray(box.rotation, dtype=np.float64)[:2, :2]
    local = (np.asarray(xy_m, dtype=np.float64) - np.asarray(box.center_m)[:2]) @ axes
    return np.asarray(np.all(np.abs(local) <= 0.5 * np.asarray(box.size_m)[:2] + grow_m, axis=-1), dtype=np.bool_)


def footprint_corners(box: OrientedBox, scale: float = 1.0) -> FloatArray:
    """Corners of a standing box's footprint, in order, shape (4, 2)."""
    signs = 0.5 * scale * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    axes = np.asarray(box.rotation, dtype=np.float64)[:2, :2]
    return np.asarray(np.asarray(box.center_m)[:2] + (signs * np.asarray(box.size_m)[:2]) @ axes.T, dtype=np.float64)


def _bottom(box: OrientedBox) -> float:
    return float(box.center_m[2] - 0.5 * box.size_m[2])


def _top(box: OrientedBox) -> float:
    return float(box.center_m[2] + 0.5 * box.size_m[2])


def _covered(box: OrientedBox, platform: OrientedBox) -> float:
    """Share of a box's footprint over a platform, on a grid of 20 x 20 points."""
    step = (np.arange(20) + 0.5) / 20 - 0.5
    grid = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2) * np.asarray(box.size_m)[:2]
    points = np.asarray(box.center_m)[:2] + grid @ np.asarray(box.rotation)[:2, :2].T
    return float(np.mean(in_footprint(platform, points)))


def _platform(
    direction: Direction, target: OrientedBox, second: OrientedBox | None, platforms: Sequence[OrientedBox], settings: FreeSpaceSettings
) -> tuple[float, OrientedBox | None]:
    """Height of the surface to place on, and the box that bounds it."""
    if direction is Direction.ABOVE:
        return _top(target), None
    if direction is Direction.BELOW:
        under = [
            p for p in platforms if _top(p) <= _bottom(target) + settings.support_gap_m and _covered(target, p) >= settings.support_cover
        ]
        if not under:
            raise Refused(Status.NOT_FOUND, "nothing lies below the target that could carry an object (support_gap_m, support_cover)")
        best = max(under, key=_top)
        return _top(best), best
    boxes = [target] if second is None else [target, second]
    for platform in platforms:
        gaps = [abs(_bottom(box) - _top(platform)) for box in boxes]
        if max(gaps) <= settings.support_gap_m and min(_covered(box, platform) for box in boxes) >= settings.support_cover:
            return _top(platform), platform
    what = "the target stands on" if second is None else "both targets stand on"
    raise Refused(Status.NOT_FOUND, f"there is no platform that {what} (support_gap_m, support_cover)")


def _obstacles(
    others: Sequence[OrientedBox], target: OrientedBox, height: float, settings: FreeSpaceSettings, *, above: bool
) -> list[OrientedBox]:
    limit = settings.obstacle_volume_ratio * float(np.prod(target.size_m))
    ceiling = np.inf if above else max(_top(target), height)
    return [
        box
        for box in others
        if _top(box) > height + 1e-3
        and _bottom(box) <= min(ceiling, height + settings.obstacle_bottom_m)
        and float(np.prod(box.size_m)) <= limit
    ]


def _search_area(
    direction: Direction, target: OrientedBox, second: OrientedBox | None, world_from_optical: Transform, settings: FreeSpaceSettings
) -> tuple[FloatArray, FloatArray]:
    """Points of the ground plane, shape (N, 2), and the area that each stands for, shape (N,)."""
    if direction in (Direction.ABOVE, Direction.BELOW):
        corners = footprint_corners(target, settings.shrink)
        share = (np.arange(settings.grid) + 0.5) / settings.grid
        u, v = (axis.ravel()[:, None] for axis in np.meshgrid(share, share))
        points = corners[0] + u * (corners[1] - corners[0]) + v * (corners[3] - corners[0])
        area = float(np.prod(np.asarray(target.size_m)[:2])) * settings.shrink**2
        return points, np.full(len(points), area / len(points))
    if second is not None:
        cloud = np.concatenate([footprint_corners(target), footprint_corners(second)])
        hull = cloud[ConvexHull(cloud).vertices]
        low, high = hull.min(axis=0), hull.max(axis=0)
        share = (np.arange(settings.grid) + 0.5) / settings.grid
        points = low + np.stack(np.meshgrid(share, share), axis=-1).reshape(-1, 2) * (high - low)
        cell = float(np.prod(high - low)) / len(points)
        # What is asked for is between them, so the anchors' own footprints are no part of the area at all.
        inside = points_in_polygon(points, hull) & ~in_footprint(target, points) & ~in_footprint(second, points)
        if not np.any(inside):
            raise Refused(Status.OCCUPIED, "the two targets touch, there is nothing between them")
        return points[inside], np.full(int(np.count_nonzero(inside)), cell)
    right, away = _viewer_axes(world_from_optical)
    heading = {Direction.LEFT: -right, Direction.RIGHT: right, Direction.FRONT: -away, Direction.BEHIND: away}[direction]
    middle = float(np.arctan2(heading[1], heading[0]))
    radius = max(float(np.hypot(*np.asarray(target.size_m)[:2])), settings.min_radius_m)
    angles = middle + ((np.arange(settings.rays) + 0.5) / settings.rays - 0.5) * settings.sector_rad
    step = (radius - settings.start_m) / settings.radii
    radii = settings.start_m + (np.arange(settings.radii) + 0.5) * step
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    points = np.asarray(target.center_m)[:2] + (radii[None, :, None] * spokes[:, None, :]).reshape(-1, 2)
    weights = np.tile(radii * step * settings.sector_rad / settings.rays, settings.rays)
    return points, weights


def _viewer_axes(world_from_optical: Transform) -> tuple[FloatArray, FloatArray]:
    """Right and away in the ground plane, unit vectors of shape (2,)."""
    right = world_from_optical.rotate([1.0, 0.0, 0.0])[:2]
    length = float(np.linalg.norm(right))
    if length < 0.1:
        raise Refused(Status.BAD_REQUEST, "the camera lies on its side, so left and right cannot be told in the ground plane")
    right = right / length
    # Away is across right and not the optical axis itself, which has no direction in the ground plane when the camera looks down.
    away = np.array([-right[1], right[0]])
    down = world_from_optical.rotate([0.0, 1.0, 0.0])
    return right, away if down[2] < 0.0 or world_from_optical.rotate([0.0, 0.0, 1.0])[:2] @ away >= 0.0 else -away


def _seen(
    world: FloatArray, camera: CameraModel, world_from_optical: Transform, depth_m: NDArray[np.float32] | None, tolerance_m: float
) -> tuple[FloatArray, BoolArray]:
    optical = world_from_optical.inverse().apply(world)
    pixels = camera.project(optical)
    seen = np.asarray(camera.contains(pixels), dtype=np.bool_)
    if depth_m is not None:
        column = np.clip(np.rint(np.where(seen, pixels[:, 0], 0.0)), 0, camera.width - 1).astype(np.intp)
        row = np.clip(np.rint(np.where(seen, pixels[:, 1], 0.0)), 0, camera.height - 1).astype(np.intp)
        seen &= np.abs(depth_m[row, column] - optical[:, 2]) < tolerance_m  # False where the depth is NaN.
    return pixels, seen
