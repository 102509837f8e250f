"""Placing: never over a neighbour or an edge, on tables, objects and in containers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from synthetic_depth import Block, render, surface_at, tray
from synthetic_objects import camera_pose

from roboref_node.geometry.segment import ObjectSegment, OrientedBox
from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate
from roboref_node.goals.hand import HandPoses, clearance
from roboref_node.goals.place import HeldObject, PlaceGoal, plan_place
from roboref_node.goals.place_search import plan_place_near
from roboref_node.goals.profile import Orientation, load_profile
from roboref_node.status import Refused, Status

UR5 = load_profile("ur5")
CAMERA_POSE = camera_pose((0.2, 0.0, 0.7), (0.5, 0.0, 0.0))
CUP = HeldObject(np.array([0.06, 0.06, 0.10]), 0.06)


def place(blocks: tuple[Block, ...], point: tuple[float, float, float], held: HeldObject | None = CUP, **scene: object) -> PlaceGoal:
    frame = render(CAMERA_POSE, blocks, **scene)  # type: ignore[arg-type]
    return plan_place(frame, surface_at(CAMERA_POSE, point), CAMERA_POSE, UR5, held)


def refused(*arguments: object, **scene: object) -> Refused:
    with pytest.raises(Refused) as caught:
        place(*arguments, **scene)  # type: ignore[arg-type]
    return caught.value


def test_on_a_free_table() -> None:
    goal = place((), (0.5, 0.1, 0.0))
    assert goal.pose.translation_m == pytest.approx([0.5, 0.1, 0.06 + UR5.place.release_height_m], abs=1e-4)
    assert goal.pose.rotation[:, 2] == pytest.approx([0, 0, -1], abs=1e-4)
    assert goal.approach.translation_m - goal.pose.translation_m == pytest.approx([0, 0, UR5.place.approach_distance_m], abs=1e-4)
    assert goal.support_height_m == pytest.approx(0.0, abs=1e-4) and goal.supported == 1.0
    assert goal.free_radius_m == pytest.approx(UR5.place.neighbourhood_m)


@given(angle=st.floats(-np.pi, np.pi), distance=st.floats(0.03, 0.16), yaw=st.floats(0, np.pi), radius=st.floats(0.01, 0.05))
@settings(max_examples=60, deadline=None)
def test_a_place_never_overlaps_a_neighbour(angle: float, distance: float, yaw: float, radius: float) -> None:
    size = (0.05, 0.04, 0.08)
    block = Block((0.5 + distance * np.cos(angle), distance * np.sin(angle), 0.0), size, yaw)
    held = HeldObject(np.array([radius, radius, 0.08]) * np.sqrt(2), 0.05)
    local = Rotation.from_euler("z", -yaw).apply([0.5 - block.base_m[0], -block.base_m[1], 0.0])[:2]
    gap = float(np.linalg.norm(np.maximum(np.abs(local) - np.array(size[:2]) / 2, 0.0)))
    try:
        goal = place((block,), (0.5, 0.0, 0.0), held)
    except Refused as reason:
        assert reason.status in (Status.OCCUPIED, Status.NO_DEPTH)
    else:
        assert gap >= radius + UR5.place.clearance_m - 0.004
        assert goal.free_radius_m <= max(gap, 0.0) + 0.012 or gap > UR5.place.neighbourhood_m - 0.01


def test_occupied_names_both_numbers() -> None:
    reason = refused((Block((0.55, 0.0, 0.0), (0.04, 0.2, 0.1)),), (0.5, 0.0, 0.0))
    assert reason.status is Status.OCCUPIED and "clearance_m" in reason.sentence
    assert reason.details["free_radius_m"] == pytest.approx(0.03, abs=0.006)
    assert reason.details["needed_m"] == pytest.approx(CUP.radius_m + UR5.place.clearance_m)


def test_a_low_bump_is_no_obstacle_but_a_higher_one_is() -> None:
    point = (0.5, 0.0, 0.0)
    assert place((Block((0.5, 0.055, 0.0), (0.05, 0.03, 0.006)),), point).free_radius_m > 0.1
    assert refused((Block((0.5, 0.055, 0.0), (0.05, 0.03, 0.02)),), point).status is Status.OCCUPIED


def test_on_top_of_an_object() -> None:
    goal = place((Block((0.5, 0.0, 0.0), (0.12, 0.12, 0.08)),), (0.5, 0.0, 0.08))
    assert goal.support_height_m == pytest.approx(0.08, abs=1e-3)
    assert goal.pose.translation_m[2] == pytest.approx(0.08 + 0.06 + UR5.place.release_height_m, abs=1e-3)


def test_over_the_edge_of_an_object_or_of_the_table() -> None:
    block = Block((0.5, 0.0, 0.0), (0.12, 0.12, 0.08))
    for reason in (refused((block,), (0.5, 0.058, 0.08)), refused((), (0.5, 0.0, 0.0), table_m=(-1.0, -2.0, 0.502, 2.0))):
        assert reason.status is Status.OCCUPIED and "min_supported" in reason.sentence


def test_in_a_container() -> None:
    wide = place(tray((0.5, 0.0, 0.0), 0.2, 0.01, 0.05), (0.5, 0.0, 0.004))
    assert wide.support_height_m == pytest.approx(0.004, abs=1e-3)
    assert wide.free_radius_m == pytest.approx(0.1, abs=0.006)
    narrow = refused(tray((0.5, 0.0, 0.0), 0.08, 0.01, 0.05), (0.5, 0.0, 0.004))
    assert narrow.status is Status.OCCUPIED


def test_the_gripper_must_fit_into_a_deep_container() -> None:
    flat = HeldObject(np.array([0.03, 0.03, 0.02]), 0.01)
    assert place(tray((0.5, 0.0, 0.0), 0.12, 0.01, 0.012), (0.5, 0.0, 0.004), flat)
    reason = refused(tray((0.5, 0.0, 0.0), 0.12, 0.01, 0.08), (0.5, 0.0, 0.004), flat)
    assert reason.status is Status.OCCUPIED and "gripper" in reason.sentence


def test_a_steep_surface_is_refused() -> None:
    frame = render(CAMERA_POSE, (), table_tilt_rad=0.4)
    surface = surface_at(CAMERA_POSE, (0.5, 0.0, 0.0), (np.sin(0.4), 0.0, np.cos(0.4)))
    with pytest.raises(Refused, match="max_tilt_rad") as caught:
        plan_place(frame, surface, CAMERA_POSE, UR5, CUP)
    assert caught.value.status is Status.OCCUPIED


def test_a_normal_that_is_off_is_refined() -> None:
    """A local normal is a degree or two off; extrapolated to the footprint's border that is centimetres."""
    frame = render(CAMERA_POSE, (), noise_m=0.001)
    tilted = surface_at(CAMERA_POSE, (0.5, 0.0, 0.0), (np.sin(0.06), 0.0, np.cos(0.06)))
    goal = plan_place(frame, tilted, CAMERA_POSE, UR5, CUP)
    assert np.degrees(np.arccos(goal.support_normal[2])) < 0.7
    assert goal.free_radius_m == pytest.approx(UR5.place.neighbourhood_m)


