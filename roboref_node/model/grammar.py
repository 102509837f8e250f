"""Answers that can only be well-formed: which tokens may come next, and which must."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roboref_node.model.automaton import Automaton, Expression, any_of, either, none_of, repeat, sequence, text
from roboref_node.model.conversation import special_token_ids
from roboref_node.model.sampling import Drawer

_DIGIT = any_of("0123456789")
_COORDINATE = re.compile(r"\d\.\d")
_NORMALISED = either(sequence(text("0."), repeat(_DIGIT, 1, 4)), sequence(text("1."), repeat(any_of("0"), 1, 4)))
_DECIMAL = sequence(repeat(any_of("-"), 0, 1), repeat(_DIGIT, 1, 3), repeat(sequence(text("."), repeat(_DIGIT, 1, 4)), 0, 1))
THINK = ("never", "optional", "always")


def point_answer(max_points: int = 16, *, think: str = "optional", allow_empty: bool = True) -> Expression:
    """The language of RoboRefer's answers.

    ``[(x, y), ...]`` with one to four decimals in [0, 1], ``[]`` when nothing fits; before it, reasoning steps
    ``<think>[kind] [what]: value ...</think><answer>``, where a value is a list of points, a vector or a number.

    Args:
        max_points: Most points of a list.
        think: Whether reasoning steps are forbidden, allowed or required.
        allow_empty: Allow ``[]``.

    Raises:
        ValueError: `think` is none of the three or `max_points` < 1.
    """
    if think not in THINK:
        raise ValueError(f"think is {think!r}, expected one of {', '.join(THINK)}")
    if max_points < 1:
        raise ValueError(f"max_points is {max_points}, expected at least 1")
    point = sequence(text("("), _NORMALISED, text(", "), _NORMALISED, text(")"))
    points = sequence(text("["), point, repeat(sequence(text(", "), point), 0, max_points - 1), text("]"))
    answer = either(points, text("[]")) if allow_empty else points
    vector = sequence(text("("), _DECIMAL, repeat(sequence(text(", "), _DECIMAL), 1, 2), text(")"))
    # Without a limit, and so the steps below: counting would make a state per character, each of which walks the whole vocabulary once.
    name = repeat(none_of("[]()<>\n\r\t\v\f"), 1, None)
    gap = repeat(any_of(" \n"), 0, 2)
    value = either(points, vector, sequence(text("["), vector, text("]")), _DECIMAL)
    step = sequence(text("["), name, text("] ["), name, text("]: "), value, gap)
    reasoned = sequence(text("<think>"), gap, repeat(step, 0, None), text("</think>"), gap, text("<answer>"), answer, _maybe("</answer>"))
    return {"never": answer, "optional": either(answer, reasoned), "always": reasoned}[think]


class TokenGrammar:
    """A language over characters, in the tokens of one tokenizer.

    States are small integers; what may follow a state is computed once.

    Args:
        expression: The language.
        tokenizer: A fast transformers tokenizer.
        stop_ids: Tokens that end an answer.
    """

    def __init__(self, expression: Expression, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self.automaton = Automaton(expression)
        self.start = self.automaton.start
        self.stop_ids = tuple(stop_ids)
        self._tokenizer = tokenizer
        self._text = token_texts(tokenizer)
        self._root = _Node()
        for token, string in self._text.items():
            node = self._root
            for character in string:
                node = node.children.setdefault(character, _Node())
            node.tokens.append(token)
        self._next: dict[int, dict[int, int]] = {}
        self._ids: dict[int, Tensor] = {}
        self._choices: dict[tuple[int, torch.device], tuple[Tensor, Tensor | None]] = {}
        self._forced: dict[int, int | None] = {}

    def allowed(self, state: int) -> Tensor:
        """Ids that may come next, int64; the stop ids when the answer may end."""
        if state not in self._ids:
            ids = sorted(self._transitions(state)) + (list(self.stop_ids) if self.automaton.accepts(state) else [])
            self._ids[state] = torch.tensor(ids, dtype=torch.int64)
        return self._ids[state]

    def choose(self, state: int, logits: Tensor, drawer: Drawer | None = None) -> int:
        """A continuation: drawn, or the most probable one.

        Where a vocabulary has a token per coordinate, "a point" is spread over all of them while "nothing" or a reasoning step is one
        token each: the single best token would be a refusal although a point is the more probable answer. Tokens that differ in their
        digits only are therefore one choice, by their sum, and then one of them is taken. Other vocabularies: the best token. A token
        that is drawn needs no such care.

        Args:
            state: Where the answer stands.
            logits: Of the whole vocabulary, (V,).
            drawer: What draws the token; None takes the most probable one.
        """
        key = state, logits.device
        if key not in self._choices:
            groups = self._group(state)
            self._choices[key] = self.allowed(state).to(logits.device), None if groups is None else groups.to(logits.device)
        ids, groups = self._choices[key]
        values = logits[ids]
        if drawer is not None:
            return int(ids[drawer.draw(values)])
        if groups is None:
            return int(ids[values.argmax()])
        shares = torch.zeros(len(ids), device=logits.device).index_add_(0, groups, torch.softmax(values.float(), 0))
        return int(ids[torch.where(groups == shares.argmax(), values, -torch.inf).argmax()])

    def _group(self, state: int) -> Tensor | None:
        """Number of the spelling that each of the `allowed` tokens shares; None when every token has its own."""
        spellings: dict[str, int] = {}
        ids = self.allowed(state).tolist()
        texts = [re.sub(r"\d", "0", string) if _COORDINATE.search(string := self._text.get(i, "")) else f"token {i}" for i in ids]
        groups = [spellings.setdefault(string, len(spellings)) for string in texts]
        return torch.tensor(groups) if 1 < len(spellings) < len(ids) else None

    def advance(self, state: int, token: int) -> int:
        """The state after a token that `allowed` named and that is no stop.

        Raises:
            KeyError: The token is not allowed.
        """
        return self._transitions(state)[token]

    def forced(self, state: int) -> int | None:
        """The token that must come next, or None when there is a choice.

        Where the text is determined but not its split into tokens, the split is the tokenizer's own.
        """
        if state not in self._forced:
            self._forced[state] = self._find_forced(state)
        return self._forced[state]

    def _find_forced(self, state: int) -> int | None:
        options = self.allowed(state)
        if len(options) == 1:
            return int(options[0])
        if self.automaton.accepts(state):
            return None
        string, at = "", state
        while (character := self.automaton.only_character(at)) is not None:
            string += character
            following = self.automaton.step(at, character)
            assert following is not None  # `only_character` names a character that leads on
            at = following
        if not string or any(not string.startswith(self._text[token]) for token in self._transitions(state)):
            return None
        first = self._tokenizer(string, add_special_tokens=False)["input_ids"]
        if first and int(first[0]) in self._transitions(state):
            return int(first[0])
        return max(self._transitions(state), key=lambda token: len(self._text[token]))

    def _transitions(self, state: int) -> dict[int, int]:
        """Token -> next state, by walking the vocabulary's prefix tree and the automaton together."""
        if state not in self._next:
            found: dict[int, int] = {}
            waiting = [(self._root, state)]
            while waiting:
                node, at = waiting.pop()
                for token in node.tokens:
                    found[token] = at
                for character, child in node.children.items():
                    following = self.automaton.step(at, character)
                    if following is not None:
                        waiting.append((child, following))
            if not found and not self.automaton.accepts(state):
                raise ValueError("the tokenizer cannot spell a well-formed answer")
            self._next[state] = found
        return self._next[state]


def token_texts(tokenizer: Any) -> dict[int, str]:
    """What each ordinary token adds to the text; special tokens and parts of a character are left out."""
    special = special_token_ids(tokenizer)
    added = {int(i) for i in tokenizer.added_tokens_decoder}
    decoder = tokenizer.backend_tokenizer.decoder
    texts: dict[int, str] = {}
    for token, number in tokenizer.get_vocab().items():
        if number in special:
            continue
        string = token if number in added or decoder is None else decoder.decode([token])
        if string and "\ufffd" not in string:
            texts[int(number)] = string
    return texts


class _Node:
    """A node of the vocabulary's prefix tree."""

    __slots__ = ("children", "tokens")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.tokens: list[int] = []


def _maybe(literal: str) -> Expression:
    return repeat(text(literal), 0, 1)
