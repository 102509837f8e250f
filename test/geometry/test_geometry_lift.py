"""The lift against exact scenes: error, normals, covariance, edges, holes, refusals."""

import numpy as np
import pytest
import scipy.ndimage
from scipy.stats import chi2

from roboref_node.evaluation.analytic_scene import Ball, Box, Cylinder, Floor, Solid, Truth, Wall, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry import CameraModel, DistortionModel, LiftSettings, SurfacePoint, Transform, covariance_in_target, lift, lift_many
from roboref_node.geometry.depth import DepthNoise
from roboref_node.status import Refused, Status

PINHOLE = CameraModel(600, 600, 319.5, 239.5, 640, 480)
LENS = CameraModel(600, 600, 319.5, 239.5, 640, 480, DistortionModel.PLUMB_BOB, (0.1, -0.2, 0.001, 0.001, 0.05))
FISHEYE = CameraModel(420, 420, 319.5, 239.5, 640, 480, DistortionModel.EQUIDISTANT, (-0.02, 0.003, -0.002, 0.0003))
SETTINGS = LiftSettings()
SCENE: list[Solid] = [
    Floor(),
    Wall(1.0),
    Box((0.4, 0.1, 0.0), (0.2, 0.15, 0.1), 0.4),
    Ball((0.5, -0.15, 0.07), 0.07),
    Cylinder((0.3, -0.1, 0.0), 0.05, 0.12),
]


def frame_of(depth: np.ndarray, camera: CameraModel) -> Frame:
    return Frame(np.zeros((camera.height, camera.width, 3), np.uint8), depth.astype(np.float32), camera)


def noisy(truth: Truth, rng: np.random.Generator, noise: DepthNoise = SETTINGS.noise) -> np.ndarray:
    return (truth.depth_m + rng.normal(size=truth.depth_m.shape) * noise.sigma_m(truth.depth_m)).astype(np.float32)


def view(rng: np.random.Generator) -> Transform:
    return look_at([rng.uniform(-0.35, 0.0), rng.uniform(-0.3, 0.3), rng.uniform(0.4, 0.8)], [0.42, 0.0, 0.05])


def interior(truth: Truth, margin: int) -> np.ndarray:
    same = scipy.ndimage.minimum_filter(truth.index, margin) == scipy.ndimage.maximum_filter(truth.index, margin)
    steep = np.einsum("vui,vui->vu", truth.normals, truth.camera.rays(np.stack(np.mgrid[0:480, 0:640][::-1], axis=-1)))
    return same & (steep < -0.25)


@pytest.mark.parametrize("camera", [PINHOLE, LENS, FISHEYE], ids=["pinhole", "plumb_bob", "equidistant"])
def test_position_and_normal_on_surfaces(camera: CameraModel) -> None:
    errors, angles, refused = [], [], 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth = cast_scene(SCENE, camera, view(rng))
        candidates = np.argwhere(interior(truth, 9) & (truth.depth_m > 0.5) & (truth.depth_m < 1.2))
        pixels = candidates[rng.permutation(len(candidates))[:300]]
        for (v, u), result in zip(pixels, lift_many(frame_of(noisy(truth, rng), camera), pixels[:, ::-1]), strict=True):
            if isinstance(result, Refused):
                refused += 1
                continue
            ray = camera.rays((u, v))
            assert np.allclose(result.position_m / result.position_m[2], ray, atol=1e-9), "the point lies exactly on the asked ray"
            assert result.normal @ result.position_m < 0, "the normal points to the camera"
            errors.append(np.linalg.norm(result.position_m - ray * truth.depth_m[v, u]))
            if truth.index[v, u] < 3:
                angles.append(np.degrees(np.arccos(np.clip(result.normal @ truth.normals[v, u], -1, 1))))
    assert len(errors) > 800 and refused < 0.03 * 900
    assert np.median(errors) < 0.003 and np.quantile(errors, 0.95) < 0.008
    assert np.median(angles) < 3.0


