"""What is seen of an object, and what the planner makes of the part that is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_objects import ball, box, camera_pose, cylinder, look, table

from roboref_node.goals.grasp import GraspCandidate, plan_grasps
from roboref_node.goals.observed import observe
from roboref_node.goals.profile import load_profile
from roboref_node.status import Refused, Status

UR5 = load_profile("ur5")


def can(radius_m: float, length_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder that lies on the table along y, its middle over the origin."""
    points, normals = cylinder(radius_m, length_m, 6000)
    side, lid = np.flatnonzero(points[:, 2] < length_m), np.flatnonzero(points[:, 2] >= length_m)
    lid = lid[: round(len(side) * 0.5 * radius_m / length_m)]  # as dense as the round side
    points = np.concatenate([points[side], points[lid], points[lid] * [1.0, 1.0, 0.0]])
    normals = np.concatenate([normals[side], normals[lid], -normals[lid]])
    points[:, 2] -= 0.5 * length_m
    return points[:, [0, 2, 1]] * [1.0, -1.0, 1.0] + [0.0, 0.0, radius_m], normals[:, [0, 2, 1]] * [1.0, -1.0, 1.0]


def placed(shape: tuple[np.ndarray, np.ndarray], yaw: float) -> np.ndarray:
    """All of a shape's surface where `look` puts it, seen or not."""
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(shape[0] @ turn.T + [0.5, 0.0, 0.0])


def fingers_meet(grasp: GraspCandidate, whole: np.ndarray) -> bool:
    """Whether the open fingers are where a part of the object is."""
    hand = UR5.gripper
    assert hand is not None
    x, y, z = grasp.pose.inverse().apply(whole).T
    beside = (np.abs(x) > 0.5 * grasp.width_m) & (np.abs(x) < 0.5 * grasp.width_m + hand.finger_thickness_m)
    return bool(np.any(beside & (np.abs(y) < 0.5 * hand.finger_width_m) & (z < 0.0) & (z > -hand.finger_depth_m)))


@pytest.mark.parametrize("height", [0.2, 0.3, 0.45, 0.7])
@pytest.mark.parametrize("yaw", [0.0, 0.4, 0.9, -0.6, -1.2])
def test_fingers_do_not_meet_the_hidden_side_of_a_can_that_lies(height: float, yaw: float) -> None:
    """The lower the camera, the less of the far side falls away before the eye, and the more of it is hidden."""
    for radius, length in ((0.03, 0.15), (0.022, 0.12), (0.033, 0.08)):
        shape = can(radius, length)
        seen = look(shape, yaw_rad=yaw, base_from_optical=camera_pose((0.0, 0.1, height)), noise_m=0.001)
        grasps = plan_grasps(seen.segment, seen.surface, seen.base_from_optical, UR5, np.concatenate([seen.cloud_base, table()]))
        assert not any(fingers_meet(grasp, placed(shape, yaw)) for grasp in grasps)
        assert grasps[0].object_width_m == pytest.approx(2.0 * radius, abs=0.012)


@pytest.mark.parametrize("eye", [0.05, 0.1, 0.125])
@pytest.mark.parametrize("yaw", [0.0, 0.4, 0.8, -0.6])
@pytest.mark.parametrize("shape", [cylinder(0.022, 0.13), cylinder(0.032, 0.13), box((0.045, 0.045, 0.13)), box((0.05, 0.04, 0.13))])
def test_fingers_do_not_meet_the_back_of_what_is_seen_from_below_its_top(
    shape: tuple[np.ndarray, np.ndarray], yaw: float, eye: float
) -> None:
    """Without its top nothing tells how deep a thing is; the front that is seen is not all of it."""
    seen = look(shape, yaw_rad=yaw, base_from_optical=camera_pose((0.0, 0.1, eye)), noise_m=0.001)
    grasps = plan_grasps(seen.segment, seen.surface, seen.base_from_optical, UR5, np.concatenate([seen.cloud_base, table()]))
    assert not any(fingers_meet(grasp, placed(shape, yaw)) for grasp in grasps)


