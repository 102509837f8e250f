"""What changes while a person is asked, or stands in front: nothing moves on what was seen before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from cell_ports import CellPorts, pixel_of, pixel_on

from roboref_node.geometry.transform import Transform
from roboref_node.pick_place import LoopSettings, Outcome, State, Step
from roboref_node.sim.cell import SimulatedCell

BOTTLE, SPOT_M = 0, (0.62, -0.12, 0.0)
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
AWAY_M = (0.25, -0.45, 0.0)


@pytest.fixture
def world() -> Iterator[CellPorts]:
    """Three objects; the bottle is pointed at rightly, and so is the spot."""
    with SimulatedCell(3, 320, 240, shadows="off") as cell:
        spot = pixel_of(cell, SPOT_M)
        yield CellPorts(cell, lambda expression: pixel_on(cell, BOTTLE) if "bottle" in expression else spot)


def put(world: CellPorts, index: int, place_m: tuple[float, float, float]) -> None:
    world.cell.move_object(index, Transform(UPRIGHT, np.array(place_m)))


def stand_in_front_of(world: CellPorts, point_m: tuple[float, float, float]) -> None:
    """The other objects, in the air before the camera: they fall, but not before the next frame."""
    eye = world.cell.base_from_optical.translation_m
    towards = np.array(point_m) - eye
    towards /= np.linalg.norm(towards)
    for index in range(1, len(world.cell.spec.objects)):
        middle = eye + 0.2 * towards + [0.0, 0.0, 0.05 - 0.5 * world.cell.spec.objects[index].extent_m[2]]
        world.cell.move_object(index, Transform(UPRIGHT, middle + 0.03 * (index - 1.5) * np.cross(towards, [0.0, 0.0, 1.0])))


def answering(world: CellPorts, *meanwhile: Callable[[], object] | None) -> Callable[[str], bool]:
    """A person who says yes, and what happens while the questions are open, in turn."""
    deeds = iter(meanwhile)

    def confirm(question: str) -> bool:
        deed = next(deeds, None)
        if deed is not None:
            deed()
        return True

    return confirm


def test_what_is_put_onto_the_place_while_the_question_is_open(world: CellPorts) -> None:
    """The yes came half a minute after the place had been looked at, and the bottle was put onto what stood there by then."""
    confirm = answering(world, None, lambda: put(world, 1, SPOT_M))
    report = world.loop.run("pick up the orange bottle and put it on the spot", confirm=confirm)
    assert report.outcome in (Outcome.REFUSED, Outcome.UNSTEADY), report
    assert report.holding and world.cell.held == BOTTLE
    assert [motion.kind.value for motion, _ in world.motions].count("place") == 0


def test_a_place_that_has_moved_is_asked_about_again(world: CellPorts) -> None:
    questions: list[str] = []
    elsewhere = (0.55, -0.12, 0.0)

    def confirm(question: str) -> bool:
        questions.append(question)
        if len(questions) == 2:  # "behind the bowl", and the bowl is put elsewhere
            moved = pixel_of(world.cell, elsewhere)
            world.where = lambda expression: pixel_on(world.cell, BOTTLE) if "bottle" in expression else moved
        return True

    report = world.loop.run("pick up the orange bottle and put it on the spot", confirm=confirm)
    assert len(questions) == 3 and questions[1] == questions[2]
    assert report.outcome is Outcome.DONE, report
    np.testing.assert_allclose(world.cell.object_poses[BOTTLE].translation_m[:2], elsewhere[:2], atol=0.04)


def test_what_is_taken_out_of_the_gripper_while_the_question_is_open_is_lost(world: CellPorts) -> None:
    """The arm went to the place, opened over it, and said that the bottle stood elsewhere."""
    confirm = answering(world, None, lambda: world.cell.remove_object(BOTTLE))
    report = world.loop.run("pick up the orange bottle and put it on the spot", confirm=confirm)
    assert report.outcome is Outcome.LOST and not report.holding, report
    assert [motion.kind.value for motion, _ in world.motions].count("place") == 0


def test_the_arm_does_not_reach_behind_somebody(world: CellPorts) -> None:
    """What hides the object may be a person's arm; from what is hidden nothing follows, and so it went."""
    settings = LoopSettings(view_timeout_s=0.5)
    middle = tuple(world.cell.object_poses[BOTTLE].translation_m + [0.0, 0.0, 0.08])
    seen = iter(range(100))
    hidden: list[int] = []

    def on_step(step: Step) -> None:
        if step.state is State.VERIFY and next(seen) == 0:
            hidden.append(1)

    look = world.look

    def looking(newer_than_ns: int):  # type: ignore[no-untyped-def]
        if hidden:
            stand_in_front_of(world, middle)
        return look(newer_than_ns)

    world.look = looking  # type: ignore[method-assign]
    report = world.loop.run("pick up the orange bottle", settings, on_step=on_step)
    assert report.outcome is Outcome.NO_VIEW and "loop.min_visible" in report.sentence, report
    assert not world.picks and not report.holding
