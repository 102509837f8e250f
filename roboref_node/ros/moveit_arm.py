"""An arm behind MoveIt 2 as a `Mover`: free motions through MoveGroup, straight ones as Cartesian paths, a standard gripper action.

Needs moveit_msgs and control_msgs, which belong to the robot's own workspace; nothing else of roboref imports this module.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from moveit_msgs.msg import (
    BoundingVolume,
    Constraints,
    JointConstraint,
    MoveItErrorCodes,
    OrientationConstraint,
    PositionConstraint,
    RobotState,
)
from moveit_msgs.srv import GetCartesianPath
from rclpy.duration import Duration
from rclpy.node import Node
from shape_msgs.msg import SolidPrimitive
from trajectory_msgs.msg import JointTrajectory

from roboref_node.arm.motion import Motion, MotionKind, MotionResult, Outcome, Stage
from roboref_node.geometry.transform import Transform
from roboref_node.parameters import check_settings, setting
from roboref_node.ros.action_call import ActionCaller, NotServed
from roboref_node.ros.arm_server import Finish, Report
from roboref_node.ros.gripper_action import GripperAction, GripperKind
from roboref_node.ros.transforms import pose_from_transform

_POLL_S = 0.02
_STOPPING_S = 5.0
"""How long an arm that was told to stop may take."""

_UNREACHABLE = frozenset({MoveItErrorCodes.NO_IK_SOLUTION, MoveItErrorCodes.INVALID_GOAL_CONSTRAINTS})
_COLLISION = frozenset(
    {
        MoveItErrorCodes.PLANNING_FAILED,
        MoveItErrorCodes.INVALID_MOTION_PLAN,
        MoveItErrorCodes.GOAL_IN_COLLISION,
        MoveItErrorCodes.START_STATE_IN_COLLISION,
        MoveItErrorCodes.MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE,
        # Newer than Humble.
        getattr(MoveItErrorCodes, "START_STATE_INVALID", MoveItErrorCodes.START_STATE_IN_COLLISION),
        getattr(MoveItErrorCodes, "GOAL_STATE_INVALID", MoveItErrorCodes.GOAL_IN_COLLISION),
    }
)


@dataclass(frozen=True)
class MoveItSettings:
    """Parameters of the ``moveit_arm`` node."""

    group: str = setting("Planning group of the arm.", default="ur_manipulator")
    base_frame: str = setting("Planning frame; poses must be given in it.", default="base_link")
    flange_link: str = setting("Link that is moved to the poses.", default="tool0")
    flange_to_tip_m: float = setting(
        "From that link to the finger tips, along its z axis.", default=0.163, unit="m", minimum=0.0, maximum=1.0
    )
    gripper_action: str = setting("Name of the gripper's action.", default="gripper_controller/gripper_cmd")
    gripper_kind: GripperKind = setting("Its type, of control_msgs.", default=GripperKind.GRIPPER_COMMAND)
    position_open: float = setting(
        "The gripper joint's position when the fingers are farthest apart: metres or radians of the joint. A Robotiq 2F-85: 0.0.",
        default=0.0425, minimum=-10.0, maximum=10.0,
    )  # fmt: skip
    position_closed: float = setting(
        "Its position when they touch; between the two the opening counts as linear. A Robotiq 2F-85: 0.8.",
        default=0.0, minimum=-10.0, maximum=10.0,
    )  # fmt: skip
    max_opening_m: float = setting("Widest gap between the fingers.", default=0.085, unit="m", minimum=0.005, maximum=1.0)
    empty_below_m: float = setting("A closed gripper that is less open holds nothing.", default=0.003, unit="m", minimum=0.0, maximum=0.1)
    grip_force_n: float = setting("Force of the fingers.", default=40.0, unit="N", minimum=1.0, maximum=500.0)
    speed: float = setting("Share of the arm's greatest speed and acceleration.", default=0.3, minimum=0.01, maximum=1.0)
    planning_s: float = setting("Time that one plan may take.", default=5.0, unit="s", minimum=0.1, maximum=60.0)
    min_straight: float = setting("Least share of a straight path that must be possible.", default=0.99, minimum=0.1, maximum=1.0)
    max_straight_turn_rad: float = setting(
        "Largest turn of a joint on a straight path, back and forth added: more means that the arm changes its posture.",
        default=1.5, unit="rad", minimum=0.1, maximum=20.0,
    )  # fmt: skip
    home_joints: str = setting("Names of the joints of the resting posture, separated by commas.", default="")
    home_rad: tuple[float, ...] = setting("Their angles, in the same order.", default=(0.0,), unit="rad")
    server_timeout_s: float = setting("How long to wait for MoveIt's servers.", default=10.0, unit="s", minimum=0.1, maximum=600.0)
    part_timeout_s: float = setting(
        "How long a free or straight way, or the fingers, may take.", default=60.0, unit="s", minimum=1.0, maximum=600.0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if abs(self.position_open - self.position_closed) < 1e-3:
            raise ValueError(
                f"position_open is {self.position_open:g} and position_closed {self.position_closed:g}: "
                "they are the gripper's joint open and closed and must differ by 0.001 at least"
            )

    def position_of(self, opening_m: float) -> float:
        """The gripper's joint at an opening of the fingers."""
        return self.position_closed + (self.position_open - self.position_closed) * opening_m / self.max_opening_m

    def opening_m_of(self, position: float) -> float:
        """Opening of the fingers at a position of the gripper's joint; not below 0, where a joint rests a little beyond its end."""
        return max(0.0, self.max_opening_m * (position - self.position_closed) / (self.position_open - self.position_closed))


