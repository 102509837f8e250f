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
    find_crowd,
    find_obstacle,
    manner,
    names_more,
    parse_clause,
    read_dialogue,
    split_clauses,
    split_things,
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

_NOWHERE = _EMPTY | {
    "left", "right", "the left", "the right", "forward", "forwards", "ahead", "straight", "straight ahead", "back", "backwards", "around",
    "there", "here", "home", "on", "in", "out", "for it", "with me", "sleep", "bed",
}  # fmt: skip
"""What is left of "go left" and "come back": a way to move, or what only the person knows."""

_NOTHING_TO_TAKE = frozenset({"away", "care", "off", "out", "from", "rid", "lost", "well", "part", "turns", "note", "your", "yourself"})
"""What "take" and "get" mean something else with: "take care", "get away", "take your time", and the robot itself."""

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
    """The word of dialogue that a sentence is or begins with; None for everything else, what cannot be read too.

    Of a text that is too long for an instruction only a stop or a cancel counts, at its beginning or end: somebody who is in a panic
    says it more than once, and so do recognisers.
    """
    whole = len(text) <= MAX_INSTRUCTION_CHARS
    for part in (text,) if whole else (text[:MAX_INSTRUCTION_CHARS], text[-MAX_INSTRUCTION_CHARS:]):
        try:
            found = read_dialogue(normalise_instruction(part))
        except Refused:
            continue
        if whole:
            return found
        if found is not None and found.act in INTERRUPTS:
            return Dialogue(found.act)
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
            raise Refused(Status.BAD_REQUEST, f"the role {role[:40]!r} is unknown; use one of: {known}") from None
        return (Task(kind, _checked(_expression(sentence, clauses, kind), kind), text),)
    tasks = _read_clauses(clauses, text)
    if not tasks:
        raise Refused(Status.BAD_REQUEST, f'"{sentence[:80]}" does not say what to do; say for example {_EXAMPLES}')
    return tuple(tasks)


def _read_clauses(clauses: tuple[tuple[str, bool], ...], instruction: str) -> list[Task]:
    tasks: list[Task] = []
    for clause, may_elide in clauses:
        verb = _ELIDED.get(tasks[-1].kind) if may_elide and tasks else None
        if verb and clause.startswith("to "):  # "go to the kitchen, then to the table"
            verb = verb.removesuffix(" to")
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
        return [*tasks, Task(TaskKind.PLACE, _place(clause, parsed.place), instruction)]
    if parsed.form in ("move", "put"):
        return _add_move(tasks, clause, parsed, instruction)
    thing = parsed.object
    if parsed.form in ("pick", "hand_over"):
        thing = manner.without_care(manner.without_particle(thing)) if thing not in _EMPTY else thing
        thing = _TO_ME.sub("", thing) if parsed.form == "hand_over" else thing
        picked = _picked_last(tasks) if thing in _PRONOUNS else 0
        if parsed.form == "hand_over" and picked:
            given = picked if thing == "them" else 1
            return [*tasks[:-given], *(replace(task, hand_over=True) for task in tasks[-given:])]
        destination = manner.find_destination(thing)
        if destination is not None:
            raise Refused(
                Status.BAD_REQUEST,
                f'"{clause[:80]}": "{destination[:40]}" does not say where to put it; add for example "and put it on the table"',
            )
        if parsed.form == "hand_over" and manner.is_for_somebody_else(thing):
            raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" is for somebody else: things are handed to the person who asks')
    nothing = _NOWHERE if parsed.form == "navigate" else _EMPTY
    if thing in nothing or thing.split()[0] in (_NOTHING_TO_TAKE | {"it", "them", "to"}):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say what; say for example {_EXAMPLES}')
    if parsed.form in ("pick", "hand_over"):
        things = _things(clause, thing)
        return [*tasks, *(Task(TaskKind.PICK, thing, instruction, hand_over=parsed.form == "hand_over") for thing in things)]
    if parsed.form == "navigate":
        goals = _things(clause, manner.without_care(thing))
        if _NOWHERE.intersection(goals):  # "to the kitchen and back"
            raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say where to; say for example "go to the table"')
        return [*tasks, *(Task(TaskKind.NAVIGATE, goal, instruction) for goal in goals)]
    return [*tasks, *(Task(TaskKind.POINT, thing, instruction) for thing in split_things(thing) or (thing,))]


