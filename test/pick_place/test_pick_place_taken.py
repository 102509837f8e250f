"""What comes onto a place after it was chosen: nothing is put onto it, and what is held stays held."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from cell_ports import CellPorts, pixel_of, pixel_on

from roboref_node.arm import MotionKind, Stage
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place import LoopSettings, Outcome, State, Step
from roboref_node.pick_place.hand import hang_m
from roboref_node.sim.cell import SimulatedCell

BOTTLE, OTHER, SPOT_M, ELSEWHERE_M, AWAY_M = 0, 1, (0.62, -0.12, 0.0), (0.55, -0.02, 0.0), (0.25, -0.45, 0.0)
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def world() -> Iterator[CellPorts]:
    """Three objects, one of which is held; the spot is pointed at rightly."""
    with SimulatedCell(3, 320, 240, shadows="off") as cell:
        spot = pixel_of(cell, SPOT_M)
        world = CellPorts(cell, lambda expression: pixel_on(cell, BOTTLE) if "bottle" in expression else spot)
        assert world.loop.run("pick up the orange bottle").outcome is Outcome.DONE
        world.motions.clear()
        yield world


def put(world: CellPorts, place_m: tuple[float, float, float]) -> None:
    """Somebody puts another bottle there."""
    world.cell.move_object(OTHER, Transform(UPRIGHT, np.array(place_m)))


def places(world: CellPorts) -> list[str]:
    return [result.outcome.value for motion, result in world.motions if motion.kind is MotionKind.PLACE]


def before_the_motion(world: CellPorts, deed: Callable[[], object]) -> Callable[[Step], None]:
    """The next answer of the refer node is followed by a deed."""

    def once() -> None:
        world.on_refer = lambda: None
        deed()

    world.on_refer = once
    return lambda step: None


def as_the_arm_approaches(world: CellPorts, deed: Callable[[], object]) -> Callable[[Step], None]:
    world.deeds[Stage.APPROACH] = deed
    return lambda step: None


When = Callable[[CellPorts, Callable[[], object]], Callable[[Step], None]]


@pytest.mark.parametrize("when", [before_the_motion, as_the_arm_approaches])
def test_nothing_is_put_onto_what_has_come_there(world: CellPorts, when: When) -> None:
    report = world.loop.run("put it on the spot", on_step=when(world, lambda: put(world, SPOT_M)))
    assert report.outcome is Outcome.PLACE_TAKEN and "OCCUPIED" in report.sentence, report
    assert (report.holding, world.cell.held) == (True, BOTTLE)
    assert "done" not in places(world)
    np.testing.assert_allclose(world.cell.object_poses[OTHER].translation_m[:2], SPOT_M[:2], atol=0.01)
    assert not world.cell.arm.busy
    put(world, AWAY_M)
    world.cell.step(0.1)
    assert world.loop.run("put it on the spot").outcome is Outcome.DONE, "the place is free again"


@pytest.mark.parametrize("when", [before_the_motion, as_the_arm_approaches])
def test_another_free_place_is_asked_for(world: CellPorts, when: When) -> None:
    def take_and_point_elsewhere() -> None:
        put(world, SPOT_M)
        other = pixel_of(world.cell, ELSEWHERE_M)
        world.where = lambda expression: other

    report = world.loop.run("put it on the spot", on_step=when(world, take_and_point_elsewhere))
    assert report.outcome is Outcome.DONE, report
    assert [step for step in report.steps if step.state is State.RETRY and "new pixels" in step.sentence], report
    np.testing.assert_allclose(world.cell.object_poses[BOTTLE].translation_m[:2], ELSEWHERE_M[:2], atol=0.03)
    np.testing.assert_allclose(world.cell.object_poses[OTHER].translation_m[:2], SPOT_M[:2], atol=0.01)


def test_a_place_that_is_taken_again_and_again(world: CellPorts) -> None:
    """As soon as a place is chosen somebody puts something there."""
    spots = [SPOT_M, ELSEWHERE_M]

    def where(expression: str) -> tuple[float, float] | None:
        spots.reverse()
        return pixel_of(world.cell, spots[0])

    world.where, world.on_refer = where, lambda: put(world, spots[0])
    report = world.loop.run("put it on the spot", LoopSettings(max_asks=1))
    assert report.outcome is Outcome.PLACE_TAKEN and "loop.max_asks = 1" in report.sentence, report
    assert world.cell.held == BOTTLE and not places(world)


def test_what_carries_the_place_is_taken_away() -> None:
    """Where the box was there is air: the bottle would fall."""
    with SimulatedCell(3, 96, 72) as plain, SimulatedCell(8, 96, 72) as other:
        spec = plain.spec
        box = next(item for item in other.spec.objects if item.shape == "box")
    box = dataclasses.replace(box, position_m=SPOT_M)
    with SimulatedCell(3, 320, 240, shadows="off", spec=dataclasses.replace(spec, objects=(*spec.objects, box))) as cell:
        top = pixel_of(cell, (*SPOT_M[:2], box.extent_m[2]))
        world = CellPorts(cell, lambda expression: pixel_on(cell, OTHER) if "bottle" in expression else None if cell.removed else top)
        assert world.loop.run("pick up the yellow bottle").outcome is Outcome.DONE
        take_away = as_the_arm_approaches(world, lambda: cell.remove_object(len(spec.objects)))
        report = world.loop.run("put it on the box", on_step=take_away)
        assert report.outcome is Outcome.PLACE_TAKEN, report
        assert "went away" in report.sentence and "loop.min_present" in report.sentence and "NOT_FOUND" in report.sentence
        assert cell.held == OTHER


def test_how_far_below_its_base_an_object_may_hang() -> None:
    """A plate that is held by its lip turns downwards, and its own edge was taken for something on the place."""
    grip = Transform(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.0, 0.02]))
    plate = HeldObject(np.array([0.18, 0.18, 0.02]), 0.015, grip, np.array([0.08, 0.0, 0.015]))
    assert 0.12 < hang_m(plate) < 0.22
    bottle = HeldObject(np.array([0.07, 0.07, 0.2]), 0.1, grip, np.array([0.0, 0.0, 0.1]))
    assert 0.0 < hang_m(bottle) < 0.015
    assert 0.0 < hang_m(HeldObject(np.array([0.07, 0.07, 0.2]), 0.1)) < 0.015, "of one whose grasp is not known"
