"""Qwen2's step over a cache of fixed size in few operations, none of which asks the host for a value: what a CUDA graph records.

The stock forward pass launches some 1,200 kernels a token, and its attention lets two of a GPU's hundred multiprocessors walk the whole
cache; for one token that, and not the weights, is what takes the time. The computation here is the same (test_model_fixed_cache.py).
"""

from __future__ import annotations

from collections.abc import Sequence
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
        llm: Language model for which `is_plain` holds. The parameters of projections that share their input become views of one tensor.
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
        self._qkv = [Joined(x.self_attn.q_proj, x.self_attn.k_proj, x.self_attn.v_proj) for x in llm.model.layers]
        self._gate_up = [Joined(x.mlp.gate_proj, x.mlp.up_proj) for x in llm.model.layers]

    def __call__(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Feed tokens.

        Args:
            ids: int64 [B, w].
            valid: bool [B, w]; False where a row has no token there, which then counts and is seen nowhere.

        Returns:
            Logits after the last column [B, V].
        """
        model, (batch, width) = self._llm.model, ids.shape
        slots = self.filled + self._slots[:width]
        positions = (self.valid.sum(1, keepdim=True) + valid.cumsum(1) - 1).clamp(min=0)
        self.valid.index_copy_(1, slots, valid)
        mask = self._mask(slots)
        x = model.embed_tokens(ids)  # [B, w, d]
        cosine, sine = self._rotation(*model.rotary_emb(x, positions))
        for layer, qkv, gate_up, cache in zip(model.layers, self._qkv, self._gate_up, self.cache, strict=True):
            turned = qkv(_normalise(layer.input_layernorm, x)).view(batch, width, -1, self._width)  # [B, w, H + 2K, D]
            turned = torch.addcmul(turned * cosine, turned.roll(self._width // 2, dims=-1), sine)
            query, new = turned[:, :, : self._heads], turned[:, :, self._heads :]
            cache.index_copy_(3, slots, new.reshape(batch, width, 2, self._kv_heads, self._width).permute(2, 0, 3, 1, 4))
            x = _add(x, layer.self_attn.o_proj, self._attend(query, cache, mask))
            gate, up = gate_up(_normalise(layer.post_attention_layernorm, x)).chunk(2, dim=-1)
            x = _add(x, layer.mlp.down_proj, layer.mlp.act_fn(gate) * up)
        self.filled += width
        return cast(Tensor, self._llm.lm_head(_normalise(model.norm, x[:, -1])))

    def _mask(self, slots: Tensor) -> Tensor:
        """What each of the tokens in `slots` sees, float32 [B * K, G * w, L] of 0 and -inf with G query heads per key-value head."""
        seen = self.valid[:, None] & (self._slots <= slots[:, None])  # [B, w, L]
        mask = torch.zeros(seen.shape, dtype=torch.float32, device=seen.device).masked_fill_(~seen, -torch.inf)
        batch, width, groups = seen.shape[0], seen.shape[1], self._heads // self._kv_heads
        return mask[:, None, None].expand(batch, self._kv_heads, groups, width, self.length).reshape(-1, groups * width, self.length)

    def _rotation(self, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        """The angles [B, w, D] of queries and keys, and none of values, for all heads at once: [B, w, H + 2K, D].

        The sine has the sign that `rotate_half` gives to the half that comes first.
        """
        half, turned = self._width // 2, self._heads + self._kv_heads
        sine = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)
        still = (*cosine.shape[:2], self._kv_heads, self._width)
        return (
            torch.cat([cosine[:, :, None].expand(-1, -1, turned, -1), cosine.new_ones(still)], dim=2),
            torch.cat([sine[:, :, None].expand(-1, -1, turned, -1), sine.new_zeros(still)], dim=2),
        )

    def _attend(self, query: Tensor, cache: Tensor, mask: Tensor) -> Tensor:
        """Attention [B, w, H * D] of the query [B, w, H, D] over the keys and values [2, B, K, L, D].

        Scores are in float32: those of the published models reach hundreds, where bfloat16 knows every second number only. The weighted
        sum is cut into parts of `PART` slots, so that many multiprocessors share the walk over the cache.
        """
        batch, width, heads, size = query.shape
        rows, groups, parts = batch * self._kv_heads, heads // self._kv_heads, self.length // PART
        keys, values = cache
        query = query.reshape(batch, width, self._kv_heads, groups, size).permute(0, 2, 3, 1, 4).reshape(rows, -1, size)
        scores = torch.add(mask, _product(query, keys.view(rows, self.length, size).mT), alpha=size**-0.5)
        weights = F.softmax(scores, dim=-1).view(rows, -1, parts, PART).transpose(1, 2)  # [rows, parts, G * w, PART]
        weights = weights.to(cache.dtype, memory_format=torch.contiguous_format).reshape(rows * parts, -1, PART)
        sums = _product(weights, values.view(rows * parts, PART, size))
        attended = sums.view(batch, self._kv_heads, parts, groups, width, size).sum(2).permute(0, 3, 1, 2, 4)
        return attended.to(cache.dtype).reshape(batch, width, heads * size)


class Joined:
    """Linear maps of one input as one product, where their weights are ordinary parameters (quantized ones are not).

    Args:
        *parts: Their parameters become views of one tensor, and stay what they are for everybody else.
    """

    def __init__(self, *parts: nn.Linear) -> None:
        self._parts = parts
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        if all(is_ordinary(part) for part in parts):
            self._weight = _join([part.weight for part in parts])
            self._bias = None if parts[0].bias is None else _join([part.bias for part in parts])

    def __call__(self, x: Tensor) -> Tensor:
        """All results side by side in the last dimension."""
        if self._weight is None:
            return torch.cat([part(x) for part in self._parts], dim=-1)
        return F.linear(x, self._weight, self._bias)


def is_ordinary(linear: nn.Linear) -> bool:
    """Whether the weights are numbers that lie in memory as they are, and were not made to be left alone."""
    return type(linear) is nn.Linear and type(linear.weight) is nn.Parameter and not linear.weight.is_inference()


@torch.inference_mode(False)
@torch.no_grad()
def _join(parameters: Sequence[Tensor]) -> Tensor:
    """One tensor that the parameters are consecutive rows of; made once, and found again afterwards."""
    first, end = parameters[0], 0
    storages = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    offsets = [parameter.storage_offset() - first.storage_offset() for parameter in parameters]
    expected = []
    for parameter in parameters:
        expected.append(end)
        end += parameter.numel()
    if len(storages) == 1 and offsets == expected:
        return first.data.as_strided((sum(len(p) for p in parameters), *first.shape[1:]), first.stride())
    whole = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, torch.split(whole, [len(p) for p in parameters]), strict=True):
        parameter.data = part
    return whole


def _add(x: Tensor, linear: nn.Linear, y: Tensor) -> Tensor:
    """X + linear(y), in x itself where one operation can do it."""
    if not is_ordinary(linear) or linear.bias is not None:
        return x + cast(Tensor, linear(y))
    x.view(-1, x.shape[-1]).addmm_(y.reshape(-1, y.shape[-1]), linear.weight.t())
    return x


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Batched product in float32, [N, m, k] x [N, k, n]; the inputs may be of half its precision."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    if a.device.type == "cpu":  # has no product of mixed precision
        return torch.bmm(a.float(), b.float())
    return torch.bmm(a, b, out_dtype=torch.float32)


def _normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Qwen2's root-mean-square norm as one operation."""
    weight = cast(Tensor, norm.weight)
    return F.rms_norm(x, weight.shape, weight, cast(float, norm.variance_epsilon))
