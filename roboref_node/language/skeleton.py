"""The command skeleton of `commands.lark`: where clauses begin, and what each of them is.

The parser is LALR with a contextual lexer: a verb inside a referring expression ("the set of pens") is just a word there, and the
time is linear in the length of the sentence. Referring expressions come out as they went in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from lark import Lark, Tree
from lark.exceptions import UnexpectedInput

VERBS = ("_PICK", "_HAND_OVER", "_PUT", "_MOVE", "_GO", "_POINT", "_STOP", "_CANCEL")
"""Terminals that begin a clause."""

ACTS = ("_STOP", "_CANCEL", "_AGAIN", "_OTHER", "_YES", "_NO")
"""Terminals of the words of dialogue."""

_TAIL = re.compile(r"(?:[\s,;.!?]|\b(?:please|for me|right now|now|thanks|thank you)$)+$")


@dataclass(frozen=True)
class Clause:
    """One clause.

    Args:
        form: The rule of `commands.lark` that fits: pick, hand_over, move, put, navigate, point, halt, place or bare.
        object: What is picked, moved, gone to or pointed at; "" when the form has none.
        place: Place phrase; "" when there is none.
    """

    form: str
    object: str = ""
    place: str = ""


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The parser of `commands.lark`, built once; start rules ``clause`` and ``dialogue``."""
    return Lark.open(
        "commands.lark", rel_to=__file__, parser="lalr", lexer="contextual", start=["clause", "dialogue"], propagate_positions=True
    )


@cache
def words_of(terminal: str) -> tuple[str, ...]:
    """What a terminal of `commands.lark` stands for: ``words_of("_PICK")`` is ("pick up", "pick", "grasp", ...).

    Raises:
        KeyError: There is no such terminal, or it is no plain list of words.
    """
    alternatives = re.search(r"\(\?:([^()|]+(?:\|[^()|]+)+)\)", grammar().get_terminal(terminal).pattern.to_regexp())
    if alternatives is None:
        raise KeyError(terminal)
    return tuple(re.sub(r"\\(.)", r"\1", words) for words in alternatives[1].split("|"))


def split_clauses(sentence: str) -> tuple[tuple[str, bool], ...]:
    """The clauses of a normalised sentence, and for each whether its verb may be missing ("..., then the cup on the shelf")."""
    clauses, start, elided = [], 0, False
    for match in _boundaries().finditer(sentence):
        clauses.append((sentence[start : match.start()], elided))
        start, elided = match.end(), match.lastgroup == "elided"
    clauses.append((sentence[start:], elided))
    stripped = [(clause.strip(" ,.;"), may_elide) for clause, may_elide in clauses]
    return tuple(item for item in stripped if not _polite_only().fullmatch(item[0]))


def parse_clause(clause: str) -> Clause | None:
    """Parse one clause; None when no rule fits."""
    clause = _TAIL.sub("", clause)
    try:
        tree = grammar().parse(clause, start="clause")
    except UnexpectedInput:
        return None
    if tree.data == "clause":  # politeness only adds a level
        tree = next(child for child in tree.children if isinstance(child, Tree))
    whole = spoken(clause, tree)
    if tree.data in ("place", "bare"):
        return Clause("place", place=whole) if tree.data == "place" else Clause("bare", object=whole)
    phrases = {part.data: spoken(clause, part) for part in tree.children if isinstance(part, Tree)}
    return Clause(str(tree.data), phrases.get("object", phrases.get("target", "")), phrases.get("place", ""))


def spoken(text: str, tree: Tree) -> str:
    """The stretch of `text` that a rule covers, without punctuation at its end."""
    return _TAIL.sub("", text[tree.meta.start_pos : tree.meta.end_pos])


@lru_cache(maxsize=1)
def _boundaries() -> re.Pattern[str]:
    polite = _either("_POLITE")
    verb = "|".join(_either(name) for name in VERBS)
    link = r"(?:[,;.]\s*(?:and then|then|and|after that|afterwards)?|\b(?:and then|then|and after that|after that|and))"
    return re.compile(
        rf"\s*{link}\s+(?=(?:(?:{polite})[\s,]+)*(?:{verb})(?!\S))|(?P<elided>\s*,?\s*\b(?:and )?then\s+(?=(?:{_either('ARTICLE')}) ))"
    )


@lru_cache(maxsize=1)
def _polite_only() -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{_either('_POLITE')})[\s,]*)*")


def _either(terminal: str) -> str:
    return "|".join(re.escape(words) for words in words_of(terminal))
