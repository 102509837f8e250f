"""Who says what next: the robot repeats what it understood and waits for a yes; pure state, told the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from roboref_node.language import INTERRUPTS, Act, Dialogue, read_dialogue
from roboref_node.speech.recogniser import Heard
from roboref_node.status import Refused
from roboref_node.task import normalise_instruction, parse_instruction

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
        self._question: _Question | None = None
        self._last = ""

    @property
    def asking(self) -> bool:
        """True while a question is open."""
        return self._question is not None

    def hear(self, heard: Heard, *, onset_ns: int, now_s: float, typed: bool = False) -> list[Reaction]:
        """React to an utterance.

        Args:
            heard: What the recogniser made of it.
            onset_ns: When it began.
            now_s: Monotonic time.
            typed: It was written: a yes is a yes.
        """
        reactions = self.tick(now_s)
        if not heard.text:
            return reactions + self._not_understood("")
        try:
            sentence = normalise_instruction(heard.text)
        except Refused as refused:
            return reactions + self._not_understood(refused.sentence)
        dialogue = read_dialogue(sentence)
        if dialogue is not None and dialogue.act in INTERRUPTS:
            return reactions + self.interrupt(dialogue.act)
        if dialogue is not None and not (dialogue.rest and dialogue.act is Act.NO):
            return reactions + self._answer(dialogue, onset_ns, now_s, certain=heard.is_answer or typed)
        if dialogue is not None:  # "no, pick up the blue cup"
            sentence, self._question = dialogue.rest, None
        return reactions + self._propose(sentence, onset_ns, now_s)

    def interrupt(self, act: Act) -> list[Reaction]:
        """Stop or cancel: the open question is gone too."""
        self._question = None
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
        if question is None or now_s - question.asked_s < self.timeout_s:
            return []
        self._question = None
        sentence = f"I heard no answer within {self.timeout_s:g} seconds, so I do nothing."
        return [Reaction(Deed.DROPPED, question.sentence), Reaction(Deed.SAY, sentence)]

    def _answer(self, dialogue: Dialogue, onset_ns: int, now_s: float, *, certain: bool) -> list[Reaction]:
        act = dialogue.act
        if act in (Act.YES, Act.NO) and not dialogue.rest:
            if not self.asking:
                return []  # people say yes to each other
            # A wrong "no" costs a repetition, a wrong "yes" moves the robot.
            if act is Act.NO or certain:
                return self.confirm_now(act is Act.YES)
        if act is Act.AGAIN:
            if not self._last:
                return [Reaction(Deed.SAY, "There is nothing to do again yet.")]
            return self._ask(_Question(self._last, onset_ns, now_s))
        if act is Act.OTHER:
            if self.asking or not self._last:  # not this one; which of the others, nobody has said
                dropped = [] if self._question is None else [Reaction(Deed.DROPPED, self._question.sentence)]
                self._question = None
                return [*dropped, Reaction(Deed.SAY, "Which one? Say it with its place, for example: pick up the leftmost cup.")]
            return self._ask(_Question("take the other one", onset_ns, now_s, Act.OTHER))
        return self._not_understood("")

    def _propose(self, sentence: str, onset_ns: int, now_s: float) -> list[Reaction]:
        try:
            parse_instruction(sentence)
        except Refused as refused:
            if self.rewrite is None:
                return self._not_understood(refused.sentence)
            try:
                return self._ask(_Question(self.rewrite(sentence), onset_ns, now_s), certain=False)
            except Refused as second:
                return self._not_understood(f"{refused.sentence} ({second.sentence})")
        return self._ask(_Question(sentence, onset_ns, now_s))

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


def read_back(sentence: str) -> str:
    """The sentence as the robot repeats it: with a capital, nothing added and nothing left out."""
    return sentence[:1].upper() + sentence[1:]
