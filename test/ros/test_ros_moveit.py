"""The adapter for MoveIt 2 over DDS; in MoveIt's place a server of the same interfaces, which keeps what it is asked for."""

import math

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from action_msgs.msg import GoalStatus
from arm_client import ArmClient
from builtin_interfaces.msg import Duration
from control_msgs.action import GripperCommand, ParallelGripperCommand
from live_graph import wait_until
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from moveit_msgs.msg import MoveItErrorCodes
from moveit_msgs.srv import GetCartesianPath
from rclpy.action import ActionServer, CancelResponse
from rclpy.task import Future
from roboref.action import MoveArm
from std_msgs.msg import Empty
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from roboref_node.arm import Outcome
from roboref_node.geometry.transform import Transform
from roboref_node.ros.gripper_action import GripperAction, GripperKind
from roboref_node.ros.moveit_arm import MoveItSettings, outcome_of, slow_down
from roboref_node.status import Refused

TIP_M, OPEN_M = 0.163, 0.085
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
APPROACH, GOAL = (Transform(DOWN, np.array([0.45, 0.1, z])) for z in (0.30, 0.20))
DONE = MoveItErrorCodes.SUCCESS


class MoveIt:
    """Answers as told: `codes` by action, `fraction` of straight paths, `gaps_m` that the closed fingers keep, `hold` an action open.

    `ends` are the positions of the gripper's joint when it is closed and open.
    """

    def __init__(self, graph, namespace):
        self.graph, self.asked = graph, []
        self.codes, self.fraction, self.gaps_m, self.hold, self.canceled = {}, 1.0, [0.04], None, []
        self.turns_rad, self.planned = [1.0], True
        self.ends = (0.0, OPEN_M / 2)
        kinds = {"move_action": MoveGroup, "execute_trajectory": ExecuteTrajectory, "gripper/gripper_cmd": GripperCommand}
        kinds["parallel/gripper_cmd"] = ParallelGripperCommand
        self.servers = [
            ActionServer(graph.node, kind, f"{namespace}/{name}", self.served(name, kind), cancel_callback=lambda _: CancelResponse.ACCEPT)
            for name, kind in kinds.items()
        ]
        self.path = graph.node.create_service(GetCartesianPath, f"{namespace}/compute_cartesian_path", self.plan)

    def served(self, name, kind):
        async def execute(handle):
            self.asked.append((name, handle.request))
            result = kind.Result()
            if self.hold == name:
                released = Future(executor=self.graph.node.executor)
                timer = self.graph.node.create_timer(
                    0.05, lambda: released.set_result(None) if handle.is_cancel_requested or self.hold != name else None
                )
                await released
                self.graph.node.destroy_timer(timer)
            if handle.is_cancel_requested:
                self.canceled.append(name)
                handle.canceled()
                code = MoveItErrorCodes.PREEMPTED
            else:
                code = self.codes.get(name, DONE)
                handle.succeed() if code == DONE else handle.abort()
            if "gripper" in name and handle.is_cancel_requested:
                pass  # ros2_control's controllers hold the fingers where they are, and give an empty result
            elif "gripper" in name:
                position = handle.request.command.position
                position = position if kind is GripperCommand else position[0]
                closing = position == self.ends[0]
                gap_m = self.gaps_m.pop(0) if closing and len(self.gaps_m) > 1 else self.gaps_m[0]
                reached = float(np.interp(gap_m, (0.0, OPEN_M), self.ends)) if closing else position
                if kind is GripperCommand:
                    result.position = reached
                else:
                    result.state.position = [reached]
                result.stalled = closing and gap_m > 0.0
            else:
                result.error_code.val = code
                if kind is MoveGroup and self.planned:
                    result.planned_trajectory.joint_trajectory.points = [JointTrajectoryPoint(positions=[1.0])]
            return result

        return execute

    def plan(self, request, response):
        self.asked.append(("compute_cartesian_path", request))
        response.fraction = self.fraction
        response.error_code.val = self.codes.get("compute_cartesian_path", DONE)
        more = {"velocities": [2.0], "accelerations": [4.0], "time_from_start": Duration(sec=1)}
        points = [JointTrajectoryPoint(positions=[q], **more) for q in self.turns_rad]
        response.solution.joint_trajectory = JointTrajectory(joint_names=["elbow"], points=points)
        return response

    def end(self):
        for server in self.servers:
            self.graph.do(server.destroy)
        self.graph.do(lambda: self.graph.node.destroy_service(self.path))


