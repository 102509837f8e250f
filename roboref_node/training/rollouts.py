"""Answers sampled from the model and their log-probabilities: one pass over a frame's pictures serves all questions and all samples.

A frame's prompt begins with its pictures. Sampling computes their keys and values once and forks them for every question and every
sample; scoring lays all sampled answers into slots behind one media prefix (`packed_attention`), so gradients cross the towers once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from roboref_node.model.decoding import GrowingDecoder
from roboref_node.model.modeling import RoboReferModel
from roboref_node.model.processing import ModelInputs, RoboReferProcessor
from roboref_node.training.packed_attention import PACKED_ATTENTION, slot_mask
from roboref_node.training.packing import IGNORED
from roboref_node.training.rewards import Reference


@dataclass(frozen=True, eq=False)
class FrameQuestions:
    """Questions about one frame, with what is true of them.

    Args:
        rgb: Colour image, uint8 (H, W, 3).
        depth_image: Relative depth image (near bright), uint8 (H, W, 3), or None.
        texts: Requests as they go to the model.
        references: What the rewards need to know of each question.
    """

    rgb: NDArray[np.uint8]
    depth_image: NDArray[np.uint8] | None
    texts: tuple[str, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Sampled answers to the questions of one frame; R = questions x samples rows, the samples of a question side by side.

    Args:
        inputs: Pictures, and the prompt of the first question.
        prefix: Token ids up to the last media marker, int64 [P].
        tokens: What follows the prefix in each row: the rest of the prompt and the answer but its last token, int64 [R, L].
        targets: Answer token to be predicted at each place, or `IGNORED`, int64 [R, L].
        completions: Decoded answers, the samples of a question side by side.
        references: Of each row.
        lengths: Tokens of each answer, the one that ended it included.
        finished: False where `max_new_tokens` cut the answer off.
    """

    inputs: ModelInputs
    prefix: Tensor
    tokens: Tensor
    targets: Tensor
    completions: tuple[str, ...]
    references: tuple[Reference, ...]
    lengths: tuple[int, ...]
    finished: tuple[bool, ...]

    def rows(self, keep: Sequence[bool]) -> Rollouts:
        """The same with some rows only; the pictures stay."""
        mask = torch.tensor(keep)
        chosen = [i for i, kept in enumerate(keep) if kept]
        width = int((self.targets[mask] != IGNORED).any(0).nonzero().max()) + 1

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in chosen)

        return Rollouts(
            self.inputs, self.prefix, self.tokens[mask][:, :width], self.targets[mask][:, :width],
            some(self.completions), some(self.references), some(self.lengths), some(self.finished),
        )  # fmt: skip


class Sampler:
    """Draws answers from a model.

    Args:
        model: On its device.
        processor: Its processor.
        samples: Answers per question, G.
        temperature: Of the softmax.
        max_new_tokens: Longest answer.
    """

    def __init__(
        self, model: RoboReferModel, processor: RoboReferProcessor, *, samples: int, temperature: float, max_new_tokens: int
    ) -> None:
        self.model, self.processor = model, processor
        self.samples, self.temperature, self.max_new_tokens = samples, temperature, max_new_tokens
        self.stops = torch.tensor(sorted(model.config.stop_token_ids or ()), device=model.device)
        if not len(self.stops):
            raise ValueError("no stop token: attach a tokenizer to the configuration")

    @torch.no_grad()
    def __call__(self, frame: FrameQuestions, generator: torch.Generator) -> Rollouts:
        """Sample answers to all questions of a frame.

        Raises:
            ValueError: The prompts of the questions do not share their pictures' part.
        """
        model = self.model
        prompts = [self.processor(frame.rgb, frame.depth_image, text) for text in frame.texts]
        ids = [prompt.input_ids[0] for prompt in prompts]
        length = media_length(ids[0], model)
        if any(not torch.equal(row[:length], ids[0][:length]) for row in ids):
            raise ValueError("the questions' prompts differ before their pictures end")
        model.llm.set_attn_implementation("sdpa")
        decoder = GrowingDecoder(model.llm, DynamicCache())
        decoder.feed(embed_media(model, prompts[0], ids[0][:length]), None)
        decoder.cache.batch_repeat_interleave(len(ids))
        suffixes = [row[length:] for row in ids]
        logits = decoder.feed(*_left_padded(model, suffixes))
        decoder.cache.batch_repeat_interleave(self.samples)
        if decoder.valid is not None:
            decoder.valid = decoder.valid.repeat_interleave(self.samples, dim=0)
        answers, finished = self._decode(decoder, logits.repeat_interleave(self.samples, dim=0), generator)
        rows = [suffix for suffix in suffixes for _ in range(self.samples)]
        tokens, targets = _lay_out(rows, answers)
        stops = set(self.stops.tolist())
        return Rollouts(
            inputs=prompts[0],
            prefix=ids[0][:length],
            tokens=tokens,
            targets=targets,
            completions=tuple(self.processor.decode([t for t in answer if t not in stops]) for answer in answers),
            references=tuple(reference for reference in frame.references for _ in range(self.samples)),
            lengths=tuple(len(answer) for answer in answers),
            finished=tuple(finished),
        )

    def _decode(self, decoder: GrowingDecoder, logits: Tensor, generator: torch.Generator) -> tuple[list[list[int]], list[bool]]:
        """Answers with the token that ends them, and whether each has one."""
        answers: list[list[int]] = [[] for _ in range(logits.shape[0])]
        finished = [False] * len(answers)
        open_rows = torch.arange(len(answers))
        for step in range(self.max_new_tokens):
            # Drawn on the CPU, so that a run gives the same answers wherever its generator's state is restored.
            share = torch.softmax(logits.float() / self.temperature, dim=-1).cpu()
            drawn = torch.multinomial(share, 1, generator=generator)[:, 0]
            ends = torch.isin(drawn, self.stops.cpu())
            for row, token, end in zip(open_rows.tolist(), drawn.tolist(), ends.tolist(), strict=True):
                answers[row].append(token)
                finished[row] = end
            if bool(ends.all()) or step == self.max_new_tokens - 1:
                break
            if bool(ends.any()):  # short answers must not cost what the longest one costs
                going = (~ends).nonzero()[:, 0]
                open_rows, drawn = open_rows[going], drawn[going]
                here = going.to(logits.device)
                decoder.cache.batch_select_indices(here)
                decoder.valid = None if decoder.valid is None else decoder.valid[here]
            logits = decoder.step(drawn[:, None].to(logits.device), None)
        return answers, finished


