"""Answers, fast: media encoded once per frame, forced tokens fed together with the next decision, several questions at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from roboref_node.model.answer_rows import AnswerRow, AnswerRows
from roboref_node.model.decode_step import PART
from roboref_node.model.decoding import Decoder, FixedDecoder, GrowingDecoder, fork, padded_width, read_prompts
from roboref_node.model.grammar import TokenGrammar
from roboref_node.model.lean_layers import LeanLayers, is_plain
from roboref_node.model.modeling import RoboReferModel
from roboref_node.model.processing import ModelInputs, RoboReferProcessor
from roboref_node.model.sampling import Sampling
from roboref_node.status import Refused, Status


@dataclass(frozen=True)
class GeneratedAnswer:
    """What the model said to one question.

    Args:
        text: Decoded answer without special tokens.
        token_ids: Generated tokens, the one that ended the answer not included.
        token_scores: Probability of each, 1 where the grammar left no choice.
        score: Product of `token_scores` and of the probability of the end: the model's own probability of this very text.
        finished: False when `max_new_tokens` cut it off.
        timings_ms: ``vision``, ``prefill``, ``decode``; of the whole batch when several questions ran together.
        forward_passes: Of the language model, prefill included.
    """

    text: str
    token_ids: tuple[int, ...]
    token_scores: tuple[float, ...]
    score: float
    finished: bool
    timings_ms: Mapping[str, float]
    forward_passes: int


@dataclass(frozen=True, eq=False)
class FramePrefix:
    """The part of the prompt that all questions about one frame share, already computed; made by `Generator.encode_frame`.

    Args:
        prompt: Token ids of the question that it was computed with, markers included.
        shared_ids: How many of them all questions share.
        shared_positions: How many positions of `cache` these take.
        cache: Keys and values of the whole prompt.
        logits: Of the first token of its answer, [1, V].
        timings_ms: ``vision`` and ``prefix``.
    """

    prompt: tuple[int, ...]
    shared_ids: int
    shared_positions: int
    cache: DynamicCache
    logits: Tensor
    timings_ms: Mapping[str, float]


class Generator:
    """Answers from one model. Not thread-safe: one question, or one batch, at a time.

    Args:
        model: In evaluation mode, on its device.
        processor: Its processor.
        fixed_cache: Decode from a cache of fixed size, with CUDA graphs on a GPU; None = on a GPU only, where the language model allows it.
    """

    def __init__(self, model: RoboReferModel, processor: RoboReferProcessor, *, fixed_cache: bool | None = None) -> None:
        self.model = model
        self.processor = processor
        self.device = model.device
        if fixed_cache is None:
            fixed_cache = self.device.type == "cuda" and is_plain(model.llm.config)
        self._layers = LeanLayers(model.llm) if fixed_cache else None
        self._decoders: dict[int, FixedDecoder] = {}

    @property
    def fixed_cache(self) -> bool:
        """Whether answers are decoded from a cache of fixed size."""
        return self._layers is not None

    @torch.inference_mode()
    def encode_frame(self, inputs: ModelInputs) -> FramePrefix:
        """Compute what all questions about the pictures of `inputs` share: everything up to the last media block.

        `inputs` as a whole goes through the model, so that the question which needed the frame costs nothing more.

        Raises:
            ValueError: The question has no picture.
        """
        clock = _Clock(self.device)
        ids = inputs.input_ids[0].tolist()
        markers = (self.model.config.image_token_id, self.model.config.depth_token_id)
        last = max((i for i, token in enumerate(ids) if token in markers), default=None)
        if last is None:
            raise ValueError("the question has no picture to encode")
        blocks = self._media([inputs])
        clock.lap("vision")
        embeds = self.model.embed(inputs.input_ids.to(self.device), *blocks)
        decoder, logits = self._read(embeds)
        clock.lap("prefix")
        own = len(ids) - (last + 1)
        return FramePrefix(tuple(ids), last + 1, embeds.shape[1] - own, decoder.cache, logits, clock.laps)

    def generate(
        self,
        inputs: ModelInputs,
        *,
        max_new_tokens: int = 128,
        stop_ids: Sequence[int] | None = None,
        grammar: TokenGrammar | None = None,
        canceled: Callable[[], bool] | None = None,
        prefix: FramePrefix | None = None,
        sampling: Sampling | None = None,
    ) -> GeneratedAnswer:
        """Answer one question; see `generate_batch`."""
        (answer,) = self.generate_batch(
            [inputs],
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            grammar=grammar,
            canceled=canceled,
            prefix=prefix,
            sampling=[sampling],
        )
        return answer

    @torch.inference_mode()
    def generate_batch(
        self,
        questions: Sequence[ModelInputs],
        *,
        max_new_tokens: int = 128,
        stop_ids: Sequence[int] | None = None,
        grammar: TokenGrammar | None = None,
        canceled: Callable[[], bool] | None = None,
        prefix: FramePrefix | None = None,
        sampling: Sequence[Sampling | None] | None = None,
    ) -> list[GeneratedAnswer]:
        """Answer several questions together, or one after the other where the language model does not take them together.

        Args:
            questions: Of one frame (give its `prefix`) or of several.
            max_new_tokens: Longest answer.
            stop_ids: Tokens that end an answer; None takes the configuration's.
            grammar: Allow only answers of this language.
            canceled: Polled before each forward pass.
            prefix: What `encode_frame` computed for the pictures of all these questions.
            sampling: How the tokens of each answer are drawn; None, for one or for all, takes the best.

        Raises:
            Refused: CANCELED; MODEL_UNAVAILABLE when the model computes NaN or infinity.
            ValueError: The prefix belongs to other pictures, there is no stop token, or `sampling` is of another number of questions.
        """
        stops = set(self.model.config.stop_token_ids or () if stop_ids is None else stop_ids)
        if not stops:
            raise ValueError("no stop token: attach a tokenizer to the configuration or pass stop_ids")
        each = [None] * len(questions) if sampling is None else sampling
        if len(each) != len(questions):
            raise ValueError(f"sampling is given for {len(each)} of {len(questions)} questions")
        if len(questions) > 1 and not is_plain(self.model.llm.config):
            # Together, rows are padded, and an attention window would count the padding between their tokens.
            alone = partial(
                self.generate, max_new_tokens=max_new_tokens, stop_ids=stop_ids, grammar=grammar, canceled=canceled, prefix=prefix
            )
            return [alone(question, sampling=how) for question, how in zip(questions, each, strict=True)]
        rows = AnswerRows(each, stops, grammar, max_new_tokens)
        clock = _Clock(self.device)
        _check(canceled)
        prefills, logits = self._prefill(questions, prefix, clock)
        clock.lap("prefill")
        passes = 1
        decoder: Decoder | None = None
        while True:
            rows.advance(logits)
            if rows.is_done:
                break
            _check(canceled)
            decoder = decoder or self._decoder(prefills, len(rows), max_new_tokens)
            ids, valid = rows.columns(self.device)
            if isinstance(decoder, FixedDecoder) and decoder.room < padded_width(ids.shape[1]):
                # Rows that wait for each other's forced tokens take more slots than tokens.
                content, decoder = decoder.unload(len(rows)), None
                decoder = self._decoder([content], len(rows), max_new_tokens)
            logits = decoder.step(ids, valid)
            passes += 1
        clock.lap("decode")
        return [self._answer(row, clock.laps, passes) for row in rows]

    def _prefill(self, questions: Sequence[ModelInputs], prefix: FramePrefix | None, clock: _Clock) -> tuple[list[GrowingDecoder], Tensor]:
        """Run all prompts, or what follows their common prefix; logits [B, V] of the first answer token."""
        if prefix is not None:
            clock.lap("vision")
            return self._continue(questions, prefix)
        blocks = self._media(questions)
        clock.lap("vision")
        rows = self._embed(questions, blocks)
        if self.fixed_cache:
            # One after the other: padding needs a mask, with which a GPU's attention takes several times as long.
            read = [self._read(row[None]) for row in rows]
            return [decoder for decoder, _ in read], torch.cat([logits for _, logits in read])
        decoder = GrowingDecoder(self.model.llm, DynamicCache())
        return [decoder], decoder.feed(*_align_right(rows))

    def _read(self, embeds: Tensor) -> tuple[GrowingDecoder, Tensor]:
        """Run one prompt [1, L, d]."""
        if self._layers is not None:
            return read_prompts(self._layers, embeds)
        decoder = GrowingDecoder(self.model.llm, DynamicCache())
        return decoder, decoder.feed(embeds, None)

    def _continue(self, questions: Sequence[ModelInputs], prefix: FramePrefix) -> tuple[list[GrowingDecoder], Tensor]:
        """Run what follows the common prefix of the prompts."""
        llm, start = self.model.llm, prefix.shared_ids
        prompts = [tuple(question.input_ids[0].tolist()) for question in questions]
        if any(prompt[:start] != prefix.prompt[:start] for prompt in prompts):
            raise ValueError("the prefix was computed for other pictures or another prompt")
        if prompts == [prefix.prompt]:
            return [GrowingDecoder(llm, fork(prefix.cache, prefix.cache.get_seq_length()))], prefix.logits
        embedding = self.model.get_input_embeddings()
        rows = [embedding(question.input_ids[0, start:].to(self.device)) for question in questions]
        decoder = GrowingDecoder(llm, fork(prefix.cache, prefix.shared_positions, len(questions)))
        return [decoder], decoder.feed(*_align_right(rows))

    def _media(self, questions: Sequence[ModelInputs]) -> tuple[list[Tensor], list[Tensor]]:
        """Colour and depth blocks of all questions in order, each tower in one batch."""
        model, found = self.model, []
        for kind, encode in (("rgb", model.encode_rgb), ("depth", model.encode_depth)):
            tiles = [t for question in questions if (t := getattr(question, f"{kind}_tiles")) is not None]
            sizes = [size for question in questions for size in (getattr(question, f"{kind}_block_sizes") or ())]
            together = torch.cat(tiles).to(self.device, model.dtype) if tiles else None
            found.append([] if together is None else list(encode(together, sizes or None)))
        return found[0], found[1]

    def _embed(self, questions: Sequence[ModelInputs], blocks: tuple[list[Tensor], list[Tensor]]) -> list[Tensor]:
        """Spliced embeddings [L, d] of each prompt."""
        rgb, depth = blocks
        config, rows = self.model.config, []
        for question in questions:
            ids = question.input_ids.to(self.device)
            count_rgb, count_depth = (
                int(torch.eq(ids, -1 if token is None else token).sum()) for token in (config.image_token_id, config.depth_token_id)
            )
            rows.append(self.model.embed(ids, rgb[:count_rgb], depth[:count_depth])[0])
            rgb, depth = rgb[count_rgb:], depth[count_depth:]
        if rgb or depth:
            raise ValueError(f"{len(rgb)} colour and {len(depth)} depth blocks have no marker in the prompts")
        return rows

    def _decoder(self, prefills: Sequence[GrowingDecoder], batch: int, max_new_tokens: int) -> Decoder:
        """Go on from a prefill with the growing cache, or move all of them into a fixed one."""
        if self._layers is None:
            (prefill,) = prefills
            return prefill
        # A step of three tokens takes four slots, and no other width is rounded up by more.
        needed = max(prefill.cache.get_seq_length() for prefill in prefills) + -(-4 * max_new_tokens // 3)
        # Recording graphs takes as long as several answers, so batches of 1, 2, 4, 8 rows have one decoder each and fewer rows idle in it.
        size = 1 << (batch - 1).bit_length()
        decoder = self._decoders.pop(size, None)
        if decoder is None or not needed <= decoder.length <= 4 * needed + PART:
            decoder = None  # gives its memory back before the next one takes some
            length = (needed // PART + 2) * PART  # questions that are somewhat longer fit too
            decoder = FixedDecoder(self._layers, size, length, graphs=self.device.type == "cuda")
        self._decoders[size] = decoder
        decoder.load(prefills)
        return decoder

    def _answer(self, row: AnswerRow, timings_ms: Mapping[str, float], passes: int) -> GeneratedAnswer:
        return GeneratedAnswer(
            text=self.processor.decode(row.tokens),
            token_ids=tuple(row.tokens),
            token_scores=tuple(row.scores),
            score=math.prod(row.scores) * row.end_score,
            finished=row.finished,
            timings_ms=timings_ms,
            forward_passes=passes,
        )


class _Clock:
    """Laps in milliseconds; waits for the GPU, so that a lap holds its own work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps[name] = (now - self._last) * 1e3
        self._last = now


def _align_right(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Rows [L_i, d] -> [B, L, d], padded on the left, and bool [B, L] or None when nothing is padded."""
    longest = max(row.shape[0] for row in rows)
    if all(row.shape[0] == longest for row in rows):
        return torch.stack(list(rows)), None
    padded = torch.stack([nn.functional.pad(row, (0, 0, longest - row.shape[0], 0)) for row in rows])
    missing = torch.tensor([longest - row.shape[0] for row in rows], device=padded.device)
    return padded, torch.arange(longest, device=padded.device)[None] >= missing[:, None]


def _check(canceled: Callable[[], bool] | None) -> None:
    if canceled is not None and canceled():
        raise Refused(Status.CANCELED, "The question was canceled while the model was answering.")
