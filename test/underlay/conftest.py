"""A ROS graph of its own for each test process: a domain that other processes do not use, on this machine only."""

import contextlib
import os
import threading
import time

import pytest


@pytest.fixture(scope="session", autouse=True)
def local_graph():
    # Read when a context starts. Domains above 101 can meet the ports that the kernel hands out.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)


def wait_until(condition, timeout_s=15.0):
    """True as soon as the condition holds, False when it does not within the time (discovery alone can take 3 s)."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Graph:
    """Nodes in one context, spun on a thread."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()
        self.nodes = []

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def node(self, name, *, use_sim_time=False, spun=True):
        import rclpy
        from rclpy.parameter import Parameter

        overrides = [Parameter("use_sim_time", value=True)] if use_sim_time else []
        node = rclpy.create_node(name, context=self.context, parameter_overrides=overrides)
        self.nodes.append(node)
        if spun:
            self.executor.add_node(node)
        return node

    def close(self):
        self.context.try_shutdown()
        self.thread.join()
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def until():
    return wait_until
