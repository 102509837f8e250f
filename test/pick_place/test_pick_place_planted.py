"""Outcomes that need a cause planted in the world or in the set-up: each is named, and the arm is safe afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from cell_ports import CellPorts, pixel_of, pixel_on

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.pick_place import LoopSettings, Outcome, Report, State, Step
from roboref_node.pipeline import Pipeline
from roboref_node.sim.cell import SimulatedCell

BOTTLE, SPOT_M = 0, (0.62, -0.12, 0.0)
BOTH = "pick up the orange bottle and put it on the spot"
FAR_M = (0.9, 0.35, 0.0)
"""On the table and in the picture, but farther than the arm reaches."""
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def world() -> Iterator[CellPorts]:
    """The scene of seed 3 with a second bottle like the first, far from it; whatever is asked for is pointed at rightly."""
    with SimulatedCell(3, 320, 240) as plain:
        spec = plain.spec
    twin = dataclasses.replace(spec.objects[BOTTLE], position_m=(0.25, -0.45, 0.0))
    with SimulatedCell(3, 320, 240, shadows="off", spec=dataclasses.replace(spec, objects=(*spec.objects, twin))) as cell:
        spot = pixel_of(cell, SPOT_M)
        yield CellPorts(cell, lambda expression: pixel_on(cell, BOTTLE) if "bottle" in expression else spot)


def at_state(state: State, count: int, deed: Callable[[], object]) -> Callable[[Step], None]:
    """Calls `deed` when a state is entered for the `count`-th time, from 1."""
    seen = iter(range(1, 1000))

    def on_step(step: Step) -> None:
        if step.state is state and next(seen) == count:
            deed()

    return on_step


def check_safe(world: CellPorts, report: Report) -> None:
    """The arm stands, and the loop knows what it holds."""
    before = world.cell.joint_positions_rad
    for _ in range(3):
        world.cell.step(0.1)
    np.testing.assert_allclose(world.cell.joint_positions_rad, before, atol=0.01)
    assert not world.cell.arm.busy
    assert report.holding == (world.cell.arm.world.held() is not None) == world.loop.holding


def with_profile(world: CellPorts, profile: RobotProfile) -> None:
    world.pipeline = Pipeline(None, profile)


def test_a_twin_is_put_where_the_bottle_was(world: CellPorts) -> None:
    place = world.cell.object_poses[BOTTLE]
    twin = len(world.cell.spec.objects) - 1
    # The second look at a frame is the one after the pick.
    report = world.loop.run("pick up the orange bottle", on_step=at_state(State.VERIFY, 2, lambda: world.cell.move_object(twin, place)))
    assert report.outcome is Outcome.STILL_THERE and "loop.min_gone" in report.sentence, report
    assert report.holding and world.cell.held == BOTTLE
    check_safe(world, report)
    # Perhaps another thing was taken: with the size of the one that was meant it would be let fall, or pressed onto the table.
    report = world.loop.run("put it on the spot")
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.UNKNOWN_OBJECT, True, BOTTLE), report


def test_somebody_stands_before_the_place_when_it_is_looked_at(world: CellPorts) -> None:
    cell = world.cell

    def stand_in_front() -> None:
        eye, towards = cell.base_from_optical.translation_m, np.array(SPOT_M) + [0.0, 0.0, 0.05]
        towards = (towards - eye) / np.linalg.norm(towards - eye)
        for index in range(1, len(cell.spec.objects)):
            # It falls while the next frame is waited for: half of a tenth of a second squared times g.
            middle = eye + 0.2 * towards + [0.0, 0.0, 0.05 - 0.5 * cell.spec.objects[index].extent_m[2]]
            aside = 0.03 * (index - 1.5) * np.cross(towards, [0.0, 0.0, 1.0])
            cell.move_object(index, Transform(UPRIGHT, middle + aside))

    report = world.loop.run(BOTH, on_step=at_state(State.VERIFY, 4, stand_in_front))
    assert report.outcome is Outcome.PLACE_UNSEEN and "loop.min_visible" in report.sentence, report
    assert not report.holding
    np.testing.assert_allclose(cell.object_poses[BOTTLE].translation_m[:2], SPOT_M[:2], atol=0.03)
    check_safe(world, report)


def test_a_profile_of_a_longer_arm_is_found_out_by_the_arm(world: CellPorts) -> None:
    profile = load_profile("ur5")
    assert profile.reach is not None
    with_profile(world, dataclasses.replace(profile, reach=dataclasses.replace(profile.reach, max_m=1.6)))
    world.cell.move_object(BOTTLE, Transform(UPRIGHT, np.array(FAR_M)))
    report = world.loop.run("pick up the orange bottle", LoopSettings(max_attempts=2))
    assert report.outcome is Outcome.UNREACHABLE and "no angles of the joints" in report.sentence, report
    assert [result.outcome.value for motion, result in world.motions if motion.goal is not None] == ["unreachable"] * 2
    check_safe(world, report)


def test_a_profile_of_a_thinner_hand_is_found_out_by_the_arm(world: CellPorts) -> None:
    profile = load_profile("ur5")
    assert profile.gripper is not None
    thin = dataclasses.replace(
        profile.gripper, finger_thickness_m=0.001, finger_width_m=0.006, palm_width_m=0.02, palm_depth_m=0.02, clearance_m=0.0
    )
    with_profile(world, dataclasses.replace(profile, gripper=thin, grasp=dataclasses.replace(profile.grasp, side_grasps=False)))
    cell, small = world.cell, 1
    world.where = lambda expression: pixel_on(cell, small)
    # The two tall bottles stand to the left and to the right of the small one, as the camera sees them.
    place = cell.object_poses[small].translation_m
    sight = place - cell.base_from_optical.translation_m
    aside = np.array([sight[1], -sight[0], 0.0]) / np.hypot(sight[0], sight[1])
    apart = cell.spec.objects[small].radius_m + cell.spec.objects[BOTTLE].radius_m + 0.012
    for index, sign in ((BOTTLE, 1.0), (len(cell.spec.objects) - 1, -1.0)):
        cell.move_object(index, Transform(UPRIGHT, place + sign * apart * aside))
    report = world.loop.run("pick up the yellow bottle", LoopSettings(max_attempts=2))
    assert report.outcome is Outcome.COLLISION and "would touch" in report.sentence, report
    check_safe(world, report)


def test_a_defect_of_the_software_ends_as_such_and_is_named(world: CellPorts) -> None:
    def defect() -> None:
        raise ZeroDivisionError("planted")

    world.on_refer = defect
    report = world.loop.run(BOTH)
    assert report.outcome is Outcome.INTERNAL and "ZeroDivisionError: planted" in report.sentence
    assert not world.motions
    check_safe(world, report)
    world.on_refer = lambda: None
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE, "the next sentence works"
