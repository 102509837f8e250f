"""From a pixel to a point on a surface, with its normal and uncertainty, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry import surface_fit
from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.uncertainty import pixel_covariances
from roboref_node.parameters import SHARED, check_settings, setting
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class LiftSettings:
    """What counts as one surface.

    Args:
        noise: Depth noise of the sensor.
    """

    noise: DepthNoise = field(default_factory=DepthNoise, metadata=SHARED)
    window_radius_px: int = setting("Half side of the window that is looked at.", default=7, unit="px", minimum=4, maximum=20)
    pixel_sigma_px: float = setting(
        "Standard deviation of the asked pixel along each axis.", default=0.5, unit="px", minimum=0.0, maximum=50.0
    )
    max_hole_px: float = setting(
        "A pixel without depth is filled from its surface when a known pixel is this near and the surface surrounds it.",
        default=2.5, unit="px", minimum=0.0, maximum=20.0,
    )  # fmt: skip
    min_inliers: int = setting("Fewest pixels of a surface.", default=12, minimum=3, maximum=1000)
    edge_step_m: float = setting(
        "Smallest depth step to a neighbouring pixel that counts as another surface.", default=0.008, unit="m", minimum=1e-4, maximum=1.0
    )
    max_incidence_rad: float = setting(
        "Largest angle between ray and normal; a smear between two surfaces looks like a steeper one.",
        default=1.40, unit="rad", minimum=0.01, maximum=1.57,
    )  # fmt: skip
    min_curvature_radius_m: float = setting(
        "Tightest curve of a surface that is still followed.", default=0.02, unit="m", minimum=1e-3, maximum=10.0
    )
    patch_sigmas: float = setting("Tolerance of the first patch in noise standard deviations.", default=1.8, minimum=0.1, maximum=100.0)
    seed_sigmas: float = setting("Tolerance of the asked pixel in noise standard deviations.", default=4.0, minimum=0.1, maximum=100.0)
    grow_sigmas: float = setting("Tolerance of the pixels that join in noise standard deviations.", default=3.5, minimum=0.1, maximum=100.0)
    lateral_px: float = setting("Jitter of the depth image along its rows and columns.", default=0.15, unit="px", minimum=0.0, maximum=10.0)
    search_radius_px: int = setting(
        "How far a refusal looks for the nearest pixel that would have been accepted.", default=24, unit="px", minimum=0, maximum=200
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class SurfacePoint:
    """A pixel lifted to the surface it shows, in the colour optical frame.

    Args:
        pixel_uv: Asked pixel, shape (2,).
        position_m: Point exactly on the asked ray, shape (3,).
        normal: Unit normal towards the camera, shape (3,).
        covariance_m2: Covariance of the position from pixel and depth uncertainty, shape (3, 3).
        inliers: Pixels of the surface in the window.
        spread_m: Range of depth that these pixels cover.
        plane_rms_m: Root mean square distance of their readings from the fitted surface along the rays.
        region: The window's pixels that belong to the surface, bool (S, S); None for a point that was not fitted.
        region_origin_uv: Column and row of the first pixel of `region`; may lie outside the image.
        filled: True when the asked pixel itself had no depth.
    """

    pixel_uv: FloatArray
    position_m: FloatArray
    normal: FloatArray
    covariance_m2: FloatArray
    inliers: int
    spread_m: float
    plane_rms_m: float
    region: BoolArray | None = None
    region_origin_uv: tuple[int, int] = (0, 0)
    filled: bool = False


def lift(frame: Frame, uv_px: tuple[float, float] | ArrayLike, settings: LiftSettings | None = None) -> SurfacePoint:
    """Lift one pixel of the colour image.

    Args:
        frame: Colour and depth; unregistered depth is reprojected around the asked ray only.
        uv_px: Pixel of the colour image, shape (2,).
        settings: What counts as one surface.

    Raises:
        Refused: OUT_OF_IMAGE; NO_DEPTH with ``nearest_px`` (the nearest pixel that would be accepted, or None); DEPTH_EDGE
            with ``depths_m`` (the competing surfaces, near first) and ``nearest_px``, which never shows what lies behind the
            asked pixel's own reading.
    """
    result = lift_many(frame, np.asarray(uv_px, dtype=np.float64).reshape(1, 2), settings)[0]
    if isinstance(result, Refused):
        raise result
    return result


def lift_many(
    frame: Frame, uvs_px: ArrayLike, settings: LiftSettings | None = None, *, search: bool = True
) -> list[SurfacePoint | Refused]:
    """Lift many pixels at once; a pixel that `lift` would refuse yields the `Refused` in its place.

    Args:
        frame: Colour and depth.
        uvs_px: Pixels of the colour image, shape (N, 2).
        settings: What counts as one surface.
        search: Whether refusals look for the nearest acceptable pixel, about a millisecond each.
    """
    settings = settings or _DEFAULT
    uv = np.asarray(uvs_px, dtype=np.float64).reshape(-1, 2)
    if not frame.is_registered:
        from roboref_node.geometry.registration import lift_unregistered

        return [lift_unregistered(frame, pixel, settings, search=search) for pixel in uv]
    return lift_depth(frame.depth_m, frame.camera, uv, settings, search=search)


_DEFAULT = LiftSettings()


def lift_depth(
    depth_m: NDArray[np.float32], camera: CameraModel, uv: FloatArray, settings: LiftSettings, *, search: bool = True
) -> list[SurfacePoint | Refused]:
    """`lift_many` on a depth image that is registered to its camera.

    Args:
        depth_m: Float32 (H, W) in metres, as large as its camera's image.
        camera: Its camera.
        uv: Pixels, shape (N, 2).
        settings: What counts as one surface.
        search: Whether refusals look for the nearest acceptable pixel.
    """
    pinhole = camera.distortion_model is DistortionModel.NONE
    # For a lens, the rays of pixels a quarter to the right and below give the derivative in the same call.
    triple = uv[:, None] if pinhole else uv[:, None] + np.array([[0.0, 0.0], [0.25, 0.0], [0.0, 0.25]])
    triple_rays = camera.rays(triple)
    rays = triple_rays[:, 0]
    inside = camera.on_image(uv) & np.isfinite(rays[:, 0])
    if not inside.all():
        results: list[SurfacePoint | Refused] = [_outside(pixel, camera) for pixel in uv]
        if inside.any():
            for index, result in zip(np.flatnonzero(inside), lift_depth(depth_m, camera, uv[inside], settings, search=search), strict=True):
                results[int(index)] = result
        return results
    table = surface_fit.stencil(settings.window_radius_px)
    pixel = np.rint(uv).astype(np.int64)
    pixel[:, 0] = np.minimum(pixel[:, 0], camera.width - 1)
    pixel[:, 1] = np.minimum(pixel[:, 1], camera.height - 1)
    if pinhole:
        fraction = pixel - uv
        x, y = table.du + fraction[:, :1], table.dv + fraction[:, 1:]
    else:
        x, y = _undistorted_window(camera, pixel, rays, table)
    z = surface_fit.gather(depth_m, pixel[:, 0], pixel[:, 1], table)
    win = surface_fit.make_windows(z, x, y, table)
    w_ref = np.where(np.isnan(win.w_ref), 1.0, win.w_ref)
    sigma_w = settings.noise.sigma_m(1.0 / w_ref) * w_ref * w_ref
    limits = surface_fit.FitLimits(
        sigma_w=sigma_w,
        patch_sigmas=settings.patch_sigmas,
        seed_sigmas=settings.seed_sigmas,
        grow_sigmas=settings.grow_sigmas,
        edge_w=settings.edge_step_m * w_ref * w_ref,
        lateral_px=settings.lateral_px,
        # Sagitta r^2 / (2 R) of a sphere of radius R, seen r = px z / f off the axis, as inverse depth.
        curvature_w=0.5 / (settings.min_curvature_radius_m * camera.fx * camera.fx),
        tilt=camera.fx / w_ref,
        max_hole_px=settings.max_hole_px,
        min_patch=settings.min_inliers,
    )
    fits = surface_fit.fit_surfaces(win, limits, table)

    w = np.maximum(w_ref + fits.w, 1e-6)
    depth = 1.0 / w
    # The tangent plane is gradient . X = 1.
    gradient = np.empty((len(uv), 3))
    gradient[:, 0], gradient[:, 1] = fits.slope[:, 0] * camera.fx, fits.slope[:, 1] * camera.fy
    gradient[:, 2] = w - gradient[:, 0] * rays[:, 0] - gradient[:, 1] * rays[:, 1]
    steepness = np.sqrt(np.einsum("ij,ij->i", gradient, gradient))
    cosine = w / (steepness * np.sqrt(np.einsum("ij,ij->i", rays, rays)))
    good = fits.consistent & (fits.inliers >= settings.min_inliers) & (cosine >= np.cos(settings.max_incidence_rad))
    position = rays * depth[:, None]
    covariance = pixel_covariances(camera, triple_rays, depth, gradient, fits.noise**2 * fits.unit_variance, settings.pixel_sigma_px)
    normal = gradient / -steepness[:, None]
    member_w = np.where(fits.region, win.w, fits.w[:, None]) + w_ref[:, None]
    spread = 1.0 / np.maximum(member_w.min(axis=1), 1e-6) - 1.0 / np.maximum(member_w.max(axis=1), 1e-6)
    rms = fits.rms * depth * depth
    side = 2 * table.radius + 1
    out: list[SurfacePoint | Refused] = []
    for i in range(len(uv)):
        if good[i]:
            out.append(
                SurfacePoint(
                    pixel_uv=uv[i],
                    position_m=position[i],
                    normal=normal[i],
                    covariance_m2=covariance[i],
                    inliers=int(fits.inliers[i]),
                    spread_m=float(spread[i]),
                    plane_rms_m=float(rms[i]),
                    region=fits.region[i].reshape(side, side),
                    region_origin_uv=(int(pixel[i, 0]) - table.radius, int(pixel[i, 1]) - table.radius),
                    filled=bool(win.hole_px[i] > 0),
                )
            )
        else:
            nearest = nearest_accepted(depth_m, camera, uv[i], _reading(z[i], settings, table), settings) if search else None
            out.append(_refusal(uv[i], z[i], win, fits, i, float(np.degrees(np.arccos(min(1.0, cosine[i])))), settings, table, nearest))
    return out


@lru_cache(maxsize=4)
def ray_map(camera: CameraModel) -> NDArray[np.float32]:
    """Rays (x, y) of all pixels of a distorted camera, float32 (H, W, 2), NaN outside the lens model; computed once."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    out = camera.rays(np.stack([u, v], axis=-1))[..., :2].astype(np.float32)
    out.setflags(write=False)
    return out


