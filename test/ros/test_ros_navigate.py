"""A simulated G1 over DDS: told where to go, it walks there, looks again and gives a hand's goal that its arm reaches."""

import math
import threading
import time

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
pytest.importorskip("tf2_ros", reason="needs ROS 2 (make setup, . ./env.sh)")
from geometry_msgs.msg import PoseStamped, TransformStamped
from live_graph import wait_until
from rclpy.action import ActionServer, CancelResponse
from rclpy.task import Future
from rclpy.time import Time
from roboref.action import PickPlace, Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from walking_flat import LONG_S, NAVIGATE, Flat, check_arrival, in_namespace, known_client

from roboref_node.ros.driving import Arrival, GoalPoseDriver, NotThere, nav2_action
from roboref_node.ros.occupancy import map_from_message
from roboref_node.ros.stopwatch import Stopwatch
from roboref_node.ros.transforms import pose_stamped
from roboref_node.sim_g1.world import flat_pose
from roboref_node.status import Refused, Status


@pytest.fixture(scope="module")
def flat(graph, model_server, model_file):
    flat = Flat(graph, model_server, model_file, "/flat", drive="goal_pose")
    yield flat
    flat.end()


def test_the_map_travels_unchanged(flat):
    received = map_from_message(wait_until(lambda: flat.map and flat.map[-1], "a map"), "map")
    np.testing.assert_array_equal(received.data, flat.world.map.data)
    np.testing.assert_allclose(received.origin.translation_m, flat.world.map.origin.translation_m)


def test_go_to_the_red_cup(flat):
    goals = flat.graph.collect(PoseStamped, "/flat/goal_pose")
    result = flat.go("go to the red cup")
    assert result.outcome == "done", f"{result.sentence}\n{flat.logs}"  # before the wait for a goal, which says less
    check_arrival(flat, result, wait_until(lambda: goals, "a goal")[0].pose)
    # From here the place is reached already, and what was refused says why.
    flat.server.text = "nothing here"
    refused = flat.send("go to the red cup")
    wait_until(refused.done, lambda: flat.logs)
    assert refused.result().result.outcome == "refused" and "UNPARSEABLE" in refused.result().result.sentence
    arm = flat.send("pick up the red cup")
    wait_until(arm.done, lambda: flat.logs)
    assert arm.result().result.outcome == "refused" and "go to" in arm.result().result.sentence


@pytest.mark.parametrize("way", ["service", "word", "another place", "another place afterwards"])
def test_stop_on_the_way(flat, way):
    flat.walk_to(flat.start)
    start, hands = flat.robot, len(flat.hands)
    flat.point_from_here()
    result = flat.send("go to the red cup")
    wait_until(lambda: math.dist(flat.robot[:2], start[:2]) > 0.01 or result.done(), lambda: flat.logs)
    if way == "service":
        assert flat.graph.call(Trigger, "/flat/navigate/stop", Trigger.Request()).success
    else:
        elsewhere = "go to the unicorn if there is one"
        texts = {"word": ["Stop, please!"], "another place": [f"no, {elsewhere}"]}.get(way, ["stop", elsewhere])
        instruction = flat.graph.publisher(String, "/flat/navigate/instruction")
        for text in texts:
            instruction.publish(String(data=text))
    wait_until(result.done, lambda: flat.logs)
    ended = result.result().result
    assert ended.outcome == "stopped" and len(flat.hands) == hands, f"{ended.sentence}\n{flat.logs}"
    wait_until(lambda: flat.walk != "walking", "the robot to stand")
    if way.startswith("another place"):
        told = 'refused: "go to the unicorn if there is one" says when'
        wait_until(lambda: flat.processes[0].log.count(told) >= 1 + way.endswith("afterwards"), lambda: flat.logs)
    flat.walk_to(flat.start)