@pytest.fixture
def moveit(graph):
    moveit = MoveIt(graph, "/cell")
    yield moveit
    moveit.end()


@pytest.fixture
def arm(graph, moveit, request):
    parameters = (
        f"flange_to_tip_m:={TIP_M}", "speed:=0.25", "gripper_action:=gripper/gripper_cmd", "server_timeout_s:=5.0", "part_timeout_s:=8.0",
        "home_joints:=elbow", "home_rad:=[1.5]", *getattr(request, "param", ()),
    )  # fmt: skip
    process = graph.start(
        "roboref_node.nodes.moveit_arm", "--ros-args", "-r", "__ns:=/cell", *(x for p in parameters for x in ("-p", p))
    )  # fmt: skip
    process.wait_for_log("arm/move is served by MoveIt's group ur_manipulator")
    yield Arm(graph, process)
    assert process.end() == 0, process.log


class Arm(ArmClient):
    """One that sends the poses of this file, and knows the adapter's process."""

    def __init__(self, graph, process):
        super().__init__(graph, "/cell")
        self.process = process

    def begin(self, motion, width_m=math.nan):
        handle = self.send(motion, APPROACH, GOAL, width_m=width_m)
        assert handle.accepted
        return handle

    def move(self, motion, width_m=math.nan):
        return self.end(self.begin(motion, width_m))


def check_flange(pose, tip):
    """The flange stands back from the tip along the approach axis, which points down here."""
    x, y, z = tip.translation_m
    assert (pose.position.x, pose.position.y, pose.position.z) == pytest.approx((x, y, z + TIP_M))
    assert abs(pose.orientation.x) == pytest.approx(1.0)


def test_a_pick_is_made_of_moveits_motions(moveit, arm):
    status, result = arm.move("pick", 0.06)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, MoveArm.Result.DONE), result.sentence
    assert result.holding and result.gripper_opening_m == pytest.approx(0.04)
    straight = ["compute_cartesian_path", "execute_trajectory"]
    gripper = "gripper/gripper_cmd"
    assert [name for name, _ in moveit.asked] == [gripper, "move_action", *straight, gripper, *straight, gripper]
    opening, free, path, execution, closing, back = (request for _, request in moveit.asked[:6])
    assert opening.command.position == pytest.approx(0.03) and closing.command.position == 0.0
    (constraints,) = free.request.goal_constraints
    (position,), (turn,) = constraints.position_constraints, constraints.orientation_constraints
    assert (position.link_name, position.header.frame_id, turn.header.frame_id) == ("tool0", "base_link", "base_link")
    check_flange(position.constraint_region.primitive_poses[0], APPROACH)
    assert turn.orientation == position.constraint_region.primitive_poses[0].orientation
    assert free.request.max_velocity_scaling_factor == free.request.max_acceleration_scaling_factor == 0.25
    assert free.planning_options.planning_scene_diff.is_diff and free.planning_options.planning_scene_diff.robot_state.is_diff
    check_flange(path.waypoints[0], GOAL)
    assert path.avoid_collisions and path.header.frame_id == "base_link"
    check_flange(back.waypoints[0], APPROACH)
    # Straight ways are as slow as free ones, whoever slows them down.
    if hasattr(path, "max_velocity_scaling_factor"):
        assert path.max_velocity_scaling_factor == path.max_acceleration_scaling_factor == 0.25
    else:
        assert execution.trajectory.joint_trajectory.points[0].time_from_start.sec == 4


def test_place_and_home(moveit, arm):
    _, result = arm.move("place")
    assert result.outcome == MoveArm.Result.DONE and not result.holding, result.sentence
    assert moveit.asked[-3][1].command.position == pytest.approx(0.0425)
    _, result = arm.move("home")
    assert result.outcome == MoveArm.Result.DONE, result.sentence
    (joint,) = moveit.asked[-1][1].request.goal_constraints[0].joint_constraints
    assert (joint.joint_name, joint.position) == ("elbow", 1.5)


