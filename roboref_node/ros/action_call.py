"""One action goal, sent and waited for from a worker thread while the executor goes on."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from action_msgs.msg import GoalStatus
from rclpy.action.client import ActionClient
from rclpy.node import Node, NodeNameNonExistentError

from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.stopwatch import Stopwatch

T = TypeVar("T")

_POLL_S = 0.02
_GONE_S = 2.0
"""A server that is not to be seen for longer has ended, and its result will never come."""


class NotServed(Exception):
    """There is no server, it rejected the goal, or it did not answer in time; the sentence says which."""


class Rejected(NotServed):
    """There is a server, which did not take the goal: nothing was begun."""


class ActionCaller:
    """An action client for one caller at a time.

    Args:
        node: Its executor must spin, on another thread than the caller's.
        kind: Action type.
        name: Action name, relative names are resolved by the node.
    """

    def __init__(self, node: Node, kind: Any, name: str) -> None:
        self._node = node
        self.name = node.resolve_topic_name(name)
        self._client = ActionClient(node, kind, name)
        self._handle: Any = None

    @property
    def ready(self) -> bool:
        """True when a server is there."""
        return bool(self._client.server_is_ready())

    def server_publishes(self, topic: str, *, wait_s: float, poll: Callable[[], bool]) -> bool:
        """Whether the node that serves the action publishes a topic as well. What others publish there does not count.

        Args:
            topic: Its name, relative ones are resolved by the node.
            wait_s: How long to wait for the server.
            poll: Asked fifty times a second; True ends the waiting.

        Raises:
            NotServed: There is no server.
        """
        return self._node.resolve_topic_name(topic) in self._wait_for(self._published_by_server, wait_s, poll)

    def _published_by_server(self) -> set[str]:
        """Topics of the node that serves the action, none while it is not known. An action's own topics are a node's last to be found."""
        for name, namespace in self._node.get_node_names_and_namespaces():
            try:
                found = self._node.get_publisher_names_and_types_by_node(name, namespace)
            except (NodeNameNonExistentError, ValueError, RuntimeError):  # it has just left
                continue
            topics = {topic for topic, _ in found}
            if f"{self.name}/_action/status" in topics:
                return topics
        return set()

    def call(
        self, goal: Any, *, wait_s: float, timeout_s: float, stopping_s: float, poll: Callable[[], bool],
        on_feedback: Callable[[Any], None] = lambda feedback: None,
    ) -> Any:  # fmt: skip
        """Send a goal and wait for its result.

        Args:
            goal: The goal message.
            wait_s: How long to wait for a server, and for it to accept.
            timeout_s: How long to wait for the result, by the node's clock: a slow simulation is given its time. A clock that
                stands still for as long has stopped.
            stopping_s: How long a goal that was told to stop may take to end, likewise.
            poll: Asked fifty times a second; True cancels the goal, whose result is still waited for.
            on_feedback: Called with each feedback, on the executor's thread.

        Raises:
            NotServed: No server, rejected, or no result in time; the goal has then been canceled. Or the result was forgotten.
        """
        self._wait_for(lambda: self.ready, wait_s, poll)
        accepting = _Pending(self._node, lambda: self._client.send_goal_async(goal, lambda message: on_feedback(message.feedback)))
        if not accepting.wait(wait_s):
            # It may have been accepted all the same: should the answer come late, what it started is ended.
            accepting.then(lambda handle: handle.cancel_goal_async() if handle.accepted else None)
            raise NotServed(f"{self.name} did not accept the goal within {wait_s:g} s")
        handle = accepting.result
        if not handle.accepted:
            raise Rejected(f"{self.name} rejected the goal: it is busy or not active")
        self._handle = handle
        try:
            return self._await_result(_Pending(self._node, handle.get_result_async), timeout_s, stopping_s, poll)
        except BaseException:  # nobody waits for the result any more: too late, or a defect of `poll`
            call_soon(self._node, handle.cancel_goal_async)
            raise
        finally:
            self._handle = None

    def cancel(self) -> None:
        """Cancel the goal that runs, if there is one. Returns at once; called on the executor's thread."""
        handle = self._handle
        if handle is not None:
            handle.cancel_goal_async()

    def _wait_for(self, look: Callable[[], T], wait_s: float, poll: Callable[[], bool]) -> T:
        """What a look at the server gives, as soon as there is something to see."""
        deadline = time.monotonic() + wait_s
        while not (found := look()):
            if poll() or time.monotonic() > deadline:
                raise NotServed(f"nobody serves {self.name} (waited up to {wait_s:g} s)")
            time.sleep(_POLL_S)
        return found

    def _await_result(self, pending: _Pending, timeout_s: float, stopping_s: float, poll: Callable[[], bool]) -> Any:
        watch, stopping, seen_s = Stopwatch(self._node.get_clock()), False, time.monotonic()
        while not pending.wait(_POLL_S):
            now_s = time.monotonic()
            seen_s = now_s if self.ready else seen_s
            if now_s - seen_s > _GONE_S:
                raise NotServed(f"the server of {self.name} ended in the middle of a goal")
            if stopping:
                if watch.elapsed_s() > stopping_s:
                    raise NotServed(f"{self.name} was told to stop and did not end within {stopping_s:g} s")
                continue
            if watch.elapsed_s() > timeout_s:
                raise NotServed(f"{self.name} gave no result within {timeout_s:g} s; it was told to stop")
            if poll():
                call_soon(self._node, self.cancel)
                watch, stopping = Stopwatch(self._node.get_clock()), True
        if pending.result.status == GoalStatus.STATUS_UNKNOWN:
            # rclpy forgets a result by the node's clock: one that jumps makes it forget at once, and the answer is an empty message.
            raise NotServed(f"{self.name} had forgotten the result when it was asked for: did the clock jump?")
        return pending.result.result


class _Pending:
    """A request made in the executor's thread (an action client drops an answer that comes while another thread still asks)."""

    def __init__(self, node: Node, request: Callable[[], Any]) -> None:
        self._done = threading.Event()
        self._future: Any = None
        self._node = node

        def start() -> None:
            self._future = request()
            self._future.add_done_callback(lambda _: self._done.set())

        call_soon(node, start)

    def wait(self, timeout_s: float) -> bool:
        return self._done.wait(timeout_s)

    def then(self, follow: Callable[[Any], Any]) -> None:
        """Do something with a result that comes late."""
        call_soon(self._node, lambda: self._future.add_done_callback(lambda future: follow(future.result())))

    @property
    def result(self) -> Any:
        return self._future.result()
