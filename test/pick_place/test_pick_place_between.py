"""What happens to the gripper between two sentences, or out of the loop's sight: only the arm knows what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cell_ports import CellPorts, pixel_of, pixel_on

from roboref_node.arm import Motion, MotionKind, MotionResult, Stage
from roboref_node.pick_place import Ended, Outcome
from roboref_node.pick_place.ports import Watch
from roboref_node.sim.cell import SimulatedCell

BOTTLE, OTHER, SPOT_M = 0, 1, (0.62, -0.12, 0.0)


@pytest.fixture
def world() -> Iterator[CellPorts]:
    """Three objects, two of which can be picked; whatever is asked for is pointed at rightly."""
    with SimulatedCell(3, 320, 240, shadows="off") as cell:
        spot = pixel_of(cell, SPOT_M)
        names = {"orange": BOTTLE, "yellow": OTHER}

        def where(expression: str) -> tuple[float, float] | None:
            return next((pixel_on(cell, index) for name, index in names.items() if name in expression), spot)

        world = CellPorts(cell, where)
        assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
        world.motions.clear()
        yield world


def kinds(world: CellPorts) -> list[MotionKind]:
    return [motion.kind for motion, _ in world.motions]


def test_what_a_person_took_out_of_the_hand_is_not_in_the_way_of_the_next_pick(world: CellPorts) -> None:
    """ "Hand me the cup": it is held out and taken; every pick was refused from then on, since the hand was believed to be full."""
    world.cell.remove_object(BOTTLE)
    report = world.loop.run("pick up the yellow bottle")
    assert (report.outcome, world.cell.held) == (Outcome.DONE, OTHER), report
    assert kinds(world)[:2] == [MotionKind.HOME, MotionKind.PICK], "the arm tells what it holds, and not twice"


def test_what_a_person_took_out_of_the_hand_is_not_put_down(world: CellPorts) -> None:
    """The arm went there, opened, and said that the bottle stood elsewhere."""
    world.cell.remove_object(BOTTLE)
    report = world.loop.run("put it on the spot")
    assert (report.outcome, report.holding) == (Outcome.LOST, False), report
    assert kinds(world) == [MotionKind.HOME]
    assert world.loop.run("put it on the spot").outcome is Outcome.HAND_EMPTY


def test_a_full_hand_takes_nothing(world: CellPorts) -> None:
    report = world.loop.run("pick up the yellow bottle")
    assert (report.outcome, report.holding, world.cell.held) == (Outcome.HAND_FULL, True, BOTTLE)
    assert kinds(world) == [MotionKind.HOME]


def test_an_arm_that_fell_silent_after_it_had_let_go_is_asked_what_it_holds(world: CellPorts) -> None:
    move = world.move

    def falls_silent(motion: Motion, watch: Watch) -> MotionResult:
        result = move(motion, watch)
        if motion.kind is MotionKind.PLACE:
            raise Ended(Outcome.ARM_SILENT, "the server ended in the middle of a goal")
        return result

    world.move = falls_silent  # type: ignore[method-assign]
    assert world.loop.run("put it on the spot").outcome is Outcome.ARM_SILENT
    assert world.cell.held is None
    world.move = move  # type: ignore[method-assign]
    report = world.loop.run("pick up the orange bottle")
    assert (report.outcome, world.cell.held) == (Outcome.DONE, BOTTLE), report


def without_stages(world: CellPorts) -> Callable[[Motion, Watch], MotionResult]:
    move = world.move
    return lambda motion, watch: move(motion, lambda stage: watch(Stage.APPROACH))


def test_an_arm_that_is_stopped_with_the_object_between_its_fingers_has_taken_it(world: CellPorts) -> None:
    """One whose feedback is late: the object "moves" because it is lifted."""
    assert world.loop.run("put it on the spot").outcome is Outcome.DONE
    world.move = without_stages(world)  # type: ignore[method-assign]
    report = world.loop.run("pick up the orange bottle")
    assert "canceled" in [result.outcome.value for _, result in world.picks]
    assert (report.outcome, world.cell.held) == (Outcome.DONE, BOTTLE), report