@pytest.mark.parametrize("shape", [box((0.06, 0.05, 0.05)), box((0.12, 0.07, 0.024)), cylinder(0.03, 0.1), cylinder(0.035, 0.06)])
@pytest.mark.parametrize("height", [0.2, 0.45])
def test_what_does_not_lie_round_is_taken_as_it_is_seen(shape: tuple[np.ndarray, np.ndarray], height: float) -> None:
    seen = look(shape, yaw_rad=0.3, base_from_optical=camera_pose((0.0, 0.1, height)), noise_m=0.001)
    target = observe(seen.segment, seen.surface, seen.base_from_optical)
    assert np.all(np.ptp(target.cloud_m, axis=0) < np.ptp(seen.cloud_base, axis=0) + 1e-6)


def test_stray_readings_behind_a_plate_are_no_far_side() -> None:
    """Readings that hang between its rim and the table behind lie lower than the rim, as the far side of a ball would."""
    seen = look(cylinder(0.09, 0.02), base_from_optical=camera_pose((0.0, 0.0, 0.3)), noise_m=0.001)
    clean = observe(seen.segment, seen.surface, seen.base_from_optical)
    rng = np.random.default_rng(0)
    count = len(seen.cloud_base) // 60
    strays = np.column_stack([rng.uniform(0.6, 0.7, count), rng.uniform(-0.09, 0.09, count), rng.uniform(0.0, 0.012, count)])
    cloud = np.concatenate([seen.cloud_base, strays])[rng.permutation(len(seen.cloud_base) + count)]
    segment = replace(seen.segment, cloud_m=seen.base_from_optical.inverse().apply(cloud))
    target = observe(segment, seen.surface, seen.base_from_optical)
    assert np.allclose(target.centre_m, clean.centre_m, atol=0.004)
    assert np.ptp(target.cloud_m[:, 0]) < 0.19


def test_a_ball_is_whole_whatever_is_hidden() -> None:
    seen = look(ball(0.03), base_from_optical=camera_pose((0.0, 0.1, 0.25)), noise_m=0.0005)
    target = observe(seen.segment, seen.surface, seen.base_from_optical)
    assert np.allclose(np.ptp(target.cloud_m, axis=0), 0.06, atol=0.004)


def test_the_inside_of_what_is_high_as_a_tower_does_not_fill_the_memory() -> None:
    """Readings in another unit, which only a node's own check refuses: 75 million layers of them were asked for."""
    seen = look(box((0.06, 0.05, 0.09)), base_from_optical=camera_pose((0.0, 0.1, 0.4)))
    lower = seen.base_from_optical.inverse().apply(seen.cloud_base * np.array([1000.0, 1000.0, 1000.0]))
    target = observe(replace(seen.segment, cloud_m=lower, box=None), seen.surface, seen.base_from_optical)
    assert target.top_m > 50.0 and len(target.inside_m) < 1_000_000


def no_finger_is_in_the_box(seen, size: tuple[float, float, float], yaw: float) -> None:
    """Of what is planned; that no grasp is sure is right as well."""
    try:
        grasps = plan_grasps(seen.segment, seen.surface, seen.base_from_optical, UR5, np.concatenate([seen.cloud_base, table()]))
    except Refused as reason:
        assert reason.status in (Status.TOO_WIDE, Status.OCCUPIED)
    else:
        assert not any(fingers_meet(grasp, placed(box(size), yaw)) for grasp in grasps)


@pytest.mark.parametrize("eye", [0.05, 0.08, 0.12])
@pytest.mark.parametrize("yaw", [0.0, 0.1, -0.2])
@pytest.mark.parametrize("size", [(0.078, 0.094, 0.038), (0.07, 0.11, 0.034)])
def test_a_low_box_is_no_can_that_lies(size: tuple[float, float, float], yaw: float, eye: float) -> None:
    """Its face was taken for the near side of a can as high as the box, 4 cm deep instead of 8."""
    seen = look(box(size), yaw_rad=yaw, base_from_optical=camera_pose((0.0, 0.0, eye)), noise_m=0.001)
    no_finger_is_in_the_box(seen, size, yaw)


@pytest.mark.parametrize("yaw", [-0.5, 0.2, 0.5])
@pytest.mark.parametrize("eye", [0.2, 0.24])
def test_a_board_is_no_container_because_its_back_was_made_up(yaw: float, eye: float) -> None:
    """Through the mouth of what was filled in, its own back was 'seen': a rim grasp had one finger in the middle of the wood."""
    size = (0.031, 0.136, 0.174)
    seen = look(box(size), yaw_rad=yaw, base_from_optical=camera_pose((-0.3, 0.0, eye)), noise_m=0.0015)
    no_finger_is_in_the_box(seen, size, yaw)