def _undistorted_window(
    camera: CameraModel, pixel: NDArray[np.int64], rays: FloatArray, table: surface_fit.Stencil
) -> tuple[FloatArray, FloatArray]:
    columns = np.clip(pixel[:, :1] + table.du.astype(np.int64), 0, camera.width - 1)
    rows = np.clip(pixel[:, 1:] + table.dv.astype(np.int64), 0, camera.height - 1)
    window = np.nan_to_num(ray_map(camera)[rows, columns].astype(np.float64), nan=10.0)
    return (window[..., 0] - rays[:, :1]) * camera.fx, (window[..., 1] - rays[:, 1:2]) * camera.fy


def _outside(pixel: FloatArray, camera: CameraModel) -> Refused:
    u, v = float(pixel[0]), float(pixel[1])
    if -0.5 <= u < camera.width - 0.5 and -0.5 <= v < camera.height - 0.5:
        sentence = f"pixel ({u:.1f}, {v:.1f}) lies beyond the range where the {camera.distortion_model.value} lens model is one-to-one"
    else:
        sentence = f"pixel ({u:.1f}, {v:.1f}) lies outside the {camera.width}x{camera.height} image"
    return Refused(Status.OUT_OF_IMAGE, sentence, pixel=[u, v], width=camera.width, height=camera.height)


