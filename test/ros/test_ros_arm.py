"""The simulated arm over DDS: MoveArm, stop, cancel, and the faults; and the adapter for MoveIt."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from action_msgs.msg import GoalStatus
from arm_client import ArmClient
from live_graph import wait_until
from roboref.action import MoveArm
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboref_node.geometry.transform import Transform
from roboref_node.ros.qos import LATCHED

SIM = "roboref_node.nodes.sim"
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
HIGH = Transform(DOWN, np.array([0.45, 0.0, 0.45])), Transform(DOWN, np.array([0.45, 0.0, 0.40]))


@pytest.fixture(scope="module")
def arm(graph):
    arguments = ["--ros-args", "-r", "__ns:=/armcell", "-p", "seed:=4", "-p", "width:=96", "-p", "height:=72", "-p", "rate:=20.0"]
    for topic in ("/tf", "/tf_static", "/clock"):
        arguments += ["-r", f"{topic}:=/armcell{topic}"]
    process = graph.start(SIM, *arguments)
    yield ArmClient(graph, "/armcell")
    assert process.end() == 0, process.log


def joints_of(graph):
    messages = graph.collect(JointState, "/armcell/joint_states")
    wait_until(lambda: messages, "joint states")
    return messages


def test_a_motion_is_done_and_a_second_one_meanwhile_is_rejected(graph, arm):
    joints = joints_of(graph)
    handle = arm.send("place", *HIGH)
    assert handle.accepted
    assert not arm.send("home").accepted
    status, result = arm.end(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, MoveArm.Result.DONE), result.sentence
    assert not result.holding and result.gripper_opening_m == pytest.approx(0.085, abs=2e-3)
    stages = [f.stage for f in arm.feedback]
    assert {"approach", "advance", "open", "retreat"} <= set(stages)
    assert np.ptp([m.position[0] for m in joints]) + np.ptp([m.position[1] for m in joints]) > 0.05
    status, result = arm.end(arm.send("home"))
    assert result.outcome == MoveArm.Result.DONE, result.sentence


def test_wrong_goals_end_with_a_sentence(arm):
    for goal, words in (
        (("fly", *HIGH), "no motion 'fly'"),
        (("pick", *HIGH, "camera_link"), "camera_link"),
    ):
        status, result = arm.end(arm.send(*goal))
        assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, MoveArm.Result.FAULT) and words in result.sentence
    far = Transform(DOWN, np.array([1.4, 0.0, 0.4]))
    _, result = arm.end(arm.send("pick", far, far))
    assert result.outcome == MoveArm.Result.UNREACHABLE and "1.400" in result.sentence


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_cancel_and_stop_halt_the_arm(graph, arm, how):
    arm.end(arm.send("home"))
    joints = joints_of(graph)
    arm.feedback.clear()
    handle = arm.send("pick", *HIGH)
    wait_until(lambda: any(f.stage == "approach" for f in arm.feedback), "the approach")
    arm.check_halt(handle, how)
    seen = len(joints)
    wait_until(lambda: len(joints) > seen + 8, "more joint states")
    stands = np.array([m.position for m in joints[seen + 2 :]])
    assert np.ptp(stands, axis=0).max() < 1e-3, "the arm stands still"
    assert arm.call(Trigger, "arm/stop", Trigger.Request()).message == "nothing moved"


def test_faults_are_told_and_objects_can_vanish(graph, arm):
    assert arm.call(SetBool, "sim/arm_fault", SetBool.Request(data=True)).success
    status, result = arm.end(arm.send("home"))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, MoveArm.Result.FAULT)
    arm.call(SetBool, "sim/arm_fault", SetBool.Request(data=False))
    assert arm.end(arm.send("home"))[1].outcome == MoveArm.Result.DONE
    assert "slippery" in arm.call(SetBool, "sim/slippery", SetBool.Request(data=True)).message
    arm.call(SetBool, "sim/slippery", SetBool.Request(data=False))
    truth = graph.collect(String, "/armcell/sim/truth", LATCHED)
    before = wait_until(lambda: truth and json.loads(truth[-1].data), "the truth")
    assert before["holding"] is None and before["removed"] == []
    assert arm.call(Trigger, "sim/knock_object", Trigger.Request()).success
    moved = wait_until(lambda: (now := json.loads(truth[-1].data))["objects"] != before["objects"] and now, "a moved object")
    assert moved["removed"] == []
    assert arm.call(Trigger, "sim/remove_object", Trigger.Request()).success
    wait_until(lambda: json.loads(truth[-1].data)["removed"], "a removed object")
    assert arm.call(Trigger, "sim/reset_objects", Trigger.Request()).success

    def as_before():
        now = json.loads(truth[-1].data)
        places = [[item["position_m"] for item in told["objects"]] for told in (now, before)]
        return not now["removed"] and np.allclose(*places, atol=5e-3)

    wait_until(as_before, "everything back in its place")


def test_without_moveit_the_adapter_says_what_it_needs(hide_package):
    hide_package("moveit_msgs")
    command = [sys.executable, "-m", "roboref_node.nodes.moveit_arm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "install MoveIt 2" in done.stderr and "docs/arm.md" in done.stderr, done.stderr
