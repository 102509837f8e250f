"""The ``pick_place`` node: a sentence on a topic or an action, and what it asks for is done and seen to be done.

It talks to the refer node and to the arm through their actions and has eyes of its own. Threads: one executor for requests,
services and the actions of others, one for images and transforms, one for the sentence being worked on, which waits.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from roboref.action import PickPlace
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboref_node.goals.profile import RobotKind
from roboref_node.language import Act
from roboref_node.pick_place import Loop, Outcome, Step
from roboref_node.ros import qos
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.inquiry import Inquiry
from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.pick_place_ports import ActionArm, ActionReferrer, CameraEyes, Interruption
from roboref_node.ros.pick_place_settings import LIVE, PickPlaceSettings
from roboref_node.ros.process import run
from roboref_node.ros.sentence_node import SentenceNode, Tell
from roboref_node.status import Refused, Status
from roboref_node.task import find_dialogue


class PickPlaceNode(SentenceNode):
    """Node ``pick_place``; all interfaces are documented in docs/pick_place.md."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("pick_place", Outcome.CANCELED.value, **kwargs)
        self._settings = NodeParameters(self, PickPlaceSettings, live=LIVE)
        self._interruption = Interruption()
        self._receiver: CameraReceiver | None = None
        self._elapsed_s = 0.0
        self._last_instruction = ""

    # ---- process -------------------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Check the parameters, subscribe to the camera and offer the interfaces.

        Raises:
            Refused: A wrong parameter.
        """
        settings = self._settings.read()
        profile = self.profile_parameters.read(settings.robot)
        if profile.kind is not RobotKind.ARM:
            raise Refused(Status.BAD_REQUEST, f"robot '{profile.name}' is {profile.kind.value}, picking needs an arm (parameter robot)")
        self._settings.freeze(True)
        self.profile_parameters.freeze(True)
        self._settings.warn_of_unknown("profile.")
        self._receiver = CameraReceiver(self, settings)

        def current() -> PickPlaceSettings:
            return self._settings.current

        self._arm = ActionArm(self, profile.goal_frame, current, self._interruption, self._on_arm_stopped)
        self._referrer = ActionReferrer(self, profile.goal_frame, current, self._interruption)
        eyes = CameraEyes(self, self._receiver, profile.goal_frame, current, self._interruption)
        self._loop = Loop(eyes, self._referrer, self._arm, release_height_m=profile.place.release_height_m, interrupt=self._interruption)
        self._status = self.create_publisher(String, "~/status", qos.TIMELINE)
        self._publish_status(state="ready")
        self._inquiry = Inquiry(self)
        for topic in ("~/instruction", "speech/dialogue"):
            self.create_subscription(String, topic, self._on_instruction, qos.ANSWERS)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/cancel", self._on_cancel_service)
        self.offer("~/pick_place")
        self.get_logger().info(f"ready: robot {profile.name}, {self._referrer.caller.name}, {self._arm.caller.name}")

    def close(self) -> bool:
        """Stop the arm, answer who waits and end the threads; False when one of them is still busy."""
        if not super().close():
            return False
        if self._receiver is not None:
            self._receiver.close()
        return True

    # ---- requests ------------------------------------------------------------------------------------------------------------

    def _on_instruction(self, message: String) -> None:
        instruction = message.data
        said = find_dialogue(instruction)
        if said is not None:
            if said.act is Act.STOP:
                self.stop("somebody said stop")
            elif said.act is Act.CANCEL:
                self.interrupt("somebody said cancel")
            elif said.act is Act.YES and said.rest and self._inquiry.is_open:
                self.get_logger().warning(f'"{instruction[:80]}" is no plain yes: nothing moves before one')
                return
            elif said.act in (Act.YES, Act.NO) and self._inquiry.give(said.act is Act.YES):
                if not said.rest:
                    return
            elif said.act is Act.NO and not said.rest and self.busy:
                self.interrupt("somebody said no")
            instruction = said.rest or (self._last_instruction if said.act is Act.AGAIN else "")
            if said.act is Act.OTHER:
                self.get_logger().warning('"the other one" is not enough: say which one')
            if not instruction:
                return
        if said is not None and said.rest and self.busy:
            if said.act is Act.NO:
                self.interrupt("somebody said no")
            self.next_instruction = instruction  # begun as soon as what was said no to has ended
        elif self.busy and (self._interruption() is not None or self._inquiry.is_declined):
            self.next_instruction = instruction  # the arm is still coming to rest
        elif not self.begin(instruction):
            self.get_logger().warning(f'"{instruction[:80]}" is not done: the sentence before is not finished; say "stop" first')

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, self.stop("stopped through ~/stop")
        return response

    def _on_cancel_service(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, self.interrupt("canceled through ~/cancel")
        return response

    def _on_arm_stopped(self, sentence: str) -> None:
        """Who stops the arm means what it was about to do as well."""
        self.next_instruction = ""
        self._interruption.set(Outcome.STOPPED, sentence)

    def stop(self, reason: str) -> str:
        """Stop the arm whoever moves it, and end the sentence."""
        self.next_instruction = ""
        self._interruption.set(Outcome.STOPPED, reason)
        self._arm.stop()
        return "the arm is told to stop" + ("" if self.busy else "; no sentence was being worked on")

    def interrupt(self, reason: str) -> str:
        """End the sentence; the arm stops where the loop moves it."""
        self.next_instruction = ""
        self._interruption.set(Outcome.CANCELED, reason)
        self._arm.caller.cancel()
        return "the sentence is canceled" if self.busy else "no sentence was being worked on"

    # ---- the sentence (its own thread) ---------------------------------------------------------------------------------------

    def prepare(self, instruction: str) -> None:
        """Forget the sentence before."""
        self._last_instruction = instruction
        self._interruption.clear()
        self._inquiry.forget()
        self._referrer.begin()

    def work_on(self, instruction: str, tell: Tell) -> PickPlace.Result:
        """Run the closed loop."""

        def on_step(step: Step) -> None:
            self.get_logger().info(f"{step.state.value}: {step.sentence}")
            said = {"state": step.state.value, "task_index": step.task_index, "attempt": step.attempt, "sentence": step.sentence}
            self._elapsed_s = step.elapsed_s
            self._publish_status(instruction=instruction, **said, elapsed_s=round(step.elapsed_s, 3))
            tell(PickPlace.Feedback(**said, elapsed_s=step.elapsed_s))

        self._elapsed_s = 0.0
        settings = self._settings.current
        report = self._loop.run(instruction, settings.loop, on_step=on_step, confirm=self._ask_person if settings.confirm else None)
        messages = list(self._referrer.messages)
        for message in messages:
            message.task_count = max(1, report.task_count)
        return PickPlace.Result(
            outcome=report.outcome.value, sentence=report.sentence, tasks_done=report.tasks_done, task_count=report.task_count,
            holding=report.holding, referrals=messages,
        )  # fmt: skip

    def ended(self, instruction: str, result: PickPlace.Result) -> None:
        """Tell how it ended."""
        self._publish_status(
            instruction=instruction, state="ended", outcome=result.outcome, sentence=result.sentence, tasks_done=result.tasks_done,
            task_count=result.task_count, elapsed_s=round(self._elapsed_s, 3),
        )  # fmt: skip

    def _ask_person(self, question: str) -> bool:
        return self._inquiry.ask(question, self._settings.current.confirm_timeout_s, self._interruption.check)

    def _publish_status(self, **values: Any) -> None:
        self._status.publish(String(data=json.dumps({**values, "holding": self._loop.holding})))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives."""
    return run(PickPlaceNode, args)


if __name__ == "__main__":
    sys.exit(main())
