"""The eyes, the refer node and the arm of the closed loop, over ROS. Everything here waits, on the loop's thread."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable

from rclpy.node import Node
from roboref.action import MoveArm, Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from roboref_node.arm import Motion, MotionResult, Stage
from roboref_node.arm import Outcome as MotionOutcome
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.pick_place import Ended, Look, Outcome
from roboref_node.pick_place.ports import Watch
from roboref_node.referral import Referral
from roboref_node.rgbd import RgbdPair, build_frame
from roboref_node.ros import qos
from roboref_node.ros.action_call import ActionCaller, NotServed, Rejected
from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.messages import held_message, referral_from_message
from roboref_node.ros.pick_place_settings import PickPlaceSettings
from roboref_node.ros.transforms import pose_stamped
from roboref_node.status import Refused
from roboref_node.task import Task

_POLL_S = 0.01
_ECHO_S = 1.0
"""How long the arm may take to tell of a stop that this node asked for; the next sentence may have begun by then, and is not meant."""
Settings = Callable[[], PickPlaceSettings]


class Interruption:
    """Set by services, words and clients on any thread; asked by the loop."""

    def __init__(self) -> None:
        self._ended: Ended | None = None
        self._lock = threading.Lock()

    def set(self, outcome: Outcome, sentence: str) -> None:
        """End the present sentence; the first reason counts."""
        with self._lock:
            self._ended = self._ended or Ended(outcome, sentence)

    def clear(self) -> None:
        """A new sentence begins."""
        with self._lock:
            self._ended = None

    def __call__(self) -> Ended | None:
        """The reason, once there is one."""
        return self._ended

    def check(self) -> None:
        """Raise the reason.

        Raises:
            Ended: STOPPED or CANCELED.
        """
        if self._ended is not None:
            raise Ended(self._ended.outcome, self._ended.sentence)


class CameraEyes:
    """Frames of a `CameraReceiver` with the camera's pose at their stamps.

    Args:
        node: Its clock is the one of the frames.
        receiver: The camera and TF.
        goal_frame: Frame of the goals.
        settings: The parameters in force.
        interruption: Asked while waiting.
    """

    def __init__(self, node: Node, receiver: CameraReceiver, goal_frame: str, settings: Settings, interruption: Interruption) -> None:
        self._node, self._receiver, self._goal_frame = node, receiver, goal_frame
        self._settings, self._interruption = settings, interruption

    def now_ns(self) -> int:
        """The node's clock, simulated time where that is in use."""
        return int(self._node.get_clock().now().nanoseconds)

    def look(self, newer_than_ns: int) -> Look:
        """See `ports.Eyes`."""
        settings = self._settings()
        deadline = time.monotonic() + settings.loop.view_timeout_s
        while True:
            self._interruption.check()
            try:
                pair = self._receiver.frames.latest(settings.max_frame_age_s)
                if pair.stamp_ns > newer_than_ns:
                    return self._look(pair)
                problem = f"no frame since {newer_than_ns / 1e9:.3f} s"
            except Refused as refused:
                problem = f"{refused.status.value}: {refused.sentence}"
            if time.monotonic() > deadline:
                raise Ended(Outcome.NO_VIEW, f"{problem} (loop.view_timeout_s = {settings.loop.view_timeout_s:g})")
            time.sleep(_POLL_S)

    def glance(self) -> Look | None:
        """See `ports.Eyes`."""
        try:
            return self._look(self._receiver.frames.latest(self._settings().max_frame_age_s))
        except Refused:
            return None

    def at(self, stamp_ns: int) -> Look:
        """See `ports.Eyes`."""
        try:
            return self._look(self._receiver.frames.at(stamp_ns, self._settings().stamp_tolerance_s))
        except Refused as refused:
            raise Ended(Outcome.NO_VIEW, f"{refused.status.value}: {refused.sentence}") from refused

    def _look(self, pair: RgbdPair) -> Look:
        settings, frames, transforms = self._settings(), self._receiver.frames, self._receiver.transforms
        transforms.timeout_s = settings.tf_timeout_s

        def find(target: str, source: str, stamp_ns: int) -> Transform:
            return transforms.lookup(target, source, stamp_ns, canceled=lambda: self._interruption() is not None)

        frame = build_frame(pair, *frames.calibrations(pair, settings.frame_timeout_s), settings.trust, find)
        return Look(frame, find(self._goal_frame, frame.frame_id, frame.stamp_ns))


class ActionReferrer:
    """The refer node, through its action.

    Args:
        node: Carries the client.
        goal_frame: Frame in which it has to answer.
        settings: The parameters in force.
        interruption: Asked while waiting.
    """

    def __init__(self, node: Node, goal_frame: str, settings: Settings, interruption: Interruption) -> None:
        self._goal_frame, self._settings, self._interruption = goal_frame, settings, interruption
        self.caller = ActionCaller(node, Refer, settings().refer_action)
        self.messages: list[ReferralMessage] = []
        """Every answer since `begin`."""

    def begin(self) -> None:
        """Forget the answers of the sentence before."""
        self.messages = []

    def refer(self, task: Task, held: HeldObject | None, stamp_ns: int) -> Referral:
        """See `ports.Referrer`."""
        settings = self._settings()
        goal = Refer.Goal(instruction=task.expression, role=task.kind.value, target_frame=self._goal_frame)
        goal.stamp.sec, goal.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        if held is not None:
            goal.held = [held_message(held)]
        try:
            result = self.caller.call(
                goal, wait_s=settings.server_timeout_s, timeout_s=settings.refer_timeout_s, stopping_s=1.0,
                poll=lambda: self._interruption() is not None,
            )  # fmt: skip
        except NotServed as problem:
            self._interruption.check()
            raise Ended(Outcome.NO_ANSWER, f"{problem} (server_timeout_s, refer_timeout_s)") from problem
        self._interruption.check()
        if not result.referrals:
            raise Ended(Outcome.NO_ANSWER, f"{self.caller.name} ended the question about {task.expression} without an answer")
        message = result.referrals[0]
        message.instruction = task.instruction
        self.messages.append(message)
        if message.status == ReferralMessage.OK and message.header.frame_id != self._goal_frame:
            raise Ended(
                Outcome.REFUSED,
                f"{self.caller.name} answers in {message.header.frame_id}, the arm's goals are in {self._goal_frame} (profile.goal_frame)",
            )
        return dataclasses.replace(referral_from_message(message), task=task)


