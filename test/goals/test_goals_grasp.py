"""Grasps on synthetic single-view clouds: they cover the object, miss everything else and refuse with numbers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from synthetic_objects import Seen, ball, box, camera_pose, cylinder, look, round_bowl, table

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate, plan_grasps
from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.goals.workspace import Workspace
from roboref_node.status import Refused, Status

UR5 = load_profile("ur5")
HAND = UR5.gripper
assert HAND is not None


def plan(seen: Seen, scene: np.ndarray | None = None, profile: RobotProfile = UR5) -> tuple[GraspCandidate, ...]:
    return plan_grasps(seen.segment, seen.surface, seen.base_from_optical, profile, scene)


def refused(seen: Seen, scene: np.ndarray | None = None, profile: RobotProfile = UR5) -> Refused:
    with pytest.raises(Refused) as caught:
        plan(seen, scene, profile)
    return caught.value


def in_tool(candidate: GraspCandidate, points: np.ndarray) -> np.ndarray:
    return candidate.pose.inverse().apply(points)


def between_fingers(candidate: GraspCandidate, points: np.ndarray) -> np.ndarray:
    """Independent statement of what the fingers enclose."""
    p = in_tool(candidate, points)
    return p[(np.abs(p[:, 1]) < 0.5 * HAND.finger_width_m) & (p[:, 2] < 0) & (p[:, 2] > -HAND.finger_depth_m)]


SHAPES = {
    "box": box((0.06, 0.12, 0.08)),
    "small box": box((0.03, 0.03, 0.03)),
    "bottle": cylinder(0.03, 0.20),
    "cup": cylinder(0.035, 0.10, wall_m=0.004),
    "ball": ball(0.03),
}


@pytest.mark.parametrize("name", SHAPES)
@given(x=st.floats(0.35, 0.6), y=st.floats(-0.3, 0.3), yaw=st.floats(-np.pi, np.pi))
@settings(max_examples=12, deadline=None)
def test_every_grasp_covers_the_object_and_stays_above_the_table(name: str, x: float, y: float, yaw: float) -> None:
    seen = look(SHAPES[name], (x, y, 0.0), yaw)
    ranked = plan(seen, table())
    assert [c.score for c in ranked] == sorted((c.score for c in ranked), reverse=True)
    for candidate in ranked:
        held = between_fingers(candidate, seen.cloud_base)
        assert len(held) > 0
        if np.all(np.abs(held[:, 0]) < 0.5 * HAND.max_opening_m):
            assert np.max(np.abs(held[:, 0])) * 2 <= candidate.width_m - 2 * 0.5 * HAND.opening_margin_m
        assert candidate.width_m <= HAND.max_opening_m
        assert candidate.pose.translation_m[2] >= UR5.grasp.support_clearance_m - 1e-9
        approach = candidate.pose.rotation[:, 2]
        assert approach[2] < 0.01
        assert np.allclose(candidate.pose.translation_m - candidate.pregrasp.translation_m, approach * UR5.grasp.pregrasp_distance_m)
        Workspace.of(UR5).check_motion(candidate.pregrasp, candidate.pose, transforms={})


@pytest.mark.parametrize("yaw", [0.0, 0.4, 1.2, 2.5])
def test_a_box_is_taken_across_its_narrow_side(yaw: float) -> None:
    best = plan(look(box((0.05, 0.14, 0.05)), (0.5, 0.0, 0.0), yaw))[0]
    assert best.kind == "top"
    closing = best.pose.rotation[:, 0]
    assert abs(closing @ [np.cos(yaw), np.sin(yaw), 0.0]) > np.cos(np.radians(8))
    assert best.object_width_m == pytest.approx(0.05, abs=0.006)
    assert np.linalg.norm(best.pose.translation_m[:2] - [0.5, 0.0]) < 0.03


def test_box_axes_of_the_segment_are_rotated_as_axes_not_as_a_size() -> None:
    """A peer rotated the size vector of a box: a thin box turned by 45 degrees lost one side and grew another."""
    from roboref_node.geometry.segment import OrientedBox

    yaw = np.pi / 4
    seen = look(box((0.04, 0.16, 0.06)), (0.5, 0.0, 0.0), yaw)
    optical_from_base = seen.base_from_optical.inverse()
    axes = Rotation.from_euler("z", yaw).as_matrix()
    known = OrientedBox(optical_from_base.apply([0.5, 0.0, 0.03]), optical_from_base.rotate(axes.T).T, np.array([0.04, 0.16, 0.06]))
    best = plan(dataclasses.replace(seen, segment=dataclasses.replace(seen.segment, box=known)))[0]
    assert abs(best.pose.rotation[:, 0] @ axes[:, 0]) > np.cos(np.radians(1))
    assert best.object_width_m == pytest.approx(0.04, abs=0.004)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_goals_move_with_the_world(seed: int) -> None:
    """Turn camera and scene together about the robot's vertical axis: the grasps turn along."""
    rng = np.random.default_rng(seed)
    turn = Transform.from_rotation(Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)).as_matrix(), np.zeros(3))
    arguments = (SHAPES["box"], (0.45, 0.1, 0.0), float(rng.uniform(-np.pi, np.pi)))
    still, moved = look(*arguments), look(*arguments, base_from_world=turn)
    first, second = plan(still), plan(moved)
    assert len(first) == len(second)
    assert first[0].score == pytest.approx(second[0].score, abs=0.02)
    expected = turn @ first[0].pose
    assert np.linalg.norm(expected.translation_m - second[0].pose.translation_m) < 0.01
    assert abs(expected.rotation[:, 0] @ second[0].pose.rotation[:, 0]) > np.cos(np.radians(6))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_goals_do_not_depend_on_the_camera_frame(seed: int) -> None:
    """The same points expressed in another camera frame give the same goal."""
    rng = np.random.default_rng(seed)
    seen = look(SHAPES["cup"], (0.5, 0.1, 0.0))
    # A turn about the optical axis and nothing else keeps the camera where it is, so what it sees and prefers stays too.
    roll = Transform.from_rotation(Rotation.random(rng=rng).as_matrix(), np.zeros(3))
    support = seen.segment.support
    assert support is not None
    turned = dataclasses.replace(
        seen.segment, cloud_m=roll.apply(seen.segment.cloud_m), support=type(support)(roll.rotate(support.normal), support.offset_m)
    )
    first = plan(seen)[0]
    second = plan_grasps(turned, seen.surface, seen.base_from_optical @ roll.inverse(), UR5)[0]
    assert np.allclose(first.pose.matrix, second.pose.matrix, atol=1e-3)


