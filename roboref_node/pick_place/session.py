"""One sentence being worked on: the ports, the timeline, the gripper; what picking and placing have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roboref_node.arm import Motion, MotionKind, MotionResult, Stage
from roboref_node.arm import Outcome as MotionOutcome
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place.hand import UNKNOWN, Held
from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.ports import Arm, Confirm, Eyes, Interrupt, Look, Referrer, Watch
from roboref_node.pick_place.settings import LoopSettings
from roboref_node.pick_place.timeline import Step
from roboref_node.pick_place.verification import presence
from roboref_node.referral import Referral
from roboref_node.status import Status
from roboref_node.task import Task

FAILED = {
    MotionOutcome.UNREACHABLE: Outcome.UNREACHABLE,
    MotionOutcome.COLLISION: Outcome.COLLISION,
    MotionOutcome.EMPTY: Outcome.GRIPPER_EMPTY,
}
"""Names of the motions that another candidate may mend."""

_ASKS = 5
"""Frames that are asked about until the refer node has one of them."""


class Session:
    """Keeps the gripper and the camera's view from one sentence to the next; the rest belongs to the present sentence.

    Args:
        eyes: The camera.
        referrer: The refer node.
        arm: The arm.
        release_height_m: Height over the support at which the robot lets go (``profile.place.release_height_m``).
        interrupt: Says when the sentence has to end.
    """

    def __init__(self, eyes: Eyes, referrer: Referrer, arm: Arm, release_height_m: float, interrupt: Interrupt) -> None:
        self.eyes, self._referrer, self._arm = eyes, referrer, arm
        self.release_height_m = release_height_m
        self._interrupt = interrupt
        self.held: Held | None = None
        """What the gripper holds, as the arm has last reported."""
        self._gripper_is_known = False
        self._view_is_clear = True
        self._moved_ns = 0
        self.begin(LoopSettings(), lambda step: None, None)

    def begin(self, settings: LoopSettings, on_step: Callable[[Step], None], confirm: Confirm | None) -> None:
        """Start a sentence; the arguments are those of `Loop.run`."""
        self.settings, self._confirm = settings, confirm
        self.steps: list[Step] = []
        self._on_step = on_step
        self._started_s = time.monotonic()
        # Since the sentence before a person may have taken what was held; an empty hand is asked for before it opens.
        self._gripper_is_known = self._gripper_is_known and self.held is None
        self.place_ahead: tuple[float, float, float] | None = None
        """Where the next place was when it was asked for before the pick."""
        self.begin_task(0)

    def begin_task(self, index: int) -> None:
        """Start a task of the sentence."""
        self.task_index, self.attempt = index, 1

    def enter(self, state: State, sentence: str) -> None:
        """Announce what comes next.

        Raises:
            Ended: What the interrupt says.
        """
        self.note(state, sentence)
        ended = self._interrupt()
        if ended is not None:
            raise ended

    def note(self, state: State, sentence: str) -> None:
        """A line of the timeline."""
        step = Step(state, self.task_index, self.attempt, sentence, time.monotonic() - self._started_s)
        self.steps.append(step)
        self._on_step(step)

    def refer(self, task: Task, held: HeldObject | None = None, newer_than_ns: int = 0) -> tuple[Referral, Look]:
        """Where the object or the place is, on a frame since the last motion with the arm out of the view.

        Args:
            task: What is asked.
            held: What the gripper holds, for a place.
            newer_than_ns: The frame is to be newer than this too.

        Raises:
            Ended: REFUSED with the status and sentence of the refusal, and what looking, moving and asking raise.
        """
        self.clear_view()
        self.enter(State.REFER, f"where is {task.expression}?")
        referral, look = self.ask(task, held, newer_than_ns)
        if not referral.ok:
            outcome = Outcome.CANCELED if referral.status is Status.CANCELED else Outcome.REFUSED
            raise Ended(outcome, f"{referral.status.value}: {referral.sentence}")
        return referral, look

    def ask(self, task: Task, held: HeldObject | None, newer_than_ns: int = 0) -> tuple[Referral, Look]:
        """The answer, refusals too, and the frame it was given on; arguments as of `refer`."""
        look = self.look_again(newer_than_ns)
        for _ in range(_ASKS):
            referral = self._referrer.refer(task, held, look.frame.stamp_ns)
            if referral.status is not Status.FRAME_STALE:
                break
            # That frame is still on its way to the refer node, or was lost there: ask about the next one.
            look = self.eyes.look(look.frame.stamp_ns)
        if referral.ok and referral.stamp_ns != look.frame.stamp_ns:
            look = self.eyes.at(referral.stamp_ns)
        return referral, look

    @property
    def asks_person(self) -> bool:
        """Whether a person has to agree to each motion."""
        return self._confirm is not None

    def ask_person(self, question: str) -> None:
        """Wait for a yes, where that is wanted.

        Raises:
            Ended: NOT_CONFIRMED.
        """
        if self._confirm is None:
            return
        self.enter(State.CONFIRM, question)
        if not self._confirm(question):
            raise Ended(Outcome.NOT_CONFIRMED, f"{question} Nobody said yes")

    def clear_view(self, *, always: bool = False) -> None:
        """Move the arm out of the picture; what it holds comes along.

        Args:
            always: Also when it is out of the picture.

        Raises:
            Ended: LOST when something fell out of the gripper, and how the motion ended when it did not end well.
        """
        if self._view_is_clear and not always:
            return
        held = self.held
        self.enter(State.MOVE, "home, out of the camera's view")
        result = self.move(Motion(MotionKind.HOME), lambda stage: False)
        self._view_is_clear = result.outcome is MotionOutcome.DONE
        if held is not None and self.held is None:
            raise Ended(Outcome.LOST, f"{held.name} fell out of the gripper, or was taken out of it: {result.sentence}")
        if result.outcome is not MotionOutcome.DONE:
            raise Ended(FAILED.get(result.outcome, Outcome.STOPPED), f"on the way home: {result.sentence}")

    def know_gripper(self) -> None:
        """Have the arm tell whether it holds something: where it has not yet, where it did not answer when it moved last, and where it
        held something when the sentence before ended.

        Raises:
            Ended: What `clear_view` raises.
        """
        if not self._gripper_is_known:
            self.clear_view(always=True)

    def move(self, motion: Motion, watch: Watch, *, taking: Held | None = None) -> MotionResult:
        """Carry out a motion; `held` is then what the arm reports.

        Args:
            motion: The motion.
            watch: Stops the arm by returning True; the result is then CANCELED.
            taking: What a pick puts into the gripper.

        Raises:
            Ended: ARM_FAULT; what the interrupt says, or STOPPED, when the motion was stopped by anybody but `watch`.
        """
        self._view_is_clear = self._gripper_is_known = False
        remembering = _Remembering(watch)
        result = self._arm.move(motion, remembering)
        self._gripper_is_known = True
        self._moved_ns = self.eyes.now_ns()
        self.held = (self.held or taking or UNKNOWN) if result.holding else None
        if result.outcome is MotionOutcome.FAULT:
            raise Ended(Outcome.ARM_FAULT, result.sentence)
        if result.outcome is MotionOutcome.CANCELED and not remembering.fired:
            raise self._interrupt() or Ended(Outcome.STOPPED, f"the arm was stopped: {result.sentence}")
        return result

    def look_again(self, newer_than_ns: int = 0) -> Look:
        """A frame since the last motion, and newer than another one."""
        return self.eyes.look(max(self._moved_ns, newer_than_ns))

    def wait_for_view(
        self, points_m: NDArray[np.float64], place: str, newer_than_ns: int = 0, *, enough: Callable[[Look], bool] = lambda look: False
    ) -> Look:
        """A frame since the last motion on which not too many of the points are hidden.

        Args:
            points_m: Goal frame, shape (N, 3).
            place: What they are, for the sentence.
            newer_than_ns: The frame is to be newer than this too.
            enough: True for a frame that tells enough, whatever is hidden on it.

        Raises:
            Ended: NO_VIEW when they are hidden for too long, and what looking raises.
        """
        settings = self.settings
        deadline = time.monotonic() + settings.view_timeout_s
        look = self.look_again(newer_than_ns)
        while (found := presence(points_m, look, settings.presence_tolerance_m)).visible < settings.min_visible and not enough(look):
            if time.monotonic() > deadline:
                raise Ended(
                    Outcome.NO_VIEW,
                    f"{found.hidden:.0%} of {place} are hidden after {settings.view_timeout_s:g} s "
                    f"(loop.view_timeout_s, loop.min_visible = {settings.min_visible:g})",
                )
            look = self.eyes.look(look.frame.stamp_ns)
        return look


class _Remembering:
    """A watch that remembers whether it stopped the arm."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.fired = False

    def __call__(self, stage: Stage) -> bool:
        self.fired = self.fired or self._watch(stage)
        return self.fired
