import dataclasses
import time

import numpy as np
import pytest

from roboref_node.geometry.transform import Transform
from roboref_node.sim import SceneSettings
from roboref_node.sim.arm import HOME_RAD, base_from_tool0
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.frames import BASE_FRAME, OPTICAL_FRAME
from roboref_node.sim.noise import DepthNoiseSettings
from roboref_node.sim.render import SceneRenderer

SMALL = {"width": 160, "height": 120}
ELSEWHERE = (0.4, -1.8, 1.6, -1.4, -1.5, 0.3)


@pytest.fixture(scope="module")
def cell():
    with SimulatedCell(21, 320, 240) as made:
        yield made


def chain(frames, source):
    """world_from_source by walking up the frame tree."""
    by_child = {f.child: f for f in frames}
    pose = Transform.identity()
    while source in by_child:
        pose = by_child[source].parent_from_child @ pose
        source = by_child[source].parent
    return source, pose


def test_same_seed_and_steps_same_images():
    images = []
    for _ in range(2):
        with SimulatedCell(5, **SMALL) as cell:
            run = []
            for _ in range(3):
                run.append(cell.render())
                cell.step(1 / 15)
            images.append(run)
    for first, second in zip(*images, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        np.testing.assert_array_equal(first.depth_m, second.depth_m)
    a, b = images[0][:2]
    assert (a.depth_m != b.depth_m).mean() > 0.3, "the noise is new in every step"
    np.testing.assert_array_equal(a.rgb, b.rgb)


def test_time_moves_with_steps_only(cell):
    before = cell.stamp_ns
    cell.render()
    assert cell.stamp_ns == before
    cell.step(0.0667)
    assert cell.stamp_ns == before + 66_700_000
    with pytest.raises(ValueError, match="forward"):
        cell.step(0.0)


def test_noise_stays_near_the_truth(cell):
    error = cell.render().depth_m - cell.truth().depth_m
    assert 0.0005 < np.nanmedian(np.abs(error)) < 0.006
    assert 0.001 < np.isnan(error).mean() < 0.2
    with SimulatedCell(21, 320, 240, noise=None) as perfect:
        np.testing.assert_array_equal(perfect.render().depth_m, perfect.truth().depth_m)


def test_frame_tree(cell):
    frames = cell.frames()
    children = [f.child for f in frames]
    assert len(children) == len(set(children)) and {"tool0", OPTICAL_FRAME, BASE_FRAME} <= set(children)
    assert {f.child for f in frames if not f.is_static} == {
        "shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link",
    }  # fmt: skip
    for frame in frames:
        assert chain(frames, frame.child)[0] == "world"
    np.testing.assert_allclose(chain(frames, OPTICAL_FRAME)[1].matrix, cell.base_from_optical.matrix, atol=1e-9)
    camera = chain(frames, "camera_link")[1]
    np.testing.assert_allclose(camera.rotation[:, 0], cell.base_from_optical.rotation[:, 2], atol=1e-9)
    assert camera.rotation[2, 2] > 0, "camera_link's z axis points up"


def test_forward_kinematics_is_the_drawn_arm():
    with SimulatedCell(3, **SMALL) as cell, SceneRenderer(64, 48) as renderer:
        for joints in (HOME_RAD, ELSEWHERE, (0.0,) * 6):
            renderer.set_scene(cell.spec, arm_joints_rad=joints)
            cell.set_arm(joints)
            for link in ("forearm_link", "wrist_3_link", "tool0"):
                source, pose = chain(cell.frames(), link)
                assert source == "world"
                np.testing.assert_allclose(pose.translation_m, renderer.data.body(link).xpos, atol=1e-6)
                np.testing.assert_allclose(pose.rotation, renderer.data.body(link).xmat.reshape(3, 3), atol=1e-6)
    # The UR5's tool at joint zero, from its dimensions: 0.425 + 0.39225 ahead, 0.10915 + 0.0823 to the left, low.
    np.testing.assert_allclose(base_from_tool0((0.0,) * 6).translation_m, [0.81725, 0.19145, -0.005491], atol=1e-4)


def test_images_follow_what_moves():
    with SimulatedCell(8, 320, 240, shadows="off") as cell:
        before = cell.truth()
        index = int(np.argmax(np.bincount(before.instance[before.instance >= 0])))
        centre = np.argwhere(before.instance == index).mean(axis=0)
        pose = cell.object_poses[index]
        cell.move_object(index, Transform(pose.quaternion_xyzw, pose.translation_m + [0, 0, 0.06]))
        after = cell.truth()
        assert (np.argwhere(after.instance == index).mean(axis=0) < centre - 3)[0]
        assert after.object_poses[index].translation_m[2] == pytest.approx(pose.translation_m[2] + 0.06)
        image = cell.render().rgb
        cell.set_arm((1.2, -1.2, 0.8, -1.2, -1.57, 0.0))
        assert (cell.render().rgb != image).any()
        assert cell.joint_positions_rad[0] == 1.2


def test_auto_shadows_rest_while_something_moves():
    settings = SceneSettings(shadows=True)
    with SimulatedCell(2, 320, 240, settings=settings) as auto, SimulatedCell(2, 320, 240, settings=settings, shadows="off") as off:
        still = auto.render().rgb
        for cell in (auto, off):
            cell.set_arm(ELSEWHERE)
        np.testing.assert_array_equal(auto.render().rgb, off.render().rgb)
        for _ in range(2):
            auto.step(0.1)
        assert (auto.render().rgb != off.render().rgb).any(), "shadows are back"
        assert (still != off.render().rgb).any()


def test_pixels_of_an_object_lie_on_it():
    checked = set()
    for seed in range(12):
        with SimulatedCell(seed, 320, 240, shadows="off") as cell:
            instance = cell.truth().instance
            for index, item in enumerate(cell.spec.objects):
                pixels = np.argwhere(instance == index)
                for v, u in pixels[:: max(len(pixels) // 4, 1)]:
                    point = cell.surface_point(u, v)
                    # The drawn ball and cylinder are polyhedra, a little inside the true round ones.
                    assert cell.distance_m(index, point) < 5e-4 and cell.hit(index, point), item
                    checked.add(item.shape)
            background = [cell.surface_point(u, v) for v, u in np.argwhere(instance < 0)[::2003]]
            owned = [point for point in background if cell.object_at_point(point, 0.001) is not None]
            assert len(owned) <= 0.05 * len(background), "only points beside an object's foot are within a millimetre of one"
    assert len(checked) == 8


def test_distance_grows_outside_and_vanishes_inside():
    rng = np.random.default_rng(0)
    for seed in range(10):
        with SimulatedCell(seed, **SMALL) as cell:
            for index, item in enumerate(cell.spec.objects):
                pose = cell.object_poses[index]
                if item.shape not in ("cup", "bowl", "plate"):
                    assert cell.distance_m(index, item.center_m) == 0.0
                else:
                    above_floor = pose.apply([0.0, 0.0, item.extent_m[2] * 0.6])
                    assert cell.distance_m(index, above_floor) > 0.002, "the hollow is outside"
                gap = rng.uniform(0.005, 0.05)
                assert cell.distance_m(index, pose.apply([0.0, 0.0, -gap])) == pytest.approx(gap, abs=1e-9)
                if item.shape in ("box", "cylinder", "ball", "bottle", "cone"):
                    assert cell.distance_m(index, pose.apply([0.0, 0.0, item.extent_m[2] + gap])) == pytest.approx(gap, abs=1e-6)


def test_wrong_commands_are_refused(cell):
    with pytest.raises(ValueError, match="the arm has 6"):
        cell.set_arm((0.0, 1.0))
    with pytest.raises(ValueError, match="elbow_joint"):
        cell.set_arm((0.0, 0.0, 4.0, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="gripper opens"):
        cell.set_gripper(0.2)
    with pytest.raises(IndexError):
        cell.move_object(99, Transform.identity())
    with pytest.raises(ValueError, match="outside"):
        cell.surface_point(400, 10)
    with pytest.raises(ValueError, match="shadows"):
        SimulatedCell(0, shadows="maybe")


def test_a_given_scene_is_used(cell):
    spec = dataclasses.replace(cell.spec, objects=cell.spec.objects[:2], arm_joints_rad=None)
    with SimulatedCell(1, **SMALL, spec=spec, noise=DepthNoiseSettings(dropouts=0.0)) as other:
        assert other.joint_positions_rad == HOME_RAD and len(other.object_poses) == 2
        assert other.render().instance.max() <= 1


def test_rate_at_full_size():
    with SimulatedCell(4) as cell:
        cell.render()
        rates = {}
        for name, moving in (("still", False), ("arm moving", True)):
            best = np.inf
            for i in range(10):
                start = time.perf_counter()
                cell.step(1 / 15)
                if moving:
                    cell.set_arm((0.1 * i - 0.5, *HOME_RAD[1:]))
                cell.render()
                best = min(best, time.perf_counter() - start)
            rates[name] = 1 / best
    print(", ".join(f"{name} {rate:.0f} Hz" for name, rate in rates.items()))
    assert rates["still"] > 15 and rates["arm moving"] > 5
