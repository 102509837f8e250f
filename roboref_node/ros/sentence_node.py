"""A node that is given sentences, on a topic or through an action, and works on one at a time on a thread of its own."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from roboref.action import PickPlace

from roboref_node.language import Act
from roboref_node.ros import qos
from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.last_results import results_leave
from roboref_node.ros.profile import ProfileParameters
from roboref_node.status import Refused
from roboref_node.task import find_dialogue

Tell = Callable[[PickPlace.Feedback], None]

DONE = "done"
"""Outcome of an action that succeeds; every other one aborts it."""
_EXIT_S = 3.0
"""How long the end of the process waits for the robot to stand still."""


class SentenceNode(Node, ABC):
    """Implements `process.Runnable`; a subclass gives `set_up`, `prepare`, `work_on`, `ended` and `interrupt`.

    Threads: the executor for requests and the actions of others, one for the sentence being worked on, which waits.

    Args:
        name: Of the node.
        overtaken: Outcome of an action goal that was accepted while another sentence began.
        **kwargs: Passed on to `rclpy.node.Node`.
    """

    def __init__(self, name: str, overtaken: str, **kwargs: Any) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)
        self.finished = threading.Event()
        self.exit_status = 0
        self.busy = False
        self.profile_parameters = ProfileParameters(self)
        self._overtaken = overtaken
        self.next_instruction = ""
        """What was said instead of the sentence being worked on; begun when that has ended. A stop takes it back."""
        self._closing = False
        self._worker: threading.Thread | None = None
        self._results: dict[bytes, Future] = {}

    @abstractmethod
    def set_up(self) -> None:
        """Read the parameters and offer the interfaces.

        Raises:
            Refused: A wrong parameter; the node ends.
        """

    @abstractmethod
    def prepare(self, instruction: str) -> None:
        """Forget what belongs to the sentence before; in the executor, before the worker begins."""

    @abstractmethod
    def work_on(self, instruction: str, tell: Tell) -> PickPlace.Result:
        """Do what a sentence asks for, on the worker's thread; `tell` gives feedback to the action's client, if there is one."""

    @abstractmethod
    def ended(self, instruction: str, result: PickPlace.Result) -> None:
        """A sentence was ended and the next one may come; on the worker's thread."""

    @abstractmethod
    def interrupt(self, reason: str) -> str:
        """End the sentence being worked on and stop the robot; returns what was done about it."""

    def stop(self, reason: str) -> str:
        """Stop the robot, whoever moves it; returns what was done about it."""
        return self.interrupt(reason)

    def start(self) -> None:
        """Set the node up; a wrong parameter ends it."""
        try:
            self.set_up()
        except Refused as refused:
            self.get_logger().error(f"not started: {refused.sentence}")
            self.exit_status = 1
            self.finished.set()

    def offer(self, action: str) -> None:
        """Take sentences through the action of this name from now on."""
        self._actions = ActionServer(
            self, PickPlace, action, execute_callback=self._await_result, goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted, cancel_callback=self._on_cancel, **qos.ACTION_SERVICES,
        )  # fmt: skip

    def close(self) -> bool:
        """Stop the robot, answer who waits and end the thread; False when it is still busy."""
        self._closing = True
        with results_leave(self._results):
            if self.busy:
                self.interrupt("the node is shutting down")
            if self._worker is not None:
                self._worker.join(_EXIT_S)
        return self._worker is None or not self._worker.is_alive()

    def begin(self, instruction: str, handle: Any = None) -> bool:
        """Start to work on a sentence; False when another one is not finished, or the node is ending."""
        if self.busy or self._closing:
            return False
        self.busy = True
        self.prepare(instruction)
        self._worker = threading.Thread(target=self._work, args=(instruction, handle), name=f"roboref_{self.get_name()}", daemon=True)
        self._worker.start()
        return True

    def _work(self, instruction: str, handle: Any) -> None:
        def tell(feedback: PickPlace.Feedback) -> None:
            if handle is not None and handle.is_active:
                handle.publish_feedback(feedback)

        result = self.work_on(instruction, tell)
        self.get_logger().info(f"{result.outcome}: {result.sentence}")
        self.busy = False
        self.ended(instruction, result)
        call_soon(self, self._begin_next)
        if handle is not None:
            call_soon(self, self._results[_key(handle)].set_result, result)

    def _begin_next(self) -> None:
        """In the executor, where a stop may have taken it back."""
        following, self.next_instruction = self.next_instruction, ""
        if following and not self.begin(following):
            self.get_logger().warning(f'"{following[:80]}" is not done: another sentence came before it')

    def _on_goal(self, goal: PickPlace.Goal) -> GoalResponse:
        said = find_dialogue(goal.instruction)
        if said is not None and said.act is Act.STOP:
            self.stop("somebody said stop")
        elif said is not None and said.act is Act.CANCEL:
            self.interrupt("somebody said cancel")
        if not self.busy:
            return GoalResponse.ACCEPT
        # The action protocol has no room for a reason: it goes to the log.
        self.get_logger().warning(f'goal "{goal.instruction[:80]}" rejected: the sentence before is not finished')
        return GoalResponse.REJECT

    def _on_accepted(self, handle: Any) -> None:
        future = self._results[_key(handle)] = Future(executor=self.executor)
        if not self.begin(handle.request.instruction, handle):
            future.set_result(PickPlace.Result(outcome=self._overtaken, sentence="another sentence came at the same moment"))
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if _key(handle) not in self._results:
            return CancelResponse.REJECT
        self.interrupt("canceled by the client")
        return CancelResponse.ACCEPT

    async def _await_result(self, handle: Any) -> PickPlace.Result:
        result: PickPlace.Result = await self._results[_key(handle)]
        del self._results[_key(handle)]
        if handle.is_cancel_requested:
            handle.canceled()
        elif result.outcome == DONE:
            handle.succeed()
        else:
            handle.abort()
        return result


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)
