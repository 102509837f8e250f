"""The ``navigate`` node: "go to the red cup" until the robot stands where it sees the cup and its hand can get there.

It asks the refer node for a stand-off goal, has the robot driven there (Nav2, or whatever listens to ``goal_pose``), asks the refer
node again from the new place, and publishes the hand's goal if the arm reaches it; if it just does not, it goes there once more by
what is seen from near. Threads: one executor for requests, TF and the actions of others, one for the sentence being worked on, which
waits.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.time import Time
from roboref.action import PickPlace, Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_ros import TransformListener

from roboref_node.geometry.transform import Transform
from roboref_node.goals.approach import Miss, hand_misses
from roboref_node.goals.profile import RobotKind
from roboref_node.language import INTERRUPTS, Act
from roboref_node.ros import qos
from roboref_node.ros.action_call import ActionCaller, NotServed
from roboref_node.ros.driving import Arrival, Driver, GoalPoseDriver, Nav2Driver, NotThere, nav2_action
from roboref_node.ros.navigate_settings import DriveBy, NavigateSettings
from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.process import run
from roboref_node.ros.sentence_node import SentenceNode, Tell
from roboref_node.ros.transform_buffer import TransformBuffer
from roboref_node.ros.transforms import TransformSource, transform_from_message, transform_from_pose
from roboref_node.status import Refused, Status
from roboref_node.task import TaskKind, find_dialogue, parse_instruction

_POLL_S = 0.02


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


class NavigateNode(SentenceNode):
    """Node ``navigate``; all interfaces are documented in docs/navigation.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("navigate", Outcome.STOPPED.value, **kwargs)
        self._declared = NodeParameters(self, NavigateSettings)
        self._stopped = threading.Event()
        self._referrals: list[ReferralMessage] = []
        self._approach = 1

    # ---- process -------------------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Check the parameters and offer the interfaces.

        Raises:
            Refused: A wrong parameter.
        """
        self._settings = self._declared.read()
        self._profile = self.profile_parameters.read(self._settings.robot)
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
        self._declared.freeze(True)
        self.profile_parameters.freeze(True)
        self._declared.warn_of_unknown("profile.")
        near_m = 0.0 if self._profile.standoff is None else self._profile.standoff.arrival_m
        self._by_topic = GoalPoseDriver(self, self._arrival, self._profile.goal_frame, near_m=near_m, begin_s=self._settings.begin_s)
        self._driver: Driver = self._by_topic
        self._referrer = ActionCaller(self, Refer, self._settings.refer_action)
        self._hand = self.create_publisher(PoseStamped, "~/hand_pose", qos.ANSWERS)
        self._status = self.create_publisher(String, "~/status", qos.PICTURES)
        self.create_subscription(String, "~/instruction", self._on_instruction, qos.ANSWERS)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.offer("~/navigate")
        self._tell(state="ready")
        self.get_logger().info(f"ready: robot {self._profile.name}, {self._referrer.name}, drive {self._settings.drive.value}")

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
        said, instruction = find_dialogue(message.data), message.data
        if said is not None and (said.act in INTERRUPTS or said.act is Act.NO):
            instruction = said.rest
            if said.act is not Act.NO or self.busy:
                self.interrupt(f"somebody said {said.act.value}")
            if self.busy:
                self.next_instruction = instruction  # begun as soon as the walk has ended
                return
        if instruction and self.busy and self._stopped.is_set():
            self.next_instruction = instruction  # the robot is still coming to rest
        elif instruction and not self.begin(instruction):
            self.get_logger().warning(f'"{message.data[:80]}" is not done: the robot is still on its way; call ~/stop first')

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, self.interrupt("stopped through ~/stop")
        return response

    def interrupt(self, reason: str) -> str:
        """Stop the robot and end the sentence; the reason is the caller's to tell."""
        self.next_instruction = ""
        self._stopped.set()
        self._driver.stop()
        return "the robot is told to stop" if self.busy else "no sentence was being worked on"

    # ---- the sentence (its own thread) ---------------------------------------------------------------------------------------

    def prepare(self, instruction: str) -> None:
        """Forget the sentence before."""
        self._stopped.clear()
        self._referrals, self._approach = [], 1

    def work_on(self, instruction: str, tell: Tell) -> PickPlace.Result:
        """Refer, walk, refer again until the hand gets there; see `_go`."""
        started_s = time.monotonic()

        def report(state: str, sentence: str) -> None:
            elapsed_s = time.monotonic() - started_s
            self._tell(
                state=state, instruction=instruction, sentence=sentence, elapsed_s=round(elapsed_s, 3), approach=self._approach
            )  # fmt: skip
            tell(PickPlace.Feedback(state=state, attempt=self._approach, sentence=sentence, elapsed_s=elapsed_s))

        try:
            outcome, sentence = Outcome.DONE, self._go(instruction, report)
        except _Ended as ended:
            outcome, sentence = ended.outcome, ended.sentence
        except Exception as error:  # a defect must end the sentence, not the node
            outcome, sentence = Outcome.NO_ANSWER, f"defect in roboref, please report it: {type(error).__name__}: {error}"
        done = int(outcome is Outcome.DONE)
        return PickPlace.Result(outcome=outcome.value, sentence=sentence, tasks_done=done, task_count=1, referrals=self._referrals)

    def ended(self, instruction: str, result: PickPlace.Result) -> None:
        """Tell how it ended."""
        self._tell(state="ended", instruction=instruction, outcome=result.outcome, sentence=result.sentence)

    def _go(self, instruction: str, report: Any) -> str:
        """All of it.

        Raises:
            _Ended: It ended before the hand's goal.
        """
        try:
            tasks = parse_instruction(instruction)
        except Refused as refused:
            raise _Ended(Outcome.REFUSED, refused.sentence) from refused
        if len(tasks) != 1 or tasks[0].kind is not TaskKind.NAVIGATE:
            raise _Ended(Outcome.REFUSED, f'"{instruction[:80]}" is not one place to go to; say for example "go to the red cup"')
        expression = tasks[0].expression
        report("refer", f"where is {expression}")
        self._wait_for_base()
        self._choose_driver()
        goal = self._refer(expression, TaskKind.NAVIGATE, Outcome.REFUSED)
        while True:
            self._walk(goal, report)
            report("verify", f"where is {expression} from here")
            seen = self._refer(expression, TaskKind.POINT, Outcome.NOT_SEEN)
            miss = self._reaches(seen)
            if self._stopped.is_set():
                raise _Ended(Outcome.STOPPED, "stopped before the hand's goal")
            if miss is None:
                break
            goal = self._approach_again(expression, miss, report)
        self._hand.publish(seen.goal)
        return f"{seen.sentence}; the hand can get there"

    def _walk(self, message: ReferralMessage, report: Any) -> None:
        """Returns when the robot stands at the goal.

        Raises:
            _Ended: It does not.
        """
        settings, goal = self._settings, message.goal
        report("move", message.sentence)
        try:
            self._driver.drive(
                goal, timeout_s=settings.drive_timeout_s, stopped=self._stopped.is_set, report=lambda text: report("move", text)
            )
            self._arrival.stand(
                goal, self.get_clock(), still_s=settings.settle_s, timeout_s=settings.drive_timeout_s, stopped=self._stopped.is_set
            )
        except NotThere as problem:
            raise _Ended(Outcome.STOPPED if self._stopped.is_set() else Outcome.NOT_THERE, str(problem)) from problem

    def _wait_for_base(self) -> None:
        """Until TF tells where the base is: a robot that cannot be followed on its way must not be sent on it.

        Raises:
            _Ended: Not within ``server_timeout_s``, or stopped.
        """
        deadline = time.monotonic() + self._settings.server_timeout_s
        while True:
            try:
                self._where()
                return
            except Refused as refused:
                if time.monotonic() > deadline:
                    raise _Ended(Outcome.REFUSED, f"{refused.status.value}: {refused.sentence} (server_timeout_s)") from refused
            if self._stopped.wait(_POLL_S):
                raise _Ended(Outcome.STOPPED, "stopped while TF was waited for")

    def _choose_driver(self) -> None:
        """By topic where the refer node publishes its goals on ``goal_pose``, where Nav2 listens too; otherwise Nav2's action.

        Raises:
            _Ended: Nav2 is asked for and would get its goals twice; or the refer node is not there.
        """
        self._driver = self._by_topic
        if self._nav2 is None:
            return
        settings = self._settings
        try:
            by_topic = self._referrer.server_publishes("goal_pose", wait_s=settings.server_timeout_s, poll=self._stopped.is_set)
        except NotServed as problem:
            raise self._unanswered(f"{problem} (server_timeout_s)") from problem
        if by_topic and settings.drive is DriveBy.NAV2:
            raise _Ended(
                Outcome.REFUSED,
                "the refer node publishes goal_pose, which Nav2 drives to as well; start it with publish_goal_pose:=false, or this node "
                "with drive:=goal_pose",
            )
        if not by_topic:
            self._driver = self._nav2

    def _refer(self, expression: str, kind: TaskKind, otherwise: Outcome, before: str = "") -> ReferralMessage:
        settings = self._settings
        goal = Refer.Goal(instruction=expression, role=kind.value, target_frame=self._profile.goal_frame)
        try:
            result = self._referrer.call(
                goal, wait_s=settings.server_timeout_s, timeout_s=settings.refer_timeout_s, stopping_s=1.0, poll=self._stopped.is_set
            )
        except NotServed as problem:
            raise self._unanswered(f"{problem} (server_timeout_s, refer_timeout_s)") from problem
        if not result.referrals:
            raise self._unanswered(f"{self._referrer.name} ended the question about {expression} without an answer")
        message = result.referrals[0]
        if self._stopped.is_set():
            if kind is TaskKind.NAVIGATE and message.status == ReferralMessage.OK:
                # Too late for the refer node, whose goal overtook the one that stops the robot.
                self._driver.stop()
            raise _Ended(Outcome.STOPPED, "stopped while the refer node was asked")
        self._referrals.append(message)
        if message.status != ReferralMessage.OK:
            raise _Ended(otherwise, f"{before}{message.status_text}: {message.sentence}")
        return message

    def _unanswered(self, sentence: str) -> _Ended:
        return _Ended(Outcome.STOPPED if self._stopped.is_set() else Outcome.NO_ANSWER, sentence)

    def _reaches(self, message: ReferralMessage) -> Miss | None:
        """What the hands miss of it from where the robot stands now.

        Raises:
            _Ended: TF does not tell where that is.
        """
        try:
            return hand_misses(_position(message), self._where(), self._profile)
        except Refused as refused:
            raise _Ended(Outcome.NOT_SEEN, f"{refused.status.value}: {refused.sentence}") from refused

    def _approach_again(self, expression: str, miss: Miss, report: Any) -> ReferralMessage:
        """A new stand-off goal by what is seen from near, from which the hand gets there.

        Raises:
            _Ended: There is none, or the robot has walked often enough.
        """
        said, standoff = miss.sentence(expression), miss.standoff
        if not miss.mendable:
            where = f"{standoff.min_m:g} to {standoff.max_m:g} m (profile.standoff.min_m and max_m)"
            raise _Ended(Outcome.OUT_OF_REACH, f"{said}; at this height the hand gets there from no distance of {where}")
        if self._approach >= self._settings.approaches:
            raise _Ended(Outcome.OUT_OF_REACH, f"{said}, after {self._approach} of {self._settings.approaches} walks (approaches)")
        self._approach += 1
        report("retry", said)
        goal = self._refer(expression, TaskKind.NAVIGATE, Outcome.OUT_OF_REACH, f"{said}; no better place to stand: ")
        still = hand_misses(_position(goal), transform_from_pose(goal.goal.pose), self._profile)
        if still is not None:
            # The refer node may have sent it there already.
            self._driver.stop()
            raise _Ended(Outcome.OUT_OF_REACH, f"{said}; from the best free place it would be {1e3 * still.missing_m:.1f} mm out of reach")
        return goal

    def _tell(self, **values: Any) -> None:
        self._status.publish(String(data=json.dumps(values)))


def _position(message: ReferralMessage) -> tuple[float, float, float]:
    return message.position.x, message.position.y, message.position.z


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives."""
    return run(NavigateNode, args)


if __name__ == "__main__":
    sys.exit(main())
