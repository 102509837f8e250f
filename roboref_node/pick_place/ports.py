"""What the loop needs of the world: eyes, somebody who refers, and an arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from roboref_node.arm import Motion, MotionResult, Stage
from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place.outcome import Ended
from roboref_node.referral import Referral
from roboref_node.task import Task


@dataclass(frozen=True, eq=False)
class Look:
    """A frame and where its camera was.

    Args:
        frame: Colour and depth.
        goal_from_optical: Camera pose in the goal frame (z up) at the frame's stamp.
    """

    frame: Frame
    goal_from_optical: Transform


Interrupt = Callable[[], Ended | None]
"""STOPPED or CANCELED once a person or the client wants the sentence to end, else None. Ports ask it while they wait, and raise it."""


class Eyes(Protocol):
    """The camera. `look` and `at` raise `Ended` NO_VIEW when there is no such frame, and what the interrupt says while they wait."""

    def now_ns(self) -> int:
        """The camera's clock, nanoseconds."""
        ...

    def look(self, newer_than_ns: int) -> Look:
        """The newest frame, exposed after `newer_than_ns`; waits for it."""
        ...

    def glance(self) -> Look | None:
        """The newest frame if there is one at hand; never waits and never raises."""
        ...

    def at(self, stamp_ns: int) -> Look:
        """The frame that an answer was given on."""
        ...


class Referrer(Protocol):
    """Who answers where something is."""

    def refer(self, task: Task, held: HeldObject | None, stamp_ns: int) -> Referral:
        """The answer to one task; a refusal is an answer.

        Args:
            task: What is asked.
            held: What the gripper holds, or would hold, for a place.
            stamp_ns: The frame to answer on; 0: the newest.

        Raises:
            Ended: NO_ANSWER when none comes in time, or what the interrupt says while it waits.
        """
        ...


Confirm = Callable[[str], bool]
"""Asks a person a question; True = yes. Raises `Ended` with what the interrupt says while it waits."""


Watch = Callable[[Stage], bool]
"""Called with the motion's stage some ten times a second; True stops the arm."""


class Arm(Protocol):
    """The arm and its gripper."""

    def move(self, motion: Motion, watch: Watch) -> MotionResult:
        """Carry out a motion and wait for its end.

        An interrupt stops the motion, and it ends CANCELED; so does a `watch` that returns True.

        Raises:
            Ended: ARM_SILENT when there is no arm, when it rejects the motion, or when it does not end in time; the arm has then
                been told to stop.
        """
        ...
