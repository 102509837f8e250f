"""Talking to a refer node from outside, as a user's program would: the instruction topic and the action."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.action.client import ActionClient
from rclpy.context import Context
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.utilities import try_shutdown
from rclpy.validate_topic_name import validate_topic_name
from roboref.action import Refer
from roboref.msg import Referral as ReferralMessage
from sensor_msgs.msg import Image
from std_msgs.msg import String

from roboref_node.rgbd import decode_color
from roboref_node.status import Refused, Status


class Dialogue:
    """A node that asks and listens; spins in a thread of its own.

    Args:
        refer: Name of the refer node.

    Raises:
        Refused: BAD_REQUEST when no node can have that name.
    """

    def __init__(self, refer: str = "/refer") -> None:
        try:
            validate_topic_name(refer)
        except InvalidTopicNameException as error:
            raise Refused(Status.BAD_REQUEST, f"{refer!r} is no name of a node: {str(error).splitlines()[0]}") from None
        self._refer = refer
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("roboref_dialogue", context=self._context)
        self._referrals: list[ReferralMessage] = []
        self._overlay: Image | None = None
        self._arrived = threading.Condition()
        self._say = self._node.create_publisher(String, f"{refer}/instruction", 5)
        self._node.create_subscription(ReferralMessage, f"{refer}/referral", self._on_referral, 20)
        self._node.create_subscription(Image, f"{refer}/overlay", self._on_overlay, 2)
        self._action = ActionClient(self._node, Refer, f"{refer}/refer")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="dialogue", daemon=True)
        self._thread.start()

    def wait_for_node(self, timeout_s: float, healthy: Callable[[], bool]) -> None:
        """Wait until the refer node answers on its topic and action.

        Raises:
            Refused: MODEL_UNAVAILABLE when a process ended or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not (self._say.get_subscription_count() and self._action.server_is_ready()):
            if not healthy():
                raise Refused(Status.MODEL_UNAVAILABLE, "a node of the demonstration ended while it was starting")
            if time.monotonic() > deadline:
                raise Refused(Status.MODEL_UNAVAILABLE, f"the refer node {self._refer} was not ready within {timeout_s:g} s")
            time.sleep(0.05)

    def say(self, instruction: str, timeout_s: float) -> tuple[list[ReferralMessage], Image | None]:
        """Publish an instruction and collect its referrals, and the overlay that follows them.

        Raises:
            Refused: MODEL_TIMEOUT when no answer comes in time.
        """
        with self._arrived:
            self._referrals.clear()
            self._overlay = None
        self._say.publish(String(data=instruction))
        self._wait(lambda: self._complete(instruction), timeout_s, f"no answer to {instruction!r} within {timeout_s:g} s")
        answers = [r for r in self._referrals if r.instruction == instruction]
        if any(r.status == ReferralMessage.OK for r in answers):
            self._wait(lambda: self._overlay is not None, 5.0, "no overlay within 5 s of the answer")
        return answers, self._overlay

    def ask(
        self, instruction: str, timeout_s: float, *, role: str = "", target_frame: str = "", pixel: tuple[float, float] | None = None
    ) -> tuple[list[ReferralMessage], list[str]]:
        """Send an action goal; the referrals, and the stages of its feedback.

        Args:
            instruction: What is asked.
            timeout_s: How long to wait for the result.
            role: See ``roboref/action/Refer``.
            target_frame: Frame of the answer; "" = the goal frame of the robot.
            pixel: Skips the model.

        Raises:
            Refused: MODEL_TIMEOUT when no result comes in time, BAD_REQUEST when the goal is rejected.
        """
        stages: list[str] = []
        goal = Refer.Goal(instruction=instruction, role=role, target_frame=target_frame, use_pixel=pixel is not None)
        if pixel is not None:
            goal.pixel = [float(pixel[0]), float(pixel[1])]

        def send() -> Any:
            return self._action.send_goal_async(goal, feedback_callback=lambda message: stages.append(message.feedback.stage))

        try:
            handle = self._result(send, min(5.0, timeout_s), instruction)
        except Refused:
            # A server that has not discovered this client's reader yet accepts into the void; the next goal reaches it.
            handle = self._result(send, timeout_s, instruction)
        if not handle.accepted:
            raise Refused(
                Status.BAD_REQUEST, f"the refer node rejected {instruction!r}: it is not active, or its queue is full; its log says which"
            )
        result = self._result(handle.get_result_async, timeout_s, instruction)
        return list(result.result.referrals), stages

    def picture(self, message: Image) -> NDArray[np.uint8]:
        """An image message as RGB array."""
        return decode_color(message)

    def _result(self, request: Callable[[], Any], timeout_s: float, instruction: str) -> Any:
        """Make a request in the executor's thread (an action client drops an answer that comes while another thread still asks)."""
        done = threading.Event()
        futures: list[Any] = []

        def start() -> None:
            futures.append(request())
            futures[0].add_done_callback(lambda _: done.set())

        self._executor.create_task(start)
        if not done.wait(timeout_s):
            raise Refused(Status.MODEL_TIMEOUT, f"the action did not answer {instruction!r} within {timeout_s:g} s")
        return futures[0].result()

    def _complete(self, instruction: str) -> bool:
        answers = [r for r in self._referrals if r.instruction == instruction]
        return bool(answers) and len(answers) >= max(1, answers[-1].task_count)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        with self._arrived:
            if not self._arrived.wait_for(condition, timeout_s):
                raise Refused(Status.MODEL_TIMEOUT, otherwise)

    def _on_referral(self, message: ReferralMessage) -> None:
        with self._arrived:
            self._referrals.append(message)
            self._arrived.notify_all()

    def _on_overlay(self, message: Image) -> None:
        with self._arrived:
            self._overlay = message
            self._arrived.notify_all()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self._node.destroy_node()
        try_shutdown(context=self._context)


