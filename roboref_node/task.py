"""What a person asked for, as data. The grammar that turns a sentence into it is `roboref_node.language`."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass, replace
from enum import Enum

from roboref_node.language import (
    INTERRUPTS,
    NEGATIONS,
    VERBS,
    Clause,
    Dialogue,
    manner,
    parse_clause,
    read_dialogue,
    split_clauses,
    without_politeness,
    words_of,
)  # fmt: skip
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

_NOTHING_TO_TAKE = frozenset({"away", "care", "off", "out", "from"})
"""What "take" and "get" mean something else with: "take care", "get away"."""

_ELIDED = {TaskKind.PICK: "pick up", TaskKind.PLACE: "put", TaskKind.NAVIGATE: "go to"}
"""The verb that "..., then the cup" leaves out."""

_PUNCTUATION = str.maketrans({**dict.fromkeys("\u2018\u2019\u02bc", "'"), **dict.fromkeys('"\u201c\u201d\u201e\u00ab\u00bb', " ")})
_DASH = re.compile(r"\s[-\u2013\u2014]+\s|[\u2013\u2014]")
_TO_ME = re.compile(r"(?: over)?(?: to me| here)?$")
_EXAMPLES = '"pick up the red cup", "put it behind the bowl", "go to the table" or "point at the leftmost box"'


def normalise_instruction(text: str) -> str:
    """Lower case, single spaces, plain apostrophes, no quotation marks, control characters and closing punctuation.

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
    spoken = _DASH.sub(", ", printable.lower().translate(_PUNCTUATION))
    cleaned = " ".join(spoken.split()).strip(" .!?,;:'")
    if not any(c.isalpha() for c in cleaned):
        raise Refused(Status.BAD_REQUEST, "the instruction is empty: say what to pick, place, go to or point at")
    return cleaned


def find_dialogue(text: str) -> Dialogue | None:
    """The word of dialogue that a sentence is or begins with; None for everything else, what cannot be read too."""
    try:
        return read_dialogue(normalise_instruction(text))
    except Refused:
        return None


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
    dialogue = read_dialogue(sentence)
    if dialogue is not None and (not dialogue.rest or dialogue.act in INTERRUPTS):
        raise Refused(
            Status.BAD_REQUEST,
            f'"{sentence[:80]}" ({dialogue.act.value}) names nothing to look for: it is for the node that acts',
            dialogue=dialogue.act.value,
        )
    clauses = split_clauses(sentence)
    for clause, _ in clauses:
        if f"{without_politeness(clause)} ".startswith(tuple(f"{word} " for word in NEGATIONS)):
            raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" says what not to do; say only what to do')
    if role:
        try:
            kind = TaskKind(role.lower())
        except ValueError:
            known = ", ".join(k.value for k in TaskKind)
            raise Refused(Status.BAD_REQUEST, f"the role {role!r} is unknown; use one of: {known}") from None
        return (Task(kind, _expression(sentence, clauses, kind), text),)
    tasks = _read_clauses(clauses, text)
    if not tasks:
        raise Refused(Status.BAD_REQUEST, f'"{sentence[:80]}" does not say what to do; say for example {_EXAMPLES}')
    return tuple(tasks)


def _read_clauses(clauses: tuple[tuple[str, bool], ...], instruction: str) -> list[Task]:
    tasks: list[Task] = []
    for clause, may_elide in clauses:
        verb = _ELIDED.get(tasks[-1].kind) if may_elide and tasks else None
        tasks = _add_clause(tasks, f"{verb} {clause}" if verb else clause, instruction)
    return tasks


