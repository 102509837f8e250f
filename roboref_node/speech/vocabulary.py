"""The words by which the grammar recogniser can name things. Whisper needs none of this."""

from __future__ import annotations

import re
from dataclasses import dataclass

from roboref_node.language import words_of
from roboref_node.language.skeleton import ACTS, VERBS
from roboref_node.parameters import check_settings, setting

_WORDS = re.compile(r"[a-z']+( [a-z']+)*")


@dataclass(frozen=True)
class Vocabulary:
    """What can be on the scene, in lower-case words."""

    nouns: tuple[str, ...] = setting(
        "Objects. Each has one name by default: of the synonyms (mug, can, cube, dish) add those that you say.",
        default=("box", "cylinder", "ball", "cup", "bowl", "bottle", "plate", "cone"),
    )
    colours: tuple[str, ...] = setting("Colours.", default=("red", "orange", "yellow", "green", "blue", "purple", "white", "black"))
    sizes: tuple[str, ...] = setting("Sizes.", default=("small", "large"))
    positions: tuple[str, ...] = setting("Superlatives: the leftmost box.", default=("leftmost", "rightmost", "nearest", "farthest"))
    supports: tuple[str, ...] = setting("What things stand on and robots go to.", default=("table", "shelf"))
    relations: tuple[str, ...] = setting(
        "Place words that are recognised; each must be one of the task grammar's (PLACE_WORD in commands.lark).",
        default=(
            "to the left of",
            "to the right of",
            "left of",
            "right of",
            "in front of",
            "behind",
            "next to",
            "between",
            "on top of",
            "on",
            "in",
            "under",
        ),
    )

    phrases: tuple[str, ...] = setting(
        "Verbs and words of dialogue that are listened for; each must be one of the task grammar's. Fewer are told apart better.",
        default=(
            "please",
            "could you",
            "robot",
            "pick up",
            "grab",
            "take",
            "fetch",
            "get",
            "hand me",
            "give me",
            "bring me",
            "move",
            "put",
            "place",
            "go",
            "to",
            "point to",
            "point at",
            "show me",
            "find",
            "where is",
            "stop",
            "cancel",
            "again",
            "the other one",
            "yes",
            "yes please",
            "correct",
            "no",
            "wrong",
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("phrases", "nouns", "colours", "sizes", "positions", "supports", "relations"):
            wrong = [word for word in getattr(self, name) if not _WORDS.fullmatch(word)]
            if wrong:
                raise ValueError(f"{name} has {wrong[0]!r}, it must be lower-case words")
        known = {word for terminal in (*VERBS, *ACTS, "_POLITE", "_TOWARDS") for word in words_of(terminal)}
        if strange := sorted(set(self.phrases) - known):
            raise ValueError(f"phrases has {strange[0]!r}, which the task grammar does not know (commands.lark)")
        if not self.nouns or not self.relations:
            raise ValueError("nouns and relations must not be empty")
        unknown = sorted(set(self.relations) - set(words_of("PLACE_WORD")))
        if unknown:
            raise ValueError(f"relations has {unknown[0]!r}, which is no place word of the task grammar (commands.lark)")
