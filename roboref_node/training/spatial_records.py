"""Supervised records in RefSpatial's layout: pictures, depth pictures and conversations become tokens, tiles and labels.

A file is a JSON list of ``{image, depth?, conversations: [{from: human|gpt, value}, ...]}``; `image` and `depth` are a path or a list of
paths below the folders given beside it. Media markers in the text are deleted and put before the first question again, as published.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from roboref_node.model.modeling import IGNORED_LABEL
from roboref_node.model.processing import RoboReferProcessor
from roboref_node.status import Refused, Status

Turn = tuple[str, str]
ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class RecordFile:
    """One part of a mixture.

    Args:
        file: JSON list of records.
        images: Folder of the colour pictures.
        depths: Folder of the depth pictures; None: the records are used without depth, even where they name one.
        repeat: How many times each record is seen per epoch.
    """

    file: Path
    images: Path
    depths: Path | None = None
    repeat: int = 1


@dataclass(frozen=True)
class Sample:
    """One conversation as the model takes it; see `RoboReferModel.forward`."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    rgb_tiles: torch.Tensor | None
    depth_tiles: torch.Tensor | None
    rgb_block_sizes: Sequence[tuple[int, int] | None] | None
    depth_block_sizes: Sequence[tuple[int, int] | None] | None


class SpatialRecords(Dataset[Sample]):
    """A mixture of record files.

    Args:
        parts: Files.
        processor: The model's; with `rgb_newline`, as the published models were trained.
        drop_depth: Share of the records with depth that are shown without it, chosen by a hash of seed and index: the same in every
            process and after every resumption.
        max_turns: Questions of a conversation that are kept, at most; fewer where the context is too short.
        seed: Of the choice.

    Raises:
        Refused: BAD_REQUEST when a file is no list of records.
    """

    def __init__(
        self, parts: Sequence[RecordFile], processor: RoboReferProcessor, *, drop_depth: float = 0.0, max_turns: int = 15, seed: int = 0
    ) -> None:
        self.processor, self.drop_depth, self.max_turns, self.seed = processor, drop_depth, max_turns, seed
        self.records: list[tuple[dict[str, Any], RecordFile]] = []
        for part in parts:
            self.records += [(record, part) for record in _read(part.file)] * part.repeat

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record, part = self.records[index]
        colours = [_open(part.images / name) for name in _names(record["image"])]
        with_depth = part.depths is not None and bool(record.get("depth")) and not self.drops(index)
        depths = [_open(part.depths / name) for name in _names(record["depth"])] if with_depth and part.depths is not None else []
        turns = conversation_turns(record)
        for kept in range(min(self.max_turns, len(turns) // 2), 0, -1):
            try:
                return self._sample(colours, depths, turns[: 2 * kept])
            except ValueError as error:
                if "max_sequence" not in str(error):
                    raise
        raise Refused(
            Status.BAD_REQUEST,
            f"record {index} of {part.file} does not fit {self.processor.config.max_sequence} tokens even with one question",
        )

    def drops(self, index: int) -> bool:
        """Whether the record at `index` is shown without its depth."""
        digest = hashlib.sha256(f"drop depth {self.seed} {index}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < self.drop_depth * 2**32

    def _sample(self, colours: list[Image.Image], depths: list[Image.Image], turns: list[Turn]) -> Sample:
        inputs = self.processor(colours, depths or None, turns[0][1], history=turns[1:])
        spans = answer_spans(inputs.prompt, self.processor.tokenizer, turns)
        ids = inputs.input_ids[0]
        encoded = self.processor.tokenizer(inputs.prompt, return_offsets_mapping=True)
        labels = torch.full_like(ids, IGNORED_LABEL)
        for place, (start, end) in enumerate(encoded["offset_mapping"]):
            if end > start and any(first <= start and end <= last for first, last in spans):
                labels[place] = ids[place]
        last = int((labels != IGNORED_LABEL).nonzero().max()) + 1  # behind it stands the header of an answer that never comes
        return Sample(
            ids[:last], labels[:last], inputs.rgb_tiles, inputs.depth_tiles, inputs.rgb_block_sizes, inputs.depth_block_sizes
        )  # fmt: skip


def conversation_turns(record: dict[str, Any]) -> list[Turn]:
    """Roles and texts, question and answer by turns.

    Raises:
        Refused: BAD_REQUEST when they do not alternate, beginning with the person, or one has no text.
    """
    spoken = record["conversations"]
    if not isinstance(spoken, list) or not all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for turn in spoken):
        raise Refused(Status.BAD_REQUEST, f"a conversation is no list of turns with `from` and `value`: {str(spoken)[:80]}")
    turns = [(ROLES.get(turn.get("from"), ""), turn["value"]) for turn in spoken]
    roles = [role for role, _ in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise Refused(Status.BAD_REQUEST, f"a conversation does not alternate human and gpt: {', '.join(roles) or 'it is empty'}")
    return [(role, _without_markers(text)) for role, text in turns]


def answer_spans(prompt: str, tokenizer: Any, turns: Sequence[Turn]) -> list[tuple[int, int]]:
    """Where in a rendered conversation the supervised text stands: each answer with the mark that ends its turn.

    Raises:
        Refused: BAD_REQUEST when the template does not show an answer behind the header that it gives one to come, as the nano's.
    """
    probe = [{"role": "user", "content": "question"}]
    header = tokenizer.apply_chat_template(probe, add_generation_prompt=True, tokenize=False).removeprefix(
        tokenizer.apply_chat_template(probe, add_generation_prompt=False, tokenize=False)
    )
    spans: list[tuple[int, int]] = []
    position = 0
    for role, said in turns:
        if role != "assistant":  # a question may quote an answer: what is looked for stands behind it
            place = prompt.find(said, position)
            position = place + len(said) if place >= 0 else position
            continue
        text = f"{header}{said}{tokenizer.eos_token}"
        found = prompt.find(text, position)
        if found < 0:
            sentence = f"the chat template does not show the answer {said[:60]!r} behind {header!r}, as it is asked for"
            raise Refused(Status.BAD_REQUEST, sentence)
        position = found + len(text)
        spans.append((found + len(header), position))
    return spans


@dataclass(frozen=True)
class Collator:
    """Samples to a batch of tensors, padded on the right; tiles of all samples one after another.

    Args:
        pad_id: Fills `input_ids`.
    """

    pad_id: int

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Keyword arguments of `RoboReferModel.forward`."""
        pad = torch.nn.utils.rnn.pad_sequence
        ids = [sample.input_ids for sample in samples]
        batch: dict[str, Any] = {
            "input_ids": pad(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
            "labels": pad([sample.labels for sample in samples], batch_first=True, padding_value=IGNORED_LABEL),
        }
        for kind in ("rgb", "depth"):
            tiles = [t for sample in samples if (t := getattr(sample, f"{kind}_tiles")) is not None]
            sizes = [size for sample in samples for size in (getattr(sample, f"{kind}_block_sizes") or ())]
            if tiles:
                batch[f"{kind}_tiles"] = torch.cat(tiles)
            if sizes:
                batch[f"{kind}_block_sizes"] = sizes
        return batch


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read the records in {file}: {error}") from error
    if not isinstance(records, list) or not all(isinstance(r, dict) and "image" in r and "conversations" in r for r in records):
        raise Refused(Status.BAD_REQUEST, f"{file} is not a list of records with `image` and `conversations`")
    return records


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read the picture {file}: {error}") from error


def _without_markers(text: str) -> str:
    """A marker of a picture goes with the line that it ends, as in the published training."""
    return re.sub(r"(?:<image>|<depth>)\n?", "", text).replace("<vila/video>", "").strip()
