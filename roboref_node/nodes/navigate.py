"""The ``navigate`` node: "go to the red cup" until the robot stands where it sees the cup and its hand can get there.

It asks the refer node for a stand-off goal, has the robot driven there (Nav2, or whatever listens to ``goal_pose``), asks the refer
node again from the new place, and publishes the hand's goal if the arm reaches it. Threads: one executor for requests, TF and the
actions of others, one for the sentence being worked on, which waits.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from roboref.action import PickPlace, Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_ros import TransformListener

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotKind
from roboref_node.goals.standoff import hand_to_spare_m
from roboref_node.parameters import check_settings, setting
from roboref_node.ros import qos
from roboref_node.ros.action_call import ActionCaller, NotServed
from roboref_node.ros.driving import Arrival, Driver, GoalPoseDriver, Nav2Driver, NotThere, nav2_action
from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.process import run
from roboref_node.ros.profile import ProfileParameters
from roboref_node.ros.transform_buffer import TransformBuffer
from roboref_node.ros.transforms import TransformSource, transform_from_message
from roboref_node.status import Refused, Status
from roboref_node.task import TaskKind, parse_instruction

_EXIT_S = 3.0


class DriveBy(str, Enum):
    """Who drives."""

    AUTO = "auto"
    GOAL_POSE = "goal_pose"
    NAV2 = "nav2"


@dataclass(frozen=True)
class NavigateSettings:
    """Parameters of the ``navigate`` node, apart from ``profile.*`` (the robot's, see `goals.profile`)."""

    robot: str = setting("Robot profile: the one that the refer node has.", default="g1")
    refer_action: str = setting("Action of the refer node.", default="refer/refer")
    drive: DriveBy = setting(
        "goal_pose: the refer node publishes it and something drives there. nav2: the NavigateToPose action; the refer node then needs "
        "publish_goal_pose:=false. auto: nav2 where nav2_msgs is installed and its action is served.",
        default=DriveBy.AUTO,
    )
    nav2_action: str = setting("Nav2's action.", default="navigate_to_pose")
    arrive_m: float = setting("How near its goal the base must stand.", default=0.1, unit="m", minimum=0.005, maximum=2.0)
    arrive_rad: float = setting("How far turned from its goal the base may stand.", default=0.2, unit="rad", minimum=0.01, maximum=3.2)
    settle_s: float = setting(
        "How long the robot must have stood before the second look: no older image may be used.", default=0.6, unit="s", minimum=0.0
    )
    drive_timeout_s: float = setting("How long the way may take.", default=180.0, unit="s", minimum=1.0, maximum=3600.0)
    refer_timeout_s: float = setting("How long the refer node may take to answer.", default=30.0, unit="s", minimum=0.1, maximum=600.0)
    server_timeout_s: float = setting(
        "How long the refer node and Nav2 may take to appear.", default=5.0, unit="s", minimum=0.1, maximum=60.0
    )
    tf_max_age_s: float = setting("Oldest pose of the base that tells where it is.", default=1.0, unit="s", minimum=0.01, maximum=60.0)

    def __post_init__(self) -> None:
        check_settings(self)


class Outcome(str, Enum):
    """How a walk ended. After every one of them nothing is sent any more."""

    DONE = "done"
    REFUSED = "refused"
    NOT_THERE = "not_there"
    NOT_SEEN = "not_seen"
    OUT_OF_REACH = "out_of_reach"
    STOPPED = "stopped"
    NO_ANSWER = "no_answer"


class _Ended(Exception):
    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome, self.sentence = outcome, sentence


class NavigateNode(Node):
    """Node ``navigate``; all interfaces are documented in docs/navigation.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("navigate", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.finished = threading.Event()
        self.exit_status = 0
        self._declared = NodeParameters(self, NavigateSettings)
        self._profile_parameters = ProfileParameters(self)
        self._stopped = threading.Event()
        self._worker: threading.Thread | None = None
        self._busy = False
        self._closing = False
        self._results: dict[bytes, Future] = {}
        self._referrals: list[ReferralMessage] = []

    # ---- process -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Check the parameters and offer the interfaces; a wrong parameter ends the node."""
        try:
            self._settings = self._declared.read()
            self._profile = self._profile_parameters.read(self._settings.robot)
            if self._profile.kind is not RobotKind.MOBILE:
                raise Refused(Status.BAD_REQUEST, f"robot '{self._profile.name}' is an arm and goes nowhere (parameter robot)")
            self._buffer = TransformBuffer(10.0, self)
            self._listener = TransformListener(self._buffer, self)
            self._transforms = TransformSource(self._buffer, 0.0)
            self._arrival = Arrival(self._where, self._settings.arrive_m, self._settings.arrive_rad)
            if self._settings.drive is DriveBy.NAV2:
                self._nav2: Nav2Driver | None = self._nav2_driver()
            else:
                self._nav2 = self._nav2_driver() if self._settings.drive is DriveBy.AUTO and nav2_action() is not None else None
        except Refused as refused:
            self.get_logger().error(f"not started: {refused.sentence}")
            self.exit_status = 1
            self.finished.set()
            return
        self._declared.freeze(True)
        self._profile_parameters.freeze(True)
        self._by_topic = GoalPoseDriver(self, self._arrival)
        self._driver: Driver = self._by_topic
        self._referrer = ActionCaller(self, Refer, self._settings.refer_action)
        self._hand = self.create_publisher(PoseStamped, "~/hand_pose", qos.ANSWERS)
        self._status = self.create_publisher(String, "~/status", qos.PICTURES)
        self.create_subscription(String, "~/instruction", self._on_instruction, qos.ANSWERS)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self._actions = ActionServer(
            self, PickPlace, "~/navigate", execute_callback=self._await_result, goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted, cancel_callback=self._on_cancel,
        )  # fmt: skip
        self._tell(state="ready")
        self.get_logger().info(f"ready: robot {self._profile.name}, {self._referrer.name}, drive {self._settings.drive.value}")

    def close(self) -> bool:
        """Stop the robot and end the thread; False when it is still busy."""
        self._closing = True
        if self._busy:
            self._stop()
        if self._worker is not None:
            self._worker.join(_EXIT_S)
            if self._worker.is_alive():
                return False
        deadline = time.monotonic() + 0.5
        while self._results and time.monotonic() < deadline:  # results leave through the executor, which still spins
            time.sleep(0.01)
        return True

    def _nav2_driver(self) -> Nav2Driver:
        return Nav2Driver(self, self._arrival, self._settings.nav2_action, self._settings.server_timeout_s)

    def _where(self) -> Transform:
        """The base in the goal frame, as new as TF knows it; does not wait.

        Raises:
            Refused: TF_UNAVAILABLE, or TF_STALE when it is older than ``tf_max_age_s``.
        """
        goal, base = self._profile.goal_frame, self._profile.base_frame
        lag_s = self._transforms.lag_s(goal, base, int(self.get_clock().now().nanoseconds))
        if lag_s is not None and lag_s > self._settings.tf_max_age_s:
            raise Refused(
                Status.TF_STALE,
                f"the newest transform from {base} to {goal} is {lag_s:.2f} s old (tf_max_age_s = {self._settings.tf_max_age_s:g})",
            )
        return transform_from_message(self._buffer.lookup_transform(goal, base, Time()))

    # ---- requests ------------------------------------------------------------------------------------------------------------

    def _on_instruction(self, message: String) -> None:
        if not self._begin(message.data, None):
            self.get_logger().warning(f'"{message.data[:80]}" is not done: the robot is still on its way; call ~/stop first')

    def _on_goal(self, goal: PickPlace.Goal) -> GoalResponse:
        if not self._busy:
            return GoalResponse.ACCEPT
        # The action protocol has no room for a reason: it goes to the log.
        self.get_logger().warning(f'goal "{goal.instruction[:80]}" rejected: the robot is still on its way')
        return GoalResponse.REJECT

    def _on_accepted(self, handle: Any) -> None:
        self._results[_key(handle)] = Future(executor=self.executor)
        if not self._begin(handle.request.instruction, handle):
            self._results[_key(handle)].set_result((Outcome.STOPPED, "another sentence came at the same moment"))
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if _key(handle) not in self._results:
            return CancelResponse.REJECT
        self._stop()
        return CancelResponse.ACCEPT

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, "the robot is told to stop" if self._busy else "no sentence was being worked on"
        self._stop()
        return response

    def _stop(self) -> None:
        self._stopped.set()
        self._driver.stop()

    async def _await_result(self, handle: Any) -> PickPlace.Result:
        outcome, sentence = await self._results[_key(handle)]
        del self._results[_key(handle)]
        if handle.is_cancel_requested:
            handle.canceled()
        elif outcome is Outcome.DONE:
            handle.succeed()
        else:
            handle.abort()
        done = int(outcome is Outcome.DONE)
        return PickPlace.Result(outcome=outcome.value, sentence=sentence, tasks_done=done, task_count=1, referrals=self._referrals)

    # ---- the sentence (its own thread) ---------------------------------------------------------------------------------------

    def _begin(self, instruction: str, handle: Any) -> bool:
        if self._busy or self._closing:
            return False
        self._busy = True
        self._stopped.clear()
        self._referrals = []
        self._worker = threading.Thread(target=self._work, args=(instruction, handle), name="roboref_navigate", daemon=True)
        self._worker.start()
        return True

    def _work(self, instruction: str, handle: Any) -> None:
        started_s = time.monotonic()

        def report(state: str, sentence: str) -> None:
            elapsed_s = time.monotonic() - started_s
            self._tell(state=state, instruction=instruction, sentence=sentence, elapsed_s=round(elapsed_s, 3))
            if handle is not None and handle.is_active:
                handle.publish_feedback(PickPlace.Feedback(state=state, attempt=1, sentence=sentence, elapsed_s=elapsed_s))

        try:
            outcome, sentence = Outcome.DONE, self._go(instruction, report)
        except _Ended as ended:
            outcome, sentence = ended.outcome, ended.sentence
        except Exception as error:  # a defect must end the sentence, not the node
            outcome, sentence = Outcome.NO_ANSWER, f"defect in roboref, please report it: {type(error).__name__}: {error}"
        self.get_logger().info(f"{outcome.value}: {sentence}")
        self._busy = False
        self._tell(state="ended", instruction=instruction, outcome=outcome.value, sentence=sentence)
        if handle is not None and self.executor is not None:
            self.executor.create_task(self._results[_key(handle)].set_result, (outcome, sentence))

    def _go(self, instruction: str, report: Any) -> str:
        """All of it.

        Raises:
            _Ended: It ended before the hand's goal.
        """
        settings = self._settings
        try:
            tasks = parse_instruction(instruction)
        except Refused as refused:
            raise _Ended(Outcome.REFUSED, refused.sentence) from refused
        if len(tasks) != 1 or tasks[0].kind is not TaskKind.NAVIGATE:
            raise _Ended(Outcome.REFUSED, f'"{instruction[:80]}" is not one place to go to; say for example "go to the red cup"')
        expression = tasks[0].expression
        report("refer", f"where is {expression}")
        self._choose_driver()
        first = self._refer(expression, TaskKind.NAVIGATE, Outcome.REFUSED)
        report("move", first.sentence)
        try:
            self._driver.drive(
                first.goal, timeout_s=settings.drive_timeout_s, stopped=self._stopped.is_set, report=lambda text: report("move", text)
            )
        except NotThere as problem:
            raise _Ended(Outcome.STOPPED if self._stopped.is_set() else Outcome.NOT_THERE, str(problem)) from problem
        self._settle()
        report("verify", f"where is {expression} from here")
        second = self._refer(expression, TaskKind.POINT, Outcome.NOT_SEEN)
        self._check_reach(second, expression)
        if self._stopped.is_set():
            raise _Ended(Outcome.STOPPED, "stopped before the hand's goal")
        self._hand.publish(second.goal)
        return f"{second.sentence}; the hand can get there"

    def _choose_driver(self) -> None:
        """Nav2 when it is asked for, or there.

        Raises:
            _Ended: Both Nav2 and ``goal_pose`` would get the goal.
        """
        use_nav2 = self._nav2 is not None and (self._settings.drive is DriveBy.NAV2 or self._nav2.ready)
        self._driver = self._nav2 if use_nav2 and self._nav2 is not None else self._by_topic
        publishers = {publisher.node_name for publisher in self.get_publishers_info_by_topic(self.resolve_topic_name("goal_pose"))}
        if use_nav2 and publishers - {self.get_name()}:
            raise _Ended(
                Outcome.REFUSED,
                f"{', '.join(sorted(publishers - {self.get_name()}))} publishes goal_pose, which Nav2 would drive to as well; start the "
                "refer node with publish_goal_pose:=false",
            )

    def _refer(self, expression: str, kind: TaskKind, otherwise: Outcome) -> ReferralMessage:
        settings = self._settings
        try:
            result = self._referrer.call(
                Refer.Goal(instruction=expression, role=kind.value), wait_s=settings.server_timeout_s,
                timeout_s=settings.refer_timeout_s, stopping_s=1.0, poll=self._stopped.is_set,
            )  # fmt: skip
        except NotServed as problem:
            raise _Ended(Outcome.NO_ANSWER, f"{problem} (server_timeout_s, refer_timeout_s)") from problem
        if self._stopped.is_set():
            raise _Ended(Outcome.STOPPED, "stopped while the refer node was asked")
        message = result.referrals[0]
        self._referrals.append(message)
        if message.status != ReferralMessage.OK:
            raise _Ended(otherwise, f"{message.status_text}: {message.sentence}")
        return message

    def _settle(self) -> None:
        """Let every image from before the arrival grow too old to be used."""
        until_ns = self.get_clock().now().nanoseconds + int(1e9 * self._settings.settle_s)
        deadline = time.monotonic() + self._settings.drive_timeout_s
        while self.get_clock().now().nanoseconds < until_ns and time.monotonic() < deadline and not self._stopped.is_set():
            time.sleep(0.02)

    def _check_reach(self, message: ReferralMessage, expression: str) -> None:
        reach, standoff = self._profile.reach, self._profile.standoff
        if reach is None or standoff is None:
            return
        try:
            base = self._where()
        except Refused as refused:
            raise _Ended(Outcome.NOT_SEEN, f"{refused.status.value}: {refused.sentence}") from refused
        heading = base.rotation[:, 0]
        yaw = float(np.arctan2(heading[1], heading[0]))
        # Over the floor under the base, whatever its height and however it leans.
        floor = Transform(np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]), np.array([*base.translation_m[:2], standoff.floor_z_m]))
        point = floor.inverse().apply([message.position.x, message.position.y, message.position.z])
        spare_m = hand_to_spare_m(point, reach)
        if spare_m < 0.0:
            raise _Ended(
                Outcome.OUT_OF_REACH,
                f"{expression} is {-spare_m:.2f} m out of the hand's reach (profile.reach, {reach.min_m:g} to {reach.max_m:g} m from the "
                f"shoulder): {point[0]:.2f} m ahead, {point[2]:.2f} m over the floor",
            )

    def _tell(self, **values: Any) -> None:
        self._status.publish(String(data=json.dumps(values)))


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives."""
    return run(NavigateNode, args)


if __name__ == "__main__":
    sys.exit(main())
