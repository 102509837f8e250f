"""Depth from a camera beside the colour camera: only what lies near the asked ray is reprojected.

The patch is a small pinhole image at the colour camera's centre, about as fine as the depth image, so that forward projection
leaves no gaps; the asked ray runs exactly through its middle pixel. Everything made for registered depth then works on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.lift import LiftSettings, SurfacePoint, lift_depth, nearest_accepted, ray_map, same_depth_m
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.geometry.segment import MaskSource, ObjectSegment, SegmentSettings

FloatArray = NDArray[np.float64]

NEAR_M, FAR_M = 0.15, 10.0
"""Range along the asked ray in which its image in the depth camera is looked up."""
DENSITY = 0.9
"""Focal length of the patch against the depth camera's: below one, neighbouring depth pixels leave no pixel out."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Registered depth around one ray.

    Args:
        depth_m: Float32 (h, w), NaN where no depth pixel fell.
        camera: Its pinhole camera, in the colour optical frame.
        uv_px: The asked ray in it, shape (2,).
    """

    depth_m: NDArray[np.float32]
    camera: CameraModel
    uv_px: FloatArray


def registered_patch(frame: Frame, uv_px: ArrayLike, half_px: int) -> Patch:
    """Reproject the depth around the ray of a colour pixel, nearest reading first.

    Args:
        frame: Frame with `depth_camera` and `color_from_depth`.
        uv_px: Pixel of the colour image, shape (2,).
        half_px: Half side of the patch in its own pixels.

    Raises:
        Refused: OUT_OF_IMAGE when the pixel is not on the colour image, NO_DEPTH when its ray does not cross the depth image.
    """
    depth_camera, color_from_depth = frame.depth_camera, frame.color_from_depth
    if depth_camera is None or color_from_depth is None:
        raise Refused(Status.BAD_REQUEST, "the depth is registered already")
    uv = np.asarray(uv_px, dtype=np.float64)
    ray = frame.camera.rays(uv)
    if not (frame.camera.on_image(uv) and np.isfinite(ray).all()):
        raise Refused(
            Status.OUT_OF_IMAGE,
            f"pixel ({uv[0]:.1f}, {uv[1]:.1f}) lies outside the {frame.camera.width}x{frame.camera.height} image or its lens model",
            pixel=uv.tolist(),
        )
    focal = min(frame.camera.fx, DENSITY * depth_camera.fx)
    side = 2 * half_px + 1
    camera = CameraModel(focal, focal, half_px - focal * ray[0], half_px - focal * ray[1], side, side)
    rectangle = _depth_rectangle(depth_camera, color_from_depth.inverse(), ray, half_px / focal)
    if rectangle is None:
        raise Refused(
            Status.NO_DEPTH, f"the ray of pixel ({uv[0]:.1f}, {uv[1]:.1f}) does not cross the depth camera's image", nearest_px=None
        )
    return Patch(
        reproject(frame.depth_m, depth_camera, color_from_depth, rectangle, camera), camera, np.array([half_px, half_px], dtype=np.float64)
    )


def _depth_rectangle(
    depth_camera: CameraModel, depth_from_color: Transform, ray: FloatArray, half_angle: float
) -> tuple[int, int, int, int] | None:
    """Depth pixels (u0, v0, u1, v1) that can land in a patch of a tangent half width around a ray."""
    z = 1.0 / np.linspace(1.0 / FAR_M, 1.0 / NEAR_M, 24)
    uv = depth_camera.project(depth_from_color.apply(ray * z[:, None]))
    uv = uv[np.isfinite(uv).all(axis=1)]
    if not len(uv):
        return None
    # Half as much again for the turn between the cameras and the growth of pixels off the axis.
    margin = 1.5 * half_angle * max(depth_camera.fx, depth_camera.fy) * float(ray @ ray) + 3
    size = np.array([depth_camera.width, depth_camera.height])
    u0, v0 = np.clip(np.floor(uv.min(axis=0) - margin), 0, size).astype(int)
    u1, v1 = np.clip(np.ceil(uv.max(axis=0) + margin) + 1, 0, size).astype(int)
    return (int(u0), int(v0), int(u1), int(v1)) if u1 > u0 and v1 > v0 else None


def reproject(
    depth_m: NDArray[np.float32],
    depth_camera: CameraModel,
    color_from_depth: Transform,
    rectangle: tuple[int, int, int, int],
    target: CameraModel,
) -> NDArray[np.float32]:
    """Depth image of a pinhole at the colour camera from a rectangle of the depth image, z-buffered.

    Args:
        depth_m: Depth of the depth camera, float32 (h, w).
        depth_camera: Its intrinsics.
        color_from_depth: Extrinsics.
        rectangle: u0, v0, u1, v1 in the depth image.
        target: Undistorted camera in the colour optical frame.

    Raises:
        Refused: BAD_REQUEST when the depth image has not its camera's size.
    """
    if depth_m.shape != (depth_camera.height, depth_camera.width):
        raise Refused(
            Status.BAD_REQUEST,
            f"the depth image is {depth_m.shape[1]}x{depth_m.shape[0]}, its camera {depth_camera.width}x{depth_camera.height}",
        )
    u0, v0, u1, v1 = rectangle
    block = depth_m[v0:v1, u0:u1]
    v, u = np.nonzero((block > 0) & (block < np.inf))
    z = block[v, u].astype(np.float64)
    if depth_camera.distortion_model is DistortionModel.NONE:
        x = (u + (u0 - depth_camera.cx)) / depth_camera.fx
        y = (v + (v0 - depth_camera.cy)) / depth_camera.fy
    else:
        x, y = ray_map(depth_camera)[v + v0, u + u0].astype(np.float64).T
    rotation, shift = color_from_depth.rotation, color_from_depth.translation_m
    points = np.column_stack([x * z, y * z, z]) @ rotation.T + shift
    ahead = points[:, 2] > 1e-3  # False for NaN rays too.
    points = points[ahead]
    column = np.rint(points[:, 0] / points[:, 2] * target.fx + target.cx)
    row = np.rint(points[:, 1] / points[:, 2] * target.fy + target.cy)
    inside = (column >= 0) & (column < target.width) & (row >= 0) & (row < target.height)
    column, row, depth = column[inside].astype(np.int64), row[inside].astype(np.int64), points[inside, 2]
    out = np.full(target.height * target.width, np.nan, dtype=np.float32)
    order = np.argsort(-depth, kind="stable")  # Later writes win: the nearest reading comes last.
    out[(row * target.width + column)[order]] = depth[order]
    return out.reshape(target.height, target.width)


def lift_unregistered(frame: Frame, uv_px: ArrayLike, settings: LiftSettings, *, search: bool = True) -> SurfacePoint | Refused:
    """`lift` for a frame whose depth is not registered; the refusal is returned, not raised.

    The result's `region` is None: its pixels are those of the patch, not of the colour image. A reading stands for a whole pixel of
    the patch, several of the colour image: one on the border of a gap behind which another surface shows is no more than an edge.
    """
    uv = np.asarray(uv_px, dtype=np.float64)
    try:
        patch = registered_patch(frame, uv, settings.window_radius_px + 2)
        scaled = replace(settings, pixel_sigma_px=settings.pixel_sigma_px * patch.camera.fx / frame.camera.fx)
        result = _lift_patch(patch, scaled, search=False)
        if isinstance(result, SurfacePoint):
            return replace(result, pixel_uv=uv, region=None, region_origin_uv=(0, 0))
        if not search:
            return result
        wide = registered_patch(frame, uv, settings.window_radius_px + settings.search_radius_px)
    except Refused as refused:
        return refused
    result = _lift_patch(wide, scaled, search=True)
    if isinstance(result, SurfacePoint):
        return replace(result, pixel_uv=uv, region=None, region_origin_uv=(0, 0))
    details = dict(result.details)
    details["pixel"] = uv.tolist()
    nearest = details.get("nearest_px")
    if nearest is not None:
        details["nearest_px"] = [float(c) for c in frame.camera.project(wide.camera.rays(nearest))]
    reason = result.sentence.split(") ", 1)[-1].split("; (")[0]
    hint = "" if nearest is None else "; ({:.0f}, {:.0f}) would do".format(*details["nearest_px"])
    return Refused(result.status, f"pixel ({uv[0]:.1f}, {uv[1]:.1f}) {reason}{hint}", **details)


def _lift_patch(patch: Patch, settings: LiftSettings, *, search: bool) -> SurfacePoint | Refused:
    """The asked ray of a patch, lifted; refused beside a gap with another surface behind it too."""
    result = lift_depth(patch.depth_m, patch.camera, patch.uv_px[None], settings, search=search)[0]
    other_m = _across_a_gap(patch, result, settings) if isinstance(result, SurfacePoint) else None
    if other_m is None or not isinstance(result, SurfacePoint):
        return result
    here_m = float(result.position_m[2])
    nearest = nearest_accepted(patch.depth_m, patch.camera, patch.uv_px, here_m, settings) if search else None
    return Refused(
        Status.DEPTH_EDGE,
        f"pixel ({patch.uv_px[0]:.1f}, {patch.uv_px[1]:.1f}) lies on a depth edge: within a pixel of the depth camera nothing is known, "
        f"the surface at {here_m:.3f} m ends and one at {other_m:.3f} m begins (pipeline.lift.edge_step_m = {settings.edge_step_m:g})",
        depths_m=sorted([here_m, other_m]),
        nearest_px=nearest,
        pixel=patch.uv_px.tolist(),
    )


def _across_a_gap(patch: Patch, surface: SurfacePoint, settings: LiftSettings) -> float | None:
    """Depth in metres of a farther surface that begins behind unknown pixels next to the asked one, None when there is none."""
    u, v = (int(c) for c in patch.uv_px)
    steps = np.arange(1, settings.window_radius_px + 1)
    for du, dv in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
        along = patch.depth_m[v + dv * steps, u + du * steps]
        known = np.flatnonzero(np.isfinite(along))
        if not len(known) or known[0] == 0:
            continue
        step, depth_m = int(steps[known[0]]), float(along[known[0]])
        ray = patch.camera.rays(patch.uv_px + [du * step, dv * step])
        expected_w = float(surface.normal @ ray / (surface.normal @ surface.position_m))
        if expected_w - 1.0 / depth_m > same_depth_m(depth_m, settings) / depth_m**2:
            return depth_m
    return None


def segment_unregistered(
    frame: Frame, surface: SurfacePoint, settings: SegmentSettings, up_optical: ArrayLike | None, mask_source: MaskSource | None
) -> ObjectSegment:
    """`segment_object` for a frame whose depth is not registered: on a patch, with the mask carried back to the colour image."""
    from roboref_node.frame import Frame as RegisteredFrame
    from roboref_node.geometry.segment import segment_object

    camera = frame.camera
    depth_camera = frame.depth_camera
    focal = camera.fx if depth_camera is None else min(camera.fx, DENSITY * depth_camera.fx)
    half = int(min(200, np.ceil(focal * settings.support_extent_m / surface.position_m[2])))
    patch = registered_patch(frame, surface.pixel_uv, half)
    row, column = np.mgrid[0 : patch.camera.height, 0 : patch.camera.width]
    rays = patch.camera.rays(np.stack([column, row], axis=-1))
    uv = camera.project(rays)
    seen = camera.on_image(np.nan_to_num(uv, nan=-9.0))
    u = np.clip(np.nan_to_num(uv[..., 0]).round().astype(np.int64), 0, camera.width - 1)
    v = np.clip(np.nan_to_num(uv[..., 1]).round().astype(np.int64), 0, camera.height - 1)
    depth = np.where(seen, patch.depth_m, np.float32(np.nan))
    registered = RegisteredFrame(np.ascontiguousarray(frame.rgb[v, u]), depth, patch.camera, frame.stamp_ns, frame.frame_id)
    point = replace(surface, pixel_uv=patch.uv_px)
    if mask_source is not None:
        mask_source = _Carried(mask_source.mask_at(frame, (float(surface.pixel_uv[0]), float(surface.pixel_uv[1])))[v, u] & seen)
    segment = segment_object(registered, point, settings, up_optical, mask_source)
    return replace(segment, mask=_carry_back(segment.mask, patch.camera, camera, u[segment.mask], v[segment.mask]))


@dataclass(frozen=True, eq=False)
class _Carried:
    """A mask of the colour image in the pixels of the patch."""

    mask: NDArray[np.bool_]

    def mask_at(self, frame: Frame, uv_px: tuple[float, float]) -> NDArray[np.bool_]:
        return self.mask


def _carry_back(
    mask: NDArray[np.bool_], patch: CameraModel, camera: CameraModel, u: NDArray[np.int64], v: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """The colour pixels whose rays fall on the mask; u and v are the colour pixels of its members and bound the search."""
    out = np.zeros((camera.height, camera.width), dtype=np.bool_)
    if not u.size:
        return out
    u0, u1 = max(int(u.min()) - 2, 0), min(int(u.max()) + 3, camera.width)
    v0, v1 = max(int(v.min()) - 2, 0), min(int(v.max()) + 3, camera.height)
    row, column = np.mgrid[v0:v1, u0:u1]
    uv = np.nan_to_num(patch.project(camera.rays(np.stack([column, row], axis=-1))), nan=-9.0).round().astype(np.int64)
    inside = (uv[..., 0] >= 0) & (uv[..., 0] < patch.width) & (uv[..., 1] >= 0) & (uv[..., 1] < patch.height)
    out[v0:v1, u0:u1] = inside & mask[np.clip(uv[..., 1], 0, patch.height - 1), np.clip(uv[..., 0], 0, patch.width - 1)]
    return out
