"""Batches of packed scenes: question mix, augmentation, and questions laid into slots."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES
from roboref_node.synth.language import UNKNOWN_NOUNS
from roboref_node.synth.questions import Asker, Question
from roboref_node.synth.split import RESERVED_PAIRS
from roboref_node.synth.view import SceneView
from roboref_node.training.augmentation import augment_depth, augment_rgb, repaint
from roboref_node.training.packing import IGNORED, PackedScene, Packer, dense_labels, mask_coverage
from roboref_node.training.scenes import SceneStore, label_pixels

MIX = {
    "attribute": 0.10, "size": 0.09, "ordinal": 0.12, "relative": 0.09, "between": 0.10, "distance": 0.09, "height": 0.05,
    "closest_to": 0.11, "multi_step": 0.05, "chain": 0.05, "free_space": 0.08, "free_between": 0.05, "free_chain": 0.03,
    "container": 0.03, "absent": 0.06,
}  # fmt: skip


SLOT = 64
"""Tokens of a slot; a question lies in one slot."""


WORD_SHARE = 0.02
"""An object must cover this share of a projected token to be described by it."""

_ATTEMPTS = 4


@dataclass(frozen=True)
class BatchSettings:
    """What a batch holds.

    Args:
        scenes: Scenes per batch.
        questions: Questions per scene.
        image_size: Side of the model's input.
        patch_grid: Side of the tower's patch grid.
        token_grid: Side of the projected token grid.
        drop_depth: Share of the batches without depth.
        canonical: Share of the scenes whose questions use the canonical wording.
        think: Share of the questions with a trace that are answered step by step.
        repaint: Share of the scenes whose objects get random colours, and questions that name none.
    """

    scenes: int = 8
    questions: int = 21
    image_size: int = 160
    patch_grid: int = 20
    token_grid: int = 10
    drop_depth: float = 0.22
    canonical: float = 0.35
    think: float = 0.9
    repaint: float = 0.0


@dataclass(eq=False)
class Batch:
    """Tensors of one step; B scenes, L tokens behind the media, N supervised positions."""

    rgb: Tensor
    depth: Tensor | None
    tokens: Tensor
    question: Tensor
    position: Tensor
    label: Tensor
    coordinate: Tensor
    pointer: Tensor
    pointer_target: Tensor
    dense: Tensor
    words: Tensor
    masks: list[list[NDArray[np.bool_]]]
    kinds: list[list[str]]

    def to(self, device: torch.device) -> Batch:
        """The same with its tensors on `device`."""
        moved = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, S, S, 3) to float (B, 3, S, S) in [-1, 1], SigLIP's normalisation."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1.0


def draw_questions(
    view: SceneView, rng: np.random.Generator, count: int, *, canonical: bool, mix: dict[str, float], vocabulary_unknown: float = 0.7,
    colourless: bool = False,
) -> list[Question]:  # fmt: skip
    """Up to `count` questions in the proportions of `mix`.

    No question names a reserved pair, not even one about something absent: a model that has read "the blue ball" with the
    answer "nothing" only would never find one.
    """

    def unknown_word() -> str:
        return "zzz" if rng.random() < vocabulary_unknown else UNKNOWN_NOUNS[int(rng.integers(len(UNKNOWN_NOUNS)))]

    asker = Asker(view, rng, canonical=canonical, unknown_word=unknown_word, colourless=colourless, unnamed=RESERVED_PAIRS)
    names = list(mix)
    weights = np.array([mix[n] for n in names])
    found: list[Question] = []
    for kind in rng.choice(len(names), size=3 * count, p=weights / weights.sum()):
        question = next((q for q in (asker.ask(names[kind]) for _ in range(_ATTEMPTS)) if q is not None), None)
        if question is not None and _length(question) <= SLOT:
            found.append(question)
        if len(found) == count:
            break
    return found


def _length(question: Question) -> int:
    """Most tokens that a question can take with its reasoning: a word is a token, and so is each mark behind one."""
    asked = len(question.text.split()) + sum(question.text.count(mark) for mark in ".,?!")
    return asked + sum(4 + len(name.split()) for name, _ in question.trace) + 6


class PackedBatches(IterableDataset[Batch]):
    """Endless batches, deterministic by seed and worker.

    Args:
        store: Rendered scenes.
        tokenizer: Nano tokenizer.
        settings: Batch size and mix.
        seed: Seed of the whole stream.
        start: Number of batches to skip per worker, for resuming.
        attribute_batches: The first batches ask mostly for attributes.
        process, processes: Number of this training process and how many there are; each gets batches of its own.
    """

    def __init__(
        self, store: SceneStore, tokenizer: PreTrainedTokenizerFast, settings: BatchSettings, seed: int, *, start: int = 0,
        attribute_batches: int = 0, process: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        self.store = store
        self.settings = settings
        self.seed = seed
        self.start = start
        self.attribute_batches = attribute_batches
        self.process, self.processes = process, processes
        self.packer = Packer(tokenizer, settings.token_grid)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        stride, number = (worker.num_workers, worker.id) if worker else (1, 0)
        step = self.start + number
        while True:
            yield self.batch(step)
            step += stride

    def batch(self, step: int) -> Batch:
        """The batch of one training step; the same step always gives the same batch."""
        rng = np.random.default_rng([self.seed, step * self.processes + self.process])
        s = self.settings
        mix = {**MIX, "attribute": 2.0} if step < self.attribute_batches else MIX
        scenes = [self.store[int(i)] for i in rng.choice(len(self.store), size=s.scenes, replace=False)]
        packed: list[PackedScene] = []
        asked: list[list[Question]] = []
        pictures, dense, words = [], [], []
        for scene in scenes:
            canonical, recoloured = bool(rng.random() < s.canonical), bool(rng.random() < s.repaint)
            questions = draw_questions(scene.view, rng, s.questions, canonical=canonical, mix=mix, colourless=recoloured)
            while not questions:
                questions = draw_questions(scene.view, rng, 1, canonical=True, mix={"absent": 1.0})
            packed.append(self.packer.pack(scene.view, questions, rng, think=s.think))
            asked.append(questions)
            pictures.append(repaint(scene.rgb, scene.instance, scene.view.spec.objects, rng) if recoloured else scene.rgb)
            dense.append(dense_labels(scene.view, s.patch_grid, label_pixels(scene.depth_image), colours=not recoloured))
            words.append(patch_words(scene.view, s.token_grid, colours=not recoloured))
        rgb = np.stack([augment_rgb(picture, rng) for picture in pictures])
        depth = np.repeat(np.stack([augment_depth(scene.depth_image, rng) for scene in scenes])[..., None], 3, axis=-1)
        drop = rng.random() < s.drop_depth
        return collate(packed, normalise(rgb), None if drop else normalise(depth), np.stack(dense), np.stack(words), asked)


def patch_words(view: SceneView, grid: int, *, colours: bool = True) -> NDArray[np.float32]:
    """Which shape and colour words describe each projected token, (grid * grid, shapes + colours); NaN for colours not to be learned."""
    words = np.zeros((grid * grid, len(SHAPES) + len(COLOURS)), dtype=np.float32)
    for item in view.present:
        seen = mask_coverage(view.rendered.instance == item.index, grid) > WORD_SHARE
        words[seen, SHAPES.index(item.shape)] = 1.0
        words[seen, len(SHAPES) + COLOURS.index(item.colour)] = 1.0
    if not colours:
        words[:, len(SHAPES) :] = np.nan
    return words


def collate(
    packed: list[PackedScene], rgb: Tensor, depth: Tensor | None, dense: NDArray[np.int64], words: NDArray[np.float32],
    asked: list[list[Question]],
) -> Batch:  # fmt: skip
    """Lay the questions of each scene into slots of `SLOT` tokens, and pad to one number of slots."""
    layouts = [_slots(p.question) for p in packed]
    length = SLOT * max(int(places.max()) // SLOT + 1 for places in layouts)

    def padded(name: str, value: float) -> Tensor:
        rows = []
        for scene, places in zip(packed, layouts, strict=True):
            source = getattr(scene, name)
            row = np.full(length, value, dtype=source.dtype)
            row[places] = source
            rows.append(row)
        return torch.from_numpy(np.stack(rows))

    offset = np.cumsum([0] + [len(p.pointer_target) for p in packed])
    pointer = padded("pointer", -1)
    for row, first in enumerate(offset[:-1]):
        pointer[row][pointer[row] >= 0] += int(first)
    return Batch(
        rgb=rgb,
        depth=depth,
        tokens=padded("tokens", 0),
        question=padded("question", -1),
        position=padded("position", 0),
        label=padded("label", IGNORED),
        coordinate=padded("coordinate", np.nan),
        pointer=pointer,
        pointer_target=torch.from_numpy(np.concatenate([p.pointer_target for p in packed])),
        dense=torch.from_numpy(dense),
        words=torch.from_numpy(words),
        masks=[[q.mask for q in questions] for questions in asked],
        kinds=[[q.kind for q in questions] for questions in asked],
    )


def _slots(question: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each token: whole questions, longest first, into the first slot with room.

    Raises:
        ValueError: A question is longer than a slot.
    """
    starts = np.flatnonzero(np.diff(question, prepend=-1))
    lengths = np.diff(starts, append=question.size)
    if lengths.max() > SLOT:
        raise ValueError(f"a question has {lengths.max()} tokens, a slot holds {SLOT}")
    used: list[int] = []
    places = np.zeros(question.size, dtype=np.int64)
    for i in np.argsort(-lengths, kind="stable"):
        slot = next((s for s, n in enumerate(used) if n + lengths[i] <= SLOT), len(used))
        if slot == len(used):
            used.append(0)
        places[starts[i] : starts[i] + lengths[i]] = slot * SLOT + used[slot] + np.arange(lengths[i])
        used[slot] += int(lengths[i])
    return places
