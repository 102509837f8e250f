import dataclasses
import os
import time

import numpy as np
import pytest

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.sim import SHAPES, SceneSettings, sample_scene
from roboref_node.sim.arm import HOME_RAD
from roboref_node.sim.meshes import variants_of
from roboref_node.sim.render import SceneRenderer

ODD_CAMERA = CameraModel(fx=610.0, fy=570.0, cx=301.0, cy=251.5, width=640, height=480)
BARE = SceneSettings(shelf_probability=0.0, arm_probability=0.0, stack_probability=0.0)


@pytest.fixture(scope="module")
def renderer():
    with SceneRenderer(320, 240) as made:
        yield made


def world_rays(spec, width, height):
    """Camera position and rays with z = 1 in the optical frame, turned into the world: (3,), (H, W, 3)."""
    camera = spec.camera.scaled(width, height)
    v, u = np.mgrid[:height, :width]
    return spec.world_from_optical.translation_m, spec.world_from_optical.rotate(camera.rays(np.stack([u, v], axis=-1)))


def slab_depth(spec, item, width, height):
    """Analytic depth of an upright box along every pixel's centre ray; infinite where missed."""
    eye, rays = world_rays(spec, width, height)
    object_from_world = item.pose.inverse()
    eye, rays = object_from_world.apply(eye), object_from_world.rotate(rays)
    half = np.array(item.extent_m) / 2
    with np.errstate(divide="ignore"):
        first, second = (-half + [0, 0, half[2]] - eye) / rays, (half + [0, 0, half[2]] - eye) / rays
    near, far = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
    return np.where(near < far, near, np.inf)


def with_one(shape, seed, **changes):
    """A scene with a single large object of a shape."""
    spec = sample_scene(seed, settings=BARE, **changes)
    variant = variants_of(shape, "large")[seed % 6]
    item = dataclasses.replace(
        spec.objects[0], shape=shape, variant=variant.index, extent_m=variant.extent_m, radius_m=variant.radius_m, size="large"
    )
    return dataclasses.replace(spec, objects=(item,))


@pytest.mark.parametrize("camera", [None, ODD_CAMERA], ids=["drawn", "off-centre principal point"])
def test_table_depth_is_the_ray_plane_intersection(renderer, camera):
    for seed in range(4):
        spec = sample_scene(seed, camera=camera, settings=BARE)
        out = renderer.render(spec)
        eye, rays = world_rays(spec, 320, 240)
        z = -eye[2] / rays[..., 2]
        ground = eye + rays * z[..., None]
        half = np.array(spec.table.size_m[:2]) / 2 - 0.01
        on_table = (np.abs(ground[..., :2] - spec.table.top_center_m[:2]) < half).all(axis=-1) & (z > 0) & (out.instance < 0)
        assert on_table.mean() > 0.1
        assert np.abs(out.depth_m - z)[on_table].max() < 1e-4