def test_a_robot_that_tf_does_not_know_is_not_sent_anywhere(graph):
    navigate = graph.start(NAVIGATE, *in_namespace("drive:=goal_pose", "robot:=g1", "server_timeout_s:=1.0", namespace="/nowhere"))
    asked = graph.collect(PoseStamped, "/nowhere/goal_pose")
    actions = known_client(graph, "/nowhere/navigate", navigate)
    goal = graph.do(actions.send_goal_async, PickPlace.Goal(instruction="go to the red cup"))
    wait_until(goal.done, lambda: navigate.log)
    result = graph.do(goal.result().get_result_async)
    wait_until(result.done, lambda: navigate.log)
    assert result.result().result.outcome == "refused" and not asked
    sentence = result.result().result.sentence
    assert "TF_UNAVAILABLE" in sentence and "map" in sentence and "server_timeout_s" in sentence
    assert navigate.end() == 0


def test_a_robot_that_tf_has_lost_is_told_to_stop(graph):
    """On its way, the transform is missing once; the robot is then sent to where it stands."""
    places, at_last = iter(()), 0.5

    def where():
        x = next(places, at_last)
        if x is None:
            raise Refused(Status.TF_STALE, "the newest transform is 2 s old")
        return flat_pose(x, 0.0, 0.0)

    driver = GoalPoseDriver(graph.node, Arrival(where, arrive_m=0.1, arrive_rad=0.1), "map", near_m=0.03, begin_s=0.2)
    goals = graph.collect(PoseStamped, "goal_pose")
    goal = pose_stamped(flat_pose(0.5, 0.0, 0.0), frame_id="map", stamp_ns=0)
    driver.drive(goal, timeout_s=LONG_S, stopped=lambda: False, report=lambda text: None)
    wait_until(lambda: driver.stop() or goals, "this process to hear itself")
    places, at_last = iter([0.0, None]), 1.0
    goal = pose_stamped(flat_pose(2.0, 0.0, 0.0), frame_id="map", stamp_ns=0)
    with pytest.raises(NotThere, match="TF_STALE"):
        driver.drive(goal, timeout_s=LONG_S, stopped=lambda: False, report=lambda text: None)
    wait_until(lambda: goals[-1].pose.position.x == 1.0, "the goal that stops it")
    assert goals[-1].header.frame_id == "map"


def test_a_step_shorter_than_the_tolerance_is_waited_for(graph):
    """A robot within arrive_m of its goal that has not begun its step; one that stays there does not make anybody wait for long."""
    goal = pose_stamped(flat_pose(1.0, 0.0, 0.0), frame_id="map", stamp_ns=0)

    def drive(places, *, begin_s, stopped=lambda: False):
        GoalPoseDriver(graph.node, arrival(places), "map", near_m=0.03, begin_s=begin_s).drive(
            goal, timeout_s=LONG_S, stopped=stopped, report=lambda text: None
        )

    asked = []
    drive([(0.94, 0.0, 0.0)] * 8 + [(0.98, 0.0, 0.0)], begin_s=LONG_S, stopped=lambda: asked.append(None))
    assert len(asked) == 8
    started_s = time.monotonic()
    drive([(0.94, 0.0, 0.0)], begin_s=0.2)
    assert time.monotonic() - started_s >= 0.2
    drive([(0.98, 0.0, 0.0)], begin_s=LONG_S)  # it stands there already
    with pytest.raises(NotThere, match="stopped"):
        drive([(0.94, 0.0, 0.0)], begin_s=LONG_S, stopped=lambda: True)


def standing(graph, namespace):
    """A function that tells TF that the robot stands, now."""
    transforms = graph.publisher(TFMessage, f"{namespace}/tf")
    stands = TransformStamped(child_frame_id="pelvis")
    stands.header.frame_id, stands.transform.translation.x, stands.transform.rotation.w = "map", 0.5, 1.0

    def tell():
        stands.header.stamp = graph.node.get_clock().now().to_msg()
        transforms.publish(TFMessage(transforms=[stands]))

    return tell


