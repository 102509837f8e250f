"""Who says what next: the robot repeats what it understood and waits for a yes; pure state, told the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from roboref_node.language import INTERRUPTS, Act, Dialogue, read_dialogue
from roboref_node.speech.recogniser import Heard
from roboref_node.status import Refused
from roboref_node.task import find_dialogue, normalise_instruction, parse_instruction

ACKNOWLEDGED = {Act.STOP: "I have ended it.", Act.CANCEL: "I drop it."}
"""What the robot says when it was interrupted. While it speaks it listens for "stop" and "cancel": "stopped" would be the next stop."""


class Deed(str, Enum):
    """What a reaction is."""

    SAY = "say"
    INSTRUCT = "instruct"
    TELL = "tell"
    INTERRUPT = "interrupt"
    ASKED = "asked"
    CONFIRMED = "confirmed"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Reaction:
    """One thing to do.

    Args:
        deed: SAY a text, INSTRUCT with a sentence, TELL or INTERRUPT with the value of an `Act`; ASKED, CONFIRMED and DROPPED only report.
        text: The sentence or the act.
        onset_ns: For INSTRUCT: when the person began to say it.
    """

    deed: Deed
    text: str
    onset_ns: int = 0


@dataclass(frozen=True)
class _Question:
    sentence: str
    onset_ns: int
    asked_s: float
    act: Act | None = None


class Conversation:
    """Turns what was heard into reactions.

    Args:
        confirm: Ask before anything is passed on. Without it every understood sentence is an instruction.
        timeout_s: How long a question stays open.
        rewrite: Puts a sentence that the task grammar does not read into its words, or raises `Refused`; the result is always asked about.
    """

    def __init__(self, *, confirm: bool = True, timeout_s: float = 8.0, rewrite: Callable[[str], str] | None = None) -> None:
        self.confirm = confirm
        self.timeout_s = timeout_s
        self.rewrite = rewrite
        self.spoke_s = -math.inf
        """Monotonic time until which the robot itself has been speaking: nobody answers a question before it has been asked."""
        self._question: _Question | None = None
        self._last = ""
        self._interrupted_s = -math.inf

    @property
    def asking(self) -> bool:
        """True while a question is open."""
        return self._question is not None

    def hear(self, heard: Heard, *, onset_ns: int, now_s: float, began_s: float | None = None, typed: bool = False) -> list[Reaction]:
        """React to an utterance.

        Args:
            heard: What the recogniser made of it.
            onset_ns: When it began.
            now_s: Monotonic time.
            began_s: Monotonic time at which the person began; by default `now_s`. A recogniser or a language model may take seconds.
            typed: It was written: a yes is a yes.
        """
        began_s = now_s if began_s is None else began_s
        reactions = self.tick(now_s)
        if not heard.text:
            return reactions + self._not_understood("")
        interrupt = find_dialogue(heard.text)
        if interrupt is not None and interrupt.act in INTERRUPTS:
            reactions += self.interrupt(interrupt.act, now_s)
            return reactions + (self._propose(interrupt.rest, onset_ns, now_s, certain=False) if interrupt.rest else [])
        try:
            sentence = normalise_instruction(heard.text)
        except Refused as refused:
            return reactions + self._not_understood(refused.sentence)
        dialogue = read_dialogue(sentence)
        if dialogue is not None and dialogue.rest and (dialogue.act is Act.NO or (not self.asking and _is_order(dialogue.rest))):
            # "no, pick up the blue cup"; "yes, pick up the blue cup", which answers nothing
            sentence, self._question, dialogue = dialogue.rest, None, None
        elif dialogue is not None and dialogue.act in (Act.YES, Act.NO):
            answers = self._question is None or began_s >= self._question.asked_s  # else somebody else was told
            return reactions + self._answer(dialogue, certain=answers and (heard.is_answer or typed))
        certain = began_s > self._interrupted_s
        if dialogue is not None:
            return reactions + self._refer_back(dialogue.act, onset_ns, now_s, certain=certain)
        return reactions + self._propose(sentence, onset_ns, now_s, certain=certain)

    def interrupt(self, act: Act, now_s: float) -> list[Reaction]:
        """Stop or cancel: the open question is gone too, and what was said before is done only after a yes."""
        self._question, self._interrupted_s = None, now_s
        return [Reaction(Deed.INTERRUPT, act.value), Reaction(Deed.SAY, ACKNOWLEDGED[act])]

    def confirm_now(self, yes: bool) -> list[Reaction]:
        """The answer to the open question; nothing when there is none."""
        question, self._question = self._question, None
        if question is None:
            return []
        if not yes:
            return [Reaction(Deed.DROPPED, question.sentence), Reaction(Deed.SAY, "All right, I do nothing. What shall I do?")]
        return [Reaction(Deed.CONFIRMED, question.sentence), *self._pass_on(question)]

    def tick(self, now_s: float) -> list[Reaction]:
        """Close a question that nobody answered."""
        question = self._question
        if question is None or now_s - max(question.asked_s, self.spoke_s) < self.timeout_s:
            return []
        self._question = None
        sentence = f"I heard no answer within {self.timeout_s:g} seconds, so I do nothing."
        return [Reaction(Deed.DROPPED, question.sentence), Reaction(Deed.SAY, sentence)]

    def _answer(self, dialogue: Dialogue, *, certain: bool) -> list[Reaction]:
        if not self.asking:
            return []  # people say yes to each other
        # A wrong "no" costs a repetition, a wrong "yes" moves the robot.
        if not dialogue.rest and (dialogue.act is Act.NO or certain):
            return self.confirm_now(dialogue.act is Act.YES)
        return self._not_understood("")

    def _refer_back(self, act: Act, onset_ns: int, now_s: float, *, certain: bool) -> list[Reaction]:
        if act is Act.AGAIN:
            if not self._last:
                return [Reaction(Deed.SAY, "There is nothing to do again yet.")]
            return self._ask(_Question(self._last, onset_ns, now_s), certain=certain)
        if self.asking or not self._last:  # not this one; which of the others, nobody has said
            dropped = [] if self._question is None else [Reaction(Deed.DROPPED, self._question.sentence)]
            self._question = None
            return [*dropped, Reaction(Deed.SAY, "Which one? Say it with its place, for example: pick up the leftmost cup.")]
        return self._ask(_Question("take the other one", onset_ns, now_s, Act.OTHER), certain=certain)

    def _propose(self, sentence: str, onset_ns: int, now_s: float, *, certain: bool) -> list[Reaction]:
        try:
            parse_instruction(sentence)
        except Refused as refused:
            if self.rewrite is None:
                return self._not_understood(refused.sentence)
            began_s = time.monotonic()
            try:
                rewritten = self.rewrite(sentence)
                # The question is asked now: an earlier yes is no answer, and the time for one begins.
                asked_s = now_s + time.monotonic() - began_s
                return self._ask(_Question(rewritten, onset_ns, asked_s), certain=False)
            except Refused as second:
                return self._not_understood(f"{refused.sentence} ({second.sentence})")
        return self._ask(_Question(sentence, onset_ns, now_s), certain=certain)

    def _ask(self, question: _Question, *, certain: bool = True) -> list[Reaction]:
        dropped = [] if self._question is None else [Reaction(Deed.DROPPED, self._question.sentence)]
        if certain and not self.confirm:
            return dropped + self._pass_on(question)
        self._question = question
        return [*dropped, Reaction(Deed.ASKED, question.sentence), Reaction(Deed.SAY, f"{read_back(question.sentence)}, yes or no?")]

    def _pass_on(self, question: _Question) -> list[Reaction]:
        if question.act is not None:
            return [Reaction(Deed.TELL, question.act.value)]
        self._last = question.sentence
        return [Reaction(Deed.INSTRUCT, question.sentence, question.onset_ns)]

    def _not_understood(self, why: str) -> list[Reaction]:
        if self.asking:
            return [Reaction(Deed.SAY, "Yes or no?")]
        return [Reaction(Deed.SAY, f"I did not understand that: {why}")] if why else []


def _is_order(sentence: str) -> bool:
    try:
        parse_instruction(sentence)
    except Refused:
        return False
    return True


def read_back(sentence: str) -> str:
    """The sentence as the robot repeats it: with a capital, nothing added and nothing left out."""
    return sentence[:1].upper() + sentence[1:]
