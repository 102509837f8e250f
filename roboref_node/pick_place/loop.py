"""From a sentence to its outcome. The order of the calls in `picking` and `placing` is the state machine."""

from __future__ import annotations

import logging
from collections.abc import Callable

from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.picking import Pick
from roboref_node.pick_place.placing import Place
from roboref_node.pick_place.ports import Arm, Confirm, Eyes, Interrupt, Referrer
from roboref_node.pick_place.session import Session
from roboref_node.pick_place.settings import LoopSettings
from roboref_node.pick_place.timeline import Report, Step
from roboref_node.status import Refused
from roboref_node.task import Task, TaskKind, parse_instruction

_LOG = logging.getLogger(__name__)


class Loop:
    """Refers, moves, looks again; one sentence at a time. It remembers what the gripper holds from one sentence to the next.

    Args:
        eyes: The camera.
        referrer: The refer node.
        arm: The arm.
        release_height_m: Height over the support at which the robot lets go (``profile.place.release_height_m``).
        interrupt: Says when the present sentence has to end.
    """

    def __init__(self, eyes: Eyes, referrer: Referrer, arm: Arm, *, release_height_m: float, interrupt: Interrupt = lambda: None) -> None:
        self._session = Session(eyes, referrer, arm, release_height_m, interrupt)

    @property
    def holding(self) -> bool:
        """Something is in the gripper, as far as is known."""
        return self._session.held is not None

    def run(
        self, instruction: str, settings: LoopSettings | None = None, *, on_step: Callable[[Step], None] = lambda step: None,
        confirm: Confirm | None = None,
    ) -> Report:  # fmt: skip
        """Do what a sentence asks. Never raises.

        Args:
            instruction: The sentence.
            settings: When to believe what is seen, how often to try again.
            on_step: Called with every state as it is entered.
            confirm: Asks a person before each motion towards an object or a place; None: nobody is asked.
        """
        session = self._session
        session.begin(settings or LoopSettings(), on_step, confirm)
        tasks: tuple[Task, ...] = ()
        try:
            tasks = _understand(instruction)
            sentence = ""
            for index, task in enumerate(tasks):
                session.begin_task(index)
                sentence = self._do(task, tasks[index + 1] if index + 1 < len(tasks) else None)
            return Report(Outcome.DONE, sentence, len(tasks), len(tasks), self.holding, tuple(session.steps))
        except Ended as end:
            if end.outcome in (Outcome.STOPPED, Outcome.CANCELED):
                session.note(State.STOP, end.sentence)
            outcome, sentence = end.outcome, end.sentence
        except Exception as error:  # a defect must not leave a sentence without an outcome
            _LOG.exception("the loop failed on %r", instruction)
            outcome, sentence = Outcome.INTERNAL, f"defect in roboref, please report it: {type(error).__name__}: {error}"
        return Report(outcome, sentence, session.task_index, len(tasks), self.holding, tuple(session.steps))

    def _do(self, task: Task, follower: Task | None) -> str:
        if task.kind is TaskKind.PICK:
            place = follower if follower is not None and follower.kind is TaskKind.PLACE else None
            return Pick(self._session, task, place).run()
        if task.kind is TaskKind.PLACE:
            return Place(self._session, task).run()
        return self._session.refer(task)[0].sentence


def _understand(instruction: str) -> tuple[Task, ...]:
    try:
        tasks = parse_instruction(instruction)
    except Refused as refused:
        raise Ended(Outcome.NOT_UNDERSTOOD, refused.sentence) from refused
    held = ""
    for task in tasks:
        if task.kind is TaskKind.NAVIGATE:
            raise Ended(Outcome.NOT_UNDERSTOOD, f'"{task.expression}": an arm does not go anywhere; it can pick, place and point at things')
        if task.kind is TaskKind.PICK and held:
            raise Ended(
                Outcome.HAND_FULL,
                f"asked to pick {task.expression} while the gripper would hold {held}: say where to put that first",
            )
        held = {TaskKind.PICK: task.expression, TaskKind.PLACE: ""}.get(task.kind, held)
    return tasks
