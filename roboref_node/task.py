"""What a person asked for, as data. The grammar that turns a sentence into it is `roboref_node.language`."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass, replace
from enum import Enum

from roboref_node.language import INTERRUPTS, parse_clause, read_dialogue, split_clauses, words_of
from roboref_node.language.skeleton import VERBS
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
        hand_over: For PICK: the thing goes to the person who asked ("hand me the cup").
    """

    kind: TaskKind
    expression: str
    instruction: str
    hand_over: bool = False


_PRONOUNS = frozenset({"it", "them", "that", "this"})
"""What only the sentence before can explain."""

_EMPTY = _PRONOUNS | {"", "up", "down", "over", "to", "the", "a", "an", "me", "my"}
"""What is left of a phrase that names nothing."""

_TO_ME = re.compile(r"(?: over)?(?: to me)?$")
_EXAMPLES = '"pick up the red cup", "put it behind the bowl", "go to the table" or "point at the leftmost box"'


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
    clauses = split_clauses(sentence)
    dialogue = read_dialogue(sentence)
    if dialogue is not None and (not dialogue.rest or dialogue.act in INTERRUPTS):
        raise Refused(
            Status.BAD_REQUEST,
            f'"{sentence[:80]}" ({dialogue.act.value}) names nothing to look for: it is for the node that acts',
            dialogue=dialogue.act.value,
        )
    for clause, may_elide in clauses:
        elided = may_elide and bool(tasks) and tasks[-1].kind is TaskKind.PLACE
        tasks = _add_clause(tasks, f"put {clause}" if elided else clause, text)
    if not tasks:
        raise Refused(Status.BAD_REQUEST, f'"{sentence[:80]}" does not say what to do; say for example {_EXAMPLES}')
    return tuple(tasks)


def _add_clause(tasks: list[Task], clause: str, instruction: str) -> list[Task]:
    """The tasks with those of one more clause; "give it to me" changes the last one.

    Raises:
        Refused: BAD_REQUEST with a suggestion.
    """
    parsed = parse_clause(clause)
    if parsed is None:
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" is not understood; {_suggest(clause)}')
    thing, place = parsed.object, parsed.place
    if parsed.form in ("pick", "move", "put"):
        thing = thing.removesuffix(" up").removesuffix(" down") if thing not in _EMPTY else thing
    if parsed.form == "hand_over":
        thing = _TO_ME.sub("", thing)
        if thing in _PRONOUNS and tasks and tasks[-1].kind is TaskKind.PICK:
            return [*tasks[:-1], replace(tasks[-1], hand_over=True)]
    if parsed.form in ("move", "put") and not place:
        raise Refused(
            Status.BAD_REQUEST,
            f'"{clause[:80]}" does not say where to put it; add for example "on the shelf", "in the bowl" or "behind the red cup"',
        )
    if parsed.form in ("move", "put") and thing in _PRONOUNS:
        return [*tasks, Task(TaskKind.PLACE, place, instruction)]
    if parsed.form != "place" and thing in _EMPTY:
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say what; say for example {_EXAMPLES}')
    if parsed.form == "place":
        return [*tasks, Task(TaskKind.PLACE, place, instruction)]
    if parsed.form in ("move", "put"):
        return [*tasks, Task(TaskKind.PICK, thing, instruction), Task(TaskKind.PLACE, place, instruction)]
    if parsed.form in ("pick", "hand_over"):
        return [*tasks, Task(TaskKind.PICK, thing, instruction, hand_over=parsed.form == "hand_over")]
    return [*tasks, Task(TaskKind.NAVIGATE if parsed.form == "navigate" else TaskKind.POINT, thing, instruction)]


def _suggest(clause: str) -> str:
    """What could have been meant: the clause with the nearest known verb, or examples."""
    first, _, rest = clause.partition(" ")
    verbs = {verb for terminal in VERBS for verb in words_of(terminal) if " " not in verb}
    near = difflib.get_close_matches(first[:20], sorted(verbs), n=1, cutoff=0.7)
    if near and rest and near[0] != first:
        return f'did you mean "{near[0]} {rest[:60]}"?'
    return f"say for example {_EXAMPLES}"


def _strip_verb(sentence: str, kind: TaskKind) -> str:
    """The expression of a sentence whose role the caller already knows; the sentence itself when it has no verb."""
    try:
        tasks = _add_clause([], sentence, sentence)
    except Refused:
        return sentence
    return next((t.expression for t in tasks if t.kind is kind), tasks[0].expression if len(tasks) == 1 else sentence)
