"""Many questions about one scene behind one shared image prefix: tokens, block mask, labels.

Each question attends to the media prefix and to itself, and counts its positions from the end of the prefix, so it computes
what it would compute alone; one pass over the images serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES, SIZES
from roboref_node.synth import language
from roboref_node.synth.questions import Question
from roboref_node.synth.view import SceneView
from roboref_node.training import vocabulary as vocab

IGNORED = -100

LABELLED_SHARE = 0.1
"""An object must cover this share of a patch to give it its labels. The smallest objects asked for cover a fifth of a patch in all."""


@dataclass(frozen=True, eq=False)
class PackedScene:
    """Token arrays of all questions of one scene, concatenated; L = total length without the media prefix.

    Args:
        tokens: int64 (L,).
        question: Index of the question that a token belongs to, int64 (L,).
        position: Offset from the end of the media prefix, int64 (L,).
        label: Token to predict next, or `IGNORED`, int64 (L,).
        coordinate: Coordinate behind a label that is an x or y token, else NaN, float32 (L,).
        pointer: Row of `pointer_target` that a position should attend to, or -1, int64 (L,).
        pointer_target: Share of each RGB patch, rows sum to 1, float32 (R, patches).
    """

    tokens: NDArray[np.int64]
    question: NDArray[np.int64]
    position: NDArray[np.int64]
    label: NDArray[np.int64]
    coordinate: NDArray[np.float32]
    pointer: NDArray[np.int64]
    pointer_target: NDArray[np.float32]


class Packer:
    """Turns questions into token arrays.

    Args:
        tokenizer: A nano tokenizer.
        grid: Side of the projected token grid of the RGB tower.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, grid: int) -> None:
        self.tokenizer = tokenizer
        self.grid = grid
        self.coordinates = vocab.CoordinateTokens(tokenizer)
        ids = partial(vocab.token_id, tokenizer)
        self.assistant, self.end, self.nothing = ids(vocab.ASSISTANT), ids(vocab.END), ids(vocab.NOTHING)
        self.think_open, self.think_close = ids(vocab.THINK_OPEN), ids(vocab.THINK_CLOSE)
        self.step_open, self.step_middle = ids(vocab.STEP_OPEN), ids(vocab.STEP_MIDDLE)
        self.shape_of = {ids(f"▁{w}"): s for s, options in language.NOUNS.items() for w in options}
        self.size_of = {ids(f"▁{w}"): s for s, options in language.SIZE_WORDS.items() for w in options}
        self.colour_of = {ids(f"▁{c}"): c for c in COLOURS}
        self.any_object = {ids(f"▁{w}") for w in language.ANY_OBJECT}
        self.unknown = ids(vocab.UNKNOWN)

    def pack(self, view: SceneView, questions: list[Question], rng: np.random.Generator, *, think: float = 1.0) -> PackedScene:
        """Concatenate the questions of one scene.

        Args:
            view: The scene.
            questions: At least one.
            rng: Decides which questions are answered directly.
            think: Share of the questions with a trace whose answer spells it out first.
        """
        coverage = patch_coverage(view, self.grid)
        columns: dict[str, list[Sequence[float]]] = {k: [] for k in ("tokens", "question", "position", "label", "coordinate", "pointer")}
        targets: list[NDArray[np.float32]] = []
        for number, question in enumerate(questions):
            prompt = [int(i) for i in self.tokenizer(question.text)["input_ids"]] + [self.assistant]
            answer, values, masks = self._answer(question, spell=rng.random() < think)
            tokens = prompt + answer
            label = [IGNORED] * (len(prompt) - 1) + answer + [self.end]
            coordinate = [np.nan] * (len(prompt) - 1) + values + [np.nan]
            pointer = [-1] * len(tokens)
            for at, found in self._nouns(prompt, view):
                targets.append(coverage[found].sum(axis=0))
                pointer[at] = len(targets) - 1
            for at, patch in masks:
                share = self._point_patch(patch) if isinstance(patch, tuple) else mask_coverage(patch, self.grid)
                targets.append(share)
                pointer[len(prompt) - 1 + at] = len(targets) - 1
            row: tuple[Sequence[float], ...] = (tokens, [number] * len(tokens), range(len(tokens)), label, coordinate, pointer)
            for column, part in zip(columns.values(), row, strict=True):
                column.append(part)
        flat = {name: np.concatenate([np.asarray(c) for c in parts]) for name, parts in columns.items()}
        rows = np.stack(targets) if targets else np.zeros((0, self.grid**2), dtype=np.float32)
        rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-6)
        integer = {name: flat[name].astype(np.int64) for name in ("tokens", "question", "position", "label", "pointer")}
        return PackedScene(**integer, coordinate=flat["coordinate"].astype(np.float32), pointer_target=rows.astype(np.float32))

    def _answer(
        self, question: Question, *, spell: bool
    ) -> tuple[list[int], list[float], list[tuple[int, tuple[float, float] | NDArray[np.bool_]]]]:
        """Answer tokens, the coordinate behind each, and where the token before each point should look."""
        if question.answer_uv is None:
            return [self.nothing], [np.nan], []
        tokens: list[int] = []
        values: list[float] = []
        looks: list[tuple[int, tuple[float, float] | NDArray[np.bool_]]] = []

        def add(token: int, value: float = np.nan) -> None:
            tokens.append(token)
            values.append(value)

        def add_point(uv: tuple[float, float], look: tuple[float, float] | NDArray[np.bool_]) -> None:
            looks.append((len(tokens), look))
            for token, value in zip(self.coordinates.point(uv), uv, strict=True):
                add(token, value)

        if spell and question.trace:
            add(self.think_open)
            for name, uv in question.trace:
                add(self.step_open)
                for token in self.tokenizer(name)["input_ids"]:
                    add(int(token))
                add(self.step_middle)
                add_point(uv, uv)
            add(self.think_close)
        add_point(question.answer_uv, question.mask)
        return tokens, values, looks

    def _nouns(self, prompt: list[int], view: SceneView) -> list[tuple[int, list[int]]]:
        """Noun positions of a prompt with the objects that noun, colour and size allow, and colours with all objects of that colour.

        A colour that looks at everything of its colour first is what lets pairs that were never seen be put together.
        """
        found = []
        for at, token in enumerate(prompt):
            if token in self.colour_of:
                matches = [o.index for o in view.present if o.colour == self.colour_of[token]]
                if matches:
                    found.append((at, matches))
                continue
            if token not in self.shape_of and token not in self.any_object:
                continue
            colour = self.colour_of.get(prompt[at - 1]) if at else None
            size = self.size_of.get(prompt[at - 1 if colour is None else at - 2]) if at > 1 else None
            description = language.Description(self.shape_of.get(token), colour, size)
            if description == language.Description() or (at and prompt[at - 1] == self.unknown):
                continue
            matches = [o.index for o in view.present if description.matches(o)]
            if matches:
                found.append((at, matches))
        return found

    def _point_patch(self, uv: tuple[float, float]) -> NDArray[np.float32]:
        share = np.zeros(self.grid**2, dtype=np.float32)
        column, row = (min(int(value * self.grid), self.grid - 1) for value in uv)
        share[row * self.grid + column] = 1.0
        return share


