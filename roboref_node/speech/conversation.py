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
GONE = "Whoever asked is gone, so I do nothing."
"""Of a node that should have closed its question by now."""

UNHEARD = "I do not know if your yes was heard."
"""Of a node that was told yes and does not close its question: it may move all the same."""

_RECEIPT_S = 2.0
"""How long a node may take to close the question that it was given an answer to."""


class Deed(str, Enum):
    """What a reaction is."""

    SAY = "say"
    INSTRUCT = "instruct"
    TELL = "tell"
    INTERRUPT = "interrupt"
    ASKED = "asked"
    CONFIRMED = "confirmed"
    DROPPED = "dropped"
    AGREE = "agree"
    DECLINE = "decline"


@dataclass(frozen=True)
class Inquiry:
    """What another node wants to know of the person, with yes or no.

    Args:
        asker: Name of the node.
        id: Of the question.
        text: The question.
        timeout_s: How long the node waits.
    """

    asker: str
    id: str
    text: str
    timeout_s: float


@dataclass(frozen=True)
class Reaction:
    """One thing to do.

    Args:
        deed: SAY a text, INSTRUCT with a sentence, TELL or INTERRUPT with the value of an `Act`, AGREE or DECLINE to a question of another
            node; ASKED, CONFIRMED and DROPPED only report.
        text: The sentence or the act.
        onset_ns: For INSTRUCT: when the person began to say it.
        inquiry: For AGREE and DECLINE: the question.
    """

    deed: Deed
    text: str
    onset_ns: int = 0
    inquiry: Inquiry | None = None


@dataclass(frozen=True)
class _Question:
    sentence: str
    onset_ns: int
    asked_s: float
    act: Act | None = None
    inquiry: Inquiry | None = None