def _add_move(tasks: list[Task], clause: str, parsed: Clause, instruction: str) -> list[Task]:
    """The tasks with those of "put it there", "put A there", "move A and B there".

    Raises:
        Refused: BAD_REQUEST: no place, or something that no goal can honour.
    """
    if not parsed.place or parsed.place.split()[-1] in ("there", "here", "once"):
        raise Refused(
            Status.BAD_REQUEST,
            f'"{clause[:80]}" does not say where to put it; add for example "on the shelf", "in the bowl" or "behind the red cup"',
        )
    unplannable = manner.find_unplannable(parsed.object) or manner.find_unplannable(parsed.place)
    if unplannable is not None:
        raise Refused(
            Status.BAD_REQUEST, f'"{clause[:80]}" asks for "{unplannable}", which is not planned; leave it out, or put it there by hand'
        )
    thing, (place, following) = manner.without_adverbs(parsed.object), manner.split_next_object(parsed.place)
    if thing in _PRONOUNS or not thing:
        put = Task(TaskKind.PLACE, _place(clause, manner.without_over(place)), instruction)
        picked = _picked_last(tasks) if thing == "them" else 0
        tasks = [*tasks[: len(tasks) - picked], *(step for pick in tasks[len(tasks) - picked :] for step in (pick, put))]
        found = [] if picked else [put]
    elif thing in _EMPTY or thing.split()[0] in ("it", "them") or thing.endswith((" from", " from the")):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" does not say what; say for example {_EXAMPLES}')
    else:
        thing, place = manner.split_place(thing, place)
        put = Task(TaskKind.PLACE, _place(clause, manner.without_over(place)), instruction)
        found = [step for each in _things(clause, thing) for step in (Task(TaskKind.PICK, each, instruction), put)]
    return _add_clause([*tasks, *found], f"put {following}", instruction) if following else [*tasks, *found]


def _picked_last(tasks: list[Task]) -> int:
    """How many tasks at the end pick something up that has not been put anywhere."""
    return next((i for i, task in enumerate(reversed(tasks)) if task.kind is not TaskKind.PICK), len(tasks))


def _things(clause: str, phrase: str) -> tuple[str, ...]:
    """What a phrase names, each for a task of its own.

    Raises:
        Refused: BAD_REQUEST: not one by one, not surely, or only under conditions.
    """
    obstacle = find_obstacle(phrase)
    if obstacle is not None:
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" {obstacle}')
    things = split_things(phrase)
    if things is None:
        raise Refused(
            Status.BAD_REQUEST,
            f'"{clause[:80]}" can be read in more than one way: one thing, or several? Give each a verb of its own, for example '
            '"put the red cup in the bowl and put the blue box in the bowl"',
        )
    crowd = next(filter(None, map(find_crowd, things)), None)
    if crowd is not None:
        raise Refused(
            Status.BAD_REQUEST,
            f'"{clause[:80]}": "{crowd[:40]}" is more than one thing; name them one by one, for example "the left cup and the right cup"',
        )
    return things


def _place(clause: str, place: str) -> str:
    """A place phrase, `clause` is where it was said.

    Raises:
        Refused: BAD_REQUEST: it goes on with something else, or holds only under conditions.
    """
    if manner.is_of_a_person(place):
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}": nothing is put down on people; say "hand me" and the thing')
    obstacle = find_obstacle(place) or (
        "goes on after the place: say what else goes where with a verb of its own" if names_more(place) else None
    )
    if obstacle is not None:
        raise Refused(Status.BAD_REQUEST, f'"{clause[:80]}" {obstacle}')
    return place


def _suggest(clause: str) -> str:
    """What could have been meant: the clause with the nearest known verb, or examples."""
    first, _, rest = clause.partition(" ")
    verbs = {verb for terminal in VERBS if terminal not in ("_STOP", "_CANCEL") for verb in words_of(terminal) if " " not in verb}
    near = difflib.get_close_matches(first[:20], sorted(verbs), n=1, cutoff=0.7)
    if near and rest and near[0] != first:
        return f'did you mean "{near[0]} {rest[:60]}"?'
    return f"say for example {_EXAMPLES}"


def _checked(expression: str, kind: TaskKind) -> str:
    """An expression of a role that the caller has declared.

    Raises:
        Refused: BAD_REQUEST: a robot that acts on it would take something else than was meant.
    """
    if kind is TaskKind.PLACE:
        return _place(expression, expression)
    if kind is not TaskKind.POINT and len(things := _things(expression, expression)) > 1:
        raise Refused(Status.BAD_REQUEST, f'"{expression[:80]}" names {len(things)} things for one {kind.value}: ask for each by itself')
    return expression


def _expression(sentence: str, clauses: tuple[tuple[str, bool], ...], kind: TaskKind) -> str:
    """The expression of a sentence whose role the caller already knows; the sentence itself when it has no verb.

    Raises:
        Refused: BAD_REQUEST: it is a command that cannot be followed.
    """
    try:
        tasks = _read_clauses(clauses, sentence)
    except Refused:
        if kind is not TaskKind.POINT and any(parse_clause(clause) is not None for clause, _ in clauses):
            raise
        return sentence
    fitting = {task.expression for task in [task for task in tasks if task.kind is kind] or tasks}
    return fitting.pop() if len(fitting) == 1 else sentence