def _reading(window: NDArray[np.float32], settings: LiftSettings, table: surface_fit.Stencil) -> float:
    """Depth that the asked pixel itself shows, metres; infinite where it has none, or one that its neighbours do not share."""
    here, beside = float(window[table.centre]), window[table.near]
    if not (0.0 < here < np.inf):
        return float("inf")
    return here if np.count_nonzero(np.abs(beside - here) <= same_depth_m(here, settings)) >= 2 else float("inf")


def same_depth_m(depth_m: float, settings: LiftSettings) -> float:
    """By how much two readings of one surface may differ at a depth, metres."""
    return max(settings.edge_step_m, settings.seed_sigmas * float(settings.noise.sigma_m(depth_m)))


def nearest_accepted(
    depth_m: NDArray[np.float32], camera: CameraModel, pixel: FloatArray, reading_m: float, settings: LiftSettings
) -> list[float] | None:
    """The nearest pixel, of a star of 16 directions, that would be accepted and whose surface does not lie behind the reading.

    A thing too thin to be lifted has only the background around it; that is not what the pixel shows.

    Args:
        depth_m: Float32 (H, W) in metres, registered to the camera.
        camera: Its camera.
        pixel: Asked pixel, shape (2,).
        reading_m: Depth that it shows, infinite when that is not known.
        settings: What counts as one surface.
    """
    radii = np.unique(np.geomspace(2, max(settings.search_radius_px, 2), 9).round())
    angles = np.arange(16) * (np.pi / 8)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    ray = camera.rays(pixel)
    farthest_w = 0.0 if np.isinf(reading_m) else 1.0 / (reading_m + same_depth_m(reading_m, settings))
    # Most alternatives are near: three rings at a time.
    for i in range(0, len(radii), 3):
        star = np.rint(pixel + (radii[i : i + 3, None, None] * directions).reshape(-1, 2))
        star = star[camera.contains(star)]
        if len(star):
            results = lift_depth(depth_m, camera, star, settings, search=False)
            for uv, result in zip(star, results, strict=True):
                if isinstance(result, SurfacePoint) and (farthest_w == 0.0 or _inverse_depth(result, ray) >= farthest_w):
                    return [float(uv[0]), float(uv[1])]
    return None


