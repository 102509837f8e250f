"""Stand-off: facing the target, on known free floor, with the target in view, or refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.goals.standoff import (
    OccupancyMap,
    StandoffGoal,
    hand_to_spare_m,
    in_view,
    plan_standoff,
    reach_to_spare_m,
    standoff_places,
)
from roboref_node.status import Refused, Status

G1 = load_profile("g1")
S = G1.standoff
assert S is not None and G1.view is not None
TARGET = np.array([2.0, 1.0, 0.75])


def grid(
    blocked: list[tuple[float, float, float, float]], *, unknown: list[tuple[float, float, float, float]] | None = None
) -> OccupancyMap:
    """8 x 6 m around (2, 1) with 5 cm cells; rectangles x0, y0, x1, y1 in the map frame."""
    data = np.zeros((120, 160), dtype=np.int8)
    for rectangles, value in ((blocked, 100), (unknown or [], -1)):
        for x0, y0, x1, y1 in rectangles:
            data[int((y0 + 2) / 0.05) : int((y1 + 2) / 0.05), int((x0 + 2) / 0.05) : int((x1 + 2) / 0.05)] = value
    return OccupancyMap(data, 0.05, Transform(np.array([0, 0, 0, 1.0]), np.array([-2.0, -2.0, 0.0])))


def faces(goal: StandoffGoal, target: np.ndarray) -> bool:
    ahead = goal.pose.rotation[:, 0]
    toward = target[:2] - goal.pose.translation_m[:2]
    return bool(ahead[:2] @ toward / np.linalg.norm(toward) > 1 - 1e-9) and np.allclose(goal.pose.rotation[:, 2], [0, 0, 1])


@given(
    x=st.floats(-3, 3),
    y=st.floats(-3, 3),
    z=st.floats(0.3, 1.0),
    robot=st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.floats(-np.pi, np.pi)),
)
@settings(deadline=None)
def test_without_a_map_it_stops_on_the_line(x: float, y: float, z: float, robot: tuple[float, float, float]) -> None:
    target = np.array([x, y, z])
    here = float(np.linalg.norm(target[:2] - robot[:2]))
    try:
        goal = plan_standoff(target, robot, G1, None)
    except Refused as reason:
        assert (reason.status is Status.OCCUPIED and here < S.min_m) or reason.status is Status.UNREACHABLE
        return
    assert faces(goal, target)
    assert S.min_m - 1e-9 <= goal.distance_m <= min(S.max_m, max(here, S.min_m)) + 1e-9
    stop, start = goal.pose.translation_m[:2], np.asarray(robot[:2])
    beyond = np.cross(np.append(target[:2] - start, 0), np.append(stop - start, 0))[2]
    assert abs(beyond) < 1e-6 * max(1.0, here) * 10 and goal.pose.translation_m[2] == S.floor_z_m
    assert (stop - start) @ (target[:2] - start) >= -1e-9


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_with_a_map_the_footprint_is_on_known_free_floor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rectangles = []
    for _ in range(12):
        x, y = rng.uniform(-1.5, 5), rng.uniform(-1.5, 3.4)
        rectangles.append((x, y, x + rng.uniform(0.1, 0.8), y + rng.uniform(0.1, 0.8)))
    occupancy = grid(rectangles[:8], unknown=rectangles[8:])
    try:
        goal = plan_standoff(TARGET, (0.0, 0.0, 0.0), G1, occupancy)
    except Refused as reason:
        assert reason.status is Status.OCCUPIED
        return
    assert faces(goal, TARGET) and S.min_m - 1e-9 <= goal.distance_m <= S.max_m + 1e-9
    data = np.asarray(occupancy.data)
    row, column = np.nonzero((data < 0) | (data >= 50))
    centres = np.stack([column, row], axis=1) * 0.05 + 0.025 - 2.0
    nearest = np.min(np.linalg.norm(centres - goal.pose.translation_m[:2], axis=1)) if len(row) else np.inf
    assert nearest >= S.footprint_radius_m + S.clearance_m - 0.03
    assert goal.in_view


def test_a_table_moves_the_goal_round_it() -> None:
    """The target lies near the far side of a table: the robot walks round instead of standing in the table."""
    table = (0.5, 0.4, 2.25, 1.6)
    goal = plan_standoff(TARGET, (-1.0, 1.0, 0.0), G1, grid([table]))
    x, y = goal.pose.translation_m[:2]
    assert not (table[0] - 0.3 < x < table[2] + 0.3 and table[1] - 0.3 < y < table[3] + 0.3)
    assert faces(goal, TARGET)


def test_unknown_floor_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        plan_standoff(TARGET, (0.0, 0.0, 0.0), G1, grid([], unknown=[(-2, -2, 6, 4)]))
    assert caught.value.status is Status.OCCUPIED and "footprint_radius_m" in caught.value.sentence


def test_outside_the_map_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        plan_standoff((20.0, 0.0, 0.75), (0.0, 0.0, 0.0), G1, grid([]))
    assert caught.value.status is Status.OCCUPIED


def test_a_wall_blocks_the_sight() -> None:
    profile = dataclasses.replace(
        G1, standoff=dataclasses.replace(S, max_m=1.5, preferred_m=1.0, min_m=1.0, target_radius_m=0.1), view=None
    )
    ring = [(1.3, 0.3, 2.7, 0.4), (1.3, 1.6, 2.7, 1.7), (1.3, 0.3, 1.4, 1.7), (2.6, 0.3, 2.7, 1.7)]
    with pytest.raises(Refused, match="line to the target") as caught:
        plan_standoff(TARGET, (0.0, 0.0, 0.0), profile, grid(ring))
    assert caught.value.status is Status.OCCUPIED
    one_side_open = plan_standoff(TARGET, (0.0, 0.0, 0.0), profile, grid(ring[:2]))
    assert abs(one_side_open.pose.translation_m[1] - 1.0) < 0.7


@given(height=st.floats(0.0, 2.0))
@settings(deadline=None)
def test_the_target_is_in_the_head_camera_on_arrival(height: float) -> None:
    target = np.array([3.0, 0.0, height])
    try:
        goal = plan_standoff(target, (0.0, 0.0, 0.0), G1, None)
    except Refused as reason:
        assert reason.status is Status.UNREACHABLE and "profile.view" in reason.sentence
        return
    view = G1.view
    eye = goal.pose.translation_m + np.array([view.forward_m, 0.0, view.height_m])
    ray = (target - eye) / np.linalg.norm(target - eye)
    axis = np.array([np.cos(view.pitch_down_rad), 0.0, -np.sin(view.pitch_down_rad)])
    assert np.arccos(np.clip(ray @ axis, -1, 1)) <= 0.5 * view.vertical_fov_rad
    assert goal.in_view


def test_views_that_are_not_required_only_count() -> None:
    relaxed = dataclasses.replace(G1, view=dataclasses.replace(G1.view, required=False))
    goal = plan_standoff((3.0, 0.0, 1.6), (0.0, 0.0, 0.0), relaxed, None)
    assert not goal.in_view
    assert not in_view(np.array([0.1]), 0.75, G1.view)[0]


def test_reach_can_be_insisted_on() -> None:
    strict = dataclasses.replace(G1, standoff=dataclasses.replace(S, require_reach=True))
    goal = plan_standoff((3.0, 0.0, 0.8), (0.0, 0.0, 0.0), strict, None)
    assert goal.in_reach and np.hypot(goal.distance_m, 1.08 - 0.8) <= 0.6
    with pytest.raises(Refused, match="require_reach") as caught:
        plan_standoff((3.0, 0.0, 0.1), (0.0, 0.0, 0.0), strict, None)
    assert caught.value.status is Status.UNREACHABLE


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_goals_move_with_the_world(seed: int) -> None:
    """Turn and shift target, robot and map together: the goal moves along."""
    rng = np.random.default_rng(seed)
    yaw, shift = rng.uniform(-np.pi, np.pi), rng.uniform(-5, 5, 2)
    move = Transform.from_rotation(Rotation.from_euler("z", yaw).as_matrix(), [*shift, 0.0])
    occupancy = grid([(1.0, 0.6, 1.8, 1.5)], unknown=[(2.2, 1.6, 3.2, 2.5)])
    turned = dataclasses.replace(occupancy, origin=move @ occupancy.origin)
    robot = np.array([rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(-3, 3)])
    robot_moved = np.append(move.apply([*robot[:2], 0.0])[:2], robot[2] + yaw)
    for first, second in ((None, None), (occupancy, turned)):
        still, moved = plan_standoff(TARGET, robot, G1, first), plan_standoff(move.apply(TARGET), robot_moved, G1, second)
        assert still.score == pytest.approx(moved.score, abs=0.05)
        if first is None:
            assert np.allclose((move @ still.pose).matrix, moved.pose.matrix, atol=1e-6)
        else:
            assert np.linalg.norm(move.apply(still.pose.translation_m) - moved.pose.translation_m) < 0.25


@pytest.mark.parametrize(
    ("data", "resolution"), [(np.zeros((0, 3), np.int8), 0.05), (np.zeros((3, 3), np.int8), 0.0), (np.full((3, 3), 120, np.int8), 0.05)]
)
def test_broken_maps_are_refused(data: np.ndarray, resolution: float) -> None:
    with pytest.raises(Refused) as caught:
        OccupancyMap(data, resolution, Transform.identity())
    assert caught.value.status is Status.BAD_REQUEST


def test_an_arm_goes_nowhere_and_numbers_must_be_finite() -> None:
    def status(target: object, profile: RobotProfile) -> Status:
        with pytest.raises(Refused) as caught:
            plan_standoff(target, (0.0, 0.0, 0.0), profile, None)  # type: ignore[arg-type]
        return caught.value.status

    assert status(TARGET, load_profile("ur5")) is Status.BAD_REQUEST
    assert status((np.nan, 0.0, 0.0), G1) is Status.BAD_REQUEST


def test_clearance_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    data = np.where(rng.random((30, 40)) < 0.05, 100, 0).astype(np.int8)
    occupancy = OccupancyMap(data, 0.1, Transform.identity())
    row, column = np.nonzero(data >= 50)
    centre = (np.stack(np.meshgrid(np.arange(40), np.arange(30)), axis=-1) + 0.5) * 0.1
    brute = np.min(np.linalg.norm(centre[:, :, None] - (np.stack([column, row], axis=1) + 0.5) * 0.1, axis=-1), axis=-1)
    border = np.minimum.reduce([centre[..., 0], centre[..., 1], 4.0 - centre[..., 0], 3.0 - centre[..., 1]]) + 0.05
    assert np.allclose(occupancy.clearance_m, np.maximum(np.minimum(brute, border) - 0.05, 0.0), atol=1e-9)


def test_a_place_that_cannot_be_walked_to_is_none() -> None:
    """The near side of the target is walled off: the goal is on the robot's side of the wall, or there is none."""
    target = np.array([2.0, 1.0, 0.8])
    walls = [(2.6, -2.0, 2.7, 4.0)]
    free = plan_standoff(target, (4.0, 1.0, np.pi), G1, grid([]))
    assert free.pose.translation_m[0] > 2.0
    behind = dataclasses.replace(G1, standoff=dataclasses.replace(S, target_radius_m=0.0))
    with pytest.raises(Refused, match="connected with where the robot stands") as caught:
        plan_standoff(target, (4.0, 1.0, np.pi), behind, grid(walls))
    assert caught.value.status is Status.OCCUPIED
    with_door = grid([(2.6, -2.0, 2.7, -1.0), (2.6, 0.2, 2.7, 4.0)])
    assert plan_standoff(target, (4.0, 1.0, np.pi), behind, with_door).pose.translation_m[0] < 2.6
    # A robot in a blind spot of its own sensor, or nearer to a wall than its footprint allows, is not locked in by that.
    blind = grid([], unknown=[(3.8, 0.8, 4.2, 1.2)])
    assert plan_standoff(target, (4.0, 1.0, np.pi), G1, blind).in_reach
    assert plan_standoff(target, (4.0, 1.0, np.pi), G1, grid([(4.1, 0.0, 4.2, 2.0)])).in_reach


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_every_place_is_clear_by_brute_force(seed: int) -> None:
    """The footprint with its clearance meets no square that is not known to be free, on maps turned by any angle."""
    rng = np.random.default_rng(seed)
    data = np.zeros((60, 80), dtype=np.int8)
    for _ in range(8):
        row, column = rng.integers(0, 55), rng.integers(0, 75)
        data[row : row + rng.integers(1, 8), column : column + rng.integers(1, 8)] = rng.choice([100, -1])
    yaw = float(rng.uniform(-np.pi, np.pi))
    origin = Transform.from_rotation(Rotation.from_euler("z", yaw).as_matrix(), [*rng.uniform(-3, 3, 2), 0.0])
    occupancy = OccupancyMap(data, 0.1, origin)
    target, robot = origin.apply([4.0, 3.0, 0.8]), origin.apply([1.0, 1.0, 0.0])
    try:
        places = standoff_places(target, (robot[0], robot[1], 0.0), G1, occupancy)
    except Refused:
        return
    local = origin.inverse().apply(np.column_stack([places.xy_m, np.zeros(len(places.xy_m))]))[:, :2] / 0.1
    row, column = np.nonzero(data != 0)
    gaps = np.maximum(np.abs(local[:, None] - (np.stack([column, row], axis=1) + 0.5)) - 0.5, 0.0)
    exact = 0.1 * np.linalg.norm(gaps, axis=-1).min(axis=1)
    border = 0.1 * np.minimum(local, [80, 60] - local).min(axis=1)
    needed = S.footprint_radius_m + S.clearance_m
    assert np.all(np.minimum(exact, border) >= needed - 1e-9)
    near = np.minimum(exact, border) < 1.0
    np.testing.assert_allclose((places.clearance_m + S.footprint_radius_m)[near], np.minimum(exact, border)[near], atol=1e-9)


