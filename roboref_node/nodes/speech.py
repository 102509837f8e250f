"""The ``speech`` node: what a person says becomes an instruction, after the robot has repeated it and heard a yes.

Threads: the executor takes messages and services, one thread listens for "stop" and "cancel" alone, one understands sentences, one
reads typed ones, one speaks. Stop never waits for any of the others. Interfaces: docs/speech.md.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import math
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.action.client import ActionClient
from rclpy.node import Node
from roboref.action import Refer
from std_msgs.msg import Empty, Header, Int16MultiArray, String
from std_srvs.srv import SetBool, Trigger

from roboref_node.language import INTERRUPTS, Act
from roboref_node.ros import qos
from roboref_node.ros.audio import samples_of
from roboref_node.ros.inquirers import Inquirers
from roboref_node.ros.parameters import NodeParameters
from roboref_node.ros.process import run
from roboref_node.speech.audio import Resampler
from roboref_node.speech.conversation import Conversation, Deed, Inquiry, Reaction
from roboref_node.speech.endpointing import EndPointer
from roboref_node.speech.listening import Listener, Utterance
from roboref_node.speech.microphone import Microphone
from roboref_node.speech.recogniser import Heard, Recogniser
from roboref_node.speech.settings import Backend, SendTo, Source, SpeechSettings
from roboref_node.speech.sphinx import KeywordSpotter, SphinxRecogniser
from roboref_node.speech.voice import Voice
from roboref_node.speech.wav_source import WavSource
from roboref_node.speech.whisper import WhisperRecogniser
from roboref_node.status import Refused, Status
from roboref_node.task import find_dialogue

LIVE = frozenset({"confirm", "confirm_timeout_s", "freeze_at_speech", "send_to"})
"""Parameters that may change at any time."""

_TICK_S = 0.1
_REWRITE_S = 6.0
"""Longest time that a language model may take."""

_EVENT_OF = {Deed.ASKED: "asked", Deed.CONFIRMED: "confirmed", Deed.DROPPED: "dropped"}


class SpeechNode(Node):
    """Listens, asks, passes on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("speech", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.finished = threading.Event()
        self.exit_status = 0
        self._settings = NodeParameters(self, SpeechSettings, live=LIVE)
        self._conversation = Conversation()
        self._talking = threading.Lock()  # guards the conversation: sentences, services and the timer all take part
        self._listener: Listener | None = None
        self._sound: Microphone | WavSource | None = None
        self._voice: Voice | None = None
        self._texts: queue.Queue[tuple[str, float] | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._interrupted_s = -math.inf
        self._starting = threading.Thread(target=self._begin, name="roboref_speech_start", daemon=True)
        kinds = {"~/heard": String, "~/say": String, "instruction": String, "~/dialogue": String, "~/event": String, "~/onset": Header}
        kinds |= {"stop": Empty, "cancel": Empty}
        self._out = {name: self.create_publisher(kind, name, qos.ANSWERS) for name, kind in kinds.items()}
        self._interrupt_clients: dict[Act, list[Any]] = {}
        self._refer = ActionClient(self, Refer, "refer/refer")  # send_to may change at any time
        self.create_service(Trigger, "~/stop", lambda request, response: self._on_interrupt_service(Act.STOP, response))
        self.create_service(Trigger, "~/cancel", lambda request, response: self._on_interrupt_service(Act.CANCEL, response))
        self.create_service(SetBool, "~/confirm", self._on_confirm_service)
        self.create_subscription(String, "~/text", self._on_text, qos.ANSWERS)

    # ---- process -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the recognisers, on a thread: services answer meanwhile."""
        try:
            settings = self._settings.read()
        except Refused as refused:
            self._fail(refused)
            return
        self._settings.freeze(True)
        self._settings.warn_of_unknown()
        # Clients that exist from the start have discovered their server long before somebody shouts.
        for act, names in ((Act.STOP, settings.stop_services), (Act.CANCEL, settings.cancel_services)):
            self._interrupt_clients[act] = [self.create_client(Trigger, name) for name in names if name]
        self.create_timer(_TICK_S, self._on_tick)
        self._starting.start()

    def close(self) -> bool:
        """Stop listening and speaking."""
        self.finished.set()
        if self._sound is not None:
            self._sound.close()
        self._texts.put(None)
        stopped = self._voice is None or self._voice.close()
        stopped = (self._listener is None or self._listener.close()) and stopped
        for thread in (self._starting, *self._threads):
            if thread.ident is not None:
                thread.join(1.0)
        return stopped and not any(thread.is_alive() for thread in (self._starting, *self._threads))

    def _begin(self) -> None:
        settings = self._settings.current
        try:
            self._voice = Voice(settings.voice, on_failure=lambda sentence: self.get_logger().error(sentence))
            if settings.language_model_url:
                from roboref_node.language.decompose import Decomposer  # with all of `pointing`
                from roboref_node.pointing.http_settings import HttpSettings

                http = HttpSettings(settings.language_model_url, total_timeout_s=_REWRITE_S, token_env=settings.language_model_token_env)
                decomposer = Decomposer(http, settings.language_model)
                self._conversation.rewrite = lambda sentence: self._rewrite(decomposer, sentence)
            if settings.source is not Source.NONE:
                self._listen(settings)
            # Only now: a question that is open already is said aloud.
            self._inquirers = Inquirers(self, settings.inquirers, on_asked=self._on_inquiry, on_closed=self._on_inquiry_closed)
            self._threads.append(threading.Thread(target=self._read, name="roboref_text", daemon=True))
            self._threads[-1].start()
        except Refused as refused:
            self._fail(refused)
            return
        listens = "reads ~/text only" if self._listener is None else f"listens to {settings.source.value} with {settings.recogniser.value}"
        self.get_logger().info(f"active: {listens}, {'asks before it acts' if settings.confirm else 'acts WITHOUT asking'}")

    def _listen(self, settings: SpeechSettings) -> None:
        recogniser: Recogniser
        if settings.recogniser is Backend.WHISPER:
            recogniser = WhisperRecogniser(settings.whisper_model, language=settings.language)
        else:
            recogniser = SphinxRecogniser(settings.vocabulary, answer_threshold=10.0**settings.answer_threshold_exponent)
        interrupting = dict.fromkeys((word.lower() for word in settings.stop_words), Act.STOP)
        interrupting |= {word.lower(): Act.CANCEL for word in settings.cancel_words if word.lower() not in interrupting}
        self._listener = Listener(
            recogniser,
            EndPointer(settings.end_point),
            KeywordSpotter(dict.fromkeys(interrupting, 10.0**settings.stop_threshold_exponent)),
            on_utterance=self._on_utterance,
            on_interrupt=lambda act: self._interrupt(act, by_sound=True),
            interrupting=interrupting,
            on_onset=lambda onset_ns: self._event("onset", "", time.time(), stamp_ns=onset_ns),
            answering=lambda: self._conversation.asking,
            deaf=lambda: self._voice is not None and self._voice.is_heard,
            on_failure=lambda sentence: self.get_logger().error(sentence),
        )
        self._listener.start()
        self._at_our_rate = Resampler(settings.sample_rate)
        if settings.source is Source.TOPIC:  # only now: who sees the subscription may speak
            self.create_subscription(Int16MultiArray, "audio", self._on_audio, qos.SOUND)
        elif settings.source is Source.MICROPHONE:
            self._sound = Microphone(self._on_samples, settings.microphone)
        elif settings.source is Source.WAV:
            self._sound = WavSource(self._on_samples, settings.wav)

    def _fail(self, refused: Refused) -> None:
        self.get_logger().error(refused.sentence)
        self.exit_status = 1
        self.finished.set()

    # ---- sound ---------------------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_samples(self, samples: Any) -> None:
        if self._listener is not None:
            self._listener.push(samples, self._now_ns())

    def _on_audio(self, message: Int16MultiArray) -> None:
        self._on_samples(self._at_our_rate(samples_of(message)))

    # ---- understanding (thread of the sentences, executor for text and services) ----------------------------------------------

    def _on_utterance(self, utterance: Utterance) -> None:
        self._event("end_of_speech", "", utterance.ended_s)
        self._event("heard", utterance.heard.text, utterance.understood_s)
        self._out["~/heard"].publish(String(data=utterance.heard.text))
        text = utterance.heard.text
        said = find_dialogue(text)
        if said is not None and said.act in INTERRUPTS and self._interrupted_s >= utterance.began_s:
            # The spotter was first; a second stop would hit what the person has asked for since.
            text = said.rest
            if not text:
                return
        self._converse(Heard(text, utterance.heard.is_answer), utterance.onset_ns, utterance.began_s)

    def _on_text(self, message: String) -> None:
        arrived_s, text = time.monotonic(), message.data
        said = find_dialogue(text)
        if said is not None and said.act in INTERRUPTS:  # at once: the thread that reads may be waiting for the language model
            self._interrupt(said.act)
            text = said.rest
        if text:
            self._texts.put((text, arrived_s))

    def _read(self) -> None:
        while (said := self._texts.get()) is not None:
            text, arrived_s = said
            self._event("heard", text, time.time())
            self._out["~/heard"].publish(String(data=text))
            self._converse(Heard(text), self._now_ns(), arrived_s, typed=True)

    def _rewrite(self, decomposer: Callable[[str], str], sentence: str) -> str:
        """Ask the language model without holding the conversation: a stop must not wait for a server."""
        asked_s = time.monotonic()
        self._talking.release()
        try:
            rewritten = decomposer(sentence)
        finally:
            self._talking.acquire()
        if self._interrupted_s > asked_s:
            raise Refused(Status.CANCELED, "it was stopped or canceled meanwhile")
        return rewritten

    def _converse(self, heard: Heard, onset_ns: int, began_s: float, *, typed: bool = False) -> None:
        now_s = time.monotonic()
        with self._talking:
            self._follow_settings(now_s)
            reactions = self._conversation.hear(heard, onset_ns=onset_ns, now_s=now_s, began_s=began_s, typed=typed)
        self._react(reactions, now_s)

    def _follow_settings(self, now_s: float) -> None:
        self._conversation.confirm = self._settings.current.confirm
        self._conversation.timeout_s = self._settings.current.confirm_timeout_s
        if self._voice is not None and self._voice.is_talking:
            self._conversation.spoke_s = now_s

    def _on_tick(self) -> None:
        now_s = time.monotonic()
        with self._talking:
            self._follow_settings(now_s)
            reactions = self._conversation.tick(now_s)
        self._react(reactions, now_s)

    def _on_inquiry(self, inquiry: Inquiry) -> None:
        with self._talking:
            self._conversation.inquire(inquiry, time.monotonic())

    def _on_inquiry_closed(self, asker: str, id_: str, why: str) -> None:
        now_s = time.monotonic()
        with self._talking:
            reactions = self._conversation.withdraw(asker, id_, why)
        self._react(reactions, now_s)

    def _on_confirm_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        now_s = time.monotonic()
        with self._talking:
            reactions = self._conversation.confirm_now(bool(request.data), now_s)
        response.success = bool(reactions)
        response.message = reactions[0].text if reactions else "no question is open"
        self._react(reactions, now_s)
        return response

    # ---- acting --------------------------------------------------------------------------------------------------------------

    def _react(self, reactions: Sequence[Reaction], since_s: float) -> None:
        """Do what was decided after `since_s`; a stop that came meanwhile was meant for it too."""
        for reaction in reactions:
            if reaction.deed is Deed.SAY:
                self._say(reaction.text)
            elif reaction.deed is Deed.INSTRUCT:
                if self._interrupted_s < since_s:
                    self._instruct(reaction)
            elif reaction.deed is Deed.TELL:
                self._out["~/dialogue"].publish(String(data=reaction.text))
            elif reaction.deed is Deed.INTERRUPT:
                self._send_interrupt(Act(reaction.text))
            elif reaction.inquiry is not None:
                self._inquirers.answer(reaction.inquiry, reaction.deed is Deed.AGREE and self._interrupted_s < since_s)
            else:
                self._event(_EVENT_OF[reaction.deed], reaction.text, time.time())

    def _instruct(self, reaction: Reaction) -> None:
        settings = self._settings.current
        stamped = Header()
        stamped.stamp.sec, stamped.stamp.nanosec = divmod(reaction.onset_ns, 1_000_000_000)
        if settings.freeze_at_speech:
            self._out["~/onset"].publish(stamped)
        if settings.send_to is SendTo.REFER:
            goal = Refer.Goal(instruction=reaction.text)
            if settings.freeze_at_speech:
                goal.stamp = stamped.stamp
            if not self._refer.server_is_ready():
                self._say("The node that looks is not there: nothing is done.")
                return
            self._refer.send_goal_async(goal).add_done_callback(self._on_goal_answer)
        elif self._out["instruction"].get_subscription_count() == 0:
            self._say("The node that acts is not there: nothing is done.")
            return
        else:
            self._out["instruction"].publish(String(data=reaction.text))
        self._event("published", reaction.text, time.time(), stamp_ns=reaction.onset_ns)

    def _on_goal_answer(self, answer: Any) -> None:
        handle = answer.result()
        if handle is None or not handle.accepted:
            self._say("The node that looks does not take it: nothing is done.")

    def _interrupt(self, act: Act, *, by_sound: bool = False) -> None:
        """Thread of the spotter, or a service: the message first, everything else after it."""
        own_voice = by_sound and self._voice is not None and self._voice.is_heard
        self._send_interrupt(act)
        with self._talking:
            reactions = self._conversation.interrupt(act, self._interrupted_s)
        self._out["~/heard"].publish(String(data=act.value))
        # Perhaps the robot heard itself. It stops all the same, but must not talk itself into the next stop.
        unwanted = (Deed.INTERRUPT, Deed.SAY) if own_voice else (Deed.INTERRUPT,)
        self._react([reaction for reaction in reactions if reaction.deed not in unwanted], self._interrupted_s)

    def _send_interrupt(self, act: Act) -> None:
        self._out[act.value].publish(Empty())
        self._interrupted_s = time.monotonic()
        for client in self._interrupt_clients.get(act, ()):
            if client.service_is_ready():
                client.call_async(Trigger.Request())
        self._event(act.value, "", time.time())

    def _on_interrupt_service(self, act: Act, response: Trigger.Response) -> Trigger.Response:
        self._interrupt(act)
        response.success, response.message = True, act.value
        return response

    def _say(self, text: str) -> None:
        self._out["~/say"].publish(String(data=text))
        if self._voice is not None:
            self._voice.say(text)

    def _event(self, event: str, text: str, wall_s: float, *, stamp_ns: int = 0) -> None:
        content = {"event": event, "wall_s": wall_s, "text": text, **({"stamp_ns": stamp_ns} if stamp_ns else {})}
        self._out["~/event"].publish(String(data=json.dumps(content)))


def main(args: Sequence[str] | None = None) -> int:
    """Listen until a signal arrives."""
    return run(SpeechNode, args)


if __name__ == "__main__":
    sys.exit(main())
