"""What a person asked for, as data, and the small grammar that turns a sentence into it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from roboref_node.status import Refused, Status

MAX_INSTRUCTION_CHARS = 500
"""Longest accepted instruction; a spoken sentence has about 100 characters."""


class TaskKind(str, Enum):
    """What the answer is for; decides which goal is planned."""

    POINT = "point"
    PICK = "pick"
    PLACE = "place"
    NAVIGATE = "navigate"


@dataclass(frozen=True)
class Task:
    """One step of an instruction.

    Args:
        kind: Role of the answer.
        expression: Referring expression as spoken: a noun phrase for POINT, PICK and NAVIGATE ("the red cup left of the
            blue box"), a place phrase for PLACE ("behind the bowl", "in the bowl", "between the cup and the box").
        instruction: The whole sentence it came from.
    """

    kind: TaskKind
    expression: str
    instruction: str


_POLITE = r"(?:(?:please|kindly|hey|ok|okay|now|robot|could you|can you|would you|will you|i want you to|i would like you to|you should) )*"
_PICK = r"pick up|pick|grasp|grab|take|get|lift|fetch|bring me|bring|hand me|give me"
_PLACE = r"put|place|drop|set|lay"
_MOVE = r"move|transfer"
_GO = r"go over|go|walk over|walk|drive|navigate|move over|come"
_POINT = r"point (?:to|at|out)|show me|show|find|locate|look (?:at|for)|where is|where are"
_PLACE_WORD = (
    r"(?:on top of|to the (?:left|right|front|back) of|on the (?:left|right)(?: side)? of|left of|right of|"
    r"in front of|in between|in back of|"
    r"next to|close to|onto|into|inside|upon|between|behind|beside|near|under|below|on|in|at|over|above)"
)
_PRONOUN = r"it|them|that|this"
_EMPTY = frozenset({"up", "down", "to", "the", "a", "an", *_PRONOUN.split("|")})
"""What is left of a phrase that names nothing: only the sentence before could tell what "it" is."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"^(?:{_MOVE}) (?P<object>.+?) (?P<place>{_PLACE_WORD} .+)$"), "move"),
    (re.compile(rf"^(?:{_PLACE}) (?:{_PRONOUN}) (?:down )?(?P<place>{_PLACE_WORD} .+)$"), "place"),
    (re.compile(rf"^(?:{_PLACE}) (?P<object>.+?) (?P<place>{_PLACE_WORD} .+)$"), "move"),
    (re.compile(rf"^(?:{_PICK}) (?P<object>.+?)(?: up)?$"), "pick"),
    (re.compile(rf"^(?:{_GO}) (?:to )?(?P<target>.+)$"), "navigate"),
    (re.compile(rf"^(?:{_POINT}) (?P<target>.+)$"), "point"),
    (re.compile(rf"^(?P<place>{_PLACE_WORD} .+)$"), "place"),
    (re.compile(r"^(?P<target>(?:the|a|an|my|that|this) .+)$"), "point"),
)
_VERB = f"{_PICK}|{_PLACE}|{_MOVE}|{_GO}|{_POINT}"
_SPLIT = re.compile(rf"\s*(?:[,;.]|,? and then|,? then|,? and)\s+(?={_POLITE}(?:{_VERB})\b)|\s*,? (?:and )?then\s+(?=(?:the|a|an|my) )")


def normalise_instruction(text: str) -> str:
    """Lower case, single spaces, no control characters and no closing punctuation.

    Raises:
        Refused: BAD_REQUEST when nothing is left, when it is longer than `MAX_INSTRUCTION_CHARS`, or when it holds no letter
            a referring expression could be made of.
    """
    if len(text) > MAX_INSTRUCTION_CHARS:
        raise Refused(
            Status.BAD_REQUEST,
            f"the instruction has {len(text)} characters, the limit is {MAX_INSTRUCTION_CHARS} (task.MAX_INSTRUCTION_CHARS)",
        )
    printable = "".join(" " if unicodedata.category(c).startswith("C") else c for c in unicodedata.normalize("NFKC", text))
    cleaned = " ".join(printable.lower().split()).strip(" .!?,;:")
    if not any(c.isalpha() for c in cleaned):
        raise Refused(Status.BAD_REQUEST, "the instruction is empty: say what to pick, place, go to or point at")
    return cleaned


def parse_instruction(text: str, *, role: str = "") -> tuple[Task, ...]:
    """Split a sentence into tasks; the referring expressions stay as they were spoken.

    "pick up the red cup left of the blue box and put it behind the bowl" gives a PICK of "the red cup left of the blue box"
    and a PLACE of "behind the bowl". "put A behind B" and "move A behind B" give the same pair.

    Args:
        text: The sentence.
        role: One of the `TaskKind` values to take the whole text as one expression of that role; "" to read the role from
            the sentence.

    Raises:
        Refused: BAD_REQUEST with a suggestion when the sentence is empty, too long, names an unknown role, or has no verb
            and no article to recognise.
    """
    sentence = normalise_instruction(text)
    if role:
        try:
            kind = TaskKind(role.lower())
        except ValueError:
            known = ", ".join(k.value for k in TaskKind)
            raise Refused(Status.BAD_REQUEST, f"the role {role!r} is unknown; use one of: {known}") from None
        return (Task(kind, _strip_verb(sentence, kind), text),)
    tasks: list[Task] = []
    sentence = re.sub(r"\b(please|robot|hey|ok|okay|now)\s*,", r"\1", sentence)
    for clause in _SPLIT.split(sentence):
        elided = tasks and tasks[-1].kind is TaskKind.PLACE and re.match(r"(?:the|a|an|my) ", clause)
        tasks.extend(_parse_clause(f"put {clause}" if elided else clause.strip(" ,.;"), text))
    return tuple(tasks)


def _parse_clause(clause: str, instruction: str) -> list[Task]:
    clause = re.sub(rf"^{_POLITE}", "", clause + " ").strip()
    clause = re.sub(r" please$", "", clause)
    for pattern, form in _PATTERNS:
        match = pattern.match(clause)
        if match is None:
            continue
        group = {k: v.strip() for k, v in match.groupdict().items() if v}
        if any(value in _EMPTY for value in group.values()):
            break
        if form == "move":
            return [Task(TaskKind.PICK, group["object"], instruction), Task(TaskKind.PLACE, group["place"], instruction)]
        if form == "place":
            return [Task(TaskKind.PLACE, group["place"], instruction)]
        if form == "pick":
            return [Task(TaskKind.PICK, group["object"], instruction)]
        kind = TaskKind.NAVIGATE if form == "navigate" else TaskKind.POINT
        return [Task(kind, group["target"], instruction)]
    raise Refused(
        Status.BAD_REQUEST,
        f'"{clause[:80]}" is not understood; say for example "pick up the red cup", "put it behind the bowl", '
        '"go to the table" or "point at the leftmost box"',
    )


def _strip_verb(sentence: str, kind: TaskKind) -> str:
    """The expression of a sentence whose role the caller already knows; the sentence itself when it has no verb."""
    try:
        tasks = _parse_clause(sentence, sentence)
    except Refused:
        return sentence
    return next((t.expression for t in tasks if t.kind is kind), tasks[0].expression if len(tasks) == 1 else sentence)
