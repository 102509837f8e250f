"""Attention of packed training: a causal media prefix shared by many short questions, without the zeros between them.

A masked attention over the whole row computes every question against every other and throws the result away; here questions
lie in slots, and a slot attends to the prefix and to itself. On one CPU core that is about five times faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

PACKED_ATTENTION = "roboref_packed"


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention function for transformers' registry.

    Args:
        module: The attention layer; unused.
        query: (B, heads, P + S * L, width): P media tokens, then S slots of L tokens.
        key: Same shape; grouped heads are repeated.
        value: Same shape as `key`.
        attention_mask: True where a slot's token may attend within its slot, bool (B, S, L, L).
        scaling: Factor of the scores.

    Returns:
        (B, P + S * L, heads, width) and None for the weights.
    """
    batch, heads, total, width = query.shape
    if key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // key.shape[1], dim=1) for x in (key, value))
    slots, length = attention_mask.shape[1:3]
    media = total - slots * length
    (q_media, q_text), (k_media, k_text), (v_media, v_text) = (
        torch.split(x, [media, total - media], dim=2) for x in (query * scaling, key, value)
    )
    causal = torch.ones(media, media, dtype=torch.bool, device=query.device).tril()
    scores = q_media @ k_media.transpose(-1, -2)
    minus = torch.finfo(scores.dtype).min  # under autocast not that of the query
    scores = scores.masked_fill(~causal, minus)
    out_media = torch.softmax(scores, dim=-1, dtype=query.dtype) @ v_media
    q_slot, k_slot, v_slot = (x.reshape(batch, heads, slots, length, width) for x in (q_text, k_text, v_text))
    to_media = (q_text @ k_media.transpose(-1, -2)).reshape(batch, heads, slots, length, media)
    to_slot = (q_slot @ k_slot.transpose(-1, -2)).masked_fill(~attention_mask[:, None], minus)
    weights = torch.softmax(torch.cat([to_media, to_slot], dim=-1), dim=-1, dtype=query.dtype)
    from_media = (weights[..., :media].reshape(batch, heads, slots * length, media) @ v_media).reshape(batch, heads, slots, length, width)
    out_text = (from_media + weights[..., media:] @ v_slot).reshape(batch, heads, slots * length, width)
    return torch.cat([out_media, out_text], dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def slot_mask(question: Tensor) -> Tensor:
    """Causal within a question, nothing across; padding attends to itself.

    Args:
        question: Question index of each token, -1 = padding, (B, S, L).

    Returns:
        bool (B, S, L, L).
    """
    length = question.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool, device=question.device).tril()
    return (question[..., :, None] == question[..., None, :]) & causal