def test_a_motion_that_does_not_begin_lets_nothing_go(moveit, arm):
    assert arm.move("pick", 0.06)[1].holding
    status, result = arm.end(arm.send("fly"))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, MoveArm.Result.FAULT), result.sentence
    assert result.holding and result.gripper_opening_m == pytest.approx(0.04)


@pytest.mark.parametrize("arm", [("position_open:=0.0", "position_closed:=0.8")], indirect=True)
def test_a_gripper_whose_joint_turns(moveit, arm):
    moveit.ends = (0.8, 0.0)
    _, result = arm.move("pick", 0.06)
    assert (result.outcome, result.holding) == (MoveArm.Result.DONE, True), result.sentence
    assert result.gripper_opening_m == pytest.approx(0.04)
    fingers = [request.command.position for name, request in moveit.asked if name == "gripper/gripper_cmd"]
    assert fingers == pytest.approx([0.8 * 25 / 85, 0.8, 0.8])
    moveit.gaps_m = [0.0]
    assert arm.move("pick", 0.06)[1].outcome == MoveArm.Result.EMPTY


PARALLEL = ("gripper_kind:=parallel_gripper_command", "gripper_action:=parallel/gripper_cmd")


@pytest.mark.parametrize("arm", [PARALLEL], indirect=True)
def test_a_gripper_of_the_newer_controller(moveit, arm):
    _, result = arm.move("pick", 0.06)
    assert (result.outcome, result.holding) == (MoveArm.Result.DONE, True), result.sentence
    assert result.gripper_opening_m == pytest.approx(0.04)
    commands = [request.command for name, request in moveit.asked if name == "parallel/gripper_cmd"]
    assert [list(command.position) for command in commands] == [pytest.approx([0.03]), [0.0], [0.0]]
    assert all(list(command.effort) == [40.0] for command in commands)
    moveit.hold = "parallel/gripper_cmd"
    handle = arm.begin("pick")
    wait_until(lambda: moveit.asked[-1][0] == moveit.hold, lambda: arm.process.log)
    arm.check_halt(handle, "cancel")
    assert moveit.canceled == ["parallel/gripper_cmd"]


def test_an_older_control_msgs_is_named(monkeypatch):
    monkeypatch.delattr("control_msgs.action.ParallelGripperCommand")
    with pytest.raises(
        Refused, match="gripper_kind is parallel_gripper_command, and the installed control_msgs has no ParallelGripperCommand"
    ):
        GripperAction(None, GripperKind.PARALLEL_GRIPPER_COMMAND, "gripper")


def test_a_gripper_without_a_way_is_refused():
    with pytest.raises(ValueError, match=r"position_open is 0\.8 and position_closed 0\.8"):
        MoveItSettings(position_open=0.8, position_closed=0.8)
    assert MoveItSettings().opening_m_of(-0.001) == 0.0


@pytest.mark.parametrize(
    ("answers", "outcome", "words"),
    [
        ({"codes": {"move_action": MoveItErrorCodes.NO_IK_SOLUTION}}, Outcome.UNREACHABLE, "error code -31"),
        ({"codes": {"execute_trajectory": MoveItErrorCodes.CONTROL_FAILED}}, Outcome.FAULT, "straight path"),
        ({"fraction": 0.4}, Outcome.COLLISION, "40 % of the straight path is possible, needed are 99 % (min_straight)"),
        ({"codes": {"compute_cartesian_path": MoveItErrorCodes.INVALID_GROUP_NAME}, "fraction": 0.0}, Outcome.FAULT, "error code -15"),
        ({"codes": {"move_action": MoveItErrorCodes.TIMED_OUT}, "planned": False}, Outcome.COLLISION, "no way was found within 5 s"),
        ({"codes": {"move_action": MoveItErrorCodes.TIMED_OUT}}, Outcome.FAULT, "error code -6"),
        ({"turns_rad": [1.0, 0.2, 1.0]}, Outcome.COLLISION, "the joint elbow would turn by 1.60 rad on the straight path, 1.5 are allowed"),
        ({"gaps_m": [0.0]}, Outcome.EMPTY, "closed to 0 mm"),
        ({"gaps_m": [0.04, 0.0]}, Outcome.EMPTY, "closed to 0 mm"),
        ({"hold": "execute_trajectory"}, Outcome.FAULT, "within 8 s"),
    ],
    ids=[
        "unreachable",
        "fault",
        "blocked",
        "no such group",
        "no plan",
        "late",
        "another posture",
        "empty",
        "slipped out on the way",
        "endless",
    ],
)
def test_what_moveit_says_is_told(moveit, arm, answers, outcome, words):
    for name, value in answers.items():
        setattr(moveit, name, value)
    status, result = arm.move("pick")
    assert status == GoalStatus.STATUS_ABORTED
    assert result.outcome == outcome.value and words in result.sentence, (result.outcome, result.sentence)
    if moveit.hold is not None:
        wait_until(lambda: moveit.canceled == [moveit.hold], "MoveIt to be told that nobody waits any more")


