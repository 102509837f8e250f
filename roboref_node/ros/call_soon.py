"""Work that must be done in the executor's thread, handed over by another one."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node


def call_soon(node: Node, work: Callable[..., object], *arguments: object) -> None:
    """Have the executor of `node` call ``work(*arguments)``, and wake it. Nothing happens when the executor is gone: the node ends."""
    executor = node.executor
    if executor is not None:
        executor.create_task(work, *arguments)
