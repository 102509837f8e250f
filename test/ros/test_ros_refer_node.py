"""The refer node as a process: every question is answered, every fault by its name, and nothing ends the node."""

import json
import math
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from asker import REFER, Asker
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from live_graph import WAIT_S, wait_until
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from roboref.action import Refer
from roboref.msg import Referral
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from synthetic_camera import BASE_FROM_OPTICAL, BOX_M, BOX_PX, CAMERA, HEIGHT, OPTICAL, WIDTH
from visualization_msgs.msg import MarkerArray

from roboref_node.ros.qos import PICTURES

BOX_ANSWER = f"[({BOX_PX[0] / WIDTH:.4f}, {BOX_PX[1] / HEIGHT:.4f})]"


@pytest.fixture(scope="module")
def refer(graph, camera, model_server, model_file):
    process = graph.start(REFER, "--ros-args", "-p", f"model:={model_file}", "-p", "tf_timeout_s:=0.3")
    asker = Asker(graph, process)
    wait_until(lambda: asker.look_at().status == Referral.OK, lambda: f"the first frame\n{process.log_end}")
    yield asker
    process.end()


@pytest.fixture(autouse=True)
def healthy(camera, model_server):
    """Undo whatever faults a test has made."""
    yield
    camera.running, camera.skew_ns, camera.frame_id, camera.stamp_offset_ns = True, 0, OPTICAL, 0
    model_server.gate.set()


def test_an_instruction_becomes_a_grasp_on_the_box(refer, graph, model_server):
    grasps = graph.collect(PoseStamped, "/refer/grasp_pose")
    pregrasps = graph.collect(PoseStamped, "/refer/pregrasp_pose")
    overlays = graph.collect(Image, "/refer/overlay", PICTURES)
    drawn = graph.collect(MarkerArray, "/refer/markers", PICTURES)
    model_server.text = BOX_ANSWER
    answer = refer.ask("pick up the red box")
    assert answer.status == Referral.OK, answer.sentence
    assert (answer.role, answer.expression, answer.header.frame_id, answer.camera_frame) == ("pick", "the red box", "base_link", OPTICAL)
    np.testing.assert_allclose([answer.pixel_u, answer.pixel_v], BOX_PX, atol=1.0)
    np.testing.assert_allclose([answer.position.x, answer.position.y, answer.position.z], BOX_M, atol=0.004)
    np.testing.assert_allclose([answer.normal.x, answer.normal.y, answer.normal.z], [0, 0, 1], atol=0.02)
    assert 0 < answer.covariance[0] < 1e-3 and 0.02 < answer.gripper_width_m < 0.085
    assert {"queue", "frame", "transform", "model", "lift", "total"} <= set(answer.timing_names)
    assert json.loads(answer.provenance_json)["robot"] == "ur5"
    wait_until(lambda: grasps and pregrasps and overlays and drawn, "the goal poses and pictures")
    assert grasps[-1] == answer.goal and pregrasps[-1] == answer.approach
    assert grasps[-1].header.stamp == answer.header.stamp
    assert pregrasps[-1].pose.position.z > grasps[-1].pose.position.z
    assert (overlays[-1].width, overlays[-1].height, overlays[-1].encoding) == (WIDTH, HEIGHT, "rgb8")


def test_a_sentence_of_two_tasks_gives_two_answers_in_order(refer, model_server):
    model_server.text = BOX_ANSWER
    result = refer.result_of(refer.send("pick up the red box and put it on the table"))
    assert [(r.role, r.task_index, r.task_count) for r in result.result.referrals] == [("pick", 0, 2), ("place", 1, 2)]


def test_feedback_tells_the_stages_in_order(refer, model_server):
    # The action client drops the feedback of a goal whose result it has; its topic drops nothing.
    feedback = refer.graph.collect(Refer.Impl.FeedbackMessage, f"{refer.name}/refer/_action/feedback")
    wait_until(lambda: refer.result_of(refer.send()) and feedback, "feedback: the node has discovered its reader")
    handle = refer.send()
    refer.result_of(handle)

    def stages():
        return [message.feedback.stage for message in feedback if message.goal_id == handle.goal_id]

    wait_until(lambda: "check" in stages(), lambda: f"feedback, got {stages()}")
    assert stages() == ["queue", "frame", "transform", "point", "lift", "plan", "check"]


