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

NEGATIONS = ("do not", "don't", "dont", "never")
"""Words that begin a clause about what not to do."""

ACTS = ("_STOP", "_CANCEL", "_AGAIN", "_OTHER", "_YES", "_NO")
"""Terminals of the words of dialogue."""

_TAIL = re.compile(
    r"(?:[\s,;.!?]|\b(?:please|for me|right now|now|thanks(?: a lot)?|thank you(?: very much| so much)?|okay|ok|alright|all right"
    r"|would you|will you|could you|can you)$)+$"
)

_WAITING = re.compile(r"(?<=\S),?(?: and then| and| then) (?:wait|hold on)(?: there| here| for me| a (?:moment|second|minute))*$")
"""What the robot does anyway after the last of its tasks; "wait" by itself, or after a comma, is a stop."""


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


@cache
def place_word() -> re.Pattern[str]:
    """Finds a word that begins a place, behind a space."""
    return re.compile(rf" (?:{'|'.join(map(re.escape, words_of('PLACE_WORD')))})(?![^\s,])")


def split_clauses(sentence: str) -> tuple[tuple[str, bool], ...]:
    """The clauses of a normalised sentence, and for each whether its verb may be missing ("..., then the cup on the shelf")."""
    sentence = _WAITING.sub("", sentence)
    clauses, start, elided = [], 0, False
    for match in _boundaries().finditer(sentence):
        clauses.append((sentence[start : match.start()], elided))
        start, elided = match.end(), match.lastgroup == "elided"
    clauses.append((sentence[start:], elided))
    stripped = [(clause.strip(" ,.;!?:"), may_elide) for clause, may_elide in clauses]
    return tuple(item for item in stripped if not _says_nothing().fullmatch(item[0]))


def parse_clause(clause: str) -> Clause | None:
    """Parse one clause; None when no rule fits."""
    clause = _errand().sub("", _TAIL.sub("", clause))
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


def without_politeness(clause: str) -> str:
    """What remains of a clause after "please", "could you" and the like at its beginning."""
    return clause[_polite().match(clause).end() :]  # type: ignore[union-attr]


@lru_cache(maxsize=1)
def _boundaries() -> re.Pattern[str]:
    polite, halt = _either("_POLITE"), f"{_either('_STOP')}|{_either('_CANCEL')}"
    verb = "|".join((*(_either(name) for name in VERBS), *NEGATIONS))
    link = r"(?:[,;.!?:]+\s*(?:and then|then|and|but|after that|afterwards)?|\b(?:and then|then|and after that|after that|and|but))"
    starts = (
        rf"\s*{link}\s+(?=(?:(?:{polite})[\s,]+)*(?:{verb})(?![^\s,;.!?]))",
        rf"(?P<elided>\s*,?\s*\b(?:and )?then\s+(?=(?:to )?(?:{_either('ARTICLE')}) ))",
        # People do not wait for a conjunction: "pick up the cup no stop", "take the cup put it in the bowl".
        rf"(?:^|\s+)(?:no|oh|wait|hey|please|okay|ok|robot|i said|i say|i told you to|make it|tell it to)"
        rf"[\s,!]+(?=(?:{halt})(?![^\s,;.!?]))",
        rf"{''.join(f'(?<!{word})' for word in NEGATIONS)}\s+(?=(?:{_either('_PUT')}|{_either('_MOVE')}) (?:it|them) )",
    )
    return re.compile("|".join(starts))


@lru_cache(maxsize=1)
def _polite() -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{_either('_POLITE')})(?![^\s,;.!?])[\s,]*)*")


@lru_cache(maxsize=1)
def _says_nothing() -> re.Pattern[str]:
    """Politeness alone, and the "go" of "go and get the cup"."""
    return re.compile(rf"{_polite().pattern}(?:go|come)?")


@lru_cache(maxsize=1)
def _errand() -> re.Pattern[str]:
    """The "go" of "go get the cup"."""
    verb = "|".join(_either(name) for name in VERBS if name not in ("_GO", "_STOP", "_CANCEL"))
    return re.compile(rf"^{_polite().pattern}(?:go|come)\s+(?=(?:{verb})(?!\S))")


def _either(terminal: str) -> str:
    return "|".join(re.escape(words) for words in words_of(terminal))
