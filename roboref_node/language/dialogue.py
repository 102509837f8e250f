"""Words that answer or interrupt, as data: stop, cancel, again, the other one, yes, no."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lark import Tree
from lark.exceptions import UnexpectedInput

from roboref_node.language.skeleton import grammar, parse_clause, split_clauses, spoken


class Act(str, Enum):
    """What a word of dialogue does."""

    STOP = "stop"
    CANCEL = "cancel"
    AGAIN = "again"
    OTHER = "other"
    YES = "yes"
    NO = "no"


INTERRUPTS = frozenset({Act.STOP, Act.CANCEL})
"""Acts that count at once, whatever else is going on."""


@dataclass(frozen=True)
class Dialogue:
    """A word of dialogue.

    Args:
        act: What it does.
        rest: What was said after it: "no, pick up the blue cup" has the rest "pick up the blue cup".
    """

    act: Act
    rest: str = ""


def read_dialogue(sentence: str) -> Dialogue | None:
    """The word of dialogue that a normalised sentence is or begins with; None when it is something else.

    Stop and cancel also count as a later clause ("pick up the cup, no, stop"), because they must never be missed.
    """
    clauses = [clause for clause, _ in split_clauses(sentence)]
    for clause in clauses:
        parsed = _parse(clause)
        if parsed is not None and parsed.act in INTERRUPTS:
            return parsed
    found = _parse(sentence)
    if found is None or not found.rest:
        return found
    if all((command := parse_clause(clause)) is not None and command.form != "bare" for clause in clauses):
        return None  # "okay, pick up the cup"
    later = read_dialogue(found.rest)
    if later is not None:  # "no, stop", "no, the other one", "yes, do it"
        return later
    if found.act in (Act.YES, Act.NO):
        return found
    return None  # "the other cup" is an expression, "repeat the pattern" is nothing we know


def _parse(sentence: str) -> Dialogue | None:
    try:
        tree = grammar().parse(sentence, start="dialogue")
    except UnexpectedInput:
        return None
    act = next(Act(child.data) for child in tree.children if isinstance(child, Tree) and child.data != "rest")
    rest = next((spoken(sentence, child) for child in tree.children if isinstance(child, Tree) and child.data == "rest"), "")
    return Dialogue(act, rest.lstrip(" ,;."))