@pytest.mark.parametrize("camera", [None, ODD_CAMERA], ids=["drawn", "off-centre principal point"])
def test_box_depth_and_mask_are_those_of_the_pixel_centre_ray(renderer, camera):
    for seed in range(4):
        spec = with_one("box", seed, camera=camera)
        out = renderer.render(spec)
        expected = slab_depth(spec, spec.objects[0], 320, 240)
        mask = out.instance == 0
        hit = np.isfinite(expected)
        assert hit.sum() > 50
        assert (mask != hit).sum() <= 0.02 * hit.sum(), "the mask is shifted"
        both = mask & hit
        assert np.abs(out.depth_m[both] - expected[both]).max() < 1e-4
        # A shift of a quarter of a pixel would show here: the silhouette's two sides average out.
        assert np.abs(np.argwhere(mask).mean(axis=0) - np.argwhere(hit).mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fills_its_true_extent(renderer, shape):
    for seed in range(3):
        spec = with_one(shape, seed)
        item = spec.objects[0]
        out = renderer.render(spec)
        camera = spec.camera.scaled(320, 240)
        v, u = np.nonzero(out.instance == 0)
        optical = camera.unproject(np.stack([u, v], axis=-1).astype(float), out.depth_m[v, u])
        own = item.pose.inverse().apply(spec.world_from_optical.apply(optical))
        x, y, z = item.extent_m
        assert len(own) > 50
        assert np.hypot(own[:, 0], own[:, 1]).max() <= item.radius_m + 5e-4
        assert own[:, 2].min() >= -5e-4 and own[:, 2].max() <= z + 5e-4
        assert own[:, 2].max() >= 0.85 * z - 0.002, "the top of the object must be seen"
        spread = np.ptp(own[:, :2] @ spec.world_from_optical.rotation[:2, 0])
        assert spread >= 0.75 * y * np.linalg.norm(spec.world_from_optical.rotation[:2, 0]), "as wide as it should be"


def test_a_cup_is_open():
    spec = with_one("cup", 1)
    above = Transform.from_rotation(np.diag([1.0, -1.0, -1.0]), np.array(spec.objects[0].position_m) + [0, 0, 0.6])
    spec = dataclasses.replace(spec, world_from_optical=above, camera=CameraModel(600, 600, 319.5, 239.5, 640, 480))
    with SceneRenderer(640, 480) as renderer:
        out = renderer.render(spec)
    middle = out.depth_m[235:245, 315:325]
    assert (out.instance[235:245, 315:325] == 0).all()
    assert middle.mean() == pytest.approx(0.6, abs=0.01), "the ray down the axis meets the cup's floor"
    assert out.depth_m[out.instance == 0].min() == pytest.approx(0.6 - spec.objects[0].extent_m[2], abs=1e-3)


def test_ids_belong_to_their_objects_in_crowded_scenes(renderer):
    seen = 0
    for seed in range(12):
        spec = sample_scene(seed)
        out = renderer.render(spec)
        camera = spec.camera.scaled(320, 240)
        assert out.instance.max() < len(spec.objects) and out.instance.min() == -1
        for index, item in enumerate(spec.objects):
            v, u = np.nonzero(out.instance == index)
            if len(v) == 0:
                continue
            seen += 1
            own = item.pose.inverse().apply(
                spec.world_from_optical.apply(camera.unproject(np.stack([u, v], axis=-1).astype(float), out.depth_m[v, u]))
            )
            assert np.hypot(own[:, 0], own[:, 1]).max() <= item.radius_m + 1e-3 and own[:, 2].max() <= item.extent_m[2] + 1e-3
            hue = np.median(out.rgb[v, u].astype(float), axis=0)
            if item.colour in ("red", "green", "blue"):
                assert int(np.argmax(hue)) == ("red", "green", "blue").index(item.colour), f"{item.colour} looks like {hue}"
    assert seen > 50


def test_rendering_has_no_memory(renderer):
    first, second = sample_scene(11), sample_scene(12)
    before = renderer.render(first)
    renderer.render(second)
    after = renderer.render(first)
    np.testing.assert_array_equal(before.rgb, after.rgb)
    np.testing.assert_array_equal(before.depth_m, after.depth_m)
    np.testing.assert_array_equal(before.instance, after.instance)


def test_shadows_can_be_switched_off(renderer):
    spec = sample_scene(2, settings=SceneSettings(shadows=True))
    dark = dataclasses.replace(spec, appearance=dataclasses.replace(spec.appearance, shadows=False))
    with_shadow, without = renderer.render(spec), renderer.render(dark)
    assert (with_shadow.rgb.astype(int) < without.rgb.astype(int) - 10).any(axis=-1).mean() > 0.005
    np.testing.assert_array_equal(with_shadow.depth_m, without.depth_m)


def test_objects_and_arm_move(renderer):
    spec = dataclasses.replace(sample_scene(4), arm_joints_rad=HOME_RAD)
    still = renderer.render(spec)
    raised = [
        Transform(o.pose.quaternion_xyzw, o.pose.translation_m + [0, 0, 0.05]) if i == 0 else o.pose for i, o in enumerate(spec.objects)
    ]
    moved = renderer.render(spec, object_poses=raised)
    assert (np.argwhere(moved.instance == 0).mean(axis=0) < np.argwhere(still.instance == 0).mean(axis=0) - 2)[0]
    renderer.set_scene(spec, arm_joints_rad=(0.0, -1.2, 1.0, -1.4, -1.57, 0.0))
    elsewhere = np.array(renderer.data.body("tool0").xpos)
    renderer.set_scene(spec)
    assert np.linalg.norm(elsewhere - renderer.data.body("tool0").xpos) > 0.1


def test_what_does_not_fit_is_refused():
    with SceneRenderer(64, 48, arm=False, max_objects=2) as small:
        with pytest.raises(ValueError, match="max_objects"):
            small.render(sample_scene(0, settings=SceneSettings(arm_probability=0.0)))
        with pytest.raises(ValueError, match="arm=True"):
            small.render(dataclasses.replace(sample_scene(0), objects=(), arm_joints_rad=HOME_RAD))


def test_training_speed():
    specs = [sample_scene(seed) for seed in range(30)]
    with SceneRenderer(128, 128) as renderer:
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            for spec in specs:
                renderer.render(spec)
            best = min(best, (time.perf_counter() - start) / len(specs))
    print(f"128x128 with shadows: {1 / best:.0f} scenes/s (load {os.getloadavg()[0]:.1f})")
    assert 1 / best > 8, "an order of magnitude below the measured speed: something recompiles per scene"
