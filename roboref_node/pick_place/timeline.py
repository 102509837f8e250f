"""What happened, state by state, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from roboref_node.pick_place.outcome import Outcome, State


@dataclass(frozen=True)
class Step:
    """One line of the timeline.

    Args:
        state: What the loop is doing.
        task_index: Position of the task in the sentence.
        attempt: Of this task, from 1.
        sentence: In words.
        elapsed_s: Since the sentence arrived.
    """

    state: State
    task_index: int
    attempt: int
    sentence: str
    elapsed_s: float


@dataclass(frozen=True)
class Report:
    """How a sentence ended.

    Args:
        outcome: The name.
        sentence: What happened.
        tasks_done: Tasks that were done and verified.
        task_count: Tasks of the sentence; 0 when it was not understood.
        holding: Something is in the gripper.
        steps: The timeline.
    """

    outcome: Outcome
    sentence: str
    tasks_done: int
    task_count: int
    holding: bool
    steps: tuple[Step, ...]
