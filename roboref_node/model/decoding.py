"""Feeding tokens to the language model: a growing cache anywhere, a fixed one with CUDA graphs on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2ForCausalLM, StaticCache

GRAPH_WIDTHS = (1, 2, 4)
LENGTH_STEP = 256


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


def fork(cache: DynamicCache, batch: int = 1) -> DynamicCache:
    """A cache that begins with the content of another and leaves it unchanged; its single row repeated `batch` times."""
    copy = DynamicCache()
    for index, layer in enumerate(_layers(cache)):
        copy.update(layer.keys.expand(batch, -1, -1, -1), layer.values.expand(batch, -1, -1, -1), index)
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


class FixedDecoder:
    """A cache of fixed size and, on CUDA, one recorded graph per step width: a step costs one launch instead of hundreds.

    Args:
        llm: Language model.
        batch: Most rows; with fewer, the last ones idle.
        length: Slots of the cache.
        graphs: Record CUDA graphs; without, the same computation runs eagerly (any device).
    """

    def __init__(self, llm: Qwen2ForCausalLM, batch: int, length: int, *, graphs: bool) -> None:
        self._llm = llm
        self.batch, self.length = batch, length
        weight = llm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        self._device, self._dtype = weight.device, weight.dtype
        self._cache = StaticCache(config=llm.config, max_cache_len=length)
        config = llm.config
        heads = int(config.num_key_value_heads or config.num_attention_heads)
        self._cache.early_initialization(
            batch_size=batch,
            num_heads=heads,
            head_dim=config.hidden_size // config.num_attention_heads,
            dtype=self._dtype,
            device=self._device,
        )
        self._valid = torch.zeros(batch, length, dtype=torch.bool, device=self._device)
        self._slots = torch.arange(length, device=self._device)
        self._filled = 0
        self._inputs = {width: self._buffers(width) for width in GRAPH_WIDTHS}
        self._graphs = {width: self._record(width) for width in GRAPH_WIDTHS} if graphs else {}

    def load(self, cache: DynamicCache, valid: Tensor | None) -> None:
        """Begin with the content of a prefill.

        Args:
            cache: [B, heads, L, head] per layer.
            valid: bool [B, L] or None.

        Raises:
            ValueError: The content does not fit.
        """
        count = cache.get_seq_length()
        rows = _layers(cache)[0].keys.shape[0]
        if count > self.length or rows > self.batch:
            raise ValueError(f"{rows} x {count} tokens do not fit a cache of {self.batch} x {self.length}")
        for source, target in zip(_layers(cache), _layers(self._cache), strict=True):
            target.keys[:rows, :, :count].copy_(source.keys)
            target.values[:rows, :, :count].copy_(source.values)
            target.cumulative_length.fill_(count)
        self._valid.zero_()
        self._valid[:, 0] = True  # idle rows see something too: attention to nothing is undefined
        self._valid[:rows, :count] = True if valid is None else valid
        self._filled = count

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
        width = next(w for w in GRAPH_WIDTHS if w >= ids.shape[1])
        if missing := width - ids.shape[1]:
            ids, valid = nn.functional.pad(ids, (missing, 0)), nn.functional.pad(valid, (missing, 0))
        if self._filled + width > self.length:
            raise ValueError(f"{self._filled + width} tokens do not fit a cache of {self.length}")
        ids_in, positions_in, mask_in = self._inputs[width]
        past = self._valid.sum(1, keepdim=True)
        self._valid[:, self._filled : self._filled + width] = valid
        ids_in.copy_(ids)
        positions_in.copy_((past + valid.cumsum(1) - 1).clamp(min=0))
        last = self._filled + torch.arange(width, device=self._device)
        mask_in.copy_((self._valid[:, None] & (self._slots[None] <= last[:, None])[None])[:, None])
        self._filled += width
        if width not in self._graphs:
            return self._run(width)
        graph, logits = self._graphs[width]
        graph.replay()
        return logits

    def _run(self, width: int) -> Tensor:
        ids, positions, mask = self._inputs[width]
        hidden = self._llm.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        ).last_hidden_state
        logits: Tensor = self._llm.lm_head(hidden[:, -1])
        return logits

    def _buffers(self, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ids [B, w], positions [B, w] and mask [B, 1, w, length] at fixed addresses."""
        zeros = torch.zeros(self.batch, width, dtype=torch.int64, device=self._device)
        mask = torch.zeros(self.batch, 1, width, self.length, dtype=torch.bool, device=self._device)
        mask[..., 0] = True  # a row that sees nothing is undefined; matters for the warm-up only
        return zeros, zeros.clone(), mask

    def _record(self, width: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Record one step. The warm-up scribbles into the cache, so this comes before `load`."""
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self._rewind()
                self._run(width)
        torch.cuda.current_stream(self._device).wait_stream(side)
        self._rewind()
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do on the GPU meanwhile, such as preparing the next question, does not spoil the recording.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = self._run(width)
        return graph, logits

    def _rewind(self) -> None:
        for layer in _layers(self._cache):
            layer.cumulative_length.zero_()


def _layers(cache: DynamicCache | StaticCache) -> list[Any]:
    """Layers of a cache of plain attention: `keys` and `values`, and the static ones' `cumulative_length`."""
    return list(cache.layers)
