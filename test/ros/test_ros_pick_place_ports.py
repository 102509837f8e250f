"""What the closed loop gets from the refer node, poses in the frame that the arm is sent to; and what it hears of the arm."""

import threading

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from live_graph import WAIT_S, wait_until
from rclpy.action import ActionServer
from rclpy.qos import DurabilityPolicy, QoSProfile
from roboref.action import Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import Empty
from std_srvs.srv import Trigger
from synthetic_camera import BOX_M, BOX_PX, HEIGHT, WIDTH
from tf2_msgs.msg import TFMessage

from roboref_node.arm import Motion, MotionKind, MotionResult, Stage
from roboref_node.arm import Outcome as MotionOutcome
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


def test_a_question_that_ends_without_an_answer_is_told(graph):
    """Of a refer node that ends in the middle of it: it was told as a defect."""

    def answer(handle):
        handle.abort()
        return Refer.Result()

    server = ActionServer(graph.node, Refer, "/mute/refer", answer)
    try:
        with pytest.raises(Ended, match="/mute/refer ended the question about the red box without an answer") as caught:
            referrer(graph, "/mute/refer").refer(BOX, None, 0)
        assert caught.value.outcome is Outcome.NO_ANSWER
    finally:
        graph.do(server.destroy)


class Moving:
    """A `Mover` whose motion ends when it is told to."""

    def __init__(self):
        self.report = self.finish = None
        self.stops = 0

    def begin(self, motion, report, finish):
        self.report, self.finish = report, finish

    def stop(self):
        self.stops += 1
        return self.finish is not None

    def end(self):
        self.finish(MotionResult(MotionOutcome.DONE, "done", False, 0.085))


class Polls(Interruption):
    """Counts how often it was asked."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __call__(self):
        self.count += 1
        return super().__call__()


@pytest.fixture
def served(graph):
    """A mover behind the arm's interfaces, and a client for each call."""
    mover = Moving()
    server = graph.do(ArmServer, graph.node, mover, ("base_link",))

    def client(interruption=None, on_stopped=print):
        settings = PickPlaceSettings()
        return graph.do(ActionArm, graph.node, "base_link", lambda: settings, interruption or Interruption(), on_stopped)

    yield mover, client
    graph.do(server.close)


class Home:
    """A motion that is being waited for, on a thread of its own."""

    def __init__(self, arm, watch=lambda stage: False):
        self.result = None
        self._thread = threading.Thread(target=self._work, args=(arm, watch), daemon=True)
        self._thread.start()

    def _work(self, arm, watch):
        self.result = arm.move(Motion(MotionKind.HOME), watch)

    def wait(self):
        self._thread.join(WAIT_S)
        return self.result.outcome


def test_a_stop_of_the_arm_by_somebody_else_is_heard_and_an_own_one_is_not(graph, served):
    """The sentence after an own stop has perhaps begun when the arm tells of it."""
    told, (_, client) = [], served
    arm = client(on_stopped=told.append)
    echoes = graph.collect(Empty, "arm/stopped")
    wait_until(lambda: graph.do(arm.stop) or echoes, "what the arm says of an own stop")
    graph.call(Trigger, "arm/stop", Trigger.Request())
    wait_until(lambda: told, "the stop of somebody else")
    assert told == ["the arm was stopped by somebody (/arm/stopped)"]


def test_an_arm_that_does_not_tell_what_it_does_is_not_watched(served):
    """Its lifting the object looked like the object's going away, and it was stopped with it in the air."""
    (mover, client), polls, seen = served, Polls(), []
    home = Home(client(polls), lambda stage: bool(seen.append(stage)))
    wait_until(lambda: mover.finish, "the motion")
    before = polls.count
    wait_until(lambda: polls.count > before + 5, "a few turns")
    assert not seen
    mover.report(Stage.APPROACH, 0.5)
    wait_until(lambda: seen, "the watch")
    assert set(seen) == {Stage.APPROACH}
    mover.end()
    assert home.wait() is MotionOutcome.DONE


def test_the_motion_of_somebody_else_is_not_stopped(graph, served):
    mover, client = served
    home = Home(client())
    wait_until(lambda: mover.finish, "the motion")
    with pytest.raises(Ended, match="rejected the goal: it is busy") as caught:
        client().move(Motion(MotionKind.HOME), lambda stage: False)
    assert caught.value.outcome is Outcome.ARM_SILENT
    assert "nothing" not in graph.call(Trigger, "arm/stop", Trigger.Request()).message, "asked after a stop that came before"
    assert mover.stops == 1
    mover.end()
    assert home.wait() is MotionOutcome.DONE


def test_a_defect_of_the_watch_does_not_leave_the_arm_moving(served):
    """The sentence ended as internal, and the arm went on to pick."""
    (mover, client), ended = served, []

    def watch(stage):
        raise ZeroDivisionError

    def work():
        with pytest.raises(ZeroDivisionError):
            arm.move(Motion(MotionKind.HOME), watch)
        ended.append(True)

    arm = client()
    threading.Thread(target=work, daemon=True).start()
    wait_until(lambda: mover.finish, "the motion")
    mover.report(Stage.APPROACH, 0.5)
    wait_until(lambda: ended, "the end")
    wait_until(lambda: mover.stops, "the stop")
    mover.end()