class MoveItMover:
    """Implements `arm_server.Mover`; each motion runs on a thread of its own.

    Args:
        node: Owns the clients; its executor must spin.
        settings: Names and limits.
    """

    def __init__(self, node: Node, settings: MoveItSettings) -> None:
        self._node, self._settings = node, settings
        self._move = ActionCaller(node, MoveGroup, "move_action")
        self._execute = ActionCaller(node, ExecuteTrajectory, "execute_trajectory")
        self._gripper = GripperAction(node, settings.gripper_kind, settings.gripper_action)
        self._cartesian = node.create_client(GetCartesianPath, "compute_cartesian_path")
        self._stop = threading.Event()
        self._busy = False
        self._holding, self._opening_m = False, math.nan
        self._is_unsure = False

    def missing(self) -> list[str]:
        """Names of the servers that did not appear in time."""
        deadline = time.monotonic() + self._settings.server_timeout_s
        while True:
            missing = [caller.name for caller in self._callers if not caller.ready]
            missing += [] if self._cartesian.service_is_ready() else [self._cartesian.srv_name]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(_POLL_S)

    def begin(self, motion: Motion, report: Report, finish: Finish) -> None:
        """See `arm_server.Mover`."""
        self._stop.clear()
        self._busy = True
        threading.Thread(target=self._run, args=(motion, report, finish), name="roboref_moveit", daemon=True).start()

    def stop(self) -> bool:
        """See `arm_server.Mover`: MoveIt halts the trajectory when its goal is canceled."""
        self._stop.set()
        for caller in self._callers:
            caller.cancel()
        return self._busy

    @property
    def _callers(self) -> tuple[ActionCaller, ...]:
        return self._move, self._execute, self._gripper.caller

    def _run(self, motion: Motion, report: Report, finish: Finish) -> None:
        try:
            self._carry_out(motion, report)
            if motion.kind is MotionKind.PICK and not self._holding:
                raise _Failed(Outcome.EMPTY, f"the fingers closed to {1e3 * self._opening_m:.0f} mm and hold nothing")
            result = MotionResult(Outcome.DONE, f"{motion.kind.value} done", self._holding, self._opening_m)
        except _Failed as failed:
            result = MotionResult(failed.outcome, failed.sentence, self._holding, self._opening_m)
        except Exception as error:  # whatever happens, the client gets its answer
            result = MotionResult(Outcome.FAULT, f"the adapter failed: {type(error).__name__}: {error}", self._holding, self._opening_m)
        self._busy = False
        finish(result)

    def _carry_out(self, motion: Motion, report: Report) -> None:
        settings = self._settings
        if motion.kind is MotionKind.HOME:
            report(Stage.RETREAT, 0.0)
            self._free(self._home())
            if self._holding or self._is_unsure:
                self._fingers(0.0)  # it may have slipped out on the way, or been taken when a stop came
            return
        assert motion.approach is not None and motion.goal is not None
        approach, goal = self._flange(motion.approach), self._flange(motion.goal)
        if motion.kind is MotionKind.PICK:
            report(Stage.OPEN, 0.0)
            self._fingers(min(motion.width_m or settings.max_opening_m, settings.max_opening_m))
        report(Stage.APPROACH, 0.1)
        self._free(self._at(approach))
        report(Stage.ADVANCE, 0.5)
        self._straight(goal)
        report(Stage.CLOSE if motion.kind is MotionKind.PICK else Stage.OPEN, 0.7)
        self._fingers(0.0 if motion.kind is MotionKind.PICK else settings.max_opening_m)
        report(Stage.RETREAT, 0.8)
        self._straight(approach)
        if motion.kind is MotionKind.PICK:
            self._fingers(0.0)  # measures again: it may have slipped out on the way

    def _free(self, constraints: Constraints) -> None:
        goal = MoveGroup.Goal()
        request = goal.request
        request.group_name, request.num_planning_attempts = self._settings.group, 5
        request.allowed_planning_time = self._settings.planning_s
        request.max_velocity_scaling_factor = request.max_acceleration_scaling_factor = self._settings.speed
        request.start_state.is_diff = True
        request.goal_constraints = [constraints]
        # Without these two the scene would count as a new one, in which nothing is attached to the gripper.
        goal.planning_options.planning_scene_diff.is_diff = goal.planning_options.planning_scene_diff.robot_state.is_diff = True
        result = self._send(self._move, goal)
        if result.error_code.val == MoveItErrorCodes.TIMED_OUT and not result.planned_trajectory.joint_trajectory.points:
            # The same code stands for a controller that did not get there; only that one is a fault of the arm.
            raise _Failed(Outcome.COLLISION, f"no way was found within {self._settings.planning_s:g} s (planning_s)")
        self._check(result.error_code, "the free way")

    def _straight(self, flange: Transform) -> None:
        settings = self._settings
        request = GetCartesianPath.Request(group_name=settings.group, link_name=settings.flange_link, max_step=0.005)
        request.header.frame_id = settings.base_frame
        request.start_state = RobotState(is_diff=True)
        request.waypoints, request.avoid_collisions = [pose_from_transform(flange)], True
        scales = hasattr(request, "max_velocity_scaling_factor")  # since Iron; Humble's paths are as fast as the arm can be
        if scales:
            request.max_velocity_scaling_factor = request.max_acceleration_scaling_factor = settings.speed
        found = self._path(request)
        self._check(found.error_code, "the straight path")
        if found.fraction < settings.min_straight:
            raise _Failed(
                Outcome.COLLISION,
                f"{100 * found.fraction:.0f} % of the straight path is possible, needed are {100 * settings.min_straight:.0f} % "
                "(min_straight)",
            )
        joint, turn_rad = widest_turn(found.solution.joint_trajectory)
        if turn_rad > settings.max_straight_turn_rad:
            raise _Failed(
                Outcome.COLLISION,
                f"the joint {joint} would turn by {turn_rad:.2f} rad on the straight path, {settings.max_straight_turn_rad:g} are allowed "
                "(max_straight_turn_rad): the arm would change its posture on the way",
            )
        if not scales:
            slow_down(found.solution.joint_trajectory, settings.speed)
        self._check(self._send(self._execute, ExecuteTrajectory.Goal(trajectory=found.solution)).error_code, "the straight path")

    def _fingers(self, opening_m: float) -> None:
        settings = self._settings
        caller = self._gripper.caller
        result = self._call(caller, self._gripper.goal(settings.position_of(opening_m), settings.grip_force_n))
        if self._stop.is_set():
            # A controller that was canceled holds the fingers where they are and tells nothing: they may have closed on something.
            self._is_unsure = self._is_unsure or opening_m == 0.0
            self._check_stop(caller.name)
        self._is_unsure = False
        self._opening_m = settings.opening_m_of(self._gripper.position(result))
        self._holding = opening_m == 0.0 and bool(result.stalled) and self._opening_m > settings.empty_below_m

    def _send(self, caller: ActionCaller, goal: Any) -> Any:
        result = self._call(caller, goal)
        self._check_stop(caller.name)
        return result

    def _call(self, caller: ActionCaller, goal: Any) -> Any:
        settings = self._settings
        try:
            return caller.call(
                goal, wait_s=settings.server_timeout_s, timeout_s=settings.part_timeout_s, stopping_s=_STOPPING_S, poll=self._stop.is_set
            )
        except NotServed as problem:
            self._check_stop(str(problem))
            raise _Failed(Outcome.FAULT, f"{problem} (server_timeout_s, part_timeout_s)") from problem

    def _path(self, request: GetCartesianPath.Request) -> GetCartesianPath.Response:
        pending, answered = self._cartesian.call_async(request), threading.Event()
        pending.add_done_callback(lambda _: answered.set())
        deadline = time.monotonic() + self._settings.part_timeout_s
        while not answered.wait(_POLL_S):
            self._check_stop("the planning of a straight path")
            if time.monotonic() > deadline:
                self._cartesian.remove_pending_request(pending)
                name, limit_s = self._cartesian.srv_name, self._settings.part_timeout_s
                raise _Failed(Outcome.FAULT, f"{name} gave no answer within {limit_s:g} s (part_timeout_s)")
        self._check_stop("the planning of a straight path")
        return pending.result()

    def _check_stop(self, what: str) -> None:
        if self._stop.is_set():
            raise _Failed(Outcome.CANCELED, f"stopped: {what}")

    def _check(self, code: MoveItErrorCodes, what: str) -> None:
        if code.val == MoveItErrorCodes.PREEMPTED:
            raise _Failed(Outcome.CANCELED, f"stopped on {what}")
        if code.val != MoveItErrorCodes.SUCCESS:
            raise _Failed(outcome_of(code.val), f"MoveIt refused {what}: error code {code.val}")

    def _at(self, flange: Transform) -> Constraints:
        settings, pose = self._settings, pose_from_transform(flange)
        region = BoundingVolume(primitives=[SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[0.001])], primitive_poses=[pose])
        position = PositionConstraint(link_name=settings.flange_link, constraint_region=region, weight=1.0)
        turn = OrientationConstraint(link_name=settings.flange_link, orientation=pose.orientation, weight=1.0)
        turn.absolute_x_axis_tolerance = turn.absolute_y_axis_tolerance = turn.absolute_z_axis_tolerance = 0.005
        position.header.frame_id = turn.header.frame_id = settings.base_frame
        return Constraints(position_constraints=[position], orientation_constraints=[turn])

    def _home(self) -> Constraints:
        names = [name.strip() for name in self._settings.home_joints.split(",") if name.strip()]
        if not names or len(names) != len(self._settings.home_rad):
            raise _Failed(Outcome.FAULT, f"home_joints names {len(names)} joints, home_rad has {len(self._settings.home_rad)} angles")
        within = {"tolerance_above": 0.01, "tolerance_below": 0.01, "weight": 1.0}
        pairs = zip(names, self._settings.home_rad, strict=True)
        return Constraints(joint_constraints=[JointConstraint(joint_name=n, position=float(q), **within) for n, q in pairs])

    def _flange(self, base_from_tool: Transform) -> Transform:
        return base_from_tool @ Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, -self._settings.flange_to_tip_m]))


