"""Did it leave its place, is another one free, does it stand there: answered from the depth of two frames, for moving cameras too.

The measure is free space: a point of the first frame has gone when the second frame sees through it, and something is new at a
point when the first frame saw through it. What is in front, such as the arm, only hides; from what is hidden nothing follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.lift import lift
from roboref_node.geometry.segment import ObjectSegment, segment_object
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place.ports import Look

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_POINTS = 800
"""Points of an object that are followed; more tell nothing new."""
_LEAST_TELLING = 30
_HALF, _LEAST_WITHIN_M = 0.5, 0.005
"""Share of the way to the background at which a point counts as gone, and what the noise of a depth camera asks for at least."""
LEAST_PIXELS = 20
"""Fewer new pixels at a place are noise."""
_MARGIN_M = 0.03
"""How far around the expected volume new points are looked for, beside the tolerance."""
_LOWEST = 0.25
"""Share of the object's height over its support below which a point may belong to the support."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """An object as it was seen at its place.

    Args:
        segment: The object in its frame.
        goal_from_optical: Camera pose of that frame in the goal frame.
        points_m: Its visible points, thinned, goal frame, shape (N, 3).
        telling_m: Those of them behind which the background would show up clearly if it went away, shape (M, 3).
        within_m: Depth that differs by less shows the same surface, for each of these, shape (M,).
        pixels: Number of its pixels.
        distance_m: Median depth of its points.
    """

    segment: ObjectSegment
    goal_from_optical: Transform
    points_m: FloatArray
    telling_m: FloatArray
    within_m: FloatArray
    pixels: int
    distance_m: float

    @property
    def centre_m(self) -> FloatArray:
        """Middle of its visible points, goal frame, shape (3,)."""
        return np.asarray(np.median(self.points_m, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Presence:
    """Shares of an object's points on a later frame; they add up to 1.

    Args:
        there: Still the same surface.
        gone: The camera sees through the point.
        hidden: Something is in front, or the depth is not known.
    """

    there: float
    gone: float
    hidden: float

    @property
    def visible(self) -> float:
        """Share of which something is known."""
        return self.there + self.gone

    @property
    def there_of_visible(self) -> float:
        """Share of the visible points that are unchanged; 0 when none is visible."""
        return self.there / self.visible if self.visible > 0.0 else 0.0

    @property
    def gone_of_visible(self) -> float:
        """Share of the visible points that are gone; 0 when none is visible."""
        return self.gone / self.visible if self.visible > 0.0 else 0.0


def sight(look: Look, pixel_uv: tuple[float, float], tolerance_m: float) -> Sighting:
    """The object at a pixel.

    Args:
        look: The frame that the pixel belongs to.
        pixel_uv: Column and row of the colour image.
        tolerance_m: Depth that differs by less shows the same surface.

    Raises:
        Refused: There is no surface or no object at the pixel.
    """
    surface = lift(look.frame, pixel_uv)
    up = look.goal_from_optical.inverse().rotate(np.array([0.0, 0.0, 1.0]))
    segment = segment_object(look.frame, surface, up_optical=up)
    cloud = segment.cloud_m[:: max(1, len(segment.cloud_m) // _POINTS)]
    telling, within = cloud, np.full(len(cloud), tolerance_m)
    if segment.support is not None:
        # How much farther the support is along the ray of each point: what the camera would see with the object gone.
        heights = segment.support.signed_distance(cloud)
        slope = -(cloud @ segment.support.normal) / np.linalg.norm(cloud, axis=1)
        farther = np.where(slope > 1e-3, heights / np.maximum(slope, 1e-3), np.inf) * cloud[:, 2] / np.linalg.norm(cloud, axis=1)
        clear = farther > 2.0 * tolerance_m
        tell = clear if np.count_nonzero(clear) >= _LEAST_TELLING else farther >= np.median(farther)
        # Of a plate that is lower than the tolerance the table behind it would count as the plate.
        telling, within = cloud[tell], np.clip(_HALF * farther[tell], min(_LEAST_WITHIN_M, tolerance_m), tolerance_m)
    to_goal = look.goal_from_optical
    return Sighting(
        segment, to_goal, to_goal.apply(cloud), to_goal.apply(telling), within, int(np.count_nonzero(segment.mask)),
        float(np.median(cloud[:, 2])),
    )  # fmt: skip


def presence(points_m: FloatArray, look: Look, tolerance_m: float | FloatArray) -> Presence:
    """What a frame says about points that an earlier frame has seen.

    Args:
        points_m: Goal frame, shape (N, 3).
        look: The later frame.
        tolerance_m: Depth that differs by less shows the same surface; one for all, or one for each, shape (N,).
    """
    if len(points_m) == 0:
        return Presence(0.0, 0.0, 1.0)
    behind = _depth_behind(points_m, look)
    there = np.abs(behind) <= tolerance_m
    gone = behind > tolerance_m
    count = float(len(points_m))
    there_share, gone_share = np.count_nonzero(there) / count, np.count_nonzero(gone) / count
    return Presence(there_share, gone_share, 1.0 - there_share - gone_share)


@dataclass(frozen=True, eq=False)
class Spot:
    """A place as it was when it was chosen.

    Args:
        before: The frame on which it was chosen.
        foot_m: Where the middle of the object's base will stand, goal frame, shape (3,).
        radius_m: Of its footprint.
        surface_m: What was seen of the support under the footprint, goal frame, shape (N, 3).
    """

    before: Look
    foot_m: FloatArray
    radius_m: float
    surface_m: FloatArray

    def new_pixels(self, after: Look, up_to_m: float, tolerance_m: float) -> int:
        """How much stands over the footprint that was not there.

        Args:
            after: A later frame.
            up_to_m: Height over the support up to which it counts: above that the arm and what it holds may be by now.
            tolerance_m: Depth that differs by less shows the same surface.
        """
        return len(_new_points(self.before, after, self.foot_m, (tolerance_m, up_to_m), self.radius_m, tolerance_m))


def spot(before: Look, held: HeldObject, goal_from_tool: Transform, release_height_m: float, tolerance_m: float) -> Spot:
    """The place where an object will stand.

    Args:
        before: The frame on which it was chosen.
        held: The object.
        goal_from_tool: Tool pose at which it will be let go.
        release_height_m: Height over the support at which it will be let go.
        tolerance_m: Depth that differs by less shows the same surface.
    """
    foot = _foot(held, goal_from_tool, release_height_m)
    points = _points_around(before, foot, held.radius_m)
    near = np.linalg.norm(points[:, :2] - foot[:2], axis=1) < held.radius_m
    return Spot(before, foot, held.radius_m, points[near & (np.abs(points[:, 2] - foot[2]) <= tolerance_m)])


@dataclass(frozen=True, eq=False)
class Placed:
    """What is new at a place.

    Args:
        pixels: Pixels of it.
        expected_pixels: How many the object would show if nothing hid it.
        visible: Share of the object's expected points that nothing hides.
        offset_m: Horizontal distance of its middle from where the middle of what was seen of it belongs; NaN when nothing is new.
        height_m: Height of its top over the place's support; NaN when nothing is new.
    """

    pixels: int
    expected_pixels: float
    visible: float
    offset_m: float
    height_m: float


def placed(
    before: Look, after: Look, held: HeldObject, sighting: Sighting, goal_from_tool: Transform, release_height_m: float, tolerance_m: float,
    reach_m: float,
) -> Placed:  # fmt: skip
    """What stands at a place now that was not there before.

    Args:
        before: A frame before the object was put down, in which the place was free.
        after: A frame since, the arm out of the way.
        held: The object.
        sighting: How it looked where it came from.
        goal_from_tool: Tool pose at which it was let go.
        release_height_m: Height over the support at which it was let go.
        tolerance_m: Depth that differs by less shows the same surface.
        reach_m: How far from the place it is looked for.
    """
    foot = _foot(held, goal_from_tool, release_height_m)
    height = float(held.size_m[2])
    lowest = max(_LOWEST * height, tolerance_m)
    moved, middle = sighting.points_m, foot[:2]
    if held.base_from_tool is not None:
        moved = (goal_from_tool @ held.base_from_tool.inverse()).apply(sighting.points_m) - [0.0, 0.0, release_height_m]
        seen = moved[moved[:, 2] - foot[2] > lowest]
        # Like is compared with like: a handle, or a far side that nobody sees, moves the middle of both.
        middle = _middle(seen) if len(seen) else middle
    visible = float(np.mean(_depth_behind(moved, after) > -(tolerance_m + _MARGIN_M)))
    distance = float(np.median(after.goal_from_optical.inverse().apply(moved)[:, 2]))
    expected = sighting.pixels * (sighting.distance_m / max(distance, 0.05)) ** 2
    points = _new_points(before, after, foot, (lowest, height + _MARGIN_M), held.radius_m + reach_m + _MARGIN_M, tolerance_m)
    if len(points) < LEAST_PIXELS:
        return Placed(len(points), expected, visible, float("nan"), float("nan"))
    offset = float(np.linalg.norm(_middle(points) - middle))
    return Placed(len(points), expected, visible, offset, float(np.percentile(points[:, 2], 97) - foot[2]))


def _foot(held: HeldObject, goal_from_tool: Transform, release_height_m: float) -> FloatArray:
    bottom_in_tool = np.array([0.0, 0.0, held.grasp_height_m]) if held.bottom_in_tool_m is None else held.bottom_in_tool_m
    return np.asarray(goal_from_tool.apply(bottom_in_tool) - [0.0, 0.0, release_height_m])


def _new_points(
    before: Look, after: Look, foot_m: FloatArray, rises_m: tuple[float, float], radius_m: float, tolerance_m: float
) -> FloatArray:
    """Points of `after` in an upright cylinder, between two heights over its foot, that `before` saw through; shape (N, 3)."""
    low, high = rises_m
    points = _points_around(after, foot_m + [0.0, 0.0, 0.5 * high], radius_m + 0.5 * high)
    rise = points[:, 2] - foot_m[2]
    apart = np.linalg.norm(points[:, :2] - foot_m[:2], axis=1)
    points = points[(rise > low) & (rise < high) & (apart < radius_m)]
    return np.asarray(points[_depth_behind(points, before) > tolerance_m])


def _middle(points_m: FloatArray) -> FloatArray:
    """Middle of the horizontal rectangle around points, without outliers, shape (2,)."""
    low, high = np.percentile(points_m[:, :2], (3, 97), axis=0)
    return np.asarray(0.5 * (low + high))


def _depth_behind(points_m: FloatArray, look: Look) -> FloatArray:
    """How far behind each point the surface at its pixel is; NaN outside the image and where depth is not known."""
    camera, camera_from_goal = _depth_camera(look)
    points = camera_from_goal.apply(points_m)
    ahead = points[:, 2] > 0.02
    pixels = np.full((len(points), 2), -1.0)
    pixels[ahead] = camera.project(points[ahead])
    inside = ahead & np.isfinite(pixels).all(axis=1)
    columns, rows = np.rint(np.where(inside[:, None], pixels, -1.0)).astype(np.int64).T
    inside &= (columns >= 0) & (rows >= 0) & (columns < camera.width) & (rows < camera.height)
    behind = np.full(len(points), np.nan)
    behind[inside] = look.frame.depth_m[rows[inside], columns[inside]] - points[inside, 2]
    return behind


def _points_around(look: Look, middle_m: FloatArray, radius_m: float) -> FloatArray:
    """Points of the frame in the image region that a sphere around `middle_m` covers, goal frame, shape (N, 3)."""
    camera, camera_from_goal = _depth_camera(look)
    centre = camera_from_goal.apply(middle_m)
    if centre[2] <= 0.05:
        return np.empty((0, 3))
    u, v = camera.project(centre[None])[0]
    half = camera.fx * radius_m / centre[2]
    if not np.isfinite([u, v]).all():
        return np.empty((0, 3))
    left, right = max(0, int(u - half)), min(camera.width, int(u + half) + 1)
    top, bottom = max(0, int(v - half)), min(camera.height, int(v + half) + 1)
    if left >= right or top >= bottom:
        return np.empty((0, 3))
    depth = look.frame.depth_m[top:bottom, left:right].astype(np.float64)
    rows, columns = np.nonzero(np.isfinite(depth))
    points = camera.unproject(np.stack([columns + left, rows + top], axis=-1).astype(np.float64), depth[rows, columns])
    return camera_from_goal.inverse().apply(points[np.isfinite(points).all(axis=1)])


def _depth_camera(look: Look) -> tuple[CameraModel, Transform]:
    frame: Frame = look.frame
    optical_from_goal = look.goal_from_optical.inverse()
    if frame.depth_camera is None or frame.color_from_depth is None:
        return frame.camera, optical_from_goal
    return frame.depth_camera, frame.color_from_depth.inverse() @ optical_from_goal
