"""A client of ``arm/move`` and ``arm/stop``, whoever moves the arm."""

import math

from action_msgs.msg import GoalStatus
from live_graph import wait_until
from rclpy.action import ActionClient
from roboref.action import MoveArm
from std_srvs.srv import Trigger

from roboref_node.ros.transforms import pose_stamped


class ArmClient:
    """Sends motions in the graph's own thread."""

    def __init__(self, graph, name):
        self.graph, self.name = graph, name
        self.client = ActionClient(graph.node, MoveArm, f"{name}/arm/move")
        self.feedback = []
        wait_until(self.client.server_is_ready, f"{name}/arm/move")
        # It answers, hence it has discovered this process, and the client before this one: an action server answers others into the void.
        assert self.call(Trigger, "arm/stop", Trigger.Request()).message == "nothing moved"

    def send(self, motion, approach=None, goal=None, frame="base_link", width_m=math.nan):
        wanted = MoveArm.Goal(motion=motion, gripper_width_m=width_m)
        if approach is not None:
            wanted.approach = pose_stamped(approach, frame_id=frame, stamp_ns=0)
            wanted.goal = pose_stamped(goal, frame_id=frame, stamp_ns=0)
        future = self.graph.do(self.client.send_goal_async, wanted, feedback_callback=lambda f: self.feedback.append(f.feedback))
        wait_until(future.done, "an answer to the goal")
        return future.result()

    def end(self, handle):
        future = self.graph.do(handle.get_result_async)
        wait_until(future.done, "the end of the motion", 120.0)
        return future.result().status, future.result().result

    def call(self, kind, service, request):
        return self.graph.call(kind, f"{self.name}/{service}", request)

    def check_halt(self, handle, how):
        """Cancel the motion, or stop the arm: the motion ends as canceled."""
        if how == "cancel":
            self.graph.do(handle.cancel_goal_async)
        else:
            assert self.call(Trigger, "arm/stop", Trigger.Request()).message == "stopping"
        status, result = self.end(handle)
        assert result.outcome == MoveArm.Result.CANCELED, result.sentence
        assert status == (GoalStatus.STATUS_CANCELED if how == "cancel" else GoalStatus.STATUS_ABORTED)