@given(height=st.floats(0.6, 1.0), bearing=st.floats(-np.pi, np.pi), distance=st.floats(1.0, 2.5))
@settings(deadline=None, max_examples=25)
def test_reach_comes_before_comfort(height: float, bearing: float, distance: float) -> None:
    """Wherever the robot stands: when a place is in view and in reach that one is taken, with the tolerance of the arrival."""
    target = np.array([2.0, 1.0, height])
    robot = (2.0 + distance * np.cos(bearing), 1.0 + distance * np.sin(bearing), 0.0)
    occupancy = grid([(1.85, 0.85, 2.15, 1.15)])
    places = standoff_places(target, robot, G1, occupancy)
    goal = plan_standoff(target, robot, G1, occupancy)
    assert goal.in_reach == bool(np.any(places.in_reach & places.in_view))
    if goal.in_reach:
        ends = goal.distance_m + np.array([-S.arrival_m, S.arrival_m])
        assert np.all(reach_to_spare_m(ends, height, G1.reach) >= 0.0) and np.all(in_view(ends, height, G1.view))


@pytest.mark.parametrize(("half_m", "height_m"), [(0.15, 0.7), (0.18, 0.7), (0.18, 0.75), (0.2, 0.75)])
def test_what_is_just_out_of_reach_is_gone_to_as_near_as_can_be(half_m: float, height_m: float) -> None:
    """A table keeps the robot away by a little too much: comfort then took a place up to 0.3 m farther."""
    target, robot = np.array([2.0, 1.0, height_m]), (2.8, 1.0, 0.0)
    occupancy = grid([(2.0 - half_m, 1.0 - half_m, 2.0 + half_m, 1.0 + half_m)])
    places = standoff_places(target, robot, G1, occupancy)
    best = float(places.spare_m[places.in_view].max())
    assert -0.05 < best < 0.0
    ends = plan_standoff(target, robot, G1, occupancy).distance_m + np.array([-S.arrival_m, S.arrival_m])
    assert reach_to_spare_m(ends, height_m, G1.reach).min() >= best - 0.01


def test_the_nearer_hand_counts() -> None:
    x, y, z = G1.reach.shoulder_m
    assert hand_to_spare_m((x + 0.3, y, z), G1.reach) == pytest.approx(min(G1.reach.max_m - 0.3, 0.3 - G1.reach.min_m))
    assert hand_to_spare_m((x + 0.3, -y, z), G1.reach) == pytest.approx(hand_to_spare_m((x + 0.3, y, z), G1.reach))
    assert hand_to_spare_m((x + G1.reach.max_m + 0.1, y, z), G1.reach) == pytest.approx(-0.1)
    assert hand_to_spare_m((x, y, z), G1.reach) == pytest.approx(-G1.reach.min_m)