def patch_coverage(view: SceneView, grid: int) -> NDArray[np.float32]:
    """Share of each patch that each object covers, shape (objects, grid * grid)."""
    instance = view.rendered.instance
    return np.stack([mask_coverage(instance == i, grid) for i in range(len(view.objects))])


def mask_coverage(mask: NDArray[np.bool_], grid: int) -> NDArray[np.float32]:
    """Share of each of grid x grid patches that a mask covers, shape (grid * grid,)."""
    height, width = mask.shape
    blocks = mask.reshape(grid, height // grid, grid, width // grid)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32)).reshape(-1)


def dense_labels(view: SceneView, grid: int, depth_image: NDArray[np.uint8], *, colours: bool = True) -> NDArray[np.int64]:
    """Per-patch shape, colour, size (0 = background) and depth bin, shape (4, grid * grid).

    A patch takes the labels of the object that covers most of it, if that is more than `LABELLED_SHARE`.

    Args:
        view: The scene.
        grid: Side of the patch grid.
        depth_image: Relative depth as the model sees it, uint8 (H, W).
        colours: False puts `IGNORED` where the colour would be.
    """
    instance = view.rendered.instance
    coverage = patch_coverage(view, grid)
    best = coverage.argmax(axis=0)
    seen = coverage.max(axis=0) > LABELLED_SHARE
    shape = np.array([SHAPES.index(o.shape) + 1 for o in view.objects])
    colour = np.array([COLOURS.index(o.colour) + 1 if colours else IGNORED for o in view.objects])
    size = np.array([SIZES.index(o.size) + 1 for o in view.objects])
    height, width = instance.shape
    blocks = depth_image.reshape(grid, height // grid, grid, width // grid).mean(axis=(1, 3)).reshape(-1)
    return np.stack([*(np.where(seen, table[best], 0) for table in (shape, colour, size)), (blocks // 16).astype(np.int64)])
