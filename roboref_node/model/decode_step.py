"""Qwen2's step over a cache of fixed size in few operations, none of which asks the host for a value: what a CUDA graph records.

The stock forward pass launches some 1,200 kernels a token, and its attention lets two of a GPU's hundred multiprocessors walk the whole
cache; for one token that, and not the weights, is what takes the time. The computation here is the same (test_model_generation.py).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM

PART = 256
"""Slots that one multiprocessor walks; the length of a cache is a multiple of it."""


def is_plain(config: Qwen2Config) -> bool:
    """Whether every layer attends to everything, at positions whose rotation does not change with the length of the text."""
    rope: Any = config.rope_parameters
    return set(config.layer_types or ()) <= {"full_attention"} and rope["rope_type"] not in ("dynamic", "longrope")


class DecodeStep:
    """Feeds some tokens to every row of a batch, as often as its cache has room.

    All state is in tensors at fixed addresses: `cache` [layers, 2, B, K, L, D] with the keys and values of K heads, `valid` bool [B, L]
    (which slots hold a token) and `filled` int64 [] (the next slot, the same in all rows).

    Args:
        llm: Language model for which `is_plain` holds.
        batch: Rows.
        length: Slots, a multiple of `PART`.
    """

    def __init__(self, llm: Qwen2ForCausalLM, batch: int, length: int) -> None:
        if length % PART:
            raise ValueError(f"length is {length}, it must be a multiple of {PART}")
        config, weight = llm.config, cast(Tensor, llm.get_input_embeddings().weight)
        self._llm, self.length = llm, length
        self._heads = config.num_attention_heads
        self._width = config.hidden_size // self._heads
        self._kv_heads = int(config.num_key_value_heads or self._heads)
        shape = (config.num_hidden_layers, 2, batch, self._kv_heads, length, self._width)
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
        model, width = self._llm.model, ids.shape[1]
        slots = self.filled + self._slots[:width]
        positions = (self.valid.sum(1, keepdim=True) + valid.cumsum(1) - 1).clamp(min=0)
        self.valid.index_copy_(1, slots, valid)
        mask = self._mask(slots)
        x = model.embed_tokens(ids)  # [B, w, d]
        cosine, sine = (angles[:, :, None] for angles in model.rotary_emb(x, positions))  # [B, w, 1, D]
        sine = torch.cat([-sine[..., : self._width // 2], sine[..., self._width // 2 :]], dim=-1)  # with the sign of `rotate_half`
        for layer, cache in zip(model.layers, self.cache, strict=True):
            attention, normed = layer.self_attn, _normalise(layer.input_layernorm, x)
            turned = self._split(torch.cat([attention.q_proj(normed), attention.k_proj(normed)], dim=-1))  # [B, w, H + K, D]
            turned = torch.addcmul(turned * cosine, turned.roll(self._width // 2, dims=-1), sine)
            query, key = turned[:, :, : self._heads], turned[:, :, self._heads :]
            cache[0].index_copy_(2, slots, key.transpose(1, 2))
            cache[1].index_copy_(2, slots, self._split(attention.v_proj(normed)).transpose(1, 2))
            x = x + attention.o_proj(self._attend(query, cache, mask))
            x = x + layer.mlp(_normalise(layer.post_attention_layernorm, x))
        self.filled += width
        return cast(Tensor, self._llm.lm_head(_normalise(model.norm, x[:, -1])))

    def _mask(self, slots: Tensor) -> Tensor:
        """What each of the tokens in `slots` sees, float32 [B * K, G * w, L] of 0 and -inf with G query heads per key-value head."""
        seen = self.valid[:, None] & (self._slots <= slots[:, None])  # [B, w, L]
        mask = torch.zeros(seen.shape, dtype=torch.float32, device=seen.device).masked_fill_(~seen, -torch.inf)
        batch, width, groups = seen.shape[0], seen.shape[1], self._heads // self._kv_heads
        return mask[:, None, None].expand(batch, self._kv_heads, groups, width, self.length).reshape(-1, groups * width, self.length)

    def _split(self, x: Tensor) -> Tensor:
        """Into heads: [B, w, heads * D] -> [B, w, heads, D]."""
        return x.view(*x.shape[:-1], -1, self._width)

    def _attend(self, query: Tensor, cache: Tensor, mask: Tensor) -> Tensor:
        """Attention [B, w, H * D] of the query [B, w, H, D] over the keys and values [2, B, K, L, D], in float32.

        Scores of the published models reach hundreds, where bfloat16 knows every second number only. The weighted sum is cut into parts
        of `PART` slots, so that many multiprocessors share the walk over the cache.
        """
        batch, width, heads, size = query.shape
        rows, groups, parts = batch * self._kv_heads, heads // self._kv_heads, self.length // PART
        keys, values = cache.float()
        query = query.reshape(batch, width, self._kv_heads, groups, size).permute(0, 2, 3, 1, 4).float().reshape(rows, -1, size)
        scores = torch.baddbmm(mask, query, keys.view(rows, self.length, size).mT, alpha=size**-0.5)
        weights = F.softmax(scores, dim=-1).view(rows, -1, parts, PART).transpose(1, 2)  # [rows, parts, G * w, PART]
        sums = torch.bmm(weights.reshape(rows * parts, -1, PART), values.view(rows * parts, PART, size))
        attended = sums.view(batch, self._kv_heads, parts, groups, width, size).sum(2).permute(0, 3, 1, 2, 4)
        return attended.to(cache.dtype).reshape(batch, width, heads * size)


def _normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Qwen2's root-mean-square norm as one operation."""
    weight = cast(Tensor, norm.weight)
    return F.rms_norm(x, weight.shape, weight, cast(float, norm.variance_epsilon))
