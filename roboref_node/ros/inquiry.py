"""A question that a node asks a person: on a topic, for whoever speaks with that person, and answered by a yes or a no that names it.

Topic ``~/question`` (std_msgs/String with JSON, transient local, 1): `Asked`. Topic ``~/answer`` (std_msgs/String with JSON): `Answer`.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool

from roboref_node.ros import qos

_POLL_S = 0.02
_LONGEST_CHARS = 500


@dataclass(frozen=True)
class Asked:
    """What a node wants to know of a person now.

    Args:
        id: Of the question, never used twice; "" when the node has just started and asks nothing.
        is_open: It waits for an answer.
        text: The question; of one that is over: what the person may want to hear about its end, or "".
        timeout_s: How long it stays open, seconds.
    """

    id: str
    is_open: bool
    text: str
    timeout_s: float

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read the JSON of a message.

        Raises:
            ValueError: It is of another form.
        """
        data = _object(text)
        asked = cls(str(data["id"]), data["is_open"] is True, str(data["text"])[:_LONGEST_CHARS], float(str(data["timeout_s"])))
        if not math.isfinite(asked.timeout_s) or (asked.is_open and not asked.id):
            raise ValueError("a question needs an id and a finite timeout_s")
        return asked


@dataclass(frozen=True)
class Answer:
    """A yes or a no to the question that has this id."""

    id: str
    yes: bool

    @classmethod
    def parse(cls, text: str) -> Answer:
        """Read the JSON of a message.

        Raises:
            ValueError: It is of another form.
        """
        data = _object(text)
        if not isinstance(data["yes"], bool):
            raise ValueError("yes is neither true nor false")
        return cls(str(data["id"]), data["yes"])


def message_of(content: Asked | Answer) -> String:
    """The message that `parse` reads."""
    return String(data=json.dumps(asdict(content)))


def _object(text: str) -> dict[str, object]:
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    return _Complete(data)


class _Complete(dict[str, object]):
    def __missing__(self, key: str) -> object:
        raise ValueError(f"it lacks {key}")


class Inquiry:
    """Asks one question at a time; an answer comes on ``~/answer``, through ``~/confirm`` (std_srvs/SetBool) or by `give`.

    Args:
        node: Carries the interfaces; its executor takes the answers.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._changed = threading.Condition()
        self._open: Asked | None = None
        self._value: bool | None = None
        self._questions = node.create_publisher(String, "~/question", qos.LATCHED)
        self._questions.publish(message_of(Asked("", False, "", 0.0)))  # what the node asked before it was started anew is over
        node.create_subscription(String, "~/answer", self._on_answer, qos.ANSWERS)
        node.create_service(SetBool, "~/confirm", self._on_confirm)

    @property
    def is_open(self) -> bool:
        """True while somebody waits for an answer."""
        with self._changed:
            return self._open is not None and self._value is None

    @property
    def is_declined(self) -> bool:
        """True when the last question was answered with no."""
        with self._changed:
            return self._value is False

    def forget(self) -> None:
        """Another sentence begins: what was answered before says nothing about it."""
        with self._changed:
            self._value = None

    def give(self, yes: bool) -> bool:
        """Answer the open question; False when there is none. A no is never taken back."""
        with self._changed:
            if self._open is None:
                return False
            self._value = yes and self._value is not False
            self._changed.notify_all()
            return True

    def ask(self, text: str, timeout_s: float, check: Callable[[], None]) -> bool:
        """Wait for a yes or a no; silence is a no.

        Args:
            text: The question.
            timeout_s: How long it stays open.
            check: Called while it waits; what it raises ends the question.
        """
        asked = Asked(secrets.token_hex(8), True, text, timeout_s)
        deadline, silence = time.monotonic() + timeout_s, f"Nobody answered within {timeout_s:g} seconds, so I do nothing."
        with self._changed:
            self._open, self._value = asked, None
        self._questions.publish(message_of(asked))
        after = ""
        try:
            while time.monotonic() < deadline:
                check()
                with self._changed:
                    self._changed.wait_for(lambda: self._value is not None, _POLL_S)
                    if self._value is not None:
                        self._open = None  # in the same breath: a no that comes now ends what the yes began
                        return self._value
            with self._changed:
                self._open = None
                if self._value is not None:  # since the last look
                    return self._value
            after = silence
            return False
        finally:
            with self._changed:
                self._open = None
            self._questions.publish(message_of(Asked(asked.id, False, after, timeout_s)))

    def _on_answer(self, message: String) -> None:
        try:
            answer = Answer.parse(message.data)
        except ValueError as error:
            self._node.get_logger().warning(f"no answer: {message.data[:80]!r}: {error}", throttle_duration_sec=10.0)
            return
        with self._changed:
            fits = self._open is not None and self._open.id == answer.id
            if fits:
                self.give(answer.yes)
        if not fits:
            self._node.get_logger().warning(f"a {'yes' if answer.yes else 'no'} to a question that is not open moves nothing")

    def _on_confirm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = self.give(bool(request.data))
        response.message = "" if response.success else "no question is open"
        return response
