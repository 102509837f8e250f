"""What every filter does with its output, and the filter that is a subscription."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

_DEFAULT_DEPTH = 10


class SimpleFilter:
    """Calls the registered functions with what the filter puts out. The names are those of the genuine API."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Adds a function; it gets the messages and then `args`. Returns its number."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Puts out one set of messages."""
        for callback, args in self.callbacks.values():
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """A subscription whose messages go to the filters connected to it.

    Args:
        node: The node that subscribes.
        msg_type: Message class.
        topic: Topic name.
        kwargs: As for `Node.create_subscription`; `qos_profile` is 10 unless given.
    """

    def __init__(self, node: Node, msg_type: type, topic: str, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        kwargs.setdefault("qos_profile", _DEFAULT_DEPTH)
        self.sub = node.create_subscription(msg_type, topic, self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Takes a message of the topic."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """The topic name as it was given."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        # The subscription's attributes count as the filter's; `sub` itself is missing only while the constructor runs.
        if key == "sub":
            raise AttributeError(key)
        return getattr(self.sub, key)
