"""Words that answer or interrupt, as data: stop, cancel, again, the other one, yes, no."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from lark import Tree
from lark.exceptions import UnexpectedInput

from roboref_node.language.skeleton import grammar, parse_clause, split_clauses, spoken, without_politeness


class Act(str, Enum):
    """What a word of dialogue does."""

    STOP = "stop"
    CANCEL = "cancel"
    AGAIN = "again"
    OTHER = "other"
    YES = "yes"
    NO = "no"


_LATER = re.compile(r"\b(?:until|till|for|while|when|if|before|after)\b|(?<!\ba )\b(?:seconds?|minutes?|hours?)$")
""" "wait until I am done, then pick up the cup": not now, and later nobody remembers it."""

INTERRUPTS = frozenset({Act.STOP, Act.CANCEL})
"""Acts that count at once, whatever else is going on."""


@dataclass(frozen=True)
class Dialogue:
    """A word of dialogue.

    Args:
        act: What it does.
        rest: What was said after it: "no, pick up the blue cup" has the rest "pick up the blue cup". Behind stop and cancel only
            clauses of their own count: "stop the arm" has none.
    """

    act: Act
    rest: str = ""


def read_dialogue(sentence: str) -> Dialogue | None:
    """The word of dialogue that a normalised sentence is or begins with; None when it is something else.

    Stop and cancel also count as a later clause ("pick up the cup, no, stop"), because they must never be missed.
    """
    clauses = [clause for clause, _ in split_clauses(sentence)]
    interrupt = _find_interrupt(clauses)
    if interrupt is not None:
        return interrupt
    found = _parse(sentence)
    if found is None or not found.rest:
        return found
    if all(map(_is_command, clauses)):
        return None  # "okay, pick up the cup"
    later = read_dialogue(found.rest)
    if later is not None:  # "no, the other one", "yes, do it"
        return later
    if found.act in (Act.YES, Act.NO):
        return found
    return None  # "the other cup" is an expression, "repeat the pattern" is nothing we know


def _find_interrupt(clauses: list[str]) -> Dialogue | None:
    """Stop if anybody said so, else cancel; what was commanded after the last of them follows."""
    parsed = [_parse(without_politeness(clause)) for clause in clauses]
    places = [i for i, found in enumerate(parsed) if found is not None and found.act in INTERRUPTS]
    if not places:
        return None
    stop = any(found is not None and found.act is Act.STOP for found in parsed)
    following = [] if _LATER.search(clauses[places[-1]]) else clauses[places[-1] + 1 :]
    return Dialogue(Act.STOP if stop else Act.CANCEL, ", ".join(following) if all(map(_is_command, following)) else "")


def _is_command(clause: str) -> bool:
    command = parse_clause(clause)
    return command is not None and command.form not in ("bare", "halt")


def _parse(sentence: str) -> Dialogue | None:
    try:
        tree = grammar().parse(sentence, start="dialogue")
    except UnexpectedInput:
        return None
    act = next(Act(child.data) for child in tree.children if isinstance(child, Tree) and child.data != "rest")
    rest = next((spoken(sentence, child) for child in tree.children if isinstance(child, Tree) and child.data == "rest"), "")
    return Dialogue(act, rest.lstrip(" ,;.!?:"))
