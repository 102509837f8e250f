"""Qwen2's step over a cache of fixed size in few operations, none of which asks the host for a value: what a CUDA graph records.

The stock forward pass launches some 1,200 kernels a token, and its attention lets two of a GPU's hundred multiprocessors walk the whole
cache; for one token that, and not the weights, is what takes the time. The computation here is the same (test_model_fixed_cache.py).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from roboref_node.model.lean_layers import LeanLayers

PART = 256
"""Slots that one multiprocessor walks; the length of a cache is a multiple of it."""


class DecodeStep:
    """Feeds some tokens to every row of a batch, as often as its cache has room.

    All state is in tensors at fixed addresses: `cache` [layers, 2, B, K, L, D] with the keys and values of K heads, `valid` bool [B, L]
    (which slots hold a token) and `filled` int64 [] (the next slot, the same in all rows).

    Args:
        layers: Of a language model for which `lean_layers.is_plain` holds.
        batch: Rows.
        length: Slots, a multiple of `PART`.
    """

    def __init__(self, layers: LeanLayers, batch: int, length: int) -> None:
        if length % PART:
            raise ValueError(f"length is {length}, it must be a multiple of {PART}")
        self._layers, self.length = layers, length
        weight = layers.llm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        shape = (len(layers.qkv), 2, batch, layers.kv_heads, length, layers.width)
        self.cache = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.valid = torch.zeros(batch, length, dtype=torch.bool, device=weight.device)
        self.filled = torch.zeros((), dtype=torch.int64, device=weight.device)
        self._slots = torch.arange(length, device=weight.device)

    def __call__(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Feed tokens.

        Args:
            ids: int64 [B, w].
            valid: bool [B, w]; False where a row has no token there, which then counts and is seen nowhere.

        Returns:
            Logits after the last column [B, V].
        """
        layers, (batch, width) = self._layers, ids.shape
        slots = self.filled + self._slots[:width]
        positions = (self.valid.sum(1, keepdim=True) + valid.cumsum(1) - 1).clamp(min=0)
        self.valid.index_copy_(1, slots, valid)
        mask = self._mask(slots)
        x = layers.llm.model.embed_tokens(ids)  # [B, w, d]
        angles = layers.rotation(x, positions)
        for index, cache in enumerate(self.cache):
            heads = layers.project(index, x, *angles)
            query, new = heads[:, :, : layers.heads], heads[:, :, layers.heads :]
            cache.index_copy_(3, slots, new.reshape(batch, width, 2, layers.kv_heads, layers.width).permute(2, 0, 3, 1, 4))
            x = layers.finish(index, x, self._attend(query, cache, mask))
        self.filled += width
        return layers.logits(x)

    def _mask(self, slots: Tensor) -> Tensor:
        """What each of the tokens in `slots` sees, float32 [B * K, G * w, L] of 0 and -inf with G query heads per key-value head."""
        seen = self.valid[:, None] & (self._slots <= slots[:, None])  # [B, w, L]
        mask = torch.zeros(seen.shape, dtype=torch.float32, device=seen.device).masked_fill_(~seen, -torch.inf)
        batch, width, length = seen.shape
        kv_heads, groups = self._layers.kv_heads, self._layers.heads // self._layers.kv_heads
        return mask[:, None, None].expand(batch, kv_heads, groups, width, length).reshape(-1, groups * width, length)

    def _attend(self, query: Tensor, cache: Tensor, mask: Tensor) -> Tensor:
        """Attention [B, w, H * D] of the query [B, w, H, D] over the keys and values [2, B, K, L, D].

        Scores are in float32: those of the published models reach hundreds, where bfloat16 knows every second number only. The weighted
        sum is cut into parts of `PART` slots, so that many multiprocessors share the walk over the cache.
        """
        batch, width, heads, size = query.shape
        kv_heads, parts = self._layers.kv_heads, self.length // PART
        rows, groups = batch * kv_heads, heads // kv_heads
        keys, values = cache
        query = query.reshape(batch, width, kv_heads, groups, size).permute(0, 2, 3, 1, 4).reshape(rows, -1, size)
        scores = torch.add(mask, _product(query, keys.view(rows, self.length, size).mT), alpha=size**-0.5)
        weights = F.softmax(scores, dim=-1).view(rows, -1, parts, PART).transpose(1, 2)  # [rows, parts, G * w, PART]
        weights = weights.to(cache.dtype, memory_format=torch.contiguous_format).reshape(rows * parts, -1, PART)
        sums = _product(weights, values.view(rows * parts, PART, size))
        attended = sums.view(batch, kv_heads, parts, groups, width, size).sum(2).permute(0, 3, 1, 2, 4)
        return attended.to(cache.dtype).reshape(batch, width, heads * size)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Batched product in float32, [N, m, k] x [N, k, n]; the inputs may be of half its precision."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    if a.device.type == "cpu":  # has no product of mixed precision
        return torch.bmm(a.float(), b.float())
    return torch.bmm(a, b, out_dtype=torch.float32)
