"""The object at a lifted point: its pixels, cloud, support plane and oriented box."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.box import MAX_INCIDENCE_RAD, solid_pixels, stand_box
from roboref_node.geometry.box import OrientedBox as OrientedBox
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.creases import CreaseSettings, piece_at, regions, smooth_inverse, valleys
from roboref_node.geometry.crop import Crop, cut, rectangle_around
from roboref_node.geometry.cut_off import OpenEnds, open_ends
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.lift import SurfacePoint
from roboref_node.geometry.parts import join_parts
from roboref_node.geometry.planes import Plane, fit_plane_ransac
from roboref_node.geometry.raised import level_below, stands_on
from roboref_node.parameters import SHARED, check_settings, setting
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame

SAME_SURFACE_M = 0.006
"""What is nearer to the tangent plane of the asked point than this, and beside it in the image, lies on the same surface."""

FloatArray = NDArray[np.float64]
FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentSettings:
    """How far and how finely an object is looked for.

    Args:
        noise: Depth noise of the sensor.
        creases: When a valley separates two objects.
    """

    noise: DepthNoise = field(default_factory=DepthNoise, metadata=SHARED)
    start_extent_m: float = setting(
        "Half side of the first crop around the point; it doubles while the object reaches its border.",
        default=0.16, unit="m", minimum=0.01, maximum=5.0,
    )  # fmt: skip
    max_extent_m: float = setting("Half side of the largest crop.", default=0.6, unit="m", minimum=0.01, maximum=10.0)
    support_extent_m: float = setting(
        "Half side of the square in which the support plane is looked for.", default=0.35, unit="m", minimum=0.01, maximum=10.0
    )
    min_height_m: float = setting("Least height of an object's pixel over its support.", default=0.004, unit="m", minimum=0.0, maximum=1.0)
    max_tilt_rad: float = setting(
        "Largest angle between the support's normal and the vertical, when that is known.",
        default=0.3,
        unit="rad",
        minimum=0.0,
        maximum=1.57,
    )
    min_support: float = setting("Least share of the points around that lie on the support plane.", default=0.12, minimum=0.0, maximum=1.0)
    max_pixels: int = setting("Crops of more pixels are thinned.", default=60_000, unit="px", minimum=1000, maximum=10_000_000)
    creases: CreaseSettings = field(default_factory=CreaseSettings)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class ObjectSegment:
    """An object in the colour image and in the colour optical frame.

    Args:
        mask: Its pixels, bool (H, W).
        cloud_m: Its visible points, shape (N, 3).
        support: The plane it stands on, normal to the object's side; None when none was found.
        box: Box around its visible points, down to the support; None for fewer than ten points.
        height_m: Height of its top over the support, or of the cloud when there is no support.
        ends: Where it may go on unseen; None where it is seen to end all around.
    """

    mask: BoolImage
    cloud_m: FloatArray
    support: Plane | None
    box: OrientedBox | None
    height_m: float
    ends: OpenEnds | None = None


class MaskSource(Protocol):
    """Something that segments an object in the image from a pixel, such as a SAM-type model."""

    def mask_at(self, frame: Frame, uv_px: tuple[float, float]) -> BoolImage:
        """Pixels of the object at a pixel of the colour image, bool (H, W)."""
        ...


def segment_object(
    frame: Frame,
    surface: SurfacePoint,
    settings: SegmentSettings | None = None,
    up_optical: ArrayLike | None = None,
    mask_source: MaskSource | None = None,
) -> ObjectSegment:
    """Segment the object that a lifted point lies on.

    The support plane is found around the point and taken away; what is left is cut at depth steps and concave creases and
    joined over convex ones, so that the faces of a box stay together and stacked or touching objects do not. Where an object was
    not told apart from the shelf it stands on, the shelf's top is taken for the support instead.

    Args:
        frame: Colour and depth.
        surface: The point, from `lift` on the same frame.
        settings: How far and how finely.
        up_optical: Unit vector upwards in the optical frame, shape (3,), when known from TF.
        mask_source: Replaces the geometric segmentation; cloud, support and box still come from the depth.

    Raises:
        Refused: NOT_FOUND when the point lies on the support itself; NO_DEPTH when nothing around it is known.
    """
    settings = settings or SegmentSettings()
    if not frame.is_registered:
        from roboref_node.geometry.registration import segment_unregistered

        return segment_unregistered(frame, surface, settings, up_optical, mask_source)
    up = None if up_optical is None else np.asarray(up_optical, dtype=np.float64) / np.linalg.norm(up_optical)
    support, on_support = find_support(frame.depth_m, frame.camera, surface, settings, up)
    if mask_source is None:
        mask, crop, pixels = _grow(frame.depth_m, frame.rgb, frame.camera, surface, support, settings)
        if on_support and not pixels.any():
            raise _nothing_there(support, surface, settings)
        level = None if support is None else level_below(crop, pixels, support, surface)
        if level is not None:
            on_level = _grow(frame.depth_m, frame.rgb, frame.camera, surface, level, settings)
            if stands_on(on_level[1], on_level[2], crop, pixels, level):
                (mask, crop, pixels), support = on_level, level
    else:
        mask = np.asarray(mask_source.mask_at(frame, (float(surface.pixel_uv[0]), float(surface.pixel_uv[1]))), dtype=np.bool_)
        crop = cut(frame.depth_m, frame.camera, (0, 0, frame.camera.width, frame.camera.height), 1)
        pixels = mask & np.isfinite(crop.depth_m)
    cloud = crop.points(solid_pixels(pixels, crop, frame.camera.fx / crop.stride))
    if len(cloud) < 10:
        raise Refused(Status.NO_DEPTH, f"the object at the pixel has only {len(cloud)} pixels with depth", pixels=len(cloud))
    if support is not None:
        support = _step_up(crop, pixels, support, settings)
    box, height = stand_box(cloud, support, up)
    reach = settings.creases.reach_px(frame.camera.fx / (crop.stride * float(surface.position_m[2])))
    ends = open_ends(pixels, crop, frame.camera, support, settings.noise, reach)
    return ObjectSegment(mask=mask, cloud_m=cloud, support=support, box=box, height_m=height, ends=ends)


def find_support(
    depth_m: FloatImage, camera: CameraModel, surface: SurfacePoint, settings: SegmentSettings, up: FloatArray | None
) -> tuple[Plane | None, bool]:
    """The plane under the point: the largest one around that the point is in front of, level when the vertical is known.

    Returns:
        The plane, None when there is none, and whether the point seems to lie on it.

    Raises:
        Refused: NO_DEPTH when fewer than 30 points around the pixel are known.
    """
    crop = cut(
        depth_m,
        camera,
        rectangle_around(camera, surface.pixel_uv, float(surface.position_m[2]), settings.support_extent_m),
        None,
        max_pixels=3000,
    )
    points = crop.points(np.isfinite(crop.depth_m))
    if len(points) < 30:
        raise Refused(Status.NO_DEPTH, f"only {len(points)} points around the pixel have depth, 30 are needed to find its support")
    point = surface.position_m
    near = points[np.linalg.norm(points - point, axis=1) < 1.6 * settings.support_extent_m]
    points = near if len(near) >= 30 else points
    thickness = max(settings.min_height_m, 2.5 * float(settings.noise.sigma_m(point[2])))
    rng = np.random.default_rng(0)
    total = len(points)
    for _ in range(4):
        try:
            plane, on = fit_plane_ransac(points, thickness, rng, up=up, max_tilt_rad=settings.max_tilt_rad)
        except Refused:
            break
        if on.sum() < settings.min_support * total:
            break
        plane = plane if up is not None else plane.facing(np.zeros(3))
        distance = float(plane.signed_distance(point))
        # The lifted point is far more precise than one reading.
        margin = max(0.75 * settings.min_height_m, 3 * float(np.sqrt(plane.normal @ surface.covariance_m2 @ plane.normal)))
        if _is_floor(plane, points, thickness):
            if distance > min(margin, thickness):
                return plane, False
            if abs(distance) <= thickness and abs(float(plane.normal @ surface.normal)) > 0.85 and on.sum() > 0.3 * total:
                return plane, True
        points = points[~on]
        if len(points) < 30:
            break
    return None, False


def _is_floor(plane: Plane, points: FloatArray, thickness: float) -> bool:
    """A support has nothing much behind it; the face of a box has the table on its far side."""
    below = plane.signed_distance(points) < -3 * thickness
    return bool(below.mean() < 0.35)


def _grow(
    depth_m: FloatImage,
    rgb: NDArray[np.uint8] | None,
    camera: CameraModel,
    surface: SurfacePoint,
    support: Plane | None,
    settings: SegmentSettings,
) -> tuple[BoolImage, Crop, BoolImage]:
    extent = settings.start_extent_m
    while True:
        rectangle = rectangle_around(camera, surface.pixel_uv, float(surface.position_m[2]), extent)
        crop = cut(depth_m, camera, rectangle, None, settings.max_pixels)
        colours = None if rgb is None else rgb[rectangle[1] : rectangle[3] : crop.stride, rectangle[0] : rectangle[2] : crop.stride]
        pixels = _object_pixels(crop, camera, surface, support, settings, colours)
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            break
        height, width = pixels.shape
        cut_off = (
            (columns[0] <= 1 and rectangle[0] > 0)
            or (rows[0] <= 1 and rectangle[1] > 0)
            or (columns[-1] >= width - 2 and rectangle[2] < camera.width)
            or (rows[-1] >= height - 2 and rectangle[3] < camera.height)
        )
        if not cut_off or extent >= settings.max_extent_m:
            break
        extent = min(2 * extent, settings.max_extent_m)
    mask = np.zeros(depth_m.shape, dtype=np.bool_)
    u0, v0, u1, v1 = rectangle
    if crop.stride == 1:
        mask[v0:v1, u0:u1] = pixels
    else:
        full = pixels.repeat(crop.stride, axis=0).repeat(crop.stride, axis=1)[: v1 - v0, : u1 - u0]
        mask[v0:v1, u0:u1] = full & np.isfinite(depth_m[v0:v1, u0:u1])
    return mask, crop, pixels


def _object_pixels(
    crop: Crop, camera: CameraModel, surface: SurfacePoint, support: Plane | None, settings: SegmentSettings, rgb: NDArray[np.uint8] | None
) -> BoolImage:
    z = float(surface.position_m[2])
    sigma = float(settings.noise.sigma_m(z))
    focal = camera.fx / crop.stride
    reach = settings.creases.reach_px(focal / z)
    side = 3 if reach < 5 else 5
    w, known = smooth_inverse(crop.depth_m, side)
    low = np.zeros(known.shape, dtype=np.bool_)
    if support is None:
        foreground = known
    else:
        smooth = replace(crop, depth_m=np.divide(np.float32(1.0), w, out=np.full_like(w, np.nan), where=known & (w > 0)))
        heights = smooth.heights(support)
        # What the support itself scatters here, sensor warp included, decides what stands out from it.
        level = heights[np.abs(heights) < max(settings.min_height_m, 2.5 * sigma)]
        scatter = float(np.sqrt(np.mean(np.square(level)))) if level.size > 50 else sigma
        foreground = known & (heights > max(0.75 * settings.min_height_m, 2.5 * scatter))
        low = known & (heights < max(2.0 * settings.min_height_m, 5.0 * scatter))
    valley = valleys(w, focal, sigma / z**2 / side, reach, settings.creases)
    least_px = max(8, settings.creases.min_region_px // crop.stride**2)
    labels = regions(foreground, valley, w, least_px, reach, jump=max(0.02, 6 * sigma / z))
    seed = _seed_label(labels, foreground, known & ~foreground, low, crop, surface, least_px, max(SAME_SURFACE_M, 6 * sigma), focal)
    if seed == 0:
        return np.zeros(labels.shape, dtype=np.bool_)
    pixels = labels == seed
    if support is not None:
        pixels = join_parts(pixels, labels, crop, support, rgb, reach)
    return _fill(_without_specks(pixels, least_px), known & ((labels == 0) | pixels))


def _seed_label(
    labels: NDArray[np.int32],
    foreground: BoolImage,
    level: BoolImage,
    low: BoolImage,
    crop: Crop,
    surface: SurfacePoint,
    least_px: int,
    same_m: float,
    focal: float,
) -> int:
    """The label at the point, or of what encloses it when it lies about level with the support (the inside of a bowl, a plate), else 0.

    A thing so thin that all of it is valley gets a label of its own in `labels`. What lies beside the point but not on its surface is
    another thing, however near it is.
    """
    u, v = surface.pixel_uv
    row, column = int(round((v - crop.origin[1]) / crop.stride)), int(round((u - crop.origin[0]) / crop.stride))
    row, column = min(max(row, 0), labels.shape[0] - 1), min(max(column, 0), labels.shape[1] - 1)
    # Of the floor of a plate, a few millimetres over the support, noise makes specks.
    around = _enclosing(labels, low, row, column) if low[row, column] else 0
    if around or labels[row, column]:
        return around or int(labels[row, column])
    if level[row, column]:
        return _enclosing(labels, level, row, column)
    for reach in (2, 4, 8):
        window = (slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1))
        near, depth = labels[window], crop.depth_m[window].astype(np.float64)
        points = np.dstack([crop.rays[window] * depth[..., None], depth])
        away = points - surface.position_m
        # Nothing steeper than what can be seen leads from here to there; False where unknown.
        aside = surface.position_m[2] * np.linalg.norm(crop.rays[window] - surface.position_m[:2] / surface.position_m[2], axis=-1)
        same = (np.abs(away @ surface.normal) <= same_m) & (np.abs(away[..., 2]) <= same_m + np.tan(MAX_INCIDENCE_RAD) * aside)
        votes = np.bincount(near[same].ravel(), minlength=1)
        votes[0] = 0
        if votes.max() > 0.25 * np.count_nonzero(same):
            return int(votes.argmax())
    piece = piece_at(foreground & (labels == 0), crop.depth_m, (row, column), focal)
    if np.count_nonzero(piece) < least_px:
        return 0
    own = int(labels.max()) + 1
    labels[piece] = own
    return own


def _enclosing(labels: NDArray[np.int32], ground: BoolImage, row: int, column: int) -> int:
    """The label around the connected part of `ground` at a pixel; 0 when that reaches the border, or nothing encloses most of it."""
    _, pools = cv2.connectedComponents(ground.astype(np.uint8), connectivity=4)
    pool = pools == pools[row, column]
    if pool[0].any() or pool[-1].any() or pool[:, 0].any() or pool[:, -1].any():
        return 0
    ring = (cv2.dilate(pool.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~pool
    votes = np.bincount(labels[ring], minlength=1)
    votes[0] = 0
    return int(votes.argmax()) if votes.max() > 0.6 * max(1, int((labels[ring] > 0).sum())) else 0


def _without_specks(pixels: BoolImage, least_px: int) -> BoolImage:
    """Drop the separate pieces that are too small to be a part."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    keep = area >= min(max(least_px, 0.02 * float(area[1:].max(initial=0))), float(area[1:].max(initial=0)))
    keep[0] = False
    return np.asarray(keep[pieces], dtype=np.bool_)


