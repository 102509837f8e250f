"""How a sentence can end, and what the loop is doing meanwhile: two closed lists of names."""

from __future__ import annotations

from enum import Enum


class State(str, Enum):
    """What the loop is doing; the value is the ``state`` of the action's feedback."""

    REFER = "refer"
    """Asking where the object or the place is."""
    CONFIRM = "confirm"
    """Waiting for a person's yes."""
    MOVE = "move"
    """The arm moves."""
    VERIFY = "verify"
    """Looking at a new frame, before a motion or after it."""
    RETRY = "retry"
    """Something went wrong that another look or another grasp may mend."""
    STOP = "stop"
    """Stopped or canceled; waiting for the arm to stand still."""


class Outcome(str, Enum):
    """How it ended. After every one of them the arm stands still, and what it holds it keeps holding."""

    DONE = "done"
    """Every task was done, and seen to be done on a new frame."""
    NOT_UNDERSTOOD = "not_understood"
    """The sentence is no instruction for an arm."""
    REFUSED = "refused"
    """The refer node gave no goal; the sentence begins with its status."""
    NOT_CONFIRMED = "not_confirmed"
    """Nobody said yes in time, or somebody said no."""
    HAND_FULL = "hand_full"
    """Asked to pick while something is held."""
    HAND_EMPTY = "hand_empty"
    """Asked to place while nothing is held."""
    UNKNOWN_OBJECT = "unknown_object"
    """Asked to place something that this node did not pick, or not mean to: how far it reaches below the fingers is not known."""
    UNREACHABLE = "unreachable"
    """The arm reaches none of the candidates."""
    COLLISION = "collision"
    """The arm would touch something with every candidate, or did and stopped there."""
    GRIPPER_EMPTY = "gripper_empty"
    """The fingers closed on nothing in every attempt; the object is still at its place."""
    KNOCKED_AWAY = "knocked_away"
    """The object left its place and is not in the gripper."""
    OBJECT_MOVED = "object_moved"
    """The object moved or vanished between the answer and the grasp, more often than it is asked for again."""
    STILL_THERE = "still_there"
    """The gripper holds something, but the object that was meant still stands at its place."""
    LOST = "lost"
    """What was held fell out of the gripper before it was placed."""
    UNSTEADY = "unsteady"
    """The place jumps from one answer to the next."""
    PLACE_TAKEN = "place_taken"
    """Something has come onto the place since it was chosen, or what carried it went; more often than another one is asked for."""
    MISPLACED = "misplaced"
    """It was let go, but it does not stand where it should."""
    PLACE_UNSEEN = "place_unseen"
    """It was let go, but its place is hidden from the camera."""
    ARM_FAULT = "arm_fault"
    """The robot itself reports a fault."""
    ARM_SILENT = "arm_silent"
    """No arm, or none that answers in time."""
    NO_ANSWER = "no_answer"
    """No refer node, or none that answers in time."""
    NO_VIEW = "no_view"
    """No new frame, no transform at its stamp, or the place in question is hidden."""
    STOPPED = "stopped"
    """Stopped: service, spoken word, button, or the arm's own stop."""
    CANCELED = "canceled"
    """The client canceled the goal, or the node shut down."""
    INTERNAL = "internal"
    """A defect of the software; the sentence names the exception."""


class Ended(Exception):
    """The loop ends here.

    Raised inside the loop and by its ports; `Loop.run` turns it into a `Report` and lets none escape.

    Args:
        outcome: The name.
        sentence: What happened, with the number that failed and the setting that governs it.
    """

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(f"{outcome.value}: {sentence}")
        self.outcome = outcome
        self.sentence = sentence
