"""The loop with everything that goes wrong on the way: each ends by its name, with the arm at rest and the truth on its side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cell_ports import CellPorts, pixel_of, pixel_on, standing

from roboref_node.arm import MotionKind, Stage
from roboref_node.geometry.transform import Transform
from roboref_node.pick_place import Ended, LoopSettings, Outcome, Report, State, Step
from roboref_node.sim.cell import SimulatedCell

BOTTLE, SPOT_M = 0, (0.62, -0.12, 0.0)
BOTH = "pick up the orange bottle and put it on the spot"
STEPS_OF_BOTH = 12
"""States that `BOTH` goes through when nothing goes wrong, the first motion of a loop among them: the arm tells what it holds."""


@pytest.fixture
def world() -> Iterator[CellPorts]:
    """Three objects, one of which can be picked; whatever is asked for is pointed at rightly."""
    with SimulatedCell(3, 320, 240, shadows="off") as cell:
        spot = pixel_of(cell, SPOT_M)
        yield CellPorts(cell, lambda expression: pixel_on(cell, BOTTLE) if "bottle" in expression else spot)


def place_of(world: CellPorts) -> Any:
    return world.cell.object_poses[BOTTLE].translation_m


def shift(world: CellPorts, x_m: float, y_m: float) -> None:
    """Somebody puts the bottle somewhere else."""
    pose = world.cell.object_poses[BOTTLE]
    world.cell.move_object(BOTTLE, Transform(pose.quaternion_xyzw, np.array([*(pose.translation_m[:2] + [x_m, y_m]), 0.001])))


def states(report: Report) -> list[State]:
    return [step.state for step in report.steps]


def check_safe(world: CellPorts, report: Report) -> None:
    """The arm stands, and the loop knows what it holds."""
    before = world.cell.joint_positions_rad
    for _ in range(5):
        world.cell.step(0.1)
    np.testing.assert_allclose(world.cell.joint_positions_rad, before, atol=0.01)
    assert not world.cell.arm.busy
    # Between the fingers, even if a stop came before it was off the table.
    assert report.holding == (world.cell.arm.world.held() is not None) == world.loop.holding
    assert report.sentence


def at_step(number: int, deed: Callable[[], object]) -> Callable[[Step], None]:
    """Calls `deed` when the state of that number is entered, from 0."""
    count = iter(range(1000))

    def on_step(step: Step) -> None:
        if next(count) == number:
            deed()

    return on_step


def test_picked_and_placed(world: CellPorts) -> None:
    report = world.loop.run(BOTH)
    assert (report.outcome, report.tasks_done, report.task_count) == (Outcome.DONE, 2, 2), report
    assert len(report.steps) == STEPS_OF_BOTH
    np.testing.assert_allclose(place_of(world)[:2], SPOT_M[:2], atol=0.03)
    assert standing(world.cell.object_poses[BOTTLE])
    check_safe(world, report)
    # What is held is remembered from one sentence to the next.
    picked = world.loop.run("pick up the orange bottle")
    assert (picked.outcome, picked.holding, world.cell.held) == (Outcome.DONE, True, BOTTLE), picked
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.HAND_FULL
    assert world.loop.run("put it on the spot").outcome is Outcome.DONE
    assert world.loop.run("put it on the spot").outcome is Outcome.HAND_EMPTY


# The way of a cancellation is that of a stop: every third state is enough.
@pytest.mark.parametrize(
    ("outcome", "number"),
    [(Outcome.STOPPED, n) for n in range(STEPS_OF_BOTH)] + [(Outcome.CANCELED, n) for n in range(0, STEPS_OF_BOTH, 3)],
)
def test_stop_and_cancel_in_every_state(world: CellPorts, number: int, outcome: Outcome) -> None:
    def end() -> None:
        world.ended = Ended(outcome, "somebody said so")

    report = world.loop.run(BOTH, on_step=at_step(number, end))
    assert report.outcome is outcome and report.sentence == "somebody said so"
    assert len(report.steps) == number + 2 and report.steps[-1].state is State.STOP
    check_safe(world, report)


@pytest.mark.parametrize("stage", [Stage.APPROACH, Stage.ADVANCE, Stage.CLOSE, Stage.RETREAT])
def test_stop_in_the_middle_of_a_pick_and_then_go_on(world: CellPorts, stage: Stage) -> None:
    world.deeds[stage] = lambda: setattr(world, "ended", Ended(Outcome.STOPPED, "stop"))
    report = world.loop.run(BOTH)
    assert report.outcome is Outcome.STOPPED and world.motions[-1][1].outcome.value == "canceled"
    check_safe(world, report)
    assert report.holding == (stage is Stage.RETREAT)
    world.ended = None
    again = world.loop.run("put it on the spot" if report.holding else BOTH)
    assert again.outcome is Outcome.DONE, again


def test_a_stop_while_it_carries_keeps_what_it_holds(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    world.deeds[Stage.APPROACH] = lambda: setattr(world, "ended", Ended(Outcome.STOPPED, "stop"))
    report = world.loop.run("put it on the spot")
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.STOPPED, True, BOTTLE)
    check_safe(world, report)


@pytest.mark.parametrize("stage", [Stage.APPROACH, Stage.RETREAT])
def test_arm_fault(world: CellPorts, stage: Stage) -> None:
    world.deeds[stage] = lambda: setattr(world.cell.arm, "fault", True)
    report = world.loop.run(BOTH)
    assert report.outcome is Outcome.ARM_FAULT and "fault" in report.sentence
    check_safe(world, report)
    assert len(world.picks) == 1 and world.motions[-1] == world.picks[0], "a fault is nothing to try again"


def test_moved_by_hand_between_the_answer_and_the_grasp(world: CellPorts) -> None:
    def carry_away() -> None:
        world.on_refer = lambda: None
        shift(world, 0.0, -0.15)

    world.on_refer = carry_away
    report = world.loop.run("pick up the orange bottle")
    assert report.outcome is Outcome.DONE and State.RETRY in states(report)
    kinds = [motion.kind for motion, _ in world.motions]
    assert kinds == [MotionKind.HOME, MotionKind.PICK, MotionKind.HOME], "the arm told what it holds, moved to where it is, and home"
    check_safe(world, report)


def test_pushed_while_the_arm_approaches(world: CellPorts) -> None:
    world.deeds[Stage.APPROACH] = lambda: shift(world, 0.0, 0.08)
    report = world.loop.run("pick up the orange bottle")
    assert world.picks[0][1].outcome.value == "canceled"
    assert report.outcome is Outcome.DONE and State.RETRY in states(report), report
    check_safe(world, report)


def test_pushed_again_and_again(world: CellPorts) -> None:
    places = iter([-0.15, 0.15] * 3)
    world.on_refer = lambda: shift(world, 0.0, next(places))
    report = world.loop.run("pick up the orange bottle", LoopSettings(max_asks=1))
    assert report.outcome is Outcome.OBJECT_MOVED and "loop.max_asks = 1" in report.sentence
    assert not world.picks
    check_safe(world, report)


def test_taken_away_while_the_arm_approaches(world: CellPorts) -> None:
    world.deeds[Stage.APPROACH] = lambda: world.cell.remove_object(BOTTLE)
    report = world.loop.run("pick up the orange bottle")
    assert report.outcome is Outcome.OBJECT_MOVED and "NOT_FOUND" in report.sentence
    check_safe(world, report)


def test_knocked_away_by_the_gripper(world: CellPorts) -> None:
    world.deeds[Stage.CLOSE] = lambda: shift(world, 0.0, -0.15)
    report = world.loop.run("pick up the orange bottle", LoopSettings(max_attempts=1))
    assert report.outcome is Outcome.KNOCKED_AWAY and "max_attempts" in report.sentence, report
    check_safe(world, report)
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE, "it is looked for where it is now"


def test_slippery_fingers_take_nothing_and_every_attempt_is_another_grasp(world: CellPorts) -> None:
    world.cell.arm.world.set_slippery(True)
    report = world.loop.run("pick up the orange bottle", LoopSettings(max_attempts=2))
    assert report.outcome in (Outcome.GRIPPER_EMPTY, Outcome.KNOCKED_AWAY), report
    assert len(world.picks) == 2
    one, other = (motion.goal for motion, _ in world.picks)
    assert one is not None and other is not None
    turned = not np.allclose(np.abs(one.quaternion_xyzw @ other.quaternion_xyzw), 1.0, atol=0.015)
    assert turned or not np.allclose(one.translation_m, other.translation_m, atol=0.01)
    check_safe(world, report)


def test_lost_on_the_way(world: CellPorts) -> None:
    settings = LoopSettings(max_attempts=1)
    report = world.loop.run(BOTH, settings, on_step=at_step(5, lambda: world.cell.arm.world.set_slippery(True)))
    assert report.outcome is Outcome.LOST and report.tasks_done == 0 and "loop.max_attempts" in report.sentence, report
    check_safe(world, report)


def test_taken_out_of_the_gripper_and_picked_where_it_stands(world: CellPorts) -> None:
    home = world.cell.object_poses[BOTTLE]

    def pull_out() -> None:
        world.cell.move_object(BOTTLE, Transform(home.quaternion_xyzw, home.translation_m + np.array([0.0, -0.15, 0.001])))

    report = world.loop.run("pick up the orange bottle", on_step=at_step(4, pull_out))
    assert report.outcome is Outcome.DONE and world.cell.held == BOTTLE, report
    assert [step.sentence for step in report.steps if step.state is State.RETRY and "fell out" in step.sentence], report
    check_safe(world, report)


def test_pushed_after_it_was_put_down(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    carried = at_step(4, lambda: world.cell.push_object(BOTTLE, 0.09))
    report = world.loop.run("put it on the spot", on_step=carried)
    assert report.outcome is Outcome.MISPLACED and "loop." in report.sentence, report
    check_safe(world, report)


def test_a_place_that_is_not_there_is_refused_with_an_empty_hand(world: CellPorts) -> None:
    where = world.where
    world.where = lambda expression: None if "spot" in expression else where(expression)
    report = world.loop.run(BOTH)
    assert (report.outcome, report.holding) == (Outcome.REFUSED, False) and "NOT_FOUND" in report.sentence
    assert not world.motions
    held = world.loop.run(BOTH, LoopSettings(ask_ahead=False))
    assert (held.outcome, held.tasks_done, held.holding) == (Outcome.REFUSED, 1, True)
    check_safe(world, held)


def test_a_place_that_keeps_jumping(world: CellPorts) -> None:
    where, spots = world.where, iter([(0.62, -0.12, 0.0), (0.55, -0.02, 0.0)] * 10)
    world.where = lambda expression: pixel_of(world.cell, next(spots)) if "spot" in expression else where(expression)
    report = world.loop.run(BOTH, LoopSettings(max_asks=2))
    assert report.outcome is Outcome.UNSTEADY and "loop.jump_m" in report.sentence, report
    assert (report.tasks_done, report.holding, world.cell.held) == (1, True, BOTTLE)
    check_safe(world, report)


def test_a_person_who_says_no(world: CellPorts) -> None:
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return len(questions) == 1

    report = world.loop.run(BOTH, confirm=confirm)
    assert questions == ["Pick the orange bottle?", "Put the orange bottle on the spot?"]
    assert (report.outcome, report.tasks_done, report.holding) == (Outcome.NOT_CONFIRMED, 1, True)
    check_safe(world, report)


def test_what_an_arm_is_not_asked(world: CellPorts) -> None:
    for sentence in ("go to the table", "blorp the frobnicator", "", "stop"):
        report = world.loop.run(sentence)
        assert report.outcome is Outcome.NOT_UNDERSTOOD and report.sentence, sentence
    assert world.loop.run("point at the orange bottle").outcome is Outcome.DONE
    assert not world.motions


def test_what_another_has_picked_is_not_put_down(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    newborn = CellPorts(world.cell, world.where)
    report = newborn.loop.run("put it on the spot")
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.UNKNOWN_OBJECT, True, BOTTLE)
    assert [motion.kind for motion, _ in newborn.motions] == [MotionKind.HOME], "only the arm knows whether it holds something"


def test_what_another_has_picked_is_not_dropped_for_a_pick(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    newborn = CellPorts(world.cell, lambda expression: pixel_on(world.cell, 1))
    report = newborn.loop.run("pick up the yellow bottle")
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.HAND_FULL, True, BOTTLE), report
    assert [motion.kind for motion, _ in newborn.motions] == [MotionKind.HOME], "a pick would have opened the fingers"


def lands_on_the_hand(world: CellPorts) -> None:
    """Another bottle sticks in the hand, so that the arm stops where it is."""
    assert world.cell.arm.goal is not None
    over = world.cell.arm.goal.translation_m + [0.0, 0.0, 0.1]
    world.cell.move_object(1, Transform(np.array([0.0, 0.0, 0.0, 1.0]), over))


def freed_after(world: CellPorts, kind: MotionKind) -> Callable[[Step], None]:
    """Somebody takes that bottle off the hand once the arm stands."""

    def on_step(step: Step) -> None:
        if world.motions and world.motions[-1][0].kind is kind:
            world.cell.move_object(1, Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.3, -0.45, 0.001])))

    return on_step


def test_blocked_on_the_way_up_it_keeps_what_it_has_taken(world: CellPorts) -> None:
    world.deeds[Stage.RETREAT] = lambda: lands_on_the_hand(world)
    report = world.loop.run("pick up the orange bottle", on_step=freed_after(world, MotionKind.PICK))
    assert [result.outcome.value for _, result in world.picks] == ["collision"], "another pick would have opened the fingers"
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.DONE, True, BOTTLE), report
    check_safe(world, report)


def test_blocked_after_it_was_put_down(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    world.deeds[Stage.RETREAT] = lambda: lands_on_the_hand(world)
    report = world.loop.run("put it on the spot", on_step=freed_after(world, MotionKind.PLACE))
    assert world.motions[-2][1].outcome.value == "collision" and report.outcome is Outcome.DONE, report
    check_safe(world, report)


def test_lost_on_the_way_to_its_place(world: CellPorts) -> None:
    assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
    world.deeds[Stage.APPROACH] = lambda: world.cell.arm.world.set_slippery(True)
    report = world.loop.run("put it on the spot")
    assert (report.outcome, report.holding) == (Outcome.LOST, False) and "fell out of the gripper" in report.sentence, report
    check_safe(world, report)