def _add_clause(tasks: list[Task], clause: str, instruction: str) -> list[Task]:
    """The tasks with those of one more clause; "give it to me" changes the last one.

    Raises:
        Refused: BAD_REQUEST with a suggestion.
    """
    parsed = parse_clause(clause)
    if parsed is None or (parsed.form == "place" and manner.is_subordinate(parsed.place)):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" is not understood; {_suggest(clause)}')
    if parsed.form == "place":
        return [*tasks, Task(TaskKind.PLACE, parsed.place, instruction)]
    if parsed.form in ("move", "put"):
        return _add_move(tasks, clause, parsed, instruction)
    thing = parsed.object
    if parsed.form in ("pick", "hand_over"):
        thing = manner.without_particle(thing) if thing not in _EMPTY else thing
        thing = _TO_ME.sub("", thing) if parsed.form == "hand_over" else thing
        if parsed.form == "hand_over" and thing in _PRONOUNS and tasks and tasks[-1].kind is TaskKind.PICK:
            return [*tasks[:-1], replace(tasks[-1], hand_over=True)]
        destination = manner.find_destination(thing)
        if destination is not None:
            raise Refused(
                Status.BAD_REQUEST,
                f'"{clause[:80]}": "{destination[:40]}" does not say where to put it; add for example "and put it on the table"',
            )
    if thing in _EMPTY or thing.split()[0] in (_NOTHING_TO_TAKE | {"it", "them"}):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say what; say for example {_EXAMPLES}')
    if parsed.form in ("pick", "hand_over"):
        return [*tasks, Task(TaskKind.PICK, thing, instruction, hand_over=parsed.form == "hand_over")]
    return [*tasks, Task(TaskKind.NAVIGATE if parsed.form == "navigate" else TaskKind.POINT, thing, instruction)]


def _add_move(tasks: list[Task], clause: str, parsed: Clause, instruction: str) -> list[Task]:
    """The tasks with those of "put it there", "put A there" or "move A there".

    Raises:
        Refused: BAD_REQUEST: no place, or something that no goal can honour.
    """
    if not parsed.place or parsed.place.split()[-1] in ("there", "here", "once"):
        raise Refused(
            Status.BAD_REQUEST,
            f'"{clause[:80]}" does not say where to put it; add for example "on the shelf", "in the bowl" or "behind the red cup"',
        )
    unplannable = manner.find_unplannable(parsed.object)
    if unplannable is not None:
        raise Refused(
            Status.BAD_REQUEST, f'"{clause[:80]}" asks for "{unplannable}", which is not planned; leave it out, or put it there by hand'
        )
    thing, (place, following) = manner.without_adverbs(parsed.object), manner.split_next_object(parsed.place)
    following = f"put {following}"
    if thing in _PRONOUNS or not thing:
        found = [Task(TaskKind.PLACE, place, instruction)]
    elif thing in _EMPTY or thing.split()[0] in ("it", "them") or thing.endswith((" from", " from the")):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say what; say for example {_EXAMPLES}')
    else:
        thing, place = manner.split_place(thing, place)
        found = [Task(TaskKind.PICK, thing, instruction), Task(TaskKind.PLACE, place, instruction)]
    return _add_clause([*tasks, *found], following, instruction) if following != "put " else [*tasks, *found]


def _suggest(clause: str) -> str:
    """What could have been meant: the clause with the nearest known verb, or examples."""
    first, _, rest = clause.partition(" ")
    verbs = {verb for terminal in VERBS if terminal not in ("_STOP", "_CANCEL") for verb in words_of(terminal) if " " not in verb}
    near = difflib.get_close_matches(first[:20], sorted(verbs), n=1, cutoff=0.7)
    if near and rest and near[0] != first:
        return f'did you mean "{near[0]} {rest[:60]}"?'
    return f"say for example {_EXAMPLES}"


def _expression(sentence: str, clauses: tuple[tuple[str, bool], ...], kind: TaskKind) -> str:
    """The expression of a sentence whose role the caller already knows; the sentence itself when it has no verb."""
    try:
        tasks = _read_clauses(clauses, sentence)
    except Refused:
        return sentence
    fitting = [task for task in tasks if task.kind is kind] or tasks
    return fitting[0].expression if len(fitting) == 1 else sentence
