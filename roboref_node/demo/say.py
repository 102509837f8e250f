"""``roboref demo --say``: from sound to a moved object. A voice says the sentence and then yes; everything in between is the robot's."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rclpy.node import Node
from roboref.msg import Referral as ReferralMessage
from std_msgs.msg import String

from roboref_node.demo.closed_loop import ClosedLoop
from roboref_node.demo.pick_place import PATIENCE, Timeline, choose_instruction, judged
from roboref_node.demo.processes import NodeProcess
from roboref_node.ros import qos
from roboref_node.ros.audio import AudioPlayer
from roboref_node.speech.audio import Audio
from roboref_node.speech.synthesis import Synthesiser
from roboref_node.status import Refused, Status
from roboref_node.task import normalise_instruction

VOICES = ("flite:slt", "espeak-ng")
"""The first one that is installed speaks; recognition of both is measured by ``roboref bench speech``."""
_SILENCE_S = 0.8


def demonstrate(args: argparse.Namespace) -> dict[str, Any]:
    """Say one sentence in a fresh cell; the arguments are those of ``roboref demo``.

    Raises:
        Refused: It could not run: no voice, no speech node, or nothing was understood.
    """
    voice = find_voice()
    sentence = args.say
    _, targets = choose_instruction(args.seed, sentence)
    with tempfile.TemporaryDirectory(prefix="roboref_demo_") as name, ClosedLoop(Path(name), args.seed, args.model) as cell:
        arguments = ["--ros-args", "-p", "source:=topic", "-p", "confirm_timeout_s:=100.0", "-r", "instruction:=/pick_place/instruction"]
        with NodeProcess("roboref_node.nodes.speech", arguments, Path(name) / "speech.log") as speech:
            conversation = Conversation(cell.node)
            cell.wait_until_ready(args.timeout)
            conversation.wait_for_listener(args.timeout, speech)
            print(f"cell (seed {args.seed}), refer, pick_place and speech node ready; {voice.voice} says {sentence!r}", flush=True)
            before = cell.truth
            timeline = Timeline(cell, args.out.parent / "say")
            conversation.follow(timeline)
            spoken_s = conversation.ask(voice, sentence, args.timeout, speech)
            print(f"  {voice.voice} says 'yes'", flush=True)
            answered_s = conversation.answer(voice("yes"), speech)
            status = conversation.wait_for_end(PATIENCE * args.timeout)
            timeline.close(str(status["outcome"]))
            time.sleep(0.3)
            result = judged(conversation.instruction, targets, status, timeline, before, cell.truth)
            return {**result, "said": sentence, "voice": voice.voice, **conversation.latencies(spoken_s, answered_s)}


def find_voice() -> Synthesiser:
    """A voice that is installed.

    Raises:
        Refused: MODEL_UNAVAILABLE when there is none.
    """
    problems = []
    for name in VOICES:
        try:
            return Synthesiser(name)
        except Refused as refused:
            problems.append(refused.sentence)
    raise Refused(Status.MODEL_UNAVAILABLE, "; ".join(problems))


class Conversation:
    """Talks to the speech node and follows the pick_place node, with the wall-clock times of both.

    Args:
        node: Spun by somebody else.
    """

    def __init__(self, node: Node) -> None:
        self.player = AudioPlayer(node, "audio")
        self._changed = threading.Condition()
        self._events: dict[str, dict[str, Any]] = {}
        self._question_events: dict[str, dict[str, Any]] = {}
        self._steps: list[tuple[float, dict[str, Any]]] = []
        self._timeline: Timeline | None = None
        self._goal_s: float | None = None
        self.question = ""
        node.create_subscription(String, "/speech/event", self._on_event, qos.ANSWERS)
        node.create_subscription(String, "/speech/say", self._on_say, qos.ANSWERS)
        node.create_subscription(String, "/pick_place/status", self._on_status, qos.TIMELINE)
        node.create_subscription(ReferralMessage, "/refer/referral", self._on_referral, qos.ANSWERS)

    @property
    def instruction(self) -> str:
        """What the speech node has passed on."""
        with self._changed:
            return str(self._events.get("published", {}).get("text", ""))

    def follow(self, timeline: Timeline) -> None:
        """Show the states from now on."""
        with self._changed:
            self._timeline = timeline

    def wait_for_listener(self, timeout_s: float, speech: NodeProcess) -> None:
        """Wait until somebody hears the sound.

        Raises:
            Refused: MODEL_UNAVAILABLE when the speech node ended or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not self.player.listeners:
            if not speech.alive or time.monotonic() > deadline:
                raise Refused(Status.MODEL_UNAVAILABLE, f"the speech node does not listen:\n{speech.last_words()}")
            time.sleep(0.05)

    def wait_for(self, event: str, timeout_s: float, speech: NodeProcess) -> None:
        """Wait for an event of the speech node.

        Raises:
            Refused: MODEL_TIMEOUT when it does not come.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: event in self._events and (event != "asked" or bool(self.question)), timeout_s):
                heard = self._events.get("heard", {}).get("text", "nothing")
                raise Refused(Status.MODEL_TIMEOUT, f"no {event!r} within {timeout_s:g} s; heard was {heard!r}\n{speech.last_words()}")

    def ask(self, voice: Synthesiser, sentence: str, timeout_s: float, speech: NodeProcess) -> float:
        """Say the sentence until the robot repeats it rightly, no to what is wrong; when it was last said, ``time.time()``.

        Raises:
            Refused: MODEL_TIMEOUT when no question comes, BAD_REQUEST when the robot understands something else each time.
        """
        for _ in range(3):
            spoken_s = self.player.play(voice(sentence), trailing_silence_s=_SILENCE_S)
            self.wait_for("asked", timeout_s, speech)
            print(f"  the robot asks: {self.question!r}", flush=True)
            if normalise_instruction(sentence) in normalise_instruction(self.question):
                self._question_events = dict(self._events)
                return spoken_s
            wrong = self.question
            with self._changed:
                self._events.clear()
                self.question = ""
            self.player.play(voice("no"), trailing_silence_s=_SILENCE_S)
            self.wait_for("dropped", timeout_s, speech)
            with self._changed:
                self._events.clear()
                self.question = ""
        raise Refused(Status.BAD_REQUEST, f"the speech node understood {wrong!r} instead of {sentence!r}")

    def answer(self, yes: Audio, speech: NodeProcess) -> float:
        """Say yes, and again when it was not heard, as a person does; the time at which the last one ended, ``time.time()``.

        Raises:
            Refused: MODEL_TIMEOUT when it is never heard.
        """
        for patience_s in (10.0, 20.0, 40.0):
            answered_s = self.player.play(yes, trailing_silence_s=_SILENCE_S)
            try:
                self.wait_for("published", patience_s, speech)
                return answered_s
            except Refused as refused:
                problem = refused
        raise problem

    def wait_for_end(self, timeout_s: float) -> dict[str, Any]:
        """The status with which the sentence ended.

        Raises:
            Refused: MODEL_TIMEOUT when it does not end.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._steps) and "outcome" in self._steps[-1][1], timeout_s):
                raise Refused(Status.MODEL_TIMEOUT, f"the sentence did not end within {timeout_s:g} s (--timeout)")
            return self._steps[-1][1]

    def latencies(self, spoken_s: float, answered_s: float) -> dict[str, Any]:
        """What the robot takes from sound to goal, in seconds, without the time in which the person speaks or hears the question.

        Two waits add up: from the last voiced sample of the sentence to the question, and from the last voiced sample of the yes to
        the first checked goal. Of each: until the text was there, and until the deed.

        Args:
            spoken_s: When the last voiced sample of the sentence was sent, ``time.time()``.
            answered_s: The same of the yes.
        """
        sentence, answer = self._question_events, self._events
        ends = {
            "end_of_speech_to_text_s": float(sentence["heard"]["wall_s"]) - spoken_s,
            "end_of_speech_to_question_s": float(sentence["asked"]["wall_s"]) - spoken_s,
            "end_of_yes_to_text_s": float(answer["heard"]["wall_s"]) - answered_s,
            "end_of_yes_to_instruction_s": float(answer["published"]["wall_s"]) - answered_s,
        }
        if self._goal_s is not None:
            ends["end_of_yes_to_goal_s"] = self._goal_s - answered_s
            ends["end_of_speech_to_goal_s"] = ends["end_of_speech_to_question_s"] + ends["end_of_yes_to_goal_s"]
        for name, seconds in ends.items():
            print(f"  {name.removesuffix('_s').replace('_', ' ')}: {seconds:.2f} s")
        return {name: round(seconds, 3) for name, seconds in ends.items()}

    def _on_event(self, message: String) -> None:
        event = json.loads(message.data)
        with self._changed:
            self._events[str(event["event"])] = event
            self._changed.notify_all()

    def _on_referral(self, message: ReferralMessage) -> None:
        if message.status == ReferralMessage.OK and self._goal_s is None:
            self._goal_s = time.time()

    def _on_say(self, message: String) -> None:
        with self._changed:
            self.question = message.data
            self._changed.notify_all()

    def _on_status(self, message: String) -> None:
        status = json.loads(message.data)
        with self._changed:
            self._steps.append((time.time(), status))
            self._changed.notify_all()
            timeline = self._timeline
        if timeline is not None and "outcome" not in status and status.get("instruction"):
            timeline.note(status)
