"""A node of a program that is not a node itself: its own context, spinning on a thread of its own."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import try_shutdown


class SpinningNode:
    """Spins from entry to exit; subscriptions and clients are made on `node` by whoever uses it.

    Args:
        name: Name of the node.
        sim_time: Take time from ``/clock``.
    """

    def __init__(self, name: str, *, sim_time: bool = False) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        overrides = [Parameter("use_sim_time", value=sim_time)]
        self.node: Node = rclpy.create_node(name, context=self._context, parameter_overrides=overrides)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def __enter__(self) -> Node:
        self._thread.start()
        return self.node

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self.node.destroy_node()
        try_shutdown(context=self._context)
