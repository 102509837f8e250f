"""A simulated cell as eyes, refer node and arm of the loop, in one process: real images, real planning, real physics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from roboref_node.arm import Motion, MotionKind, MotionResult, Stage
from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.goals.profile import load_profile
from roboref_node.pick_place import Ended, Look, Loop
from roboref_node.pick_place.ports import Watch
from roboref_node.pipeline import Context, Pipeline
from roboref_node.referral import Referral
from roboref_node.sim.cell import SimulatedCell
from roboref_node.status import Status
from roboref_node.task import Task

STEP_S = 0.1
WATCH_EVERY = 2


class CellPorts:
    """All three ports over one cell.

    Args:
        cell: The cell; stepped on the calling thread.
        where: Gives the pixel of an expression from the cell's present state, None = not in the image.
    """

    def __init__(self, cell: SimulatedCell, where: Callable[[str], tuple[float, float] | None]) -> None:
        self.cell, self.where = cell, where
        self.pipeline = Pipeline(None, load_profile("ur5"))
        self.deeds: dict[Stage, Callable[[], object]] = {}
        """What happens, once, when the arm first reaches a stage of a pick or a place."""
        self.on_refer: Callable[[], object] = lambda: None
        self.ended: Ended | None = None
        self.motions: list[tuple[Motion, MotionResult]] = []
        self._frames: dict[int, Look] = {}
        self.loop = Loop(self, self, self, release_height_m=self.pipeline.profile.place.release_height_m, interrupt=lambda: self.ended)

    @property
    def picks(self) -> list[tuple[Motion, MotionResult]]:
        """The picks among the motions."""
        return [(motion, result) for motion, result in self.motions if motion.kind is MotionKind.PICK]

    # ---- eyes ----------------------------------------------------------------------------------------------------------------

    def now_ns(self) -> int:
        return self.cell.stamp_ns

    def look(self, newer_than_ns: int) -> Look:
        if self.ended is not None:
            raise self.ended
        while self.cell.stamp_ns <= newer_than_ns:
            self.cell.step(STEP_S)
        return self._look()

    def glance(self) -> Look | None:
        return self._look()

    def at(self, stamp_ns: int) -> Look:
        return self._frames[stamp_ns]

    def _look(self) -> Look:
        stamp = self.cell.stamp_ns
        if stamp not in self._frames:
            image = self.cell.render()
            self._frames[stamp] = Look(Frame(image.rgb, image.depth_m, self.cell.camera, stamp_ns=stamp), self.cell.base_from_optical)
        return self._frames[stamp]

    # ---- refer node ----------------------------------------------------------------------------------------------------------

    def refer(self, task: Task, held: HeldObject | None, stamp_ns: int) -> Referral:
        look = self._frames[stamp_ns]
        pixel = self.where(task.expression)
        if pixel is None:
            answer = Referral(task, Status.NOT_FOUND, f"{task.expression} is not in the image", stamp_ns=stamp_ns)
        else:
            answer = self.pipeline.refer(look.frame, task, {"base_link": look.goal_from_optical}, pixel=pixel, context=Context(held=held))
        self.on_refer()
        return answer

    # ---- arm -----------------------------------------------------------------------------------------------------------------

    def move(self, motion: Motion, watch: Watch) -> MotionResult:
        arm = self.cell.arm
        arm.start(motion)
        steps, told = 0, False
        while arm.busy:
            self.cell.step(STEP_S)
            deed = self.deeds.pop(arm.stage, None) if arm.busy and motion.kind is not MotionKind.HOME else None
            if deed is not None:
                deed()
            steps += 1
            if not told and (self.ended is not None or (steps % WATCH_EVERY == 0 and watch(arm.stage))):
                arm.stop()
                told = True
        assert arm.result is not None
        self.motions.append((motion, arm.result))
        return arm.result


def pixel_of(cell: SimulatedCell, point_m: tuple[float, float, float]) -> tuple[float, float] | None:
    """Where a world point is in the image; None outside."""
    u, v = cell.camera.project(cell.base_from_optical.inverse().apply(np.array([point_m])))[0]
    inside = math.isfinite(u) and 0 <= u < cell.width and 0 <= v < cell.height
    return (float(round(u)), float(round(v))) if inside else None


def pixel_on(cell: SimulatedCell, index: int) -> tuple[float, float] | None:
    """The pixel of an object's visible surface nearest to the middle of it; None when it is not seen."""
    rows, columns = np.nonzero(cell.truth().instance == index)
    if len(rows) < 30:
        return None
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return float(columns[nearest]), float(rows[nearest])


def standing(pose: Transform) -> bool:
    """True when an object is upright."""
    return float(pose.rotation[2, 2]) > 0.95