def test_covariance_is_calibrated() -> None:
    inside = []
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        camera = (PINHOLE, LENS)[seed % 2]
        pose = view(rng)
        truth = cast_scene(SCENE[:2], camera, pose)
        uv = np.column_stack([rng.uniform(30, 609, 400), rng.uniform(30, 449, 400)])
        rays = pose.rotate(camera.rays(uv))
        exact = np.minimum(*(solid.cast(pose.translation_m, rays)[0] for solid in SCENE[:2]))
        asked = uv + rng.normal(size=uv.shape) * SETTINGS.pixel_sigma_px
        for result, point in zip(lift_many(frame_of(noisy(truth, rng), camera), asked), camera.unproject(uv, exact), strict=True):
            if isinstance(result, SurfacePoint):
                error = result.position_m - point
                inside.append(error @ np.linalg.solve(result.covariance_m2, error) < chi2.ppf(0.95, 3))
    assert len(inside) >= 2000
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.parametrize("camera", [PINHOLE, LENS, FISHEYE], ids=["pinhole", "plumb_bob", "equidistant"])
def test_covariance_is_calibrated_on_round_things(camera: CameraModel) -> None:
    """Balls and cylinders as they are picked, out to where they are seen at 75 degrees: the window covers a good part of them."""
    inside, off_m = [], []
    for seed in range(16):
        rng = np.random.default_rng(300 + seed)
        pose = view(rng)
        solids: list[Solid] = [
            Ball((rng.uniform(0.2, 0.6), -0.2, 0.06), rng.uniform(0.025, 0.06)),
            Ball((rng.uniform(0.2, 0.6), 0.0, 0.08), rng.uniform(0.03, 0.08)),
            Cylinder((rng.uniform(0.2, 0.6), 0.2, 0.0), rng.uniform(0.02, 0.06), 0.3),
        ]
        truth = cast_scene(solids, camera, pose)
        seen = np.argwhere(truth.index >= 0)
        uv = seen[rng.integers(0, len(seen), 300)][:, ::-1] + rng.uniform(-0.5, 0.5, (300, 2))
        rays = pose.rotate(camera.rays(uv))
        cast = [solid.cast(pose.translation_m, rays) for solid in solids]
        exact = np.min([t for t, _ in cast], axis=0)
        normals = np.take_along_axis(np.array([n for _, n in cast]), np.argmin([t for t, _ in cast], axis=0)[None, :, None], axis=0)[0]
        steep = np.abs(np.einsum("ij,ij->i", normals, rays)) / np.linalg.norm(rays, axis=1) < np.cos(np.radians(75))
        asked = uv + rng.normal(size=uv.shape) * SETTINGS.pixel_sigma_px
        results = lift_many(frame_of(noisy(truth, rng), camera), asked, search=False)
        for i in np.flatnonzero(np.isfinite(exact) & ~steep):
            result = results[i]
            if isinstance(result, SurfacePoint):
                error = result.position_m - camera.unproject(uv[i], exact[i])
                inside.append(error @ np.linalg.solve(result.covariance_m2, error) < chi2.ppf(0.95, 3))
                off_m.append(abs(pose.rotate(error) @ normals[i]))
    assert len(inside) >= 2000
    assert 0.93 <= np.mean(inside) <= 0.97
    assert np.quantile(off_m, 0.95) < 0.0008


@pytest.mark.parametrize("smear_px", [0.5, 0.8, 1.2])
def test_no_lift_between_two_surfaces(smear_px: float) -> None:
    checked = flying = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        solids: list[Solid] = [Floor(), Wall(rng.uniform(0.9, 1.4))]
        for k in range(8):
            x, y = rng.uniform(0.25, 0.75), rng.uniform(-0.3, 0.3)
            size = rng.uniform(0.03, 0.12, 3)
            choices: list[Solid] = [
                Box((x, y, 0.0), (size[0], size[1], size[2]), rng.uniform(0, 3)),
                Ball((x, y, 0.04), 0.04),
                Cylinder((x, y, 0.0), rng.uniform(0.015, 0.05), rng.uniform(0.03, 0.2)),
                Box((x, y, 0.0), (0.012, 0.012, 0.15), rng.uniform(0, 3)),
            ]
            solids.append(choices[k % 4])
        truth = cast_scene(solids, PINHOLE, view(rng))
        z = truth.depth_m
        mixed = scipy.ndimage.gaussian_filter(z, smear_px) + rng.normal(size=z.shape) * SETTINGS.noise.sigma_m(z)
        span = scipy.ndimage.maximum_filter(z, 3) - scipy.ndimage.minimum_filter(z, 3)
        edges = np.argwhere(span > 0.02 * z)
        edges = edges[np.all((edges > 3) & (edges < [476, 636]), axis=1)]
        edges = edges[rng.permutation(len(edges))[:250]]
        for (v, u), result in zip(edges, lift_many(frame_of(mixed, PINHOLE), edges[:, ::-1], search=False), strict=True):
            checked += 1
            if isinstance(result, SurfacePoint):
                flying += bool(np.abs(z[v - 2 : v + 3, u - 2 : u + 3] - result.position_m[2]).min() > 0.008)
            else:
                assert result.status in (Status.DEPTH_EDGE, Status.NO_DEPTH)
    assert checked >= 900  # three smears: 2700 edge pixels in all
    assert flying == 0


