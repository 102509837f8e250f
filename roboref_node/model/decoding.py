"""Feeding tokens to the language model: a growing cache anywhere, a fixed one with CUDA graphs on a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache, Qwen2ForCausalLM

from roboref_node.model.decode_step import DecodeStep
from roboref_node.model.lean_layers import LeanLayers

GRAPH_WIDTHS = (1, 2, 4)
_RECORDED_ON: set[int] = set()
"""Streams on which living decoders recorded their graphs."""
_attention_without_plans = sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
"""Leaves out cuDNN's attention, which makes a plan for every new length of a question, and that takes longer than the answer.

The towers keep it: their tiles come in few numbers.
"""


class Decoder(Protocol):
    """Continues the sequences of a batch."""

    def step(self, ids: Tensor, valid: Tensor | None) -> Tensor:
        """Feed tokens.

        Args:
            ids: int64 [B, w]; rows with fewer tokens are padded on the left.
            valid: bool [B, w], False where padded; None when nothing is.

        Returns:
            Logits after the last column, [B, V].
        """
        ...


def fork(cache: DynamicCache, count: int, batch: int = 1) -> DynamicCache:
    """A cache with the first `count` positions of another, which it leaves unchanged; its single row repeated `batch` times."""
    copy = DynamicCache()
    for index, layer in enumerate(_layers(cache)):
        copy.update(*(x[:, :, :count].expand(batch, -1, -1, -1) for x in (layer.keys, layer.values)), index)
    return copy


class GrowingDecoder:
    """Keys and values are appended; every step may have another width. The reference, and the way on a CPU.

    Args:
        llm: Language model.
        cache: Content so far; is changed.
        valid: bool [B, L], False where the content is padding; None when nothing is.
    """

    def __init__(self, llm: Qwen2ForCausalLM, cache: DynamicCache, valid: Tensor | None = None) -> None:
        self._llm = llm
        self.cache = cache
        self.valid = valid

    @_attention_without_plans
    def feed(self, embeds: Tensor, valid: Tensor | None) -> Tensor:
        """As `step`, with embeddings [B, w, d]."""
        positions: Tensor | None = None
        if valid is not None or self.valid is not None:
            batch, width = embeds.shape[:2]
            past = self.valid
            if past is None:
                past = torch.ones(batch, self.cache.get_seq_length(), dtype=torch.bool, device=embeds.device)
            now = torch.ones(batch, width, dtype=torch.bool, device=embeds.device) if valid is None else valid
            positions = (past.sum(1, keepdim=True) + now.cumsum(1) - 1).clamp(min=0)
            self.valid = torch.cat([past, now], dim=1)
        hidden = self._llm.model(
            inputs_embeds=embeds, attention_mask=self.valid, position_ids=positions, past_key_values=self.cache, use_cache=True
        ).last_hidden_state
        logits: Tensor = self._llm.lm_head(hidden[:, -1])
        return logits

    def step(self, ids: Tensor, valid: Tensor | None) -> Tensor:
        """See `Decoder.step`."""
        return self.feed(self._llm.get_input_embeddings()(ids), valid)


@_attention_without_plans
def read_prompts(layers: LeanLayers, embeds: Tensor) -> tuple[GrowingDecoder, Tensor]:
    """What `GrowingDecoder.feed` makes of prompts without padding, in fewer operations.

    Args:
        layers: Of a language model for which `lean_layers.is_plain` holds.
        embeds: [B, L, d].

    Returns:
        A decoder that goes on, and the logits after the last position [B, V].
    """
    cache, x = DynamicCache(), embeds.clone()  # the layers add to it in place
    angles = layers.rotation(x, torch.arange(x.shape[1], device=x.device)[None])
    for index in range(len(layers.qkv)):
        heads = layers.project(index, x, *angles).transpose(1, 2)  # [B, H + 2K, L, D]
        query, key, value = torch.split(heads, [layers.heads, layers.kv_heads, layers.kv_heads], dim=1)
        cache.update(key, value, index)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        x = layers.finish(index, x, attended.transpose(1, 2).flatten(2))
    return GrowingDecoder(layers.llm, cache), layers.logits(x)


class FixedDecoder:
    """A cache of fixed size and, on CUDA, one recorded graph per step width: a step costs one launch instead of hundreds.

    Args:
        layers: Of a language model for which `lean_layers.is_plain` holds.
        batch: Most rows; with fewer, the last ones idle.
        length: Slots of the cache, a multiple of `decode_step.PART`.
        graphs: Record CUDA graphs; without, the same computation runs eagerly (any device).
    """

    def __init__(self, layers: LeanLayers, batch: int, length: int, *, graphs: bool) -> None:
        self._llm = layers.llm
        self.batch, self.length = batch, length
        self._run = DecodeStep(layers, batch, length)
        self._device = self._run.cache.device
        self._filled = 0
        self._inputs = {width: self._buffers(width) for width in GRAPH_WIDTHS}
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        if graphs:
            with torch.cuda.device(self._device):
                stream = _own_stream(self)
                self._graphs = {width: self._record(width, stream) for width in GRAPH_WIDTHS}

    @property
    def room(self) -> int:
        """Slots that are free."""
        return self.length - self._filled

    def load(self, prefills: Sequence[GrowingDecoder]) -> None:
        """Begin with the content of prefills, whose rows become those of the batch, in this order; shorter ones are padded on the left.

        Raises:
            ValueError: The content does not fit.
        """
        count = max(prefill.cache.get_seq_length() for prefill in prefills)
        rows = sum(_layers(prefill.cache)[0].keys.shape[0] for prefill in prefills)
        if count > self.length or rows > self.batch:
            raise ValueError(f"{rows} x {count} tokens do not fit a cache of {self.batch} x {self.length}")
        step = self._run
        step.cache.zero_()  # what is not finite would be seen behind a weight of 0, too
        step.valid.zero_()
        step.valid[:, 0] = True  # idle rows see something too: attention to nothing is undefined
        row = 0
        for prefill in prefills:
            layers, first = _layers(prefill.cache), count - prefill.cache.get_seq_length()
            rows = slice(row, row + layers[0].keys.shape[0])
            for index, layer in enumerate(layers):
                step.cache[index, 0, rows, :, first:count] = layer.keys
                step.cache[index, 1, rows, :, first:count] = layer.values
            step.valid[rows, :first] = False
            step.valid[rows, first:count] = True if prefill.valid is None else prefill.valid
            row = rows.stop
        self._filled = count
        step.filled.fill_(count)

    def unload(self, rows: int) -> GrowingDecoder:
        """The content of the first rows, to go on elsewhere."""
        cache, step = DynamicCache(), self._run
        for index, (keys, values) in enumerate(step.cache):
            cache.update(keys[:rows, :, : self._filled], values[:rows, :, : self._filled], index)
        return GrowingDecoder(self._llm, cache, step.valid[:rows, : self._filled].clone())

    def step(self, ids: Tensor, valid: Tensor | None) -> Tensor:
        """See `Decoder.step`."""
        rows = ids.shape[0]
        if valid is None:
            valid = torch.ones_like(ids, dtype=torch.bool)
        if idle := self.batch - rows:
            ids, valid = nn.functional.pad(ids, (0, 0, 0, idle)), nn.functional.pad(valid, (0, 0, 0, idle))
        logits = torch.empty(0)
        for first in range(0, ids.shape[1], GRAPH_WIDTHS[-1]):
            logits = self._step(ids[:, first : first + GRAPH_WIDTHS[-1]], valid[:, first : first + GRAPH_WIDTHS[-1]])
        return logits[:rows]

    def _step(self, ids: Tensor, valid: Tensor) -> Tensor:
        width = padded_width(ids.shape[1])
        if missing := width - ids.shape[1]:
            ids, valid = nn.functional.pad(ids, (missing, 0)), nn.functional.pad(valid, (missing, 0))
        if self._filled + width > self.length:
            raise ValueError(f"{self._filled + width} tokens do not fit a cache of {self.length}")
        ids_in, valid_in = self._inputs[width]
        ids_in.copy_(ids)
        valid_in.copy_(valid)
        self._filled += width
        if width not in self._graphs:
            return self._run(ids_in, valid_in)
        graph, logits = self._graphs[width]
        graph.replay()
        return logits

    def _buffers(self, width: int) -> tuple[Tensor, Tensor]:
        """Ids [B, w] and which of them are tokens, at fixed addresses."""
        ids = torch.zeros(self.batch, width, dtype=torch.int64, device=self._device)
        return ids, torch.ones_like(ids, dtype=torch.bool)

    def _record(self, width: int, stream: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Record one step. The warm-up scribbles into the cache, so this comes before `load`."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._run.filled.zero_()
                self._run(*self._inputs[width])
            self._run.filled.zero_()
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do on the GPU meanwhile, such as preparing the next question, does not spoil the recording.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            logits = self._run(*self._inputs[width])
        torch.cuda.current_stream().wait_stream(stream)
        return graph, logits


def _own_stream(owner: FixedDecoder) -> torch.cuda.Stream:
    """A stream to record on that no other living decoder has: with a graph torch frees cuBLAS' memory of its whole stream."""
    streams = (torch.cuda.Stream() for _ in range(64))  # type: ignore[no-untyped-call]  # torch hands out 32 in turn
    stream = next(stream for stream in streams if stream.cuda_stream not in _RECORDED_ON)
    _RECORDED_ON.add(stream.cuda_stream)
    weakref.finalize(owner, _RECORDED_ON.discard, stream.cuda_stream)
    return stream


def padded_width(width: int) -> int:
    """Slots that a step of so many columns takes."""
    whole, rest = divmod(width, GRAPH_WIDTHS[-1])
    return whole * GRAPH_WIDTHS[-1] + (next(w for w in GRAPH_WIDTHS if w >= rest) if rest else 0)


def _layers(cache: DynamicCache) -> list[Any]:
    """Layers of a cache, with their `keys` and `values`."""
    return list(cache.layers)