def test_a_pixel_skips_the_model_and_another_target_frame_moves_the_answer(refer, model_server):
    asked = len(model_server.asked)
    at_base, at_camera = refer.look_at(role="point", instruction="x"), refer.look_at(role="point", instruction="x", target_frame=OPTICAL)
    assert len(model_server.asked) == asked
    assert (at_base.header.frame_id, at_camera.header.frame_id) == ("base_link", OPTICAL)
    p = [at_camera.position.x, at_camera.position.y, at_camera.position.z]
    np.testing.assert_allclose(BASE_FROM_OPTICAL.apply(p), [at_base.position.x, at_base.position.y, at_base.position.z], atol=2e-3)


def test_a_stamp_selects_its_frame(refer):
    stamp = refer.look_at().header.stamp
    assert refer.look_at(stamp=stamp).header.stamp == stamp
    stamp.sec -= 100
    old = refer.look_at(stamp=stamp)
    assert old.status == Referral.FRAME_STALE and "stamp_tolerance_s" in old.sentence


@pytest.mark.parametrize("text", ["", "   ", "?!", "x" * 2000, "\x00\x01", "blorp the frobnicator"])
def test_what_is_no_instruction_is_a_bad_request(refer, text):
    answer = refer.result_of(refer.send(text)).result.referrals[0]
    assert answer.status == Referral.BAD_REQUEST and answer.sentence and answer.goal.header.frame_id == ""


def test_an_empty_instruction_on_the_topic_is_answered(refer):
    assert refer.ask("").status == Referral.BAD_REQUEST


def test_an_unknown_role_and_an_unknown_target_frame(refer):
    assert refer.look_at(role="juggle").status == Referral.BAD_REQUEST
    answer = refer.look_at(target_frame="moon")
    assert answer.status == Referral.TF_UNAVAILABLE and "moon" in answer.sentence
    for huge in ({"role": "x" * 100_000}, {"target_frame": "x" * 100_000}):
        answer = refer.look_at(**huge)
        assert answer.status == Referral.BAD_REQUEST and len(answer.sentence) < 300


def test_nonsense_from_the_model_is_no_goal(refer, model_server):
    for text, status in (("I am not sure.", Referral.UNPARSEABLE), ("[(7.5, 0.5)]", Referral.OUT_OF_IMAGE)):
        model_server.text = text
        answer = refer.ask("pick up the red box")
        assert answer.status == status and answer.goal.header.frame_id == "" and answer.sentence


@pytest.mark.parametrize("by", ["service", "sentence"])
def test_a_stop_leaves_no_goal_behind(by, refer, graph, model_server):
    """The speech node calls the service: whoever moves the robot has been stopped, and would take a late goal for a new one."""
    grasps = graph.collect(PoseStamped, "/refer/grasp_pose")
    model_server.text = BOX_ANSWER
    model_server.gate.clear()
    asked = len(model_server.asked)
    refer.say("pick up the red box")
    wait_until(lambda: len(model_server.asked) > asked, "the model's question")
    if by == "service":
        answer = graph.call(Trigger, "/refer/cancel", Trigger.Request())
        assert answer.success and answer.message == "1 questions are canceled"
    else:
        refer.say("stop")
    answer = refer.answer_to("pick up the red box")
    assert answer.status == Referral.CANCELED, answer.sentence
    model_server.gate.set()
    assert grasps == []
    assert refer.ask("pick up the red box").status == Referral.OK


def test_cancel_takes_effect_while_the_model_thinks(refer, model_server):
    model_server.gate.clear()
    asked = len(model_server.asked)
    handle = refer.send()
    wait_until(lambda: len(model_server.asked) > asked, "the model being asked")
    started = time.monotonic()
    cancel = refer.graph.do(handle.cancel_goal_async)
    wait_until(cancel.done, "the cancel's answer")
    result = refer.result_of(handle)
    assert time.monotonic() - started < 5.0
    assert result.status == 5  # action_msgs/GoalStatus.STATUS_CANCELED
    assert result.result.referrals[0].status == Referral.CANCELED