def test_a_question_that_ends_without_an_answer_is_named(graph):
    """A refer node that aborts with an empty result, as one does that is taken down, was a defect of this one."""

    def abort(handle):
        handle.abort()
        return Refer.Result()

    server = ActionServer(graph.node, Refer, "/mute/refer/refer", abort)
    navigate = graph.start(NAVIGATE, *in_namespace("drive:=goal_pose", "robot:=g1", namespace="/mute"))
    try:
        actions = known_client(graph, "/mute/navigate", navigate)
        stand = standing(graph, "/mute")
        sent = graph.do(actions.send_goal_async, PickPlace.Goal(instruction="go to the red cup"))
        wait_until(sent.done, lambda: navigate.log)
        ended = graph.do(sent.result().get_result_async)
        wait_until(lambda: stand() or ended.done(), lambda: navigate.log)
        assert ended.result().result.outcome == "no_answer", ended.result().result.sentence
        assert "/mute/refer/refer ended the question about the red cup without an answer" in ended.result().result.sentence
    finally:
        assert navigate.end() == 0, navigate.log
        graph.do(server.destroy)


def test_a_stop_that_comes_while_the_goal_is_on_its_way(graph):
    """This process is the robot, and a refer node that has passed its last look at a cancellation."""
    asked, stopped = threading.Event(), threading.Event()

    async def answer(handle):
        asked.set()
        released = Future(executor=graph.node.executor)
        timer = graph.node.create_timer(0.02, lambda: released.set_result(None) if stopped.is_set() else None)
        await released
        graph.node.destroy_timer(timer)
        goal = pose_stamped(flat_pose(3.0, 0.0, 0.0), frame_id="map", stamp_ns=0)
        robot_goals.publish(goal)
        handle.succeed()
        return Refer.Result(referrals=[ReferralMessage(status=ReferralMessage.OK, goal=goal)])

    server = ActionServer(graph.node, Refer, "/late/refer/refer", answer, cancel_callback=lambda _: CancelResponse.ACCEPT)
    navigate = graph.start(NAVIGATE, *in_namespace("drive:=goal_pose", "robot:=g1", namespace="/late"))
    try:
        actions = known_client(graph, "/late/navigate", navigate)
        goals = graph.collect(PoseStamped, "/late/goal_pose")
        robot_goals = graph.publisher(PoseStamped, "/late/goal_pose")
        stand = standing(graph, "/late")
        sent = graph.do(actions.send_goal_async, PickPlace.Goal(instruction="go to the red cup"))
        wait_until(lambda: stand() or asked.is_set(), lambda: navigate.log)
        assert graph.call(Trigger, "/late/navigate/stop", Trigger.Request()).success
        stopped.set()
        ended = graph.do(sent.result().get_result_async)
        wait_until(ended.done, lambda: navigate.log)
        assert ended.result().result.outcome == "stopped"
        wait_until(lambda: len(goals) > 2, lambda: f"a goal after the refer node's: {[g.pose.position.x for g in goals]}")
        assert [round(goal.pose.position.x, 3) for goal in goals] == [0.5, 3.0, 0.5], "stopped, and stopped again"
    finally:
        assert navigate.end() == 0, navigate.log
        graph.do(server.destroy)
    assert "Exception ignored" not in navigate.log, navigate.log


def arrival(places):
    """Of a robot that is at these places one after the other, then at the last one."""
    left = list(places)
    return Arrival(lambda: flat_pose(*(left.pop(0) if len(left) > 1 else left[0])), arrive_m=0.1, arrive_rad=0.2)


def test_a_robot_has_arrived_when_it_stands(graph):
    clock, goal = graph.node.get_clock(), pose_stamped(flat_pose(1.0, 0.0, 0.0), frame_id="map", stamp_ns=0)
    rules = {"still_s": 0.4, "timeout_s": 1.0, "stopped": lambda: False}
    swaying = [(1.0 + 0.005 * (i % 2), 0.0, 0.01 * (i % 2)) for i in range(1000)]
    arrival(swaying).stand(goal, clock, **rules)  # it ends: swaying is standing
    turning = [(1.0, 0.0, 0.1 * i) for i in range(10, -1, -1)]  # half a second, past the goal's heading and back
    started_s = time.monotonic()
    arrival(turning).stand(goal, clock, **rules)
    assert time.monotonic() - started_s > 0.4 + 0.4
    with pytest.raises(NotThere, match=r"came to rest elsewhere: the robot is 0\.50 m and 0\.00 rad"):
        arrival([(1.0 + 0.1 * i, 0.0, 0.0) for i in range(6)]).stand(goal, clock, **rules)
    with pytest.raises(NotThere, match="settle_s"):
        arrival([(0.0, 0.0, 0.1 * i) for i in range(1000)]).stand(goal, clock, **rules)
    with pytest.raises(NotThere, match="stopped"):
        arrival(turning).stand(goal, clock, **{**rules, "stopped": lambda: True})


