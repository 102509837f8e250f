"""Serves ``roboref/action/MoveArm`` and the stop service for whatever moves an arm: the simulation, or an adapter of a real stack."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from roboref.action import MoveArm
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from roboref_node.arm.motion import Motion, MotionKind, MotionResult, Outcome, Stage
from roboref_node.ros import qos
from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.transforms import transform_from_pose
from roboref_node.status import Refused, Status

ACTION = "arm/move"
STOP = "arm/stop"
STOPPED = "arm/stopped"
"""Relative: they follow the node's namespace and can be remapped."""

Report = Callable[[Stage, float], None]
Finish = Callable[[MotionResult], None]


class Mover(Protocol):
    """Moves an arm on a thread of its own; both methods return at once and may be called from any thread."""

    def begin(self, motion: Motion, report: Report, finish: Finish) -> None:
        """Start a motion. `finish` is called exactly once, when the arm stands; `report` (stage, 0 to 1) now and then before."""
        ...

    def stop(self) -> bool:
        """Bring the arm to a stand as fast as it can; False when nothing was under way."""
        ...


class ArmServer:
    """One motion at a time; a goal that comes meanwhile is rejected.

    Args:
        node: Owns the interfaces.
        mover: Does the work.
        frames: Names of the frame that poses must be given in, the arm's base first.
    """

    def __init__(self, node: Node, mover: Mover, frames: tuple[str, ...]) -> None:
        self._node, self._mover, self._frames = node, mover, frames
        self._lock = threading.Lock()
        self._current: bytes | None = None
        self._answers: dict[bytes, Future] = {}
        self._holding, self._opening_m = False, math.nan
        self._actions = ActionServer(
            node, MoveArm, ACTION, execute_callback=self._await_end, goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted, cancel_callback=self._on_cancel, **qos.ACTION_SERVICES,
        )  # fmt: skip
        self._service = node.create_service(Trigger, STOP, self._on_stop)
        self._stopped = node.create_publisher(Empty, STOPPED, qos.ANSWERS)

    def close(self) -> None:
        """Withdraw the interfaces."""
        self._actions.destroy()
        self._node.destroy_service(self._service)
        self._node.destroy_publisher(self._stopped)

    def _on_goal(self, goal: MoveArm.Goal) -> GoalResponse:
        with self._lock:
            busy = self._current is not None
            if not busy:
                self._current = b""
        if busy:
            self._node.get_logger().warning(f"motion '{goal.motion}' rejected: another one is under way")
        return GoalResponse.REJECT if busy else GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        key = bytes(handle.goal_id.uuid)
        with self._lock:
            self._current = key
        answer = self._answers[key] = Future(executor=self._node.executor)

        def report(stage: Stage, progress: float) -> None:
            if handle.is_active:
                handle.publish_feedback(MoveArm.Feedback(stage=stage.value, progress=float(progress)))

        def finish(result: MotionResult) -> None:
            # Set inside the executor, which is thereby woken: the coroutine that waits for it runs there.
            call_soon(self._node, answer.set_result, result)

        try:
            self._mover.begin(motion_from_goal(handle.request, self._frames), report, finish)
        except Refused as refused:
            # Nothing moved, so what was held is held.
            answer.set_result(MotionResult(Outcome.FAULT, refused.sentence, self._holding, self._opening_m))
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if bytes(handle.goal_id.uuid) not in self._answers:
            return CancelResponse.REJECT
        self._mover.stop()
        return CancelResponse.ACCEPT

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        response.message = "stopping" if self._mover.stop() else "nothing moved"
        # Also when nothing moved: whoever works on a sentence is between two motions, and must not begin the next one.
        self._stopped.publish(Empty())
        return response

    async def _await_end(self, handle: Any) -> MoveArm.Result:
        key = bytes(handle.goal_id.uuid)
        result: MotionResult = await self._answers[key]
        self._holding, self._opening_m = result.holding, result.opening_m
        with self._lock:
            self._current = None
        del self._answers[key]
        self._node.get_logger().info(f"{handle.request.motion}: {result.outcome.value}: {result.sentence}")
        if result.outcome is Outcome.DONE:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return MoveArm.Result(
            outcome=result.outcome.value,
            sentence=result.sentence,
            holding=result.holding,
            gripper_opening_m=float(result.opening_m),
        )


def motion_from_goal(goal: MoveArm.Goal, frames: tuple[str, ...]) -> Motion:
    """The motion that a goal asks for.

    Raises:
        Refused: BAD_REQUEST: an unknown motion, another frame, a pose or a width that is none.
    """
    try:
        kind = MotionKind(goal.motion)
    except ValueError:
        known = ", ".join(k.value for k in MotionKind)
        raise Refused(Status.BAD_REQUEST, f"there is no motion '{goal.motion}'; known are {known} (field motion)") from None
    if kind is MotionKind.HOME:
        return Motion(kind)
    for name, stamped in (("approach", goal.approach), ("goal", goal.goal)):
        if stamped.header.frame_id not in frames:
            raise Refused(
                Status.BAD_REQUEST,
                f"the {name} pose is in frame '{stamped.header.frame_id}'; this arm takes poses in {' or '.join(frames)}",
            )
    width = float(goal.gripper_width_m)
    if not math.isnan(width) and not 0.0 < width < math.inf:
        raise Refused(Status.BAD_REQUEST, f"gripper_width_m is {width:g}; it must be positive, or NaN for fully open")
    try:
        approach, target = transform_from_pose(goal.approach.pose), transform_from_pose(goal.goal.pose)
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, f"a pose of the motion cannot be: {error}") from error
    return Motion(kind, approach, target, None if math.isnan(width) else width)