def test_a_later_instruction_replaces_the_waiting_one_and_goals_beyond_the_limit_are_rejected(refer, model_server):
    model_server.text = BOX_ANSWER
    assert refer.set("max_queue", 1).successful
    model_server.gate.clear()
    asked = len(model_server.asked)
    refer.say("point at the first box")
    wait_until(lambda: len(model_server.asked) > asked, "the model being asked")
    refer.say("point at the second box")
    waiting = refer.send("point at the fourth box")
    refer.say("point at the third box")
    replaced = refer.answer_to("point at the second box")
    assert replaced.status == Referral.CANCELED and "third" in replaced.sentence
    rejected = refer.send("point at the fifth box")
    assert not rejected.accepted
    assert "max_queue = 1" in refer.answer_to("point at the fifth box").sentence
    model_server.gate.set()
    assert refer.result_of(waiting).result.referrals[0].status == Referral.OK
    wait_until(lambda: {"point at the first box", "point at the third box"} <= {r.instruction for r in refer.referrals}, "both answers")
    assert refer.set("max_queue", 4).successful


def test_a_burst_of_goals_is_answered_to_the_last(refer, graph):
    deep = QoSProfile(depth=100)  # of the client: ROS's own ten would lose answers on this side
    client = ActionClient(graph.node, Refer, "/refer/refer", goal_service_qos_profile=deep, result_service_qos_profile=deep)
    assert refer.set("max_queue", 100).successful
    goal = Refer.Goal(instruction="the box", role="point", use_pixel=True, pixel=list(BOX_PX))
    assert client.wait_for_server(WAIT_S)
    wait_until(lambda: graph.do(client.send_goal_async, goal).done() or time.sleep(0.2), "both sides to know each other")
    sent = graph.do(lambda: [client.send_goal_async(goal) for _ in range(40)])
    wait_until(lambda: all(future.done() for future in sent), lambda: f"{sum(f.done() for f in sent)} of 40 goals were answered")
    assert all(future.result().accepted for future in sent)
    results = graph.do(lambda: [future.result().get_result_async() for future in sent])
    wait_until(lambda: all(future.done() for future in results), "40 results")
    assert refer.set("max_queue", 4).successful
    client.destroy()


def test_parameters_that_may_not_change_now_are_refused_with_the_reason(refer):
    result = refer.set("robot", "g1")
    assert not result.successful and "configured" in result.reason
    assert not refer.set("max_queue", 0).successful


def test_missing_and_stale_transforms(refer, camera):
    camera.frame_id = "nowhere_optical"
    answer = wait_until(lambda: (r := refer.look_at()).status == Referral.TF_UNAVAILABLE and r, "TF_UNAVAILABLE")
    assert "nowhere_optical" in answer.sentence and "tf_timeout_s" in answer.sentence
    camera.publish_transform("stale_optical", time.time_ns() - 5_000_000_000)
    camera.frame_id = "stale_optical"
    answer = wait_until(lambda: (r := refer.look_at()).status == Referral.TF_STALE and r, "TF_STALE")
    assert "older than the image" in answer.sentence


def test_a_transform_that_comes_late_is_waited_for(refer, camera):
    camera.frame_id = "late_optical"
    wait_until(lambda: refer.look_at().status == Referral.TF_UNAVAILABLE, "the new frame")
    assert refer.set("tf_timeout_s", 10.0).successful
    handle = refer.send(use_pixel=True, pixel=list(BOX_PX))
    now = time.time_ns()
    camera.publish_transform("late_optical", now - 2_000_000_000)
    camera.publish_transform("late_optical", now + 5_000_000_000)
    assert refer.result_of(handle).result.referrals[0].status == Referral.OK
    assert refer.set("tf_timeout_s", 0.3).successful


def test_colour_and_depth_that_do_not_pair(refer, camera):
    camera.skew_ns = 33_000_000  # half a period: nothing within sync_slop_s
    answer = wait_until(lambda: (r := refer.look_at()).status == Referral.SYNC_SKEW and r, "SYNC_SKEW")
    assert "sync_slop_s" in answer.sentence
    camera.skew_ns = 0
    wait_until(lambda: refer.look_at().status == Referral.OK, "recovery")


def test_a_camera_that_stops_and_starts_again_even_in_the_past(refer, camera):
    camera.running = False
    answer = wait_until(lambda: (r := refer.look_at()).status == Referral.FRAME_STALE and r, "FRAME_STALE")
    assert "max_frame_age_s" in answer.sentence
    camera.stamp_offset_ns, camera.running = -3_600_000_000_000, True
    answer = wait_until(lambda: "clock" in (r := refer.look_at()).sentence and r, "frames of another clock")
    assert answer.status == Referral.FRAME_STALE
    camera.stamp_offset_ns = 0
    wait_until(lambda: refer.look_at().status == Referral.OK, "recovery")


