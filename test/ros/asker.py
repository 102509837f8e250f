"""A refer node and its clients, as a test sees them."""

from __future__ import annotations

import time

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live_graph import WAIT_S, wait_until
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from roboref.action import Refer
from roboref.msg import Referral
from std_msgs.msg import String
from synthetic_camera import BOX_PX

from roboref_node.ros.qos import ACTION_SERVICES

REFER = "roboref_node.nodes.refer"


class Asker:
    """A refer node and its clients."""

    def __init__(self, graph, process, name="/refer"):
        self.graph, self.process, self.name = graph, process, name
        process.wait_for_log("active: model")
        self.referrals = graph.collect(Referral, f"{name}/referral")
        self.instruction = graph.publisher(String, f"{name}/instruction")
        # Of more than ten answers that come at once, ROS's own queue drops the rest.
        self.actions = ActionClient(graph.node, Refer, f"{name}/refer", **ACTION_SERVICES)
        assert self.actions.wait_for_server(WAIT_S)

    def say(self, text):
        """Publish an instruction."""
        self.instruction.publish(String(data=text))

    def answer_to(self, text):
        """The first referral of that instruction; forgets the others."""
        found = wait_until(
            lambda: [r for r in self.referrals if r.instruction == text], lambda: f"an answer to {text!r}\n{self.process.log_end}"
        )
        self.referrals.clear()
        return found[0]

    def ask(self, text):
        self.say(text)
        return self.answer_to(text)

    def send(self, instruction="point at the red box", feedback=None, **fields):
        """The goal handle.

        A server that has not yet discovered this client's reader answers into the void (a race in DDS discovery, not in the node): a
        goal whose acceptance does not come is sent again.
        """
        goal = Refer.Goal(instruction=instruction, **fields)
        for patience_s in (5.0, 10.0, WAIT_S):
            future = self.graph.do(self.actions.send_goal_async, goal, feedback_callback=feedback)
            deadline = time.monotonic() + patience_s
            while not future.done() and time.monotonic() < deadline:
                time.sleep(0.01)
            if future.done():
                return future.result()
        raise AssertionError(f"no answer to a goal\n{self.process.log_end}")

    def result_of(self, handle):
        assert handle.accepted
        future = self.graph.do(handle.get_result_async)
        wait_until(future.done, lambda: f"the result of a goal\n{self.process.log_end}")
        return future.result()

    def look_at(self, pixel=BOX_PX, **fields):
        """The one referral of a goal with a pixel."""
        for _ in range(5):
            referrals = self.result_of(self.send(use_pixel=True, pixel=list(pixel), **fields)).result.referrals
            if referrals:  # rclpy gives an empty result when simulated time jumps past `result_timeout` before it is fetched
                return referrals[0]
        raise AssertionError(f"results without referrals\n{self.process.log_end}")

    def set(self, name, value):
        parameter = Parameter(name, value=value).to_parameter_msg()
        return self.graph.call(SetParameters, f"{self.name}/set_parameters", SetParameters.Request(parameters=[parameter])).results[0]

    def state(self):
        return self.graph.call(GetState, f"{self.name}/get_state", GetState.Request()).current_state.id

    def change_state(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.graph.call(ChangeState, f"{self.name}/change_state", request).success
