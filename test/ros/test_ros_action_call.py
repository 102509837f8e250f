"""One action goal, called for from a thread that waits."""

import threading

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from roboref.action import Refer
from roboref.msg import Referral

from roboref_node.ros.action_call import ActionCaller, NotServed


@pytest.fixture
def serve(graph):
    """Serves an action at once, keeping results for a number of seconds."""
    node = Node("answers_at_once", context=graph.context)
    executor = SingleThreadedExecutor(context=graph.context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()

    def execute(handle):
        handle.succeed()
        return Refer.Result(referrals=[Referral(sentence="here")])

    yield lambda name, keep_s: ActionServer(node, Refer, name, execute, result_timeout=keep_s)
    executor.shutdown(timeout_sec=2.0)
    thread.join(2.0)
    node.destroy_node()


def call(graph, name):
    return ActionCaller(graph.node, Refer, name).call(Refer.Goal(), wait_s=20.0, timeout_s=20.0, stopping_s=1.0, poll=lambda: False)


def test_the_result_of_a_goal(graph, serve):
    serve("/remembers", 60)
    assert call(graph, "/remembers").referrals[0].sentence == "here"


def test_a_forgotten_result_is_no_empty_one(graph, serve):
    serve("/forgets", 0)
    with pytest.raises(NotServed, match="/forgets had forgotten the result"):
        call(graph, "/forgets")
