"""``roboref bench speech``: commands by synthetic voices, sentences that are none, and "stop" while the simulated arm moves.

What is understood does not depend on when the sound arrives, so that the sentences are fed as fast as the machine hears them: in
windows of 32 ms, as from a microphone, through end-pointer, recogniser and spotter of the node. `end_to_text_p95_s` is that of a
stream in real time: a window arrives when its last sample was recorded and is processed when the one before it is done, with the
processing times measured in this run. `stop_p95_s` is measured in real time over live DDS (`stop_trials`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roboref_node.commands.arguments import above_zero, natural, positive
from roboref_node.evaluation.speech_sentences import COMMANDS, NON_COMMANDS
from roboref_node.speech.audio import RATE_HZ, Audio
from roboref_node.speech.conversation import Conversation, Deed
from roboref_node.speech.endpointing import WINDOW, EndPointer, Phase
from roboref_node.speech.recogniser import Heard
from roboref_node.speech.sphinx import KeywordSpotter, SphinxRecogniser
from roboref_node.speech.synthesis import Synthesiser
from roboref_node.status import Refused
from roboref_node.task import Task, parse_instruction

VOICES = ("flite:slt", "flite:rms", "espeak-ng")
SNR_DB = 20.0
ATTEMPTS = 2
"""How often the simulated user says a command that the robot reads back wrongly."""

ANSWERS = 3
"""How often the simulated user answers a question that the robot repeats."""

_CLEAN_DB = 50.0
_BEFORE_S, _AFTER_S = 0.4, 0.9
_KEYS = ("clean", "snr20", "confirmed", "noncommands_executed", "end_to_text_p95_s", "stop_p95_s")


@dataclass
class Ear:
    """Everything that listens, as the node wires it, on one thread and with a clock of its own."""

    recogniser: SphinxRecogniser = field(default_factory=SphinxRecogniser)
    end_pointer: EndPointer = field(default_factory=EndPointer)
    spotter: KeywordSpotter = field(default_factory=lambda: KeywordSpotter(dict.fromkeys(("stop", "cancel"), 1e-15)))
    delays_s: list[float] = field(default_factory=list)
    false_stops: int = 0

    def hear(self, audio: Audio, spoken: Audio, *, answering: bool = False) -> Heard:
        """What is understood of `audio`, which is `spoken` with silence and noise around it."""
        end_s = _BEFORE_S + spoken.voiced_end_s()
        free_s, at_s, texts = 0.0, 0.0, []
        for window in audio.chunks(WINDOW):
            at_s += len(window) / RATE_HZ
            began = time.perf_counter()
            understood = [
                heard
                for piece in self.end_pointer.feed(window, answering=answering)
                if (heard := self._take(piece.phase, piece.samples, answering)) is not None
            ]
            free_s = max(free_s, at_s) + time.perf_counter() - began
            if understood:
                texts += understood
                self.delays_s.append(free_s - end_s)
            self.false_stops += self.spotter.feed(window) is not None
        # A pause inside a sentence would cut it in two; the person said one.
        whole = " ".join(heard.text for heard in texts if heard.text)
        return Heard(whole, is_answer=len(texts) == 1 and texts[0].is_answer)

    def _take(self, phase: Phase, samples: Any, answering: bool) -> Heard | None:
        if phase is Phase.STARTED:
            self.recogniser.start()
        if phase is not Phase.ENDED:
            self.recogniser.feed(samples)
            return None
        return self.recogniser.finish(answering=answering)


@dataclass
class Speaker:
    """A voice in a room with noise."""

    voice: Synthesiser
    snr_db: float
    rng: np.random.Generator
    _spoken: dict[str, Audio] = field(default_factory=dict)

    def say(self, text: str) -> tuple[Audio, Audio]:
        """What arrives, and what was said."""
        if text not in self._spoken:
            self._spoken[text] = self.voice(text)
        spoken = self._spoken[text]
        return spoken.padded(_BEFORE_S, _AFTER_S).with_noise(self.snr_db, self.rng), spoken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--voices", nargs="+", default=list(VOICES), help=f"voices (default {' '.join(VOICES)})")
    parser.add_argument("--commands", type=positive, default=len(COMMANDS), help="only the first N commands")
    parser.add_argument("--trials", type=natural, default=20, help='times that "stop" is said to the moving arm; 0 leaves ROS out')
    parser.add_argument("--timeout", type=above_zero, default=120.0, help="seconds for the nodes to start and for a motion to begin")
    parser.add_argument("--verbose", action="store_true", help="print every sentence that was understood differently")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Speak, listen, count."""
    ear = Ear()
    speakers = [(name, snr) for snr in (_CLEAN_DB, SNR_DB) for name in args.voices]
    right: dict[float, list[bool]] = {_CLEAN_DB: [], SNR_DB: []}
    confirmed: list[bool] = []
    wrong_confirmed = 0
    for name, snr_db in speakers:
        speaker = Speaker(Synthesiser(name), snr_db, np.random.default_rng(len(confirmed)))
        dialogues = [_converse(ear, speaker, command, args.verbose) for command in COMMANDS[: args.commands]]
        right[snr_db] += [d.right_at_once for d in dialogues]
        confirmed += [d.done for d in dialogues]
        wrong_confirmed += sum(d.wrong for d in dialogues)
        done = sum(d.right_at_once for d in dialogues), sum(d.done for d in dialogues)
        print(f"{name} at {snr_db:g} dB: {done[0]} of {len(dialogues)} understood at once, {done[1]} done with confirmation", flush=True)
    print(f"{wrong_confirmed} wrong tasks passed on with confirmation; {ear.false_stops} false stops or cancels", flush=True)
    ear.false_stops = 0
    executed = {name: _chat(ear, Speaker(Synthesiser(name), _CLEAN_DB, np.random.default_rng(1))) for name in args.voices}
    print(f"{len(NON_COMMANDS)} sentences that are none: instructions by voice {executed}, {ear.false_stops} false stops", flush=True)
    delays = np.array(ear.delays_s)
    p50, p95 = np.percentile(delays, (50, 95))
    print(f"end of speech to text: p50 {p50:.3f} s, p95 {p95:.3f} s, {len(delays)} utterances", flush=True)
    stop_p95_s = None
    if args.trials:
        stop_p95_s = _stop_the_arm(args)
    values = (
        round(float(np.mean(right[_CLEAN_DB])), 4),
        round(float(np.mean(right[SNR_DB])), 4),
        round(float(np.mean(confirmed)), 4),
        sum(executed.values()),
        round(float(p95), 3),
        stop_p95_s,
    )
    return dict(zip(_KEYS, values, strict=True))


