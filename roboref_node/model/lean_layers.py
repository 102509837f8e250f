"""Parts of Qwen2's layers in few operations, for decoding and for prompts: joined projections, norms, rotation, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM

from roboref_node.model.config_checks import head_width


def is_plain(config: Qwen2Config) -> bool:
    """Whether every layer attends to everything, at positions whose rotation does not change with the length of the text."""
    rope: Any = config.rope_parameters
    return set(config.layer_types or ()) <= {"full_attention"} and rope["rope_type"] not in ("dynamic", "longrope")


class LeanLayers:
    """The layers of a language model, made ready.

    Args:
        llm: The parameters of projections that share their input become views of one tensor.
    """

    def __init__(self, llm: Qwen2ForCausalLM) -> None:
        config = llm.config
        self.llm = llm
        self.heads = config.num_attention_heads
        self.width = head_width(config)
        self.kv_heads = int(config.num_key_value_heads or self.heads)
        self.qkv = [Joined(x.self_attn.q_proj, x.self_attn.k_proj, x.self_attn.v_proj) for x in llm.model.layers]
        self.gate_up = [Joined(x.mlp.gate_proj, x.mlp.up_proj) for x in llm.model.layers]
        if llm.device.type == "cuda":
            torch.cuda.empty_cache()  # where the parameters lay before they were joined

    def rotation(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [B, w, H + 2K, D] of the rotary embedding at positions [B, w]: of H query heads and K keys, and none of K values.

        The sine has the sign that `rotate_half` gives to the half that comes first.
        """
        cosine, sine = self.llm.model.rotary_emb(x, positions)  # [B, w, D]
        half, turned = self.width // 2, self.heads + self.kv_heads
        sine = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)
        still = (*cosine.shape[:2], self.kv_heads, self.width)
        return (
            torch.cat([cosine[:, :, None].expand(-1, -1, turned, -1), cosine.new_ones(still)], dim=2),
            torch.cat([sine[:, :, None].expand(-1, -1, turned, -1), sine.new_zeros(still)], dim=2),
        )

    def project(self, index: int, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Queries, keys and values of a layer, rotated where they are to be: [B, w, d] -> [B, w, H + 2K, D]."""
        heads = self.qkv[index](normalise(self.llm.model.layers[index].input_layernorm, x)).view(*x.shape[:2], -1, self.width)
        return torch.addcmul(heads * cosine, heads.roll(self.width // 2, dims=-1), sine)

    def finish(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer after its attention [B, w, H * D]; changes x [B, w, d] in place where it can."""
        layer = self.llm.model.layers[index]
        x = add(x, layer.self_attn.o_proj, attended)
        gate, up = self.gate_up[index](normalise(layer.post_attention_layernorm, x)).chunk(2, dim=-1)
        return add(x, layer.mlp.down_proj, layer.mlp.act_fn(gate) * up)

    def logits(self, x: Tensor) -> Tensor:
        """After the last position of x [B, w, d], [B, V]."""
        return cast(Tensor, self.llm.lm_head(normalise(self.llm.model.norm, x[:, -1])))


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


def add(x: Tensor, linear: nn.Linear, y: Tensor) -> Tensor:
    """The sum of x and linear(y), in x itself where one operation can do it."""
    if not is_ordinary(linear) or linear.bias is not None:
        return x + cast(Tensor, linear(y))
    x.view(-1, x.shape[-1]).addmm_(y.reshape(-1, y.shape[-1]), linear.weight.t())
    return x


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Qwen2's root-mean-square norm as one operation."""
    weight = cast(Tensor, norm.weight)
    return F.rms_norm(x, weight.shape, weight, cast(float, norm.variance_epsilon))
