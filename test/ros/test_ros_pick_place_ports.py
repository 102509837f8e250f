"""What the closed loop gets from the refer node, poses in the frame that the arm is sent to; and what it hears of the arm."""

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from live_graph import wait_until
from rclpy.action import ActionServer
from rclpy.qos import DurabilityPolicy, QoSProfile
from roboref.action import Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import Empty
from std_srvs.srv import Trigger
from synthetic_camera import BOX_M, BOX_PX, HEIGHT, WIDTH
from tf2_msgs.msg import TFMessage

from roboref_node.geometry.transform import Transform
from roboref_node.pick_place import Ended, Outcome
from roboref_node.ros.arm_server import ArmServer
from roboref_node.ros.pick_place_ports import ActionArm, ActionReferrer, Interruption
from roboref_node.ros.pick_place_settings import PickPlaceSettings
from roboref_node.ros.transforms import message_from_transform
from roboref_node.status import Status
from roboref_node.task import Task, TaskKind

BOX = Task(TaskKind.POINT, "the red box", "point at the red box")


def referrer(graph, action):
    settings = PickPlaceSettings(refer_action=action)
    return graph.do(ActionReferrer, graph.node, "base_link", lambda: settings, Interruption())


def test_answers_come_in_the_frame_of_the_arm(graph, camera, model_server, model_file):
    """A refer node whose goals are in another frame: its numbers were taken for the arm's."""
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = graph.node.create_publisher(TFMessage, "/tf_static", latched)
    cell = Transform([0.0, 0.0, np.sin(0.4), np.cos(0.4)], [0.3, -0.2, 0.1])
    static.publish(TFMessage(transforms=[message_from_transform(cell, parent="cell", child="base_link", stamp_ns=0)]))
    model_server.text = f"[({BOX_PX[0] / WIDTH:.4f}, {BOX_PX[1] / HEIGHT:.4f})]"
    parameters = ("-r", "__node:=celled", "-p", f"model:={model_file}", "-p", "profile.goal_frame:=cell", "-p", "profile.base_frame:=cell")
    asker = Asker(graph, graph.start(REFER, "--ros-args", *parameters), "/celled")
    wait_until(lambda: asker.look_at().status == ReferralMessage.OK, lambda: f"the first frame\n{asker.process.log_end}")
    referral = referrer(graph, "/celled/refer").refer(BOX, None, 0)
    assert referral.status is Status.OK, referral.sentence
    assert referral.goal_frame == "base_link"
    np.testing.assert_allclose(referral.position_m, BOX_M, atol=0.005)
    asker.process.end()


def test_an_answer_in_another_frame_is_none(graph):
    """Of a node that takes no notice of the frame that is asked for."""
    asked = []

    def answer(handle):
        asked.append(handle.request.target_frame)
        handle.succeed()
        message = ReferralMessage(status_text="OK", role="point")
        message.header.frame_id = "cell"
        return Refer.Result(referrals=[message])

    server = ActionServer(graph.node, Refer, "/deaf/refer", answer)
    try:
        with pytest.raises(Ended, match=r"answers in cell, the arm's goals are in base_link \(profile\.goal_frame\)") as caught:
            referrer(graph, "/deaf/refer").refer(BOX, None, 0)
        assert caught.value.outcome is Outcome.REFUSED and asked == ["base_link"]
    finally:
        graph.do(server.destroy)


class Standing:
    """A `Mover` that never moves."""

    def begin(self, motion, report, finish):
        raise AssertionError("nothing was asked for")

    def stop(self):
        return False


def test_a_stop_of_the_arm_by_somebody_else_is_heard_and_an_own_one_is_not(graph):
    """The sentence after an own stop has perhaps begun when the arm tells of it."""
    told, settings = [], PickPlaceSettings()
    server = graph.do(ArmServer, graph.node, Standing(), ("base_link",))
    arm = graph.do(ActionArm, graph.node, "base_link", lambda: settings, Interruption(), told.append)
    echoes = graph.collect(Empty, "arm/stopped")
    wait_until(lambda: graph.do(arm.stop) or echoes, "what the arm says of an own stop")
    graph.call(Trigger, "arm/stop", Trigger.Request())
    wait_until(lambda: told, "the stop of somebody else")
    assert told == ["the arm was stopped by somebody (/arm/stopped)"]
    graph.do(server.close)
