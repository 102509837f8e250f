"""The cell as bodies with mass: nothing moves by itself, the fingers hold, slip and press as fingers do."""

import dataclasses

import numpy as np
import pytest

from roboref_node.arm import Motion, MotionKind, Outcome, Stage
from roboref_node.geometry.transform import Transform
from roboref_node.sim import SceneSettings, sample_scene
from roboref_node.sim.arm import GRIPPER_MAX_OPENING_M, HOME_RAD
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.meshes import SHAPES, variants_of
from roboref_node.sim.strip import PictureSeries
from roboref_node.sim.world import CellWorld

STEP_S = 1 / 15
PLACE_M = (0.5, 0.12)


def scene(*shapes, apart_m=0.2):
    """A table with small objects in a row, the first at `PLACE_M`, the arm at home."""
    bare = sample_scene(3, settings=SceneSettings(shelf_probability=0.0, stack_probability=0.0, shadows=False))
    objects = []
    for number, shape in enumerate(shapes):
        variant = variants_of(shape, "small")[0]
        position = (PLACE_M[0], PLACE_M[1] - apart_m * number, 0.0)
        changes = {"shape": shape, "size": "small", "variant": variant.index, "extent_m": variant.extent_m, "radius_m": variant.radius_m}
        objects.append(dataclasses.replace(bare.objects[0], position_m=position, yaw_rad=0.0, support="table", **changes))
    return dataclasses.replace(bare, objects=tuple(objects), arm_joints_rad=HOME_RAD, gripper_opening_m=GRIPPER_MAX_OPENING_M)


def cell_with(*shapes, **changes):
    return SimulatedCell(1, 64, 48, spec=scene(*shapes, **changes))


def downward(point_m):
    return Transform(np.array([1.0, 0.0, 0.0, 0.0]), np.array(point_m, dtype=float))


def grasp_of(item, kind=MotionKind.PICK):
    """Straight down on the middle of an object, or on its rim at the +x side."""
    x, y, z = item.position_m
    height = item.extent_m[2]
    if item.shape in ("cup", "bowl", "plate"):
        # The cup's handle is at +x, so its rim is taken at -x.
        point = (x - item.extent_m[1] / 2 + 0.002, y, z + height - min(0.015, height - 0.007))
        return Motion(kind, downward(np.add(point, [0, 0, 0.1])), downward(point), 0.03)
    point = (x, y, z + height - min(0.03, height - 0.008))
    return Motion(kind, downward(np.add(point, [0, 0, 0.1])), downward(point))


def finish(cell, motion=None, until=lambda: False):
    if motion is not None:
        cell.arm.start(motion)
    for _ in range(600):
        if not cell.arm.busy or until():
            break
        cell.step(STEP_S)
    return cell.arm.result


@pytest.mark.parametrize("seed", [0, 2, 9])
def test_a_scene_at_rest_stays_where_it_was_drawn(seed):
    spec = sample_scene(seed)
    world = CellWorld(spec, [o.pose for o in spec.objects], HOME_RAD, 0.05)
    for _ in range(500):
        world.step()
    for index, item in enumerate(spec.objects):
        assert np.linalg.norm(world.object_pose(index).translation_m - item.position_m) < 5e-4, item
    np.testing.assert_allclose(world.joints_rad, HOME_RAD, atol=1e-3)
    assert world.at_rest() and world.hanging() is None


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_can_be_lifted_and_put_back(shape):
    cell = cell_with(shape)
    item = cell.spec.objects[0]
    result = finish(cell, grasp_of(item))
    assert result.outcome is Outcome.DONE, result
    assert result.holding and cell.held == 0
    assert cell.object_poses[0].translation_m[2] > 0.05
    placed = grasp_of(item, MotionKind.PLACE)
    result = finish(cell, placed)
    assert result.outcome is Outcome.DONE, result
    for _ in range(8):
        cell.step(STEP_S)
    # A plate is held by its rim and swings about it.
    allowed_m = 0.04 if shape == "plate" else 0.03
    assert cell.held is None and np.linalg.norm(cell.object_poses[0].translation_m - item.position_m) < allowed_m


def test_an_empty_grasp_is_told_and_slippery_fingers_lose_what_they_hold():
    cell = cell_with("box", "cylinder")
    beside = (PLACE_M[0] + 0.15, PLACE_M[1], 0.05)
    result = finish(cell, Motion(MotionKind.PICK, downward(np.add(beside, [0, 0, 0.1])), downward(beside)))
    assert result.outcome is Outcome.EMPTY and not result.holding
    cell.arm.world.set_slippery(True)
    assert finish(cell, grasp_of(cell.spec.objects[1])).outcome is Outcome.EMPTY
    cell.arm.world.set_slippery(False)
    assert finish(cell, grasp_of(cell.spec.objects[0])).outcome is Outcome.DONE


