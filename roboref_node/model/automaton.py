"""A small lazily built automaton over characters: the language of well-formed answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Expression = Callable[["Automaton", int], int]
"""Adds itself to an automaton behind a state and returns the state that it ends in."""


@dataclass(frozen=True)
class CharacterClass:
    """A set of characters, or everything but a set."""

    characters: frozenset[str]
    negated: bool = False

    def __contains__(self, character: str) -> bool:
        return (character in self.characters) != self.negated


@dataclass
class Automaton:
    """Non-deterministic inside, deterministic outside: `step` memoises the subset construction.

    Args:
        expression: The language.
    """

    expression: Expression
    _silent: list[list[int]] = field(default_factory=list)
    _edges: list[list[tuple[CharacterClass, int]]] = field(default_factory=list)
    _subsets: list[frozenset[int]] = field(default_factory=list)
    _numbers: dict[frozenset[int], int] = field(default_factory=dict)
    _steps: dict[tuple[int, str], int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.add_state()
        self._end = self.expression(self, start)
        self.start = self._number(self._closure({start}))

    def add_state(self) -> int:
        """A new inner state; for expressions."""
        self._silent.append([])
        self._edges.append([])
        return len(self._edges) - 1

    def add_silent(self, source: int, target: int) -> None:
        """A transition that reads nothing; for expressions."""
        self._silent[source].append(target)

    def add_edge(self, source: int, characters: CharacterClass, target: int) -> None:
        """A transition that reads one character; for expressions."""
        self._edges[source].append((characters, target))

    def step(self, state: int, character: str) -> int | None:
        """The state after one more character, or None when no answer goes on like that."""
        key = (state, character)
        if key not in self._steps:
            reached = {target for inner in self._subsets[state] for characters, target in self._edges[inner] if character in characters}
            self._steps[key] = self._number(self._closure(reached)) if reached else None
        return self._steps[key]

    def accepts(self, state: int) -> bool:
        """True when the answer may end here."""
        return self._end in self._subsets[state]

    def only_character(self, state: int) -> str | None:
        """The one character that can follow, or None when the answer may end or go on in several ways."""
        if self.accepts(state):
            return None
        classes = [characters for inner in self._subsets[state] for characters, _ in self._edges[inner]]
        if any(characters.negated for characters in classes):
            return None
        options = frozenset[str]().union(*(characters.characters for characters in classes))
        return next(iter(options)) if len(options) == 1 else None

    def _closure(self, states: Iterable[int]) -> frozenset[int]:
        found, waiting = set(states), list(states)
        while waiting:
            for target in self._silent[waiting.pop()]:
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    def _number(self, subset: frozenset[int]) -> int:
        if subset not in self._numbers:
            self._numbers[subset] = len(self._subsets)
            self._subsets.append(subset)
        return self._numbers[subset]


def text(literal: str) -> Expression:
    """Exactly this string."""
    return sequence(*(any_of(character) for character in literal))


def any_of(characters: str) -> Expression:
    """One of these characters."""
    return _character(CharacterClass(frozenset(characters)))


def none_of(characters: str) -> Expression:
    """One character that is none of these."""
    return _character(CharacterClass(frozenset(characters), negated=True))


def sequence(*parts: Expression) -> Expression:
    """One after the other."""

    def build(automaton: Automaton, start: int) -> int:
        for part in parts:
            start = part(automaton, start)
        return start

    return build


def either(*options: Expression) -> Expression:
    """One of several."""

    def build(automaton: Automaton, start: int) -> int:
        end = automaton.add_state()
        for option in options:
            branch = automaton.add_state()
            automaton.add_silent(start, branch)
            automaton.add_silent(option(automaton, branch), end)
        return end

    return build


def repeat(part: Expression, least: int, most: int | None) -> Expression:
    """Between `least` and `most` times; None = without limit."""

    def build(automaton: Automaton, start: int) -> int:
        for _ in range(least):
            start = part(automaton, start)
        end = automaton.add_state()
        automaton.add_silent(start, end)
        if most is None:
            loop = automaton.add_state()
            automaton.add_silent(start, loop)
            back = part(automaton, loop)
            automaton.add_silent(back, loop)
            automaton.add_silent(back, end)
            return end
        for _ in range(most - least):
            start = part(automaton, start)
            automaton.add_silent(start, end)
        return end

    return build


def _character(characters: CharacterClass) -> Expression:
    def build(automaton: Automaton, start: int) -> int:
        end = automaton.add_state()
        automaton.add_edge(start, characters, end)
        return end

    return build
