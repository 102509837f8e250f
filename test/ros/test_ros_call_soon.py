"""Work handed to the thread of a node's executor, and to one that is gone."""

import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from roboref_node.ros.call_soon import call_soon


def test_work_is_done_in_the_executor_and_dropped_when_there_is_none():
    context = Context()
    context.init()
    node, done = Node("n", context=context), []
    try:
        call_soon(node, done.append, "nobody spins")
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=call_soon, args=(node, done.append, "spun"))
        thread.start()
        thread.join(5.0)
        assert done == []
        executor.spin_once(timeout_sec=5.0)
        assert done == ["spun"]
        executor.shutdown()
        del executor
        call_soon(node, done.append, "ended")
        assert done == ["spun"]
    finally:
        node.destroy_node()
        context.try_shutdown()