class ActionArm:
    """An arm's own stack, through ``roboref/action/MoveArm`` and its stop service.

    Args:
        node: Carries the clients.
        goal_frame: Frame of the poses.
        settings: The parameters in force.
        interruption: Asked while waiting.
        on_stopped: Called in the executor with a sentence when somebody else has stopped the arm, moving or not.
    """

    def __init__(
        self, node: Node, goal_frame: str, settings: Settings, interruption: Interruption,
        on_stopped: Callable[[str], object] = lambda sentence: None,
    ) -> None:  # fmt: skip
        self._node, self._goal_frame = node, goal_frame
        self._settings, self._interruption, self._on_stopped = settings, interruption, on_stopped
        self.caller = ActionCaller(node, MoveArm, settings().arm_action)
        self._stop = node.create_client(Trigger, settings().arm_stop)
        self._stopped = node.create_subscription(Empty, settings().arm_stopped, self._hear_stopped, qos.ANSWERS)
        self._echoes_until_s: list[float] = []
        self._has_told_of_stops = False
        self._stage: Stage | None = None

    def stop(self) -> None:
        """Stop the arm now, whoever moves it; called on the executor's thread, returns at once."""
        self.caller.cancel()
        if self._stop.service_is_ready():
            self._stop.call_async(Trigger.Request())
            self._echoes_until_s = [*self._awaited_echoes(), time.monotonic() + _ECHO_S]

    def _awaited_echoes(self) -> list[float]:
        now_s = time.monotonic()
        return [until_s for until_s in self._echoes_until_s if until_s > now_s]

    def _hear_stopped(self, message: Empty) -> None:
        awaited = self._awaited_echoes()
        self._echoes_until_s = awaited[1:]
        if not awaited:
            self._on_stopped(f"the arm was stopped by somebody ({self._stopped.topic_name})")

    def _tell_what_is_missing(self) -> None:
        """Once, after a motion: by then whoever publishes beside the action's server is known."""
        if not self._has_told_of_stops and self._node.count_publishers(self._stopped.topic_name) == 0:
            self._node.get_logger().warning(
                f"nobody publishes {self._stopped.topic_name}: a stop of the arm between two motions does not end the sentence "
                "(parameter arm_stopped)"
            )
        self._has_told_of_stops = True

    def move(self, motion: Motion, watch: Watch) -> MotionResult:
        """See `ports.Arm`."""
        settings = self._settings()
        goal = MoveArm.Goal(motion=motion.kind.value, gripper_width_m=math.nan if motion.width_m is None else motion.width_m)
        stamp_ns = int(self._node.get_clock().now().nanoseconds)
        for pose, name in ((motion.goal, "goal"), (motion.approach, "approach")):
            if pose is not None:
                setattr(goal, name, pose_stamped(pose, frame_id=self._goal_frame, stamp_ns=stamp_ns))
        self._stage, next_watch_s = None, 0.0

        def poll() -> bool:
            nonlocal next_watch_s
            if self._interruption() is not None:
                return True
            now_s = time.monotonic()
            # What the arm does is not guessed: where it lifts the object, the watch would see that go and stop it.
            if now_s < next_watch_s or self._stage is None:
                return False
            next_watch_s = now_s + settings.watch_period_s
            return watch(self._stage)

        def on_feedback(feedback: MoveArm.Feedback) -> None:
            try:
                self._stage = Stage(feedback.stage)
            except ValueError:  # one of its own
                self._stage = None

        try:
            result = self.caller.call(
                goal, wait_s=settings.server_timeout_s, timeout_s=settings.arm_timeout_s, stopping_s=settings.arm_stop_timeout_s,
                poll=poll, on_feedback=on_feedback,
            )  # fmt: skip
        except NotServed as problem:
            if not isinstance(problem, Rejected):  # what moves then is somebody else's, and not ours to stop
                call_soon(self._node, self.stop)
            self._interruption.check()
            raise Ended(Outcome.ARM_SILENT, f"{problem} (server_timeout_s, arm_timeout_s, arm_stop_timeout_s)") from problem
        except Exception:  # a defect of the watch
            call_soon(self._node, self.stop)
            raise
        self._tell_what_is_missing()
        try:
            outcome = MotionOutcome(result.outcome)
        except ValueError:
            known = ", ".join(o.value for o in MotionOutcome)
            raise Ended(Outcome.ARM_FAULT, f'the arm ended with "{result.outcome}", which is none of {known}') from None
        return MotionResult(outcome, result.sentence or outcome.value, bool(result.holding), float(result.gripper_opening_m))