def test_too_wide_names_the_width_and_the_limit() -> None:
    reason = refused(look(box((0.15, 0.2, 0.1))))
    assert reason.status is Status.TOO_WIDE
    assert reason.details["max_width_m"] == pytest.approx(HAND.max_object_m)
    reason = refused(look(ball(0.05)))
    assert reason.status is Status.TOO_WIDE and "max_opening_m" in reason.sentence
    assert reason.details["width_m"] == pytest.approx(0.09, abs=0.012)


def test_a_wide_bowl_is_taken_at_its_rim() -> None:
    ranked = plan(look(cylinder(0.08, 0.07, 12000, wall_m=0.006)), table())
    best = ranked[0]
    assert best.kind == "top" and best.object_width_m < 0.03
    radius = np.linalg.norm(best.pose.translation_m[:2] - [0.5, 0.0])
    assert radius == pytest.approx(0.077, abs=0.006)
    closing = best.pose.rotation[:2, 0]
    assert abs(closing @ (best.pose.translation_m[:2] - [0.5, 0.0])) / radius > 0.97


def test_a_bowl_as_round_as_a_ball_is_taken_at_its_rim() -> None:
    best = plan(look(round_bowl(0.05, 0.003)))[0]
    assert np.linalg.norm(best.pose.translation_m[:2] - [0.5, 0.0]) == pytest.approx(0.0485, abs=0.006)
    assert best.object_width_m < 0.03


def test_a_cup_seen_from_afar_whose_rim_is_a_few_points_is_no_defect() -> None:
    """No two points of the rim lie in one direction from its middle: there is no wall to be pinched."""
    around = np.linspace(0.0, np.pi, 12, endpoint=False) + 0.1  # the planner adds the other half
    rim = np.stack([0.03 * np.cos(around), 0.03 * np.sin(around), np.full(12, 0.148)], axis=1)
    angle, height = (grid.ravel() for grid in np.meshgrid(np.linspace(0.0, 2 * np.pi, 12), np.linspace(0.0, 0.12, 12)))
    wall = np.stack([0.03 * np.cos(angle), 0.03 * np.sin(angle), height], axis=1)
    points = np.concatenate([rim, wall, wall * [0.3, 0.3, 0.1]])
    seen = look((points, np.tile([-0.6, 0.0, 0.8], (len(points), 1))))
    assert all(candidate.object_width_m > 0.05 for candidate in plan(seen))


@pytest.mark.parametrize("radius", [0.02, 0.03, 0.036])
def test_a_ball_is_taken_at_its_full_width_although_its_rim_has_no_depth(radius: float) -> None:
    points, normals = ball(radius)
    seen = look((points, normals))
    # At its rim a sensor sees nothing: keep what faces the camera within 55 degrees.
    rays = seen.base_from_optical.translation_m - seen.cloud_base
    outward = seen.cloud_base - [0.5, 0.0, radius]
    kept = np.einsum("ij,ij->i", rays, outward) > np.cos(np.radians(55)) * radius * np.linalg.norm(rays, axis=1)
    segment = dataclasses.replace(seen.segment, cloud_m=seen.segment.cloud_m[kept])
    best = plan(dataclasses.replace(seen, segment=segment))[0]
    assert np.linalg.norm(best.pose.translation_m[:2] - [0.5, 0.0]) < 0.005
    assert best.object_width_m == pytest.approx(2 * radius, abs=0.006)
    assert best.width_m > 2 * radius