def _fill(pixels: BoolImage, allowed: BoolImage) -> BoolImage:
    """Close the holes that an object's outline encloses, such as the level inside of a bowl, but leave what stands in it."""
    contours, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(pixels.shape, dtype=np.uint8)
    cv2.drawContours(filled, contours, -1, 1, thickness=cv2.FILLED)
    return np.asarray((filled > 0) & allowed, dtype=np.bool_)


def _nothing_there(support: Plane | None, surface: SurfacePoint, settings: SegmentSettings) -> Refused:
    distance = 0.0 if support is None else float(support.signed_distance(surface.position_m))
    return Refused(
        Status.NOT_FOUND,
        f"the pixel lies on the support plane ({distance * 1000:.1f} mm from it, "
        f"pipeline.segment.min_height_m = {settings.min_height_m:g}); "
        "no object stands there",
        distance_m=distance,
    )


def _step_up(crop: Crop, pixels: BoolImage, support: Plane, settings: SegmentSettings) -> Plane:
    """The parallel plane the object really stands on, when it stands on another object."""
    heights = crop.heights(support)
    bottom = float(np.quantile(heights[pixels], 0.02))
    sigma = float(settings.noise.sigma_m(np.median(crop.depth_m[pixels])))
    if bottom < max(0.02, 6 * sigma):
        return support
    reach = 9
    ring = (cv2.dilate(pixels.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0) & ~pixels & np.isfinite(heights)
    level = ring & (np.abs(heights - bottom) < max(0.01, 4 * sigma))
    if level.sum() < max(15, 0.1 * ring.sum()):
        return support
    return Plane(support.normal, support.offset_m - float(np.median(heights[level])))