def widest_turn(trajectory: JointTrajectory) -> tuple[str, float]:
    """The joint that turns most, and by how much in all, radians. MoveIt follows a straight line with any posture that is near enough."""
    positions = np.array([point.positions for point in trajectory.points])
    if len(positions) < 2:
        return "", 0.0
    turns = np.abs(np.diff(positions, axis=0)).sum(axis=0)
    return str(trajectory.joint_names[int(turns.argmax())]), float(turns.max())


def slow_down(trajectory: JointTrajectory, speed: float) -> None:
    """Stretch a trajectory in time, in place.

    Args:
        trajectory: As fast as the arm can be.
        speed: Share of that which is wanted.
    """
    for point in trajectory.points:
        point.time_from_start = Duration(nanoseconds=int(Duration.from_msg(point.time_from_start).nanoseconds / speed)).to_msg()
        point.velocities = [speed * velocity for velocity in point.velocities]
        point.accelerations = [speed**2 * acceleration for acceleration in point.accelerations]


def outcome_of(code: int) -> Outcome:
    """The outcome that an error code of MoveIt stands for."""
    return Outcome.UNREACHABLE if code in _UNREACHABLE else Outcome.COLLISION if code in _COLLISION else Outcome.FAULT


class _Failed(Exception):
    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome, self.sentence = outcome, sentence