def test_an_edge_names_both_depths_and_a_pixel_that_would_do() -> None:
    depth = np.full((480, 640), 1.2, dtype=np.float32)
    depth[:, 300:] = 0.7
    frame = frame_of(depth, PINHOLE)
    with pytest.raises(Refused) as refused:
        lift(frame, (300.0, 240.0))
    assert refused.value.status is Status.DEPTH_EDGE
    assert refused.value.details["depths_m"] == pytest.approx([0.7, 1.2], abs=0.01)
    assert lift(frame, refused.value.details["nearest_px"]).position_m[2] in (pytest.approx(0.7, abs=1e-3), pytest.approx(1.2, abs=1e-3))


def stick(width_px: int) -> Frame:
    """A stick 15 cm before a wall."""
    depth = np.full((480, 640), 0.95, dtype=np.float32)
    depth[:, 320 : 320 + width_px] = 0.8
    return frame_of(depth, PINHOLE)


@pytest.mark.parametrize("width_px", [2, 3, 4])
def test_a_thing_too_thin_to_be_lifted_has_nothing_behind_it_for_an_alternative(width_px: int) -> None:
    for u in range(320, 320 + width_px):
        with pytest.raises(Refused) as refused:
            lift(stick(width_px), (float(u), 240.0))
        assert refused.value.status is Status.DEPTH_EDGE
        assert refused.value.details["depths_m"] == pytest.approx([0.8, 0.95], abs=0.01)
        assert refused.value.details["nearest_px"] is None


def test_the_alternative_shows_what_the_asked_pixel_shows_or_something_nearer() -> None:
    frame = stick(40)
    for u, expected in ((320.0, (0.8,)), (359.0, (0.8,)), (319.0, (0.8, 0.95)), (360.0, (0.8, 0.95))):
        with pytest.raises(Refused) as refused:
            lift(frame, (u, 240.0))
        assert round(float(lift(frame, refused.value.details["nearest_px"]).position_m[2]), 3) in expected


def test_a_reading_that_no_neighbour_shares_does_not_forbid_the_surface_around() -> None:
    depth = np.full((480, 640), 0.95, dtype=np.float32)
    depth[240, 320] = 0.8
    with pytest.raises(Refused) as refused:
        lift(frame_of(depth, PINHOLE), (320.0, 240.0))
    assert lift(frame_of(depth, PINHOLE), refused.value.details["nearest_px"]).position_m[2] == pytest.approx(0.95, abs=1e-3)


def test_small_holes_are_filled_from_the_surface_around_and_large_ones_refused() -> None:
    truth = cast_scene(SCENE[:1], PINHOLE, look_at([0.0, 0.0, 0.6], [0.5, 0.0, 0.0]))
    depth = truth.depth_m.copy()
    depth[238:243, 318:323] = np.nan
    filled = lift(frame_of(depth, PINHOLE), (320.0, 240.0), LiftSettings(max_hole_px=3.5))
    assert filled.filled and filled.position_m[2] == pytest.approx(float(truth.depth_m[240, 320]), abs=2e-4)
    with pytest.raises(Refused) as refused:
        lift(frame_of(depth, PINHOLE), (320.0, 240.0))
    assert refused.value.status is Status.NO_DEPTH
    u, v = refused.value.details["nearest_px"]
    assert np.hypot(u - 320, v - 240) < 8 and np.isfinite(lift(frame_of(depth, PINHOLE), (u, v)).position_m).all()


