"""Words: how the generator names objects and relations, with the paraphrases a person would use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboref_node.synth.view import ObjectView

NOUNS: dict[str, tuple[str, ...]] = {
    "box": ("box", "block", "cube"),
    "cylinder": ("cylinder", "can", "tin"),
    "ball": ("ball", "sphere"),
    "cup": ("cup", "mug"),
    "bowl": ("bowl",),
    "bottle": ("bottle", "flask"),
    "plate": ("plate", "dish"),
    "cone": ("cone",),
}
ANY_OBJECT = ("object", "thing", "item")
SIZE_WORDS: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
ORDINALS = ("first", "second", "third", "fourth", "fifth")
DIRECTIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of", "on the left of", "on the left side of"),
    "right": ("right of", "to the right of", "on the right of", "on the right side of"),
    "front": ("in front of", "before"),
    "behind": ("behind", "in back of"),
}
NEXT_TO = ("next to", "beside", "near", "close to")
UNKNOWN_NOUNS = (
    "banana", "apple", "hammer", "screwdriver", "spoon", "fork", "book", "phone", "keyboard", "shoe", "hat", "towel",
    "brush", "sponge", "teapot", "kettle", "lamp", "pen", "pencil", "scissors", "knife", "remote", "toy", "car", "duck",
    "bear", "carrot", "glove", "wrench",
)  # fmt: skip
"""Nouns that no scene holds; at training time they reach the model as unknown words or rare ones."""

REQUESTS = (
    "please point to {}", "point to {}", "point at {}", "point out {}", "please point out {}", "show me {}", "find {}", "locate {}",
    "where is {}", "pick up {}", "please pick up {}", "grab {}", "could you please grab {}", "can you find {}", "i need {}", "look for {}",
    "give me {}", "take {}", "{}", "could you point to {}", "please locate {} for me", "hey robot , get {}", "now please show me {}",
)  # fmt: skip
PLACE_REQUESTS = (
    "please point to the free space {}", "point to the free space {}", "point to a free spot {}", "find a free spot {}", "put it {}",
    "place it {}", "please put it {}", "show me an empty place {}", "where is there free space {}", "set it down {}",
)  # fmt: skip
PARAPHRASES = (
    "hand me {}", "bring me {}", "fetch {} for me", "would you kindly take {}", "i would like {}", "i want you to pick up {}",
    "do you see {}", "can you see {} there", "which one is {}", "just get me {}", "okay robot , now take {}", "uh , point to {}",
    "um , please find {}", "well , where is {} then", "go for {}", "please get hold of {}", "and now {}", "no , {}", "let us look at {}",
    "could you show me {} , please", "tell me where {} is", "the next thing is {}", "you should grab {} now",
)  # fmt: skip
PLACE_PARAPHRASES = (
    "drop it {}", "it goes {}", "leave it {} , please", "i want it {}", "now put this down {}", "could you place it {} for me",
    "is there any room {}", "uh , set it {}", "move it to the free space {}", "let us put it {}",
)  # fmt: skip
"""Requests with words that the nano's vocabulary does not have: it reads them as unknown words around the expression."""

CANONICAL_REQUEST = "please point to {}."
CANONICAL_PLACE_REQUEST = "please point to the free space {}."
_PARAPHRASED = 0.25
_CLOSED = 0.3


@dataclass(frozen=True)
class Description:
    """A set of attributes that an object may match; None = not said.

    Args:
        shape: Shape, or None for "object".
        colour: Colour word.
        size: ``small`` or ``large``.
        support: ``table``, ``shelf``.
    """

    shape: str | None = None
    colour: str | None = None
    size: str | None = None

    def matches(self, item: ObjectView) -> bool:
        """True when every attribute that is said holds."""
        return (
            (self.shape is None or item.shape == self.shape)
            and (self.colour is None or item.colour == self.colour)
            and (self.size is None or item.size == self.size)
        )

    def words(self, rng: np.random.Generator, *, canonical: bool = False) -> str:
        """The noun phrase without its article."""

        def choose(options: tuple[str, ...]) -> str:
            return options[0] if canonical else pick(options, rng)

        noun = choose(NOUNS[self.shape]) if self.shape else choose(ANY_OBJECT)
        parts = [choose(SIZE_WORDS[self.size])] if self.size else []
        return " ".join([*parts, *([self.colour] if self.colour else []), noun])


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the options; the first, most common wording comes up half of the time."""
    if len(options) == 1 or rng.random() < 0.5:
        return options[0]
    return options[int(rng.integers(1, len(options)))]


def request(expression: str, place: bool, rng: np.random.Generator, *, canonical: bool) -> tuple[str, str]:
    """Wrap an expression into a request, as `pointing.prompt` does (canonical) or as people do.

    Returns:
        The text, and the name of its form: ``canonical``, ``request/3``, ``place/0``, ``paraphrase/12``, ``place_paraphrase/4``.
    """
    if canonical:
        return (CANONICAL_PLACE_REQUEST if place else CANONICAL_REQUEST).format(expression), "canonical"
    if rng.random() < _PARAPHRASED:
        options, name = (PLACE_PARAPHRASES, "place_paraphrase") if place else (PARAPHRASES, "paraphrase")
        form = options[int(rng.integers(len(options)))]
    else:
        options, name = (PLACE_REQUESTS, "place") if place else (REQUESTS, "request")
        form = pick(options, rng)
    closing = "." if rng.random() < _CLOSED else ""
    return form.format(expression) + closing, f"{name}/{options.index(form)}"