def test_unreachable_and_colliding_motions_do_not_start():
    cell = cell_with("box", "bottle", apart_m=0.04)
    before = cell.joint_positions_rad
    far = downward((1.3, 0.0, 0.2))
    result = finish(cell, Motion(MotionKind.PICK, far, far))
    assert result.outcome is Outcome.UNREACHABLE and "1.300" in result.sentence
    below = Motion(MotionKind.PICK, downward((0.5, -0.25, 0.1)), downward((0.5, -0.25, -0.05)))
    result = finish(cell, below)
    assert result.outcome is Outcome.COLLISION and "table" in result.sentence
    np.testing.assert_allclose(cell.joint_positions_rad, before, atol=1e-9)


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.APPROACH, Stage.ADVANCE, Stage.CLOSE, Stage.RETREAT])
def test_a_stop_in_any_stage_stands_within_three_tenths_of_a_second(stage):
    cell = cell_with("box")
    cell.set_gripper(0.02)
    finish(cell, grasp_of(cell.spec.objects[0]), until=lambda: cell.arm.stage is stage)
    assert cell.arm.busy
    cell.arm.stop()
    asked_ns = cell.stamp_ns
    while cell.arm.busy:
        cell.step(0.02)
    assert cell.stamp_ns - asked_ns <= 0.3e9
    assert cell.arm.result.outcome is Outcome.CANCELED and stage.value in cell.arm.result.sentence
    cell.step(0.1)
    stands = np.array(cell.joint_positions_rad)
    cell.step(0.3)
    np.testing.assert_allclose(cell.joint_positions_rad, stands, atol=1e-4)
    if stage is Stage.RETREAT:
        assert cell.held == 0, "what is in the gripper stays in it"


def test_a_fault_ends_the_motion_and_refuses_the_next_until_it_is_gone():
    cell = cell_with("box")
    finish(cell, grasp_of(cell.spec.objects[0]), until=lambda: cell.arm.stage is Stage.APPROACH)
    cell.arm.fault = True
    assert finish(cell).outcome is Outcome.FAULT
    assert finish(cell, Motion(MotionKind.HOME)).outcome is Outcome.FAULT
    cell.arm.fault = False
    assert finish(cell, Motion(MotionKind.HOME)).outcome is Outcome.DONE
    np.testing.assert_allclose(cell.joint_positions_rad, cell.arm.resting_rad[0], atol=5e-3)


def test_what_is_removed_or_knocked_away_is_not_picked():
    cell = cell_with("box", "cylinder")
    for index, deed in ((0, cell.remove_object), (1, lambda i: cell.push_object(i, 0.12))):
        finish(cell, grasp_of(cell.spec.objects[index]), until=lambda: cell.arm.stage is Stage.ADVANCE)
        assert cell.arm.object_concerned() == index
        deed(index)
        assert finish(cell).outcome is Outcome.EMPTY
    assert cell.removed == {0}
    moved = cell.object_poses[1].translation_m - cell.spec.objects[1].position_m
    assert 0.1 < np.hypot(*moved[:2]) < 0.3


def test_reset_brings_everything_back_and_it_can_be_picked_again():
    cell = cell_with("box", "cylinder")
    finish(cell, grasp_of(cell.spec.objects[1]))
    assert cell.held == 1
    for _ in range(2):
        cell.remove_object(0)
    cell.reset_objects()
    cell.step(0.5)
    assert (cell.removed, cell.held) == (frozenset(), None)
    for pose, item in zip(cell.object_poses, cell.spec.objects, strict=True):
        np.testing.assert_allclose(pose.translation_m, item.pose.translation_m, atol=3e-3)
    finish(cell, Motion(MotionKind.HOME))
    assert finish(cell, grasp_of(cell.spec.objects[0])).outcome is Outcome.DONE
    assert cell.held == 0, "it is as solid as before"


def test_the_same_commands_give_the_same_motion():
    runs = []
    for _ in range(2):
        cell = cell_with("cylinder")
        finish(cell, grasp_of(cell.spec.objects[0]))
        runs.append((cell.stamp_ns, cell.joint_positions_rad, cell.object_poses[0].matrix))
    assert runs[0][:2] == runs[1][:2]
    np.testing.assert_array_equal(runs[0][2], runs[1][2])


def test_a_motion_becomes_a_picture_series(tmp_path):
    cv2 = pytest.importorskip("cv2")
    with cell_with("box") as cell:
        series = PictureSeries(period_s=1.0, width_px=64)
        cell.arm.start(grasp_of(cell.spec.objects[0]))
        while cell.arm.busy:
            cell.step(0.1)
            series.note(cell)
        assert len(series) >= 3
        sheet = cv2.imread(str(series.write(tmp_path / "pick.png", columns=2)))
    assert sheet.shape[1] == 128 and sheet.shape[0] == (len(series) + 1) // 2 * (48 + 22)
    with pytest.raises(ValueError, match="no picture"):
        PictureSeries().write(tmp_path / "none.png")