def test_the_shadow_beside_an_object_is_not_filled_from_one_side() -> None:
    depth = np.full((480, 640), 1.2, dtype=np.float32)
    depth[:, 300:340] = 0.7
    depth[:, 297:300] = np.nan
    with pytest.raises(Refused) as refused:
        lift(frame_of(depth, PINHOLE), (298.0, 240.0))
    assert refused.value.status is Status.NO_DEPTH


def test_an_image_without_depth_has_no_alternative() -> None:
    with pytest.raises(Refused) as refused:
        lift(frame_of(np.full((480, 640), np.nan), PINHOLE), (320.0, 240.0))
    assert refused.value.status is Status.NO_DEPTH and refused.value.details["nearest_px"] is None


@pytest.mark.parametrize("uv", [(-0.6, 10.0), (639.6, 10.0), (10.0, 480.0), (float("nan"), 3.0)])
def test_pixels_outside_the_image_are_refused(uv: tuple[float, float]) -> None:
    with pytest.raises(Refused) as refused:
        lift(frame_of(np.ones((480, 640)), PINHOLE), uv)
    assert refused.value.status is Status.OUT_OF_IMAGE


def test_corners_of_the_image_are_lifted() -> None:
    results = lift_many(frame_of(np.ones((480, 640)), PINHOLE), [(0, 0), (639.4, 0), (0, 479.4), (639, 479)])
    assert all(isinstance(r, SurfacePoint) and r.position_m[2] == pytest.approx(1.0) for r in results)


def test_a_lift_turns_with_the_camera() -> None:
    # Rigid motion: the same floor from two poses gives one world point and one world normal.
    world = []
    target = np.array([0.42, 0.03, 0.0])
    for position in ([-0.2, 0.2, 0.5], [0.9, -0.4, 0.7]):
        pose = look_at(position, target + [0.02, -0.03, 0.0])
        truth = cast_scene(SCENE[:1], PINHOLE, pose)
        point = lift(frame_of(truth.depth_m, PINHOLE), PINHOLE.project(pose.inverse().apply(target)))
        world.append((pose.apply(point.position_m), pose.rotate(point.normal)))
    for position, normal in world:
        assert np.allclose(position, target, atol=1e-5)
        assert np.allclose(normal, [0, 0, 1], atol=1e-4)


def test_transform_uncertainty_grows_with_the_distance_and_turns_with_the_frame() -> None:
    rng = np.random.default_rng(3)
    pose = look_at([0.1, 0.2, 0.9], [0.6, 0.0, 0.0])
    point, own = np.array([0.1, -0.05, 0.8]), np.diag([1e-6, 2e-6, 4e-6])
    covariance = covariance_in_target(pose, point, own, rotation_sigma_rad=0.01, translation_sigma_m=0.002)
    noise = rng.multivariate_normal(np.zeros(3), own, 60_000)
    turn = rng.normal(size=noise.shape) * 0.01
    samples = pose.rotate(point + noise)
    samples = samples + np.cross(turn, samples) + rng.normal(size=noise.shape) * 0.002
    assert np.allclose(np.cov(samples.T), covariance, atol=4e-6)


def test_many_points_equal_single_points() -> None:
    rng = np.random.default_rng(5)
    truth = cast_scene(SCENE, LENS, view(rng))
    frame = frame_of(noisy(truth, rng), LENS)
    uv = np.column_stack([rng.uniform(-5, 645, 40), rng.uniform(-5, 485, 40)])
    for pixel, result in zip(uv, lift_many(frame, uv), strict=True):
        if isinstance(result, SurfacePoint):
            assert np.allclose(lift(frame, pixel).position_m, result.position_m)
        else:
            with pytest.raises(Refused) as refused:
                lift(frame, pixel)
            assert refused.value.sentence == result.sentence


def test_unknown_pixels_of_any_kind_are_not_surfaces() -> None:
    depth = np.full((480, 640), 0.8, dtype=np.float32)
    depth[::3, ::4] = 0.0
    depth[1::5, ::7] = np.inf
    depth[2::11, 1::3] = -1.0
    assert lift(frame_of(depth, PINHOLE), (321.0, 241.0)).position_m[2] == pytest.approx(0.8, abs=1e-6)
