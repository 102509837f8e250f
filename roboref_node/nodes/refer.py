"""The ``refer`` node: an instruction on a topic or an action becomes checked goal poses.

Lifecycle: configure declares the interfaces and checks the parameters, activate loads the model and subscribes to the camera,
deactivate undoes both. Threads: one executor for requests and services, one for images and transforms, one worker that waits
and thinks. See `ros.requests` for who gives way to whom.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from roboref.action import Refer
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboref_node.goals.profile import RobotKind
from roboref_node.goals.standoff import OccupancyMap
from roboref_node.language import INTERRUPTS
from roboref_node.pipeline import Pipeline
from roboref_node.pointing.registry import load_pointer
from roboref_node.ros import qos
from roboref_node.ros.answering import Answerer
from roboref_node.ros.call_soon import call_soon
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.diagnostics import Diagnostics, Sources
from roboref_node.ros.failures import QuestionRecorder
from roboref_node.ros.last_results import results_leave
from roboref_node.ros.lifecycle import answer_impossible_transitions
from roboref_node.ros.messages import held_from_messages, refusal_message
from roboref_node.ros.occupancy import map_from_message
from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.process import run
from roboref_node.ros.profile import ProfileParameters
from roboref_node.ros.publishing import AnswerPublisher
from roboref_node.ros.rate_limit import RateLimit
from roboref_node.ros.requests import Request, RequestQueue
from roboref_node.ros.settings import LIVE, NO_MODEL, ReferSettings
from roboref_node.status import Refused, Status
from roboref_node.task import find_dialogue

_STOP_S = 5.0
"""How long a deactivation waits for the question being answered; a cancel takes effect at its next stage."""

_EXIT_S = 2.0
"""The same at the end of the process, which has to hurry (see `ros.process`)."""

_RESULT_S = 60
"""How long a result is kept for a client that has not asked for it; rclpy's 15 min would keep hundreds of them."""


