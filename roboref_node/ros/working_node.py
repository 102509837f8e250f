"""A node that does its work on a thread of its own, while the executor serves parameters, services and actions."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from rclpy.node import Node

from roboref_node.ros.parameters import NodeParameters
from roboref_node.status import Refused

T = TypeVar("T")
_JOIN_S = 5.0


class WorkingNode(Node, ABC, Generic[T]):
    """Implements `process.Runnable`; a subclass gives `work`.

    The process ends when `work` returns, with status 1 when it raised. What `work` waits for, it waits for with `finished`.

    Args:
        name: Of the node.
        settings_class: Its parameters, see `NodeParameters`; fixed once `work` has begun.
        **kwargs: Passed on to `rclpy.node.Node`.
    """

    def __init__(self, name: str, settings_class: type[T], **kwargs: Any) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **kwargs)
        self.finished = threading.Event()
        self.exit_status = 0
        self._settings = NodeParameters(self, settings_class)
        self._thread = threading.Thread(target=self._run, name=f"roboref_{name}", daemon=True)

    @abstractmethod
    def work(self, settings: T) -> None:
        """What the node is there for, on its own thread; returns soon after `finished` is set.

        Raises:
            Refused: The work cannot be done; the sentence is logged.
        """

    def turns(self, period_s: float) -> Iterator[None]:
        """One turn per period until the node ends; after a late turn the next comes at once, and at most one is made up for."""
        next_s = time.monotonic()
        while not self.finished.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + period_s, time.monotonic() - period_s)
            yield

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> bool:
        """End the work; False when its thread does not stop."""
        self.finished.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            settings = self._settings.read()
            self._settings.freeze(True)
            self._settings.warn_of_unknown()
            self.work(settings)
        except Refused as refused:
            self.get_logger().error(refused.sentence)
            self.exit_status = 1
        except Exception as error:  # no GL, no memory, a broken bag: the process must say so and end
            self.get_logger().fatal(f"the work of {self.get_name()} failed: {type(error).__name__}: {error}")
            self.exit_status = 1
        self.finished.set()
