"""The nodes that ask a person something, as the node that speaks with that person sees them. The other side is `inquiry.Inquiry`."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.node import Node
from std_msgs.msg import String

from roboref_node.ros import qos
from roboref_node.ros.inquiry import Answer, Asked, message_of
from roboref_node.speech.conversation import Inquiry


class Inquirers:
    """Hears their questions and passes answers on.

    Args:
        node: Carries the interfaces.
        names: Of the nodes; relative ones are resolved by the node.
        on_asked: Called in the executor with a question that is open.
        on_closed: Called in the executor with the node, the id and what the person may want to hear, when a question is over.
    """

    def __init__(
        self, node: Node, names: Sequence[str], *, on_asked: Callable[[Inquiry], None], on_closed: Callable[[str, str, str], None]
    ) -> None:
        self._node, self._on_asked, self._on_closed = node, on_asked, on_closed
        self._answers = {name: node.create_publisher(String, f"{name}/answer", qos.ANSWERS) for name in names if name}
        for name in self._answers:
            node.create_subscription(String, f"{name}/question", self._hears(name), qos.LATCHED)

    def _hears(self, name: str) -> Callable[[String], None]:
        def on_question(message: String) -> None:
            try:
                asked = Asked.parse(message.data)
            except ValueError as error:
                self._node.get_logger().warning(f"{name}/question: {message.data[:80]!r}: {error}", throttle_duration_sec=10.0)
                return
            if asked.is_open:
                self._on_asked(Inquiry(name, asked.id, asked.text, asked.timeout_s))
            else:
                self._on_closed(name, asked.id, asked.text)

        return on_question

    def answer(self, inquiry: Inquiry, yes: bool) -> None:
        """Tell the node that asked."""
        self._answers[inquiry.asker].publish(message_of(Answer(inquiry.id, yes)))
