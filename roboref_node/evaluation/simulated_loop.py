"""The closed loop on a simulated cell in one process: real images, real planning, contact physics, no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from roboref_node.arm import Motion, MotionKind, MotionResult
from roboref_node.frame import Frame
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place import Look, Loop
from roboref_node.pick_place.ports import Watch
from roboref_node.pipeline import Context, Pipeline
from roboref_node.referral import Referral
from roboref_node.sim.cell import SimulatedCell
from roboref_node.task import Task

STEP_S = 0.1
_MAX_MOTION_S = 60.0

Pixel = tuple[float, float]


@dataclass(frozen=True)
class Moved:
    """One motion, its end, and which object hung in the air after it (None = none)."""

    motion: Motion
    result: MotionResult
    hanging: int | None


class SimulatedLoop:
    """A cell as eyes, refer node and arm of a `Loop`.

    Nothing moves by itself here, so the camera does not watch the arm on its way to the object.

    Args:
        cell: The cell; stepped on the calling thread.
        pipeline: Answers the questions.
        pixel: Gives the pixel of a task instead of the model; None asks the pipeline's model.
        on_motion: Called after every step of a motion, for pictures.
    """

    def __init__(
        self,
        cell: SimulatedCell,
        pipeline: Pipeline,
        *,
        pixel: Callable[[Task], Pixel | None] | None = None,
        on_motion: Callable[[SimulatedCell], None] = lambda cell: None,
    ) -> None:
        self.cell, self.pipeline = cell, pipeline
        self.referrals: list[Referral] = []
        self.motions: list[Moved] = []
        self._pixel, self._on_motion = pixel, on_motion
        self._frames: dict[int, Look] = {}
        self.loop = Loop(self, self, self, release_height_m=pipeline.profile.place.release_height_m)

    def now_ns(self) -> int:
        """See `pick_place.ports.Eyes`."""
        return self.cell.stamp_ns

    def look(self, newer_than_ns: int) -> Look:
        """See `pick_place.ports.Eyes`."""
        while self.cell.stamp_ns <= newer_than_ns:
            self.cell.step(STEP_S)
        return self._look()

    def glance(self) -> Look | None:
        """See `pick_place.ports.Eyes`."""
        return self._look()

    def at(self, stamp_ns: int) -> Look:
        """See `pick_place.ports.Eyes`."""
        return self._frames[stamp_ns]

    def refer(self, task: Task, held: HeldObject | None, stamp_ns: int) -> Referral:
        """See `pick_place.ports.Referrer`."""
        look = self._frames[stamp_ns]
        pixel = None if self._pixel is None else self._pixel(task)
        transforms = {self.pipeline.profile.goal_frame: look.goal_from_optical}
        answer = self.pipeline.refer(look.frame, task, transforms, pixel=pixel, context=Context(held=held))
        self.referrals.append(answer)
        return answer

    def move(self, motion: Motion, watch: Watch) -> MotionResult:
        """See `pick_place.ports.Arm`."""
        arm = self.cell.arm
        arm.start(motion)
        started_ns = self.cell.stamp_ns
        while arm.busy:
            self.cell.step(STEP_S)
            self._on_motion(self.cell)
            if self.cell.stamp_ns - started_ns > _MAX_MOTION_S * 1e9:
                arm.stop()
        assert arm.result is not None
        if motion.kind is not MotionKind.HOME:
            self.motions.append(Moved(motion, arm.result, self.cell.held))
        return arm.result

    def settle(self, seconds: float = 1.5) -> None:
        """Let what was let go come to rest."""
        for _ in range(round(seconds / STEP_S)):
            self.cell.step(STEP_S)

    def _look(self) -> Look:
        stamp = self.cell.stamp_ns
        if stamp not in self._frames:
            image = self.cell.render()
            self._frames[stamp] = Look(Frame(image.rgb, image.depth_m, self.cell.camera, stamp_ns=stamp), self.cell.base_from_optical)
        return self._frames[stamp]