class ReferNode(LifecycleNode):
    """Lifecycle node ``refer``; all interfaces are documented in docs/ros.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("refer", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.finished = threading.Event()
        self.exit_status = 0
        self._settings = NodeParameters(self, ReferSettings, live=LIVE)
        self._profile_parameters = ProfileParameters(self)
        self._publisher: AnswerPublisher | None = None
        self._entities: list[Any] = []
        self._actions: ActionServer | None = None
        self._goals: dict[bytes, tuple[Request, Future]] = {}
        self._receiver: CameraReceiver | None = None
        self._queue: RequestQueue | None = None
        self._answerer: Answerer | None = None
        self._recorder: QuestionRecorder | None = None
        self._rate = RateLimit()
        self._map: OccupancyGrid | None = None
        self._inactive_because = Refused(Status.CANCELED, "the node is not active")
        self._diagnostics = Diagnostics(self, self._sources)
        self.create_service(Trigger, "~/cancel", self._on_cancel_all)
        answer_impossible_transitions(self)

    # ---- process -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Configure and activate, unless a lifecycle manager does that (parameter ``autostart``)."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def close(self) -> bool:
        """Answer what is waiting and stop the threads; False when the model is still busy."""
        with results_leave(self._goals):
            stopped = self._stop_answering("the node is shutting down", _EXIT_S)
        if stopped and self._receiver is not None:
            self._close_receiver(self._receiver)
            self._receiver = None
        return stopped

    def _close_receiver(self, receiver: CameraReceiver) -> None:
        receiver.close()
        self.get_logger().info(f"camera closed after {receiver.frames.count} pairs of colour and depth")

    def _sources(self) -> Sources:
        active = self._receiver is not None and self._queue is not None
        return Sources(
            self._receiver,
            self._queue,
            self._settings.current if active else None,
            self._profile.name if active else "",
            tuple(dict.fromkeys((self._profile.goal_frame, self._profile.base_frame))) if active else (),
            self._inactive_because,
        )

    # ---- lifecycle -----------------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters and create the interfaces."""
        try:
            settings = self._settings.read()
            self._profile = self._profile_parameters.read(settings.robot)
        except Refused as refused:
            self.get_logger().error(f"not configured: {refused.sentence}")
            return TransitionCallbackReturn.FAILURE
        self._settings.freeze(True)
        self._profile_parameters.freeze(True)
        self._create_interfaces(settings)
        self._settings.warn_of_unknown("profile.")
        self.get_logger().info(f"configured for robot {self._profile.name}, goals in {self._profile.goal_frame}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, subscribe to the camera and start answering."""
        settings = self._settings.current
        started = time.monotonic()
        try:
            pointer = None if settings.model == NO_MODEL else load_pointer(settings.model)
        except Refused as refused:
            self._inactive_because = Refused(refused.status, f"not activated: {refused.sentence}", **refused.details)
            self.get_logger().error(self._inactive_because.sentence)
            return TransitionCallbackReturn.FAILURE
        self._receiver = CameraReceiver(self, settings)
        pipeline = Pipeline(pointer, self._profile, settings.pipeline)
        self._answerer = Answerer(
            pipeline, self._receiver.frames, self._receiver.transforms, lambda: self._settings.current, self._occupancy
        )
        self._recorder = QuestionRecorder(settings.record, self._profile, settings.pipeline, settings.model, settings.trust)
        self._queue = RequestQueue(self._answer, self._refuse)
        self._queue.start()
        name = NO_MODEL if pointer is None else pointer.name
        self.get_logger().info(f"active: model {name} loaded in {time.monotonic() - started:.1f} s")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answer what is waiting with CANCELED, unsubscribe and free the model."""
        if not self._stop_answering("the node was deactivated", _STOP_S):
            self.get_logger().error(f"the model did not stop within {_STOP_S:g} s")
            return TransitionCallbackReturn.ERROR
        if self._receiver is not None:
            self._close_receiver(self._receiver)
        self._receiver = self._queue = self._answerer = None
        gc.collect()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Remove the interfaces; parameters may be changed again."""
        self._destroy_interfaces()
        self._settings.freeze(False)
        self._profile_parameters.freeze(False)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo whatever was done, and end the process."""
        self.finished.set()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        if self._receiver is not None:
            self._close_receiver(self._receiver)
        self._receiver = self._queue = self._answerer = None
        return self.on_cleanup(state)

    def _create_interfaces(self, settings: ReferSettings) -> None:
        self._publisher = AnswerPublisher(self, drive=self._profile.kind is RobotKind.MOBILE and settings.publish_goal_pose)
        self._entities = [self.create_subscription(String, "~/instruction", self._on_instruction, qos.ANSWERS)]
        if settings.use_map:
            self._entities.append(self.create_subscription(OccupancyGrid, "map", self._on_map, qos.LATCHED))
        self._actions = ActionServer(
            self,
            Refer,
            "~/refer",
            execute_callback=self._await_answers,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
            result_timeout=_RESULT_S,
            **qos.ACTION_SERVICES,
        )

    def _destroy_interfaces(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        for subscription in self._entities:
            self.destroy_subscription(subscription)
        if self._actions is not None:
            self._actions.destroy()
        self._publisher, self._entities, self._actions, self._map = None, [], None, None

    def _stop_answering(self, reason: str, timeout_s: float) -> bool:
        self._inactive_because = Refused(Status.CANCELED, reason)
        return self._queue is None or self._queue.stop(reason, timeout_s)

    # ---- questions -----------------------------------------------------------------------------------------------------------

    def _on_instruction(self, message: String) -> None:
        said = find_dialogue(message.data)
        if said is not None and said.act in INTERRUPTS and self._queue is not None:
            self._queue.cancel_all(f"somebody said {said.act.value}")
        request = Request(message.data, finish=lambda request, messages: None, replaceable=True)
        flooded = self._rate.admit(self._settings.current.max_questions_hz)
        if flooded is not None:
            if self._rate.is_told():
                self.get_logger().warning(f"an instruction was dropped: {flooded.sentence}")
                self._refuse(request, flooded)
            return
        try:
            self._submit(request)
        except Refused as refused:
            self._refuse(request, refused)

    def _on_cancel_all(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Nothing is published any more for what was asked before: whoever moves the robot would take it for a new goal."""
        canceled = 0 if self._queue is None else self._queue.cancel_all("canceled through ~/cancel")
        response.success, response.message = True, f"{canceled} questions are canceled"
        return response

    def _on_map(self, message: OccupancyGrid) -> None:
        self._map = message

    def _occupancy(self) -> OccupancyMap | None:
        return None if self._map is None else map_from_message(self._map, self._profile.goal_frame)

    def _submit(self, request: Request) -> None:
        if self._queue is None:
            raise self._inactive_because
        self._queue.submit(request, max_queue=self._settings.current.max_queue)

    def _on_goal(self, goal: Refer.Goal) -> GoalResponse:
        settings = self._settings.current
        flooded = self._rate.admit(settings.max_questions_hz)
        if flooded is not None and not self._rate.is_told():
            return GoalResponse.REJECT
        refused = flooded or (self._inactive_because if self._queue is None else self._queue.full(settings.max_queue))
        if refused is None:
            return GoalResponse.ACCEPT
        # The action protocol has no room for a reason: it goes to the log and to ~/referral.
        self.get_logger().warning(f'goal "{goal.instruction[:80]}" rejected: {refused.sentence}')
        self._publish_refusal(self._refusal(goal.instruction, refused))
        return GoalResponse.REJECT

    def _on_accepted(self, handle: Any) -> None:
        goal = handle.request
        answered = Future(executor=self.executor)
        started = time.monotonic()

        def feedback(stage: str, index: int) -> None:
            if handle.is_active:
                handle.publish_feedback(Refer.Feedback(stage=stage, task_index=index, elapsed_s=time.monotonic() - started))

        def finish(request: Request, messages: Sequence[ReferralMessage]) -> None:
            # Set inside the executor, which is thereby woken: the coroutine that waits for it runs there.
            call_soon(self, answered.set_result, list(messages))

        request = Request(
            goal.instruction,
            finish=finish,
            role=goal.role,
            target_frame=goal.target_frame,
            stamp_ns=int(goal.stamp.sec) * 1_000_000_000 + int(goal.stamp.nanosec),
            pixel=(float(goal.pixel[0]), float(goal.pixel[1])) if goal.use_pixel else None,
            feedback=feedback,
        )
        self._goals[_key(handle)] = (request, answered)
        try:
            request.held = held_from_messages(goal.held)
            feedback("queue", 0)
            self._submit(request)
        except Refused as refused:
            self._refuse(request, refused)
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if _key(handle) not in self._goals:
            return CancelResponse.REJECT
        request, _ = self._goals[_key(handle)]
        if self._queue is not None:
            self._queue.cancel(request, "canceled by the client")
        return CancelResponse.ACCEPT

    async def _await_answers(self, handle: Any) -> Refer.Result:
        _, answered = self._goals[_key(handle)]
        messages = await answered
        del self._goals[_key(handle)]
        if handle.is_cancel_requested:
            handle.canceled()
        elif all(message.status == ReferralMessage.OK for message in messages):
            handle.succeed()
        else:
            handle.abort()
        return Refer.Result(referrals=messages)

    # ---- answers (worker thread) ---------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        assert self._answerer is not None and self._publisher is not None
        publisher = self._publisher
        answers = self._answerer.answer(request)
        for message in answers.messages:
            self._diagnostics.answers.note(message)
        try:
            publisher.goals(answers.messages)
        except Exception as error:  # a closed context or a message that does not fit must not end the worker
            self.get_logger().error(f"an answer could not be published: {type(error).__name__}: {error}")
        request.finish(request, answers.messages)
        try:
            publisher.pictures(answers)
        except Exception as error:
            self.get_logger().error(f"the overlay or the markers could not be drawn: {type(error).__name__}: {error}")
        if self._recorder is not None:
            self._recorder.record(request, answers.referrals, answers.evidence)

    def _refuse(self, request: Request, refused: Refused) -> None:
        message = self._refusal(request.instruction, refused)
        self._publish_refusal(message)
        request.finish(request, [message])

    def _refusal(self, instruction: str, refused: Refused) -> ReferralMessage:
        answerer = self._answerer
        return refusal_message(instruction, refused) if answerer is None else refusal_message(instruction, refused, answerer.identity)

    def _publish_refusal(self, message: ReferralMessage) -> None:
        self._diagnostics.answers.note(message)
        if self._publisher is not None:
            self._publisher.refusal(message)


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives."""
    return run(ReferNode, args)


if __name__ == "__main__":
    sys.exit(main())
