"""The recogniser's grammar, from the task grammar and the vocabulary: it can say what `parse_instruction` can read, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from roboref_node.language import words_of
from roboref_node.language.skeleton import ACTS, grammar
from roboref_node.speech.vocabulary import Vocabulary

FORMS = ("pick", "hand_over", "move", "put", "navigate", "point")
"""Rules of ``commands.lark`` that make a spoken command; ``place`` and ``bare`` have no verb, and any noise would fit them."""

UNHEARD = (("_MOVE", "object"), ("_PUT", "object"), ("_PUT", "place"))
"""Expansions without the place (read to be refused with a reason) or without the object, which a recogniser never proposes."""

TARGETS = {"pick": "grasped", "hand_over": "grasped", "navigate": "anchor"}
"""Forms whose target is less than anything that can be pointed at: no table is picked up, and nobody walks to "the cup on the box"."""

SEQUENCES = (("pick", "put_it"), ("navigate", "pick"))
"""Two steps in one sentence. Any two of all forms would be possible, but a recogniser that may say all of that hears it in every noise."""


def command_grammar(vocabulary: Vocabulary) -> str:
    """JSGF of a command, of two that follow from each other, or of a word of dialogue.

    Args:
        vocabulary: The words for things, and which of the task grammar's phrases are listened for.
    """
    known = {terminal.name for terminal in grammar().terminals}
    heard = set(vocabulary.phrases)
    words = {name: [phrase for phrase in words_of(name) if phrase in heard] for name in known if name.strip("_") in _listed(known)}
    words = {name: phrases for name, phrases in words.items() if phrases}
    rules = {form: [line for line in _expansions(form) if all(name not in known or name in words for name in line)] for form in FORMS}
    rules = {form: lines for form, lines in rules.items() if lines}
    if ("_GO", "_TOWARDS", "target") in rules.get("navigate", []):  # nobody says "go the table"
        rules["navigate"] = [line for line in rules["navigate"] if "_TOWARDS" in line]
    put_it = [verb for verb in ("PUT", "MOVE") if verb.lower() in rules]
    known_forms = {*rules, *(["put_it"] if put_it else [])}
    sequences = [f"<{first}> <then> <{second}>" for first, second in SEQUENCES if {first, second} <= known_forms]
    polite = "[<POLITE>] " if "_POLITE" in words else ""
    lines = [
        "#JSGF V1.0;",
        "grammar commands;",
        f"public <command> = {polite}<step> | <dialogue>;",
        f"<step> = {_alternatives([*(f'<{form}>' for form in rules), *sequences])};",
        "<then> = and | then | and then;",
        *(f"<{form}> = {_expanded(form, expansions)};" for form, expansions in rules.items()),
        *([f"<put_it> = {_alternatives(f'<{verb}> it <place>' for verb in put_it)};"] if put_it else []),
        *(f"<{name.strip('_')}> = {_words(phrases)};" for name, phrases in sorted(words.items())),
        f"<dialogue> = {_alternatives(f'<{name[1:]}>' for name in ACTS if name in words)};",
        *_things(vocabulary),
    ]
    return "\n".join(lines) + "\n"


def spoken_words(jsgf: str) -> tuple[str, ...]:
    """Every word that a grammar of this module can say."""
    body = " ".join(line.split("=", 1)[1].rstrip(";") for line in jsgf.splitlines() if "=" in line)
    tokens = body.translate(str.maketrans("()[]|", "     ")).split()
    return tuple(sorted({token for token in tokens if not token.startswith("<")}))


def _listed(terminals: Iterable[str]) -> set[str]:
    """Terminals that are used by a spoken form, without their underscore."""
    used = {name for form in FORMS for line in _expansions(form) for name in line} | {*ACTS, "_POLITE"}
    return {name.strip("_") for name in terminals if name in used}


def _expansions(form: str) -> list[tuple[str, ...]]:
    """The ways in which ``commands.lark`` spells a form, as symbol names."""
    found = [tuple(str(symbol.name) for symbol in rule.expansion) for rule in cast(Any, grammar()).rules if str(rule.origin.name) == form]
    return [names for names in found if names not in UNHEARD]


def _alternatives(lines: Iterable[str | tuple[str, ...]]) -> str:
    return " | ".join(line if isinstance(line, str) else " ".join(f"<{name.strip('_')}>" for name in line) for line in lines)


def _expanded(form: str, expansions: list[tuple[str, ...]]) -> str:
    written = _alternatives(expansions)
    return written.replace("<target>", f"<{TARGETS[form]}>") if form in TARGETS else written


def _words(words: Iterable[str]) -> str:
    return " | ".join(f"({word})" if " " in word else word for word in words)


def _things(vocabulary: Vocabulary) -> list[str]:
    adjectives = " ".join(f"[{_words(words)}]" for words in (vocabulary.positions, vocabulary.sizes, vocabulary.colours) if words)
    supports = f" | the ({_words(vocabulary.supports)})" if vocabulary.supports else ""
    single = [f"({_words(near)}) <anchor>" for near in ([word for word in vocabulary.relations if word != "between"],) if near]
    double = ["between <thing> and <thing>"] if "between" in vocabulary.relations else []
    return [
        f"<thing> = the {adjectives} ({_words(vocabulary.nouns)});",
        f"<anchor> = <thing>{supports};",
        f"<place> = {_alternatives([*single, *double])};",
        "<target> = <anchor> [<place>];",
        "<grasped> = <thing> [<place>];",
        "<object> = it | <thing>;",
    ]