@pytest.mark.parametrize("how", ["cancel", "stop"])
@pytest.mark.parametrize("where", ["move_action", "execute_trajectory", "gripper/gripper_cmd"])
def test_cancel_and_stop_reach_moveit(graph, moveit, arm, how, where):
    moveit.hold, stops = where, graph.collect(Empty, "/cell/arm/stopped")
    handle = arm.begin("pick")
    wait_until(lambda: moveit.asked and moveit.asked[-1][0] == where, lambda: arm.process.log)
    arm.check_halt(handle, how)
    if how == "stop":
        wait_until(lambda: stops, "what the adapter says of a stop")
    assert moveit.canceled == [where]
    moveit.hold = None
    assert arm.move("home")[1].outcome == MoveArm.Result.DONE


def test_what_the_fingers_have_when_they_are_stopped_is_measured_by_home(moveit, arm):
    """HOME carried it, said that there was nothing, and the next pick let it fall."""
    moveit.hold = "execute_trajectory"
    handle = arm.begin("pick")
    wait_until(lambda: moveit.asked and moveit.asked[-1][0] == moveit.hold, lambda: arm.process.log)
    moveit.hold = "gripper/gripper_cmd"
    wait_until(lambda: moveit.asked[-1][0] == moveit.hold, lambda: arm.process.log)
    arm.graph.do(handle.cancel_goal_async)
    _, result = arm.end(handle)
    assert result.outcome == MoveArm.Result.CANCELED, result.sentence
    moveit.hold = None
    result = arm.move("home")[1]
    assert result.holding and result.gripper_opening_m == pytest.approx(0.04)


def test_what_falls_out_on_the_way_home_is_noticed(moveit, arm):
    moveit.gaps_m = [0.04, 0.04, 0.0]
    assert arm.move("pick")[1].holding
    result = arm.move("home")[1]
    assert (result.outcome, result.holding) == (MoveArm.Result.DONE, False)


def test_a_move_group_that_dies_ends_the_motion(moveit, arm):
    moveit.hold = "move_action"
    handle = arm.begin("pick")
    wait_until(lambda: len(moveit.asked) == 2, lambda: arm.process.log)
    moveit.graph.do(moveit.servers[0].destroy)
    moveit.servers.pop(0)
    status, result = arm.end(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, MoveArm.Result.FAULT)
    assert "ended in the middle of a goal" in result.sentence


def test_without_move_group_the_adapter_says_so(graph):
    process = graph.start("roboref_node.nodes.moveit_arm", "--ros-args", "-r", "__ns:=/empty", "-p", "server_timeout_s:=0.5")
    assert process.wait(60.0) == 1, process.log
    assert "/empty/move_action" in process.log and "is move_group running?" in process.log


def test_error_codes_and_speed():
    assert outcome_of(MoveItErrorCodes.NO_IK_SOLUTION) is Outcome.UNREACHABLE
    assert outcome_of(MoveItErrorCodes.GOAL_IN_COLLISION) is Outcome.COLLISION
    assert outcome_of(MoveItErrorCodes.CONTROL_FAILED) is Outcome.FAULT
    point = JointTrajectoryPoint(velocities=[2.0], accelerations=[4.0], time_from_start=Duration(sec=1, nanosec=500_000_000))
    slow_down(JointTrajectory(points=[point]), 0.25)
    assert (point.time_from_start, list(point.velocities), list(point.accelerations)) == (Duration(sec=6), [0.5], [0.25])
