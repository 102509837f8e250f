"""What an arm is asked to do and how it ended: the content of ``roboref/action/MoveArm`` as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from roboref_node.geometry.transform import Transform


class MotionKind(str, Enum):
    """Which motion; the values are those of the action's field ``motion``."""

    PICK = "pick"
    PLACE = "place"
    HOME = "home"


class Outcome(str, Enum):
    """How a motion ended; the values are those of the action's field ``outcome``. After each of them the arm stands still."""

    DONE = "done"
    UNREACHABLE = "unreachable"
    COLLISION = "collision"
    EMPTY = "gripper_empty"
    FAULT = "fault"
    CANCELED = "canceled"


class Stage(str, Enum):
    """What the arm is doing; the values are those of the action's feedback."""

    PLAN = "plan"
    APPROACH = "approach"
    ADVANCE = "advance"
    CLOSE = "close"
    OPEN = "open"
    RETREAT = "retreat"


@dataclass(frozen=True, eq=False)
class Motion:
    """One motion.

    Args:
        kind: PICK, PLACE or HOME.
        approach: base_from_tool where the straight part starts and ends; None for HOME.
        goal: base_from_tool where the gripper closes (PICK) or opens (PLACE); None for HOME.
        width_m: Opening before the fingers close; None = fully open.

    Raises:
        ValueError: A pose is missing, or the width is not positive.
    """

    kind: MotionKind
    approach: Transform | None = None
    goal: Transform | None = None
    width_m: float | None = None

    def __post_init__(self) -> None:
        if self.kind is not MotionKind.HOME and (self.approach is None or self.goal is None):
            raise ValueError(f"a motion of kind {self.kind.value} needs approach and goal")
        if self.width_m is not None and not self.width_m > 0.0:
            raise ValueError(f"width_m is {self.width_m}; the gripper opens by a positive width, None = fully")


@dataclass(frozen=True)
class MotionResult:
    """How a motion ended.

    Args:
        outcome: See `Outcome`.
        sentence: What happened, with the number that failed.
        holding: Something is between the fingers.
        opening_m: Distance between the fingers.
    """

    outcome: Outcome
    sentence: str
    holding: bool
    opening_m: float