def test_a_solid_disc_of_the_same_size_is_too_wide() -> None:
    assert refused(look(cylinder(0.08, 0.07))).status is Status.TOO_WIDE


def test_flat_things_are_refused() -> None:
    reason = refused(look(box((0.05, 0.05, 0.004))))
    assert reason.status is Status.UNREACHABLE and "support_clearance_m" in reason.sentence


def test_out_of_reach_names_the_distance() -> None:
    seen = look(box((0.05, 0.05, 0.05)), (1.4, 0.0, 0.0), base_from_optical=camera_pose(look_at_m=(1.4, 0.0, 0.0)))
    reason = refused(seen)
    assert reason.status is Status.UNREACHABLE and "profile.reach" in reason.sentence


def wall(x: float, y: tuple[float, float] = (-0.15, 0.15), height: float = 0.15) -> np.ndarray:
    rng = np.random.default_rng(6)
    return np.stack([np.full(4000, x), rng.uniform(*y, 4000), rng.uniform(0.0, height, 4000)], axis=1)


def test_neighbours_choose_the_closing_direction() -> None:
    """A small cube between two walls can only be taken with the fingers parallel to them."""
    seen = look(box((0.04, 0.04, 0.06)))
    scene = np.concatenate([table(), wall(0.44), wall(0.56), seen.cloud_base])
    best = plan(seen, scene)[0]
    # The palm is deeper than the walls are apart: it must stay above them or turn along.
    assert abs(best.pose.rotation[1, 0]) > 0.9
    for candidate in plan(seen, scene):
        assert candidate.clearance_m >= HAND.clearance_m


def test_no_room_is_occupied() -> None:
    seen = look(box((0.04, 0.04, 0.06)))
    angle = np.random.default_rng(7).uniform(0, 2 * np.pi, 6000)
    ring = np.stack([0.5 + 0.032 * np.cos(angle), 0.032 * np.sin(angle), np.random.default_rng(8).uniform(0, 0.12, 6000)], axis=1)
    reason = refused(seen, np.concatenate([table(), ring, seen.cloud_base]))
    assert reason.status is Status.OCCUPIED and "clearance_m" in reason.sentence


@given(angle=st.floats(-np.pi, np.pi), gap=st.floats(0.0, 0.06))
@settings(max_examples=25, deadline=None)
def test_the_open_gripper_never_meets_a_neighbour(angle: float, gap: float) -> None:
    seen = look(SHAPES["small box"], (0.5, 0.0, 0.0))
    distance = 0.025 + 0.03 + gap
    centre = (0.5 + distance * np.cos(angle), distance * np.sin(angle), 0.0)
    neighbour = cylinder(0.03, 0.1)[0] + centre
    try:
        ranked = plan(seen, np.concatenate([table(), neighbour, seen.cloud_base]))
    except Refused as reason:
        assert reason.status is Status.OCCUPIED
        return
    for candidate in ranked:
        p = in_tool(candidate, neighbour)
        inside = (np.abs(p[:, 0]) < 0.5 * candidate.width_m + HAND.finger_thickness_m) & (np.abs(p[:, 1]) < 0.5 * HAND.finger_width_m)
        assert not np.any(inside & (p[:, 2] < 0) & (p[:, 2] > -HAND.finger_depth_m))


def test_a_mobile_robot_cannot_pick() -> None:
    assert refused(look(SHAPES["box"]), profile=load_profile("g1")).status is Status.BAD_REQUEST


def test_without_support_the_fingers_stay_above_the_lowest_visible_point() -> None:
    seen = look(box((0.05, 0.05, 0.08)), (0.5, 0.0, 0.2))
    floating = dataclasses.replace(seen, segment=dataclasses.replace(seen.segment, support=None))
    for candidate in plan(floating):
        assert candidate.pose.translation_m[2] >= np.percentile(seen.cloud_base[:, 2], 1.0)


def test_depth_noise_does_not_turn_the_grasp() -> None:
    clean, noisy = (plan(look(box((0.05, 0.12, 0.06)), noise_m=noise))[0] for noise in (0.0, 0.0015))
    assert abs(clean.pose.rotation[:, 0] @ noisy.pose.rotation[:, 0]) > np.cos(np.radians(20))
    assert np.linalg.norm(clean.pose.translation_m - noisy.pose.translation_m) < 0.05


def test_planning_costs_as_much_as_a_few_trees_of_the_scene() -> None:
    """In units of this machine at this moment; the figure of record comes from `roboref bench lift`."""
    seen = look(cylinder(0.035, 0.12, 8000, wall_m=0.004))
    scene = np.concatenate([table(count=20000), seen.cloud_base])

    def cost_s(work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    rounds = [(cost_s(lambda: plan(seen, scene)), cost_s(lambda: cKDTree(scene))) for _ in range(10)]
    planning_s, tree_s = (min(times) for times in zip(*rounds, strict=True))
    assert planning_s < 8.0 * tree_s