def _inverse_depth(surface: SurfacePoint, ray: FloatArray) -> float:
    """Of the point where a ray, shape (3,) with z = 1, meets a surface's tangent plane; negative when that is behind the camera."""
    return float(surface.normal @ ray / (surface.normal @ surface.position_m))


def _refusal(
    uv: FloatArray,
    z: NDArray[np.float32],
    win: surface_fit.Windows,
    fits: surface_fit.SurfaceFits,
    i: int,
    incidence_deg: float,
    settings: LiftSettings,
    table: surface_fit.Stencil,
    nearest: list[float] | None,
) -> Refused:
    where = f"pixel ({uv[0]:.1f}, {uv[1]:.1f})"
    hint = "" if nearest is None else f"; ({nearest[0]:.0f}, {nearest[1]:.0f}) would do"
    if win.hole_px[i] > 0:
        near = win.hole_px[i]
        limit = f"pipeline.lift.max_hole_px = {settings.max_hole_px:g}"
        if not np.isfinite(near):
            reason = f"no pixel within {settings.window_radius_px} px has ({limit})"
        elif near > settings.max_hole_px:
            reason = f"the nearest known pixel is {near:.1f} px away, {limit}"
        else:
            reason = "the known pixels around it do not form one surface that encloses it"
        return Refused(Status.NO_DEPTH, f"{where} has no depth and {reason}{hint}", nearest_px=nearest, pixel=[float(uv[0]), float(uv[1])])
    inner = z[(np.maximum(abs(table.du), abs(table.dv)) <= 3) & win.known[i]]
    near_m, far_m = (float(q) for q in np.quantile(inner, [0.1, 0.9]))
    if fits.consistent[i] and fits.inliers[i] >= settings.min_inliers:
        reason = f"the surface is seen at {incidence_deg:.0f} degrees, pipeline.lift.max_incidence_rad = {settings.max_incidence_rad:g}"
    elif fits.consistent[i]:
        reason = f"only {int(fits.inliers[i])} pixels belong to its surface, pipeline.lift.min_inliers = {settings.min_inliers}"
    else:
        reason = f"surfaces at {near_m:.3f} m and {far_m:.3f} m compete (pipeline.lift.edge_step_m = {settings.edge_step_m:g})"
    return Refused(
        Status.DEPTH_EDGE,
        f"{where} lies on a depth edge: {reason}{hint}",
        depths_m=[near_m, far_m],
        nearest_px=nearest,
        pixel=[float(uv[0]), float(uv[1])],
    )