def test_a_simulated_clock_that_begins_late_is_no_timeout():
    """It reads 0 until the first /clock."""

    class Clock:
        def __init__(self, *readings_s):
            self.readings_s = list(readings_s)

        def now(self):
            return Time(seconds=self.readings_s.pop(0))

    watch = Stopwatch(Clock(0, 0, 300, 301.5))
    assert [round(watch.elapsed_s(), 1) for _ in range(3)] == [0.0, 0.0, 1.5]


def test_nav2_without_its_messages_is_named(graph, hide_package):
    hide_package("nav2_msgs")
    process = graph.start(NAVIGATE, *in_namespace("drive:=nav2", "robot:=g1"))
    assert process.wait(LONG_S) == 1
    assert "nav2_msgs is not installed" in process.log


def test_go_through_navigate_to_pose(graph, model_server, model_file):
    """NavigateToPose, served by this process, which walks the simulated robot in Nav2's place."""
    kind = nav2_action()
    walker = graph.node.create_publisher(PoseStamped, "/flat_with_nav2/walk_to", 10)
    taken = []

    def execute(handle):
        if not taken:
            walker.publish(handle.request.pose)
        taken.append(handle.request.pose)
        handle.succeed()
        return kind.Result()

    server = ActionServer(graph.node, kind, "/flat_with_nav2/navigate_to_pose", execute)
    flat = Flat(
        graph, model_server, model_file, "/flat_with_nav2", drive="auto", publish_goal_pose=False, remap=["goal_pose:=walk_to"]
    )  # fmt: skip
    # RViz offers a tool that publishes there: that is no reason not to go.
    rviz = graph.node.create_publisher(PoseStamped, "/flat_with_nav2/goal_pose", 10)
    try:
        # This server says that it is done at once: its word is not believed.
        result = flat.go("go to the red cup")
        assert result.outcome == "not_there" and "arrive_m" in result.sentence, result.sentence
        wait_until(lambda: flat.walk == "arrived", lambda: flat.logs, LONG_S)
        # Now it stands there, and says so again.
        check_arrival(flat, flat.go("go to the red cup"), taken[-1].pose)
    finally:
        flat.end()
        graph.do(server.destroy)
        for publisher in (walker, rviz):
            graph.do(lambda p=publisher: graph.node.destroy_publisher(p))


@pytest.mark.parametrize("drive", ["nav2", "auto"])
def test_nav2_does_not_get_a_goal_twice(flat, graph, drive):
    """The refer node of this flat publishes its goals on goal_pose, where Nav2 listens."""
    server = ActionServer(graph.node, nav2_action(), "/flat/navigate_to_pose", lambda handle: pytest.fail("Nav2 got the goal"))
    parameters = ("use_sim_time:=true", "robot:=g1", f"drive:={drive}", "settle_s:=1.2")
    navigate = graph.start(NAVIGATE, *in_namespace(*parameters, remap=[f"__node:=by_{drive}"]))
    try:
        actions = known_client(graph, f"/flat/by_{drive}", navigate)
        result = flat.go("go to the red cup", actions)
        if drive == "nav2":
            assert result.outcome == "refused" and "publish_goal_pose:=false" in result.sentence, result.sentence
        else:  # it went to the goal that the refer node published, and looked again
            assert len(result.referrals) == 2, result.sentence
    finally:
        assert navigate.end() == 0
        graph.do(server.destroy)