class RolloutScorer(nn.Module):
    """Log-probabilities of sampled tokens; a module of its own, so that accelerate can wrap the whole computation.

    Args:
        model: The model; its parameters are this module's.
        temperature: The one that the answers were sampled with.
    """

    def __init__(self, model: RoboReferModel, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, rollouts: Rollouts) -> Tensor:
        """Log-probability of every sampled token, rows one after another, float32 [N]."""
        model = self.model
        model.llm.set_attn_implementation(PACKED_ATTENTION)
        media = embed_media(model, rollouts.inputs, rollouts.prefix)
        length, (rows, width) = media.shape[1], rollouts.tokens.shape
        text = model.get_input_embeddings()(rollouts.tokens.reshape(1, -1))  # [1, R * L, d]
        inputs = torch.cat([media, text.to(media.dtype)], dim=1)
        place = torch.arange(width, device=media.device).repeat(rows)
        positions = torch.cat([torch.arange(length, device=media.device), length + place])[None]
        mask = slot_mask(torch.zeros(1, rows, width, dtype=torch.long, device=media.device))
        hidden = model.llm.model(
            inputs_embeds=inputs, attention_mask={"full_attention": mask}, position_ids=positions, use_cache=False
        ).last_hidden_state[0, length:]
        targets = rollouts.targets.reshape(-1)
        chosen = targets != IGNORED
        logits = model.llm.lm_head(hidden[chosen]).float() / self.temperature
        return torch.log_softmax(logits, dim=-1).gather(-1, targets[chosen][:, None])[:, 0]


def target_rows(rollouts: Rollouts) -> Tensor:
    """Row of each token that `RolloutScorer` scores, int64 [N]."""
    return (rollouts.targets != IGNORED).nonzero()[:, 0]


def media_length(ids: Tensor, model: RoboReferModel) -> int:
    """Number of tokens up to the last media marker.

    Raises:
        ValueError: There is no marker.
    """
    markers = torch.tensor([m for m in (model.config.image_token_id, model.config.depth_token_id) if m is not None], device=ids.device)
    places = torch.isin(ids, markers).nonzero()
    if not len(places):
        raise ValueError("the prompt has no picture")
    return int(places.max()) + 1


def embed_media(model: RoboReferModel, inputs: ModelInputs, prefix: Tensor) -> Tensor:
    """Embeddings of the prefix with its pictures spliced in, [1, P', d]."""
    rgb = None if inputs.rgb_tiles is None else model.encode_rgb(inputs.rgb_tiles, inputs.rgb_block_sizes)
    depth = None if inputs.depth_tiles is None else model.encode_depth(inputs.depth_tiles, inputs.depth_block_sizes)
    return model.embed(prefix[None], rgb, depth)


def _left_padded(model: RoboReferModel, rows: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Embeddings [B, L, d] of token rows, padded on the left, and which places are real (None: all)."""
    longest = max(len(row) for row in rows)
    embedding = model.get_input_embeddings()
    embeds = torch.stack([nn.functional.pad(embedding(row), (0, 0, longest - len(row), 0)) for row in rows])
    if all(len(row) == longest for row in rows):
        return embeds, None
    missing = torch.tensor([longest - len(row) for row in rows], device=embeds.device)
    return embeds, torch.arange(longest, device=embeds.device)[None] >= missing[:, None]


def _lay_out(prompts: list[Tensor], answers: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Slots [R, L] of prompt and answer, and the answer token that each place predicts; padded on the right."""
    width = max(len(p) + len(a) - 1 for p, a in zip(prompts, answers, strict=True))
    tokens = torch.zeros(len(prompts), width, dtype=torch.long, device=prompts[0].device)
    targets = torch.full_like(tokens, IGNORED)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start, end = len(prompt) - 1, len(prompt) + len(answer) - 1
        tokens[row, : start + 1] = prompt
        tokens[row, start + 1 : end] = torch.tensor(answer[:-1], dtype=torch.long)
        targets[row, start:end] = torch.tensor(answer, dtype=torch.long)
    return tokens, targets