def answer_to_dict(answer: ReferralMessage) -> dict[str, Any]:
    """A referral message as JSON; numbers that are not known are None."""
    position = [answer.position.x, answer.position.y, answer.position.z]
    known = position[0] == position[0]
    provenance = json.loads(answer.provenance_json or "{}")
    details = provenance.pop("details", {})
    return {
        "status": answer.status_text,
        "sentence": answer.sentence,
        "role": answer.role,
        "task": {"kind": answer.role or "point", "expression": answer.expression, "instruction": answer.instruction},
        "stamp_ns": int(answer.header.stamp.sec) * 1_000_000_000 + int(answer.header.stamp.nanosec),
        "frame_id": answer.camera_frame,
        "pixel": [answer.pixel_u, answer.pixel_v] if math.isfinite(answer.pixel_u) and math.isfinite(answer.pixel_v) else None,
        "answer": answer.answer_text,
        "position_m": position if known else None,
        "position_frame": answer.header.frame_id,
        "covariance_m2": [float(x) for x in answer.covariance] if known and answer.covariance[0] >= 0 else None,
        "goal": _pose_to_dict(answer.goal),
        "approach": _pose_to_dict(answer.approach),
        "gripper_width_m": answer.gripper_width_m if answer.gripper_width_m == answer.gripper_width_m else None,
        "provenance": provenance,
        "details": details,
        "timings_ms": {n: round(float(ms), 2) for n, ms in zip(answer.timing_names, answer.timing_ms, strict=True)},
    }


def _pose_to_dict(pose: PoseStamped) -> dict[str, Any] | None:
    if not pose.header.frame_id:
        return None
    p, q = pose.pose.position, pose.pose.orientation
    return {"frame": pose.header.frame_id, "position_m": [p.x, p.y, p.z], "quaternion_xyzw": [q.x, q.y, q.z, q.w]}