@dataclass(frozen=True)
class Dialogue:
    """How one command ended.

    Args:
        right_at_once: The first utterance gave the right tasks: what would be done without confirmation.
        done: With confirmation, the right tasks were passed on within `ATTEMPTS`.
        wrong: With confirmation, wrong tasks were passed on.
    """

    right_at_once: bool
    done: bool
    wrong: bool


def _converse(ear: Ear, speaker: Speaker, command: str, verbose: bool) -> Dialogue:
    """One command to a robot that asks, by a user who says yes exactly if the read-back is right."""
    wanted = _meaning(command)
    conversation = Conversation(confirm=True, timeout_s=1e9)
    right_at_once, passed_on = False, []
    for attempt in range(ATTEMPTS):
        heard = ear.hear(*speaker.say(command), answering=conversation.asking)
        if attempt == 0:
            right_at_once = _meaning(heard.text) == wanted
            if verbose and not right_at_once:
                print(f"  {speaker.voice.voice} {speaker.snr_db:g} dB: {command!r} was heard as {heard.text!r}", flush=True)
        reactions, question = conversation.hear(heard, onset_ns=0, now_s=0.0), ""
        for _ in range(ANSWERS):
            question = next((r.text for r in reversed(reactions) if r.deed is Deed.ASKED), question)
            if not conversation.asking:
                break
            answer = "yes" if _meaning(question) == wanted else "no"
            reactions = conversation.hear(ear.hear(*speaker.say(answer), answering=True), onset_ns=0, now_s=0.0)
            passed_on += [r.text for r in reactions if r.deed is Deed.INSTRUCT]
        if passed_on:
            break
    meanings = [_meaning(text) for text in passed_on]
    return Dialogue(right_at_once, wanted in meanings, any(meaning != wanted for meaning in meanings))


def _chat(ear: Ear, speaker: Speaker) -> int:
    """Instructions that come out of people who talk to each other, one sentence after the other, with the default settings."""
    conversation, now_s, instructions = Conversation(), 0.0, 0
    for sentence in NON_COMMANDS:
        audio, spoken = speaker.say(sentence)
        now_s += audio.duration_s
        heard = ear.hear(audio, spoken, answering=conversation.asking)
        instructions += sum(r.deed is Deed.INSTRUCT for r in conversation.hear(heard, onset_ns=0, now_s=now_s))
    return instructions


def _meaning(text: str) -> tuple[tuple[str, str, bool], ...]:
    """The tasks of a sentence without its wording: "grab" and "pick up" are the same, "on" and "on top of" are not."""
    try:
        tasks: tuple[Task, ...] = parse_instruction(text)
    except Refused:
        return ()
    return tuple((task.kind.value, task.expression, task.hand_over) for task in tasks)


def _stop_the_arm(args: argparse.Namespace) -> float | None:
    """p95 of the time from the end of the word to the arm at rest, in a process of its own (it needs ROS 2)."""
    command = [sys.executable, "-m", "roboref_node.evaluation.stop_trials", "--trials", str(args.trials), "--timeout", str(args.timeout)]
    command += ["--voices", *args.voices]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        print("the arm could not be stopped by voice: see above", flush=True)
        return None
    value = json.loads(done.stdout.splitlines()[-1])["stop_p95_s"]
    return None if value is None else float(value)