class Conversation:
    """Turns what was heard into reactions.

    One question is open at a time, the last one that was asked, and a yes belongs to that one. Those of other nodes wait meanwhile.

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
        self._inquiries: dict[str, tuple[Inquiry, float]] = {}
        self._answered: dict[str, float] = {}
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
            reactions += self._decline(self._open_inquiry())
            sentence, self._question, dialogue = dialogue.rest, None, None
        elif dialogue is not None and dialogue.act in (Act.YES, Act.NO):
            answers = self._question is None or began_s >= self._question.asked_s  # else somebody else was told
            return reactions + self._answer(dialogue, now_s, certain=answers and (heard.is_answer or typed))
        certain = began_s > self._interrupted_s
        if dialogue is not None:
            return reactions + self._refer_back(dialogue.act, onset_ns, now_s, certain=certain)
        return reactions + self._propose(sentence, onset_ns, now_s, certain=certain)

    def interrupt(self, act: Act, now_s: float) -> list[Reaction]:
        """Stop or cancel: the open question is gone too, and what was said before is done only after a yes."""
        self._question, self._interrupted_s = None, now_s
        self._answered.clear()
        return [Reaction(Deed.INTERRUPT, act.value), *self._decline_all(), Reaction(Deed.SAY, ACKNOWLEDGED[act])]

    def confirm_now(self, yes: bool, now_s: float) -> list[Reaction]:
        """The answer to the open question; nothing when there is none."""
        question, self._question = self._question, None
        if question is None:
            return []
        if not yes:
            declined = self._decline(question.inquiry)
            return [Reaction(Deed.DROPPED, question.sentence), *declined, Reaction(Deed.SAY, "All right, I do nothing. What shall I do?")]
        if question.inquiry is not None:
            self._answered[question.inquiry.asker] = now_s
            del self._inquiries[question.inquiry.asker]
            return [Reaction(Deed.CONFIRMED, question.sentence), Reaction(Deed.AGREE, question.sentence, inquiry=question.inquiry)]
        return [Reaction(Deed.CONFIRMED, question.sentence), *self._pass_on(question)]

    def tick(self, now_s: float) -> list[Reaction]:
        """Close a question that nobody answered, and ask the one that waits."""
        reactions: list[Reaction] = []
        for asker in [asker for asker, answered_s in self._answered.items() if now_s - answered_s > _RECEIPT_S]:
            del self._answered[asker]
            reactions.append(Reaction(Deed.SAY, UNHEARD))
        for inquiry, came_s in list(self._inquiries.values()):
            if now_s - came_s > inquiry.timeout_s + _RECEIPT_S:  # who asked closes it in time, if it still lives
                reactions += self.withdraw(inquiry.asker, inquiry.id, GONE)
        question = self._question
        if question is not None and question.inquiry is None and now_s - max(question.asked_s, self.spoke_s) >= self.timeout_s:
            self._question = None
            sentence = f"Nobody answered within {self.timeout_s:g} seconds, so I do nothing."
            reactions += [Reaction(Deed.DROPPED, question.sentence), Reaction(Deed.SAY, sentence)]
        if self._question is None and self._inquiries:
            inquiry, _ = next(iter(self._inquiries.values()))
            text = inquiry.text.rstrip("?.! ")
            self._question = _Question(text, 0, now_s, inquiry=inquiry)
            reactions += [Reaction(Deed.ASKED, text), Reaction(Deed.SAY, read_back(text))]
        return reactions

    def inquire(self, inquiry: Inquiry, now_s: float) -> None:
        """Another node asks: by the next `tick`, or once the question that is open is over. It takes the place of an earlier one."""
        self.withdraw(inquiry.asker, "", "")
        self._inquiries[inquiry.asker] = inquiry, now_s

    def withdraw(self, asker: str, id_: str, why: str) -> list[Reaction]:
        """A question of another node is over.

        Args:
            asker: Name of the node.
            id_: Of the question; "": whatever it asked.
            why: What the person hears if it was open.
        """
        self._answered.pop(asker, None)
        waiting = self._inquiries.get(asker)
        if waiting is None or id_ not in ("", waiting[0].id):
            return []
        del self._inquiries[asker]
        if self._question is None or self._question.inquiry is not waiting[0]:
            return []
        dropped, self._question = Reaction(Deed.DROPPED, self._question.sentence), None
        return [dropped, *([Reaction(Deed.SAY, why)] if why else [])]

    def _open_inquiry(self) -> Inquiry | None:
        return None if self._question is None else self._question.inquiry

    def _decline(self, inquiry: Inquiry | None) -> list[Reaction]:
        if inquiry is None:
            return []
        self._inquiries.pop(inquiry.asker, None)
        return [Reaction(Deed.DECLINE, inquiry.text, inquiry=inquiry)]

    def _decline_all(self) -> list[Reaction]:
        return [reaction for inquiry, _ in list(self._inquiries.values()) for reaction in self._decline(inquiry)]

    def _answer(self, dialogue: Dialogue, now_s: float, *, certain: bool) -> list[Reaction]:
        if not self.asking:
            return []  # people say yes to each other
        # A wrong "no" costs a repetition, a wrong "yes" moves the robot.
        if not dialogue.rest and (dialogue.act is Act.NO or certain):
            return self.confirm_now(dialogue.act is Act.YES, now_s)
        return self._not_understood("")

    def _refer_back(self, act: Act, onset_ns: int, now_s: float, *, certain: bool) -> list[Reaction]:
        if act is Act.AGAIN:
            if not self._last:
                return [Reaction(Deed.SAY, "There is nothing to do again yet.")]
            return self._ask(_Question(self._last, onset_ns, now_s), certain=certain)
        if self.asking or not self._last:  # not this one; which of the others, nobody has said
            dropped = [] if self._question is None else [Reaction(Deed.DROPPED, self._question.sentence)]
            dropped += self._decline(self._open_inquiry())
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
        self._question = None
        if certain and not self.confirm:
            return dropped + self._pass_on(question)
        self._question = question
        return [*dropped, Reaction(Deed.ASKED, question.sentence), Reaction(Deed.SAY, read_back(question.sentence))]

    def _pass_on(self, question: _Question) -> list[Reaction]:
        if question.act is not None:
            return [Reaction(Deed.TELL, question.act.value)]
        self._last = question.sentence
        # Another order means: not what the others asked about.
        return [*self._decline_all(), Reaction(Deed.INSTRUCT, question.sentence, question.onset_ns)]

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
    """The question whether a sentence is meant: nothing of it changed but the first letter, nothing left out.

    "Yes or no" comes first: at the end, "the box, yes or no" sounds like "stop" when some voices say it, and the robot stopped itself.
    """
    return f"Yes or no: {sentence[:1].upper()}{sentence[1:]}?"