def test_an_image_from_before_a_zoom_keeps_its_calibration(graph, camera):
    """Asked about by its stamp, it was lifted with the newest calibration: centimetres away, and every check passed."""
    process = graph.start(REFER, "--ros-args", "-r", "__node:=zooming", "-p", "model:=none", "-p", "frame_buffer:=300")
    asker = Asker(graph, process, "/zooming")
    try:
        wait_until(lambda: asker.look_at().status == Referral.OK, lambda: f"the first frame\n{process.log_end}")
        before = asker.look_at()
        camera.calibration = replace(CAMERA, fx=1.5 * CAMERA.fx, fy=1.5 * CAMERA.fy)

        wait_until(lambda: abs(asker.look_at().position.x - before.position.x) > 0.005, "the zoom")
        again = asker.look_at(stamp=before.header.stamp)
        assert again.header.stamp == before.header.stamp
        assert again.position == before.position, again.sentence
    finally:
        camera.calibration = CAMERA
        process.end()


def test_lifecycle_frees_the_camera_and_survives_an_impossible_transition(refer, graph):
    subscribed = graph.node.count_subscribers("/camera/color/image_raw")
    assert subscribed == 1 and refer.state() == State.PRIMARY_STATE_ACTIVE
    assert refer.change_state(Transition.TRANSITION_DEACTIVATE)
    wait_until(lambda: graph.node.count_subscribers("/camera/color/image_raw") == 0, "the subscription to end")
    assert not refer.send().accepted
    assert refer.ask("pick up the red box").status == Referral.CANCELED
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_DEACTIVATE, 99):
        assert not refer.change_state(transition)
    refer.process.wait_for_log("the transition 99 is not possible now")
    assert refer.state() == State.PRIMARY_STATE_INACTIVE
    assert refer.change_state(Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: refer.look_at().status == Referral.OK, "the first frame after activation")


def test_a_namespaced_node_without_a_camera_says_so_and_takes_sigterm(graph, camera):
    blind = Asker(
        graph, graph.start(REFER, "--ros-args", "-r", "__ns:=/blind", "-p", "model:=none", "-p", "frame_timeout_s:=0.2"), "/blind/refer"
    )
    answer = blind.look_at()
    assert answer.status == Referral.NO_CAMERA and "nobody publishes /blind/camera/color/image_raw" in answer.sentence
    assert math.isnan(answer.pixel_u) and answer.goal.header.frame_id == ""
    assert ("refer", "/blind") in graph.node.get_node_names_and_namespaces()
    assert blind.process.end(signal.SIGTERM) == 0, blind.process.log
    # It says goodbye: who just vanishes is listed for 20 s more, and its publishers seem to be there.
    wait_until(lambda: ("refer", "/blind") not in graph.node.get_node_names_and_namespaces(), "the node to leave the graph", 8.0)


def test_wrong_parameters_are_named_and_the_node_stays_to_be_repaired(graph):
    process = graph.start(REFER, "--ros-args", "-r", "__node:=wrong", "-p", "robot:=ur99", "-p", "sync_slop_s:=-1.0", "-p", "model:=none")
    process.wait_for_log("not configured: parameter sync_slop_s is -1.0, it must be a number from 0 to 1 s")

    def repair(name, value):
        parameter = Parameter(name, value=value).to_parameter_msg()
        return graph.call(SetParameters, "/wrong/set_parameters", SetParameters.Request(parameters=[parameter])).results[0].successful

    def configure():
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        return graph.call(ChangeState, "/wrong/change_state", request).success

    assert repair("sync_slop_s", 0.01) and not configure()
    process.wait_for_log("there is no robot 'ur99'; known are: g1, ur5")
    assert repair("robot", "ur5") and configure()
    assert process.end() == 0, process.log


def test_sigint_during_inference_answers_and_ends_cleanly(refer, model_server):
    model_server.gate.clear()
    asked = len(model_server.asked)
    running = refer.send()
    wait_until(lambda: len(model_server.asked) > asked, "the model being asked")
    waiting = refer.send("point at another box")
    futures = [refer.graph.do(handle.get_result_async) for handle in (running, waiting)]
    assert refer.process.end() == 0, refer.process.log
    for future in futures:
        wait_until(future.done, "the last answers")
        assert future.result().result.referrals[0].status == Referral.CANCELED
    assert "Traceback" not in refer.process.log, refer.process.log