def test_out_of_reach() -> None:
    far = camera_pose((0.9, 0.0, 0.7), (1.3, 0.0, 0.0))
    with pytest.raises(Refused, match="profile.reach") as caught:
        plan_place(render(far, ()), surface_at(far, (1.3, 0.0, 0.0)), far, UR5, CUP)
    assert caught.value.status is Status.UNREACHABLE


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_goals_move_with_the_world(seed: int) -> None:
    turn = Transform.from_rotation(Rotation.from_euler("z", np.random.default_rng(seed).uniform(-np.pi, np.pi)).as_matrix(), np.zeros(3))
    frame = render(CAMERA_POSE, (Block((0.6, 0.15, 0.0), (0.05, 0.05, 0.1)),))
    surface = surface_at(CAMERA_POSE, (0.5, 0.0, 0.0))
    still = plan_place(frame, surface, CAMERA_POSE, UR5, CUP)
    moved = plan_place(frame, surface, turn @ CAMERA_POSE, UR5, CUP)
    assert np.allclose((turn @ still.pose).matrix, moved.pose.matrix, atol=1e-9)
    assert np.allclose((turn @ still.approach).matrix, moved.approach.matrix, atol=1e-9)


@pytest.mark.parametrize("orientation", list(Orientation))
def test_what_was_grasped_off_centre_lands_on_the_point(orientation: Orientation) -> None:
    profile = dataclasses.replace(UR5, place=dataclasses.replace(UR5.place, orientation=orientation))
    rotation = Rotation.from_euler("z", 0.7).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    bottom = np.array([0.4, -0.2, 0.0])
    grasp_pose = Transform.from_rotation(rotation, bottom + rotation @ np.array([0.03, 0.0, 0.0]) + [0, 0, 0.07])
    grasp = GraspCandidate(grasp_pose, grasp_pose, 0.03, 1.0, "top", 0.04, 0.005)
    optical = CAMERA_POSE.inverse()
    box = OrientedBox(optical.apply(bottom + [0, 0, 0.045]), optical.rotate(np.eye(3)).T, np.array([0.07, 0.07, 0.09]))
    held = HeldObject.of_grasp(ObjectSegment(np.zeros((2, 2), bool), np.zeros((0, 3)), None, box, 0.09), grasp, CAMERA_POSE)
    assert held.grasp_height_m == pytest.approx(0.07)
    goal = plan_place(render(CAMERA_POSE, ()), surface_at(CAMERA_POSE, (0.5, 0.1, 0.0)), CAMERA_POSE, profile, held)
    object_bottom = goal.pose.apply(held.bottom_in_tool_m)
    assert object_bottom == pytest.approx([0.5, 0.1, UR5.place.release_height_m], abs=1e-4)
    if orientation is Orientation.KEPT:
        assert np.allclose(goal.pose.rotation, rotation, atol=1e-9)
    else:
        assert abs(goal.pose.rotation[:, 0] @ np.array([0.5, 0.1, 0.0])) < 1e-6


DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
OUTWARDS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Columns are the tool's axes: closing along y, approaching down, or along x."""


def held_by(rotation: np.ndarray, tool_m: tuple[float, float, float], size_m: tuple[float, float, float]) -> HeldObject:
    """An object on the table at (0.5, 0, 0) in a gripper that is this far from the middle of its base."""
    tool = Transform.from_rotation(rotation, np.array([0.5, 0.0, 0.0]) + tool_m)
    return HeldObject(np.array(size_m), tool_m[2], tool, tool.inverse().apply([0.5, 0.0, 0.0]), 0.5 * max(size_m[:2]))


def gap_on_the_way(goal: PlaceGoal, block: Block) -> float:
    """Smallest distance of the open gripper, from the approach pose down, to the points of a block."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 17)] * 3), axis=-1).reshape(-1, 3)
    # Where its edges are is seen to a pixel or two of 2.5 mm.
    inner = Rotation.from_euler("z", block.yaw_rad).apply(grid * (np.array(block.size_m) - 0.01))
    points = inner + np.add(block.base_m, [0.0, 0.0, 0.5 * block.size_m[2]])
    hand = HandPoses(np.linspace(goal.pose.translation_m, goal.approach.translation_m, 30), np.broadcast_to(goal.pose.rotation, (30, 3, 3)))
    return float(clearance(UR5.gripper, hand, np.full(30, UR5.gripper.max_opening_m), points, 0.0, 0.1).min())  # type: ignore[arg-type]


BOWL = held_by(DOWN, (0.0, 0.07, 0.05), (0.14, 0.14, 0.06))
BOTTLE = held_by(OUTWARDS, (0.02, 0.0, 0.08), (0.06, 0.06, 0.18))


@pytest.mark.parametrize("held", [BOWL, BOTTLE])
@given(bearing=st.floats(-np.pi, np.pi), distance=st.floats(0.07, 0.2), height=st.floats(0.08, 0.3))
@settings(max_examples=40, deadline=None)
def test_a_gripper_beside_the_point_meets_nothing_on_its_way_down(held: HeldObject, bearing: float, distance: float, height: float) -> None:
    """Held by its rim or from the side, an object has the gripper where there is no object: 7 cm off, it was looked for over the point."""
    block = Block((0.5 + distance * np.cos(bearing), distance * np.sin(bearing), 0.0), (0.04, 0.04, height), bearing)
    try:
        goal = place((block,), (0.5, 0.0, 0.0), held)
    except Refused as reason:
        assert reason.status in (Status.OCCUPIED, Status.NO_DEPTH)
    else:
        assert gap_on_the_way(goal, block) > 0.0


@pytest.mark.parametrize(("held", "at"), [(BOWL, (0.5, -0.12)), (BOWL, (0.62, -0.05)), (BOTTLE, (0.6, 0.0)), (BOTTLE, (0.58, 0.08))])
def test_what_stands_on_the_other_side_of_the_gripper_is_not_in_its_way(held: HeldObject, at: tuple[float, float]) -> None:
    assert place((Block((*at, 0.0), (0.04, 0.04, 0.2)),), (0.5, 0.0, 0.0), held)


def test_the_search_for_a_place_knows_where_the_gripper_is() -> None:
    block = Block((0.5, 0.12, 0.0), (0.04, 0.04, 0.2))
    frame, surface = render(CAMERA_POSE, (block,)), surface_at(CAMERA_POSE, (0.5, 0.0, 0.0))
    assert "gripper" in refused((block,), (0.5, 0.0, 0.0), BOWL).sentence
    goal, spot = plan_place_near(frame, surface, CAMERA_POSE, UR5, BOWL, within_m=0.1)
    assert spot is not surface and gap_on_the_way(goal, block) > 0.0


def test_it_tells_the_turns_for_which_there_is_room_too() -> None:
    block = Block((0.5, 0.15, 0.0), (0.04, 0.04, 0.2))
    there = held_by(DOWN * np.array([-1.0, -1.0, 1.0]), (0.0, -0.07, 0.05), (0.14, 0.14, 0.06))
    goal = place((block,), (0.5, 0.0, 0.0), there)
    assert sorted(goal.turns_rad) == pytest.approx([-np.pi / 2, np.pi / 2])  # half a turn would have the gripper in the block
    assert len(place((), (0.5, 0.0, 0.0), there).turns_rad) == len(place((block,), (0.5, 0.0, 0.0), CUP).turns_rad) == 3


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_what_was_grasped_from_the_side_stands_upright_when_it_is_aligned(flip: float) -> None:
    aligned = dataclasses.replace(UR5, place=dataclasses.replace(UR5.place, orientation=Orientation.ALIGNED))
    held = held_by(OUTWARDS * np.array([flip, flip, 1.0]), (0.02, 0.0, 0.08), (0.06, 0.06, 0.18))
    assert held.base_from_tool is not None and held.bottom_in_tool_m is not None
    goal = plan_place(render(CAMERA_POSE, ()), surface_at(CAMERA_POSE, (0.45, 0.25, 0.0)), CAMERA_POSE, aligned, held)
    up_in_tool = held.base_from_tool.rotation.T @ np.array([0.0, 0.0, 1.0])
    assert goal.pose.rotate(up_in_tool) == pytest.approx([0.0, 0.0, 1.0], abs=1e-4)
    assert goal.pose.apply(held.bottom_in_tool_m) == pytest.approx([0.45, 0.25, UR5.place.release_height_m], abs=1e-4)
    assert goal.pose.rotation[:, 2] == pytest.approx(np.array([0.45, 0.25, 0.0]) / np.hypot(0.45, 0.25), abs=1e-4)


def test_what_a_wide_gripper_or_a_small_neighbourhood_needs_is_looked_at() -> None:
    """Nothing was found within 20 cm, and taken for something at 20 cm."""
    assert UR5.gripper is not None
    wide = dataclasses.replace(UR5, gripper=dataclasses.replace(UR5.gripper, palm_width_m=0.42))
    small = dataclasses.replace(UR5, place=dataclasses.replace(UR5.place, neighbourhood_m=0.02))
    for profile in (wide, small):
        frame, surface = render(CAMERA_POSE, ()), surface_at(CAMERA_POSE, (0.5, 0.0, 0.0))
        assert plan_place(frame, surface, CAMERA_POSE, profile, CUP).supported == 1.0
    with pytest.raises(Refused, match="body"):
        plan_place(
            render(CAMERA_POSE, (Block((0.5, 0.22, 0.0), (0.04, 0.04, 0.25)),)),
            surface_at(CAMERA_POSE, (0.5, 0.0, 0.0)),
            CAMERA_POSE,
            wide,
            CUP,
        )


@pytest.mark.parametrize("distance", [0.5, 0.8, 1.1])
@pytest.mark.parametrize("radius", [0.02, 0.035, 0.05])
def test_what_stands_over_an_edge_by_almost_half_is_never_put_there(radius: float, distance: float) -> None:
    """Every cell in which the edge left one reading counted as if all of it were there: 48 % of a footprint were taken for 70 %."""
    held = HeldObject(np.array([radius, radius, 0.08]) * np.sqrt(2), 0.05)
    pose = camera_pose((0.5 - 0.85 * distance, 0.03, 0.53 * distance), (0.5, 0.0, 0.0))
    for over in (-0.1, 0.0, 0.1):
        edge = 0.5 + over * radius
        for bounds in ((-1.0, -2.0, edge, 2.0), (-1.0, -2.0, 3.0, over * radius)):
            point = (0.499, 0.0, 0.0) if bounds[2] == edge else (0.5, -0.001, 0.0)
            with pytest.raises(Refused, match="min_supported"):
                plan_place(render(pose, (), table_m=bounds, noise_m=0.001), surface_at(pose, point), pose, UR5, held)
    whole = plan_place(render(pose, (), noise_m=0.001), surface_at(pose, (0.5, 0.0, 0.0)), pose, UR5, held)
    assert whole.supported > 0.85


def test_the_corners_of_the_grippers_body_need_room_too() -> None:
    """Its circle went through the middles of its short sides: the corners stood 4 mm out of it, beyond the clearance."""
    assert UR5.gripper is not None
    low = HeldObject(
        np.array([0.03, 0.03, 0.04]), 0.03, Transform.from_rotation(DOWN, np.array([0.5, 0.0, 0.03])), np.array([0.0, 0.0, 0.03])
    )
    for bearing in np.radians([60.0, 63.4, 66.0]):
        block = Block((0.5 + 0.093 * np.cos(bearing), 0.093 * np.sin(bearing), 0.0), (0.02, 0.02, 0.2), bearing)
        try:
            goal = place((block,), (0.5, 0.0, 0.0), low)
        except Refused as reason:
            assert "body" in reason.sentence
        else:
            assert gap_on_the_way(goal, block) >= 0.007


def test_without_depth_or_gripper() -> None:
    frame = render(CAMERA_POSE, (), table_m=(0.0, 0.0, 0.01, 0.01))
    with pytest.raises(Refused) as caught:
        plan_place(frame, surface_at(CAMERA_POSE, (0.5, 0.0, 0.0)), CAMERA_POSE, UR5, CUP)
    assert caught.value.status is Status.NO_DEPTH
    with pytest.raises(Refused) as caught:
        plan_place(render(CAMERA_POSE, ()), surface_at(CAMERA_POSE, (0.5, 0.0, 0.0)), CAMERA_POSE, load_profile("g1"), CUP)
    assert caught.value.status is Status.BAD_REQUEST
    with pytest.raises(ValueError, match="finite"):
        HeldObject(np.array([0.1, np.nan, 0.1]), 0.0)


def test_unregistered_depth_gives_the_same_place() -> None:
    frame = render(CAMERA_POSE, (Block((0.6, 0.1, 0.0), (0.05, 0.05, 0.1)),))
    shift = Transform(np.array([0, 0, 0, 1.0]), np.array([0.02, 0.0, 0.0]))
    apart = dataclasses.replace(frame, depth_camera=frame.camera, color_from_depth=shift)
    registered = plan_place(frame, surface_at(CAMERA_POSE, (0.5, 0.0, 0.0)), CAMERA_POSE, UR5, CUP)
    # The depth camera stands where the colour camera stood in the registered case.
    colour_pose = CAMERA_POSE @ shift.inverse()
    unregistered = plan_place(apart, surface_at(colour_pose, (0.5, 0.0, 0.0)), colour_pose, UR5, CUP)
    assert np.allclose(registered.pose.matrix, unregistered.pose.matrix, atol=1e-4)
    assert registered.free_radius_m == pytest.approx(unregistered.free_radius_m, abs=1e-3)
