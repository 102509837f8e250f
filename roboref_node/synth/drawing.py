"""Choices that all kinds of questions share: what to name, in which words, and how a question is put together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roboref_node.synth.freespace import region_answer
from roboref_node.synth.language import Description, pick, request
from roboref_node.synth.question import Question
from roboref_node.synth.view import ObjectView, SceneView

Pair = tuple[str, str]
Reference = tuple[str, ObjectView]
"""Words, article included, and the object they name."""
MAX_CANDIDATES = 5


class Drawing:
    """Draws the parts of questions about one scene.

    What is asked and how it is worded come from two random streams, so that one question can be had in several wordings.

    Args:
        view: The scene.
        rng: Source of what is asked.
        canonical: Use the wording of `pointing.prompt` only.
        unknown_word: Draws a noun that no scene holds.
        wording: Source of the words; derived from `rng` when None.
        colourless: Name no colour, for pictures whose objects do not have the colours of the scene's description.
        unnamed: (colour, shape) pairs that no question about something absent may name.
    """

    def __init__(
        self,
        view: SceneView,
        rng: np.random.Generator,
        *,
        canonical: bool,
        unknown_word: Callable[[], str],
        wording: np.random.Generator | None = None,
        colourless: bool = False,
        unnamed: frozenset[Pair] = frozenset(),
    ) -> None:
        self.view = view
        self.rng = rng
        self.word_rng = np.random.default_rng(int(rng.integers(2**62))) if wording is None else wording
        self.canonical = canonical
        self.unknown_word = unknown_word
        self.colourless = colourless
        self.unnamed = unnamed
        self._matching: dict[Description, tuple[ObjectView, ...]] = {}

    def choose(self, items: tuple[ObjectView, ...]) -> ObjectView | None:
        """A random item."""
        return items[int(self.rng.integers(len(items)))] if items else None

    def matching(self, description: Description) -> tuple[ObjectView, ...]:
        """Objects that can be seen and match; empty when a barely visible one matches too."""
        if description not in self._matching:
            hidden = any(description.matches(o) for o in self.view.marginal)
            self._matching[description] = () if hidden else tuple(o for o in self.view.present if description.matches(o))
        return self._matching[description]

    def unique_description(self, item: ObjectView) -> Description | None:
        """Attributes that single `item` out, chosen at random among the ways to do it."""
        options = [Description(item.shape), Description(item.shape, item.colour), Description(None, item.colour)]
        options += [Description(item.shape, item.colour, item.size), Description(item.shape, None, item.size)]
        weights = np.array([0.2, 0.5, 0.12, 0.1, 0.08])
        good = [i for i, d in enumerate(options) if self.may_say(d) and len(self.matching(d)) == 1]
        if not good:
            return None
        p = weights[good] / weights[good].sum()
        return options[good[int(self.rng.choice(len(good), p=p))]]

    def may_say(self, description: Description) -> bool:
        """False for a colour where colours are not named."""
        return description.colour is None or not self.colourless

    def anchor(self, exclude: tuple[int, ...] = (), on_table: bool = False) -> tuple[ObjectView, str] | None:
        """A uniquely named object with its words, article included."""
        items = [o for o in self.view.present if o.index not in exclude and (not on_table or o.support == "table")]
        self.rng.shuffle(items)
        for item in items:
            description = self.unique_description(item)
            if description is not None:
                return item, self.words(description)
        return None

    def noun(self, description: Description) -> str:
        """Noun phrase without its article."""
        return description.words(self.word_rng, canonical=self.canonical)

    def words(self, description: Description) -> str:
        """Noun phrase with its article."""
        return f"the {self.noun(description)}"

    def say(self, options: tuple[str, ...]) -> str:
        """One wording of several that mean the same."""
        return options[0] if self.canonical else pick(options, self.word_rng)

    def group(self, minimum: int, maximum: int = 5, *, generic: float = 0.15) -> tuple[Description, tuple[ObjectView, ...]] | None:
        """A description that several visible objects match."""
        options = [Description()] if self.rng.random() < generic else []
        items = list(self.view.present)
        self.rng.shuffle(items)
        for item in items:
            options += [Description(item.shape), Description(item.shape, item.colour), Description(None, item.colour)]
        for description in options:
            if not self.may_say(description):
                continue
            members = self.matching(description)
            if minimum <= len(members) <= maximum:
                return description, members
        return None

    def about(
        self, kind: str, expression: str, target: ObjectView, references: tuple[Reference, ...] = (), candidates: tuple[Reference, ...] = ()
    ) -> Question:
        """Question whose answer is an object."""
        mask = self.view.rendered.instance == target.index
        text, wording = request(expression, False, self.word_rng, canonical=self.canonical)
        answer = self.view.normalised(target.inner_uv)
        return Question(
            kind, text, expression, False, mask, answer, self._points(references), target.index, wording, self._points(candidates)
        )

    def candidates(self, noun: str, members: tuple[ObjectView, ...], *, from_right: bool = False) -> tuple[Reference, ...]:
        """The members of a group along the picture; none when they are too many to be listed."""
        if len(members) > MAX_CANDIDATES:
            return ()
        return tuple((noun, o) for o in sorted(members, key=lambda o: o.mean_uv[0], reverse=from_right))

    def about_region(
        self, kind: str, expression: str, region: NDArray[np.bool_], references: tuple[Reference, ...], minimum_share: float
    ) -> Question | None:
        """Question whose answer is any pixel of a region; None when it is too small to point at."""
        if region.sum() < minimum_share * region.size:
            return None
        answer = self.view.normalised(region_answer(region))
        text, wording = request(expression, True, self.word_rng, canonical=self.canonical)
        return Question(kind, text, expression, True, region, answer, self._points(references), None, wording)

    def nothing(self, expression: str, place: bool = False) -> Question:
        """Question about something that is not there."""
        mask = np.zeros(self.view.rendered.instance.shape, dtype=bool)
        text, wording = request(expression, place, self.word_rng, canonical=self.canonical)
        return Question("absent", text, expression, place, mask, None, wording=wording)

    def _points(self, references: tuple[Reference, ...]) -> tuple[tuple[str, tuple[float, float]], ...]:
        return tuple((name.removeprefix("the "), self.view.normalised(o.inner_uv)) for name, o in references)
