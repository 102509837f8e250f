"""A larger nano that begins as a smaller one: what is added changes nothing until it has learned something.

The ways are those of Net2Net (Chen et al., 2016, arXiv 1511.05641): copied channels share the weights behind them, and what is
added in depth ends in zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from roboref_node.model.conv_stem import STEM_GROUPS, ConvStem, ResidualBlock
from roboref_node.model.modeling import RoboReferModel

DETAIL = 0.5
"""Standard deviation of what copied channels see inside a folded square, relative to the weights that they were copied from."""


@torch.no_grad()
def grow(small: RoboReferModel, large: RoboReferModel) -> None:
    """Give `large` the function of `small`.

    On a picture of twice the side whose squares of two pixels have one colour each, the grown model gives exactly the answers of
    `small`. It may have more layers, wider stems (by whole factors), residual blocks in its stems, and folded pixels.

    Args:
        small: The trained model.
        large: Filled in place.

    Raises:
        ValueError: They differ in anything else.
    """
    known = small.state_dict()
    lost = [name for name in known if name not in large.state_dict() and ".embeddings.convolutions." not in name]
    if lost:
        raise ValueError(f"the larger model lacks {lost[0]}; a model cannot be made smaller")
    for name, tensor in large.state_dict().items():
        if name in known and known[name].shape == tensor.shape:
            tensor.copy_(known[name])
        elif name in known and ".embeddings.convolutions." not in name:
            shapes = f"{tuple(known[name].shape)}, in the larger model {tuple(tensor.shape)}"
            raise ValueError(f"{name} has shape {shapes}; that cannot be grown")
    for tower, larger in ((small.vision_tower, large.vision_tower), (small.depth_tower, large.depth_tower)):
        if (tower is None) != (larger is None):
            raise ValueError("only one of the two models has a depth tower")
        if tower is None or larger is None:
            continue
        if not isinstance(tower.embeddings, ConvStem) or not isinstance(larger.embeddings, ConvStem):
            raise ValueError("only convolutional stems can be grown")
        _grow_stem(tower.embeddings.convolutions, larger.embeddings.convolutions)
        for layer in larger.layers[len(tower.layers) :]:
            assert isinstance(layer, SiglipEncoderLayer)
            _silence(layer.self_attn.out_proj, layer.mlp.fc2)
    for layer in large.llm.model.layers[len(small.llm.model.layers) :]:
        _silence(layer.self_attn.o_proj, layer.mlp.down_proj)


def _grow_stem(small: nn.Sequential, large: nn.Sequential) -> None:
    old = [m for m in small if isinstance(m, nn.Conv2d | nn.GroupNorm)]
    new = [m for m in large if isinstance(m, nn.Conv2d | nn.GroupNorm)]
    if len(old) != len(new):
        raise ValueError(f"the stems have {len(old)} and {len(new)} convolutions and normalisations")
    rows = torch.arange(3)
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        if isinstance(before, nn.GroupNorm):
            after.weight.copy_(before.weight[rows])
            after.get_parameter("bias").copy_(before.get_parameter("bias")[rows])
            continue
        weight, columns = before.weight, rows
        rows = _copies(weight.shape[0], after.weight.shape[0])
        weight = weight[rows]
        if index:
            after.weight.copy_(weight[:, columns] * (weight.shape[1] / len(columns)))
        else:
            after.weight.copy_(_folded(weight, after.weight.shape[1] // weight.shape[1], first_copies=before.weight.shape[0], rows=rows))
        after.get_parameter("bias").copy_(before.get_parameter("bias")[rows])
    old_blocks, new_blocks = ([m for m in stem if isinstance(m, ResidualBlock)] for stem in (small, large))
    if not old_blocks:
        _silence(*(block.layers[-1] for block in new_blocks))
    elif [b.layers[0].weight.shape for b in old_blocks] != [b.layers[0].weight.shape for b in new_blocks]:
        raise ValueError("a stem that has residual blocks cannot be grown, only its tower")
    else:
        for block, larger in zip(old_blocks, new_blocks, strict=True):
            larger.load_state_dict(block.state_dict())


def _copies(narrow: int, wide: int) -> Tensor:
    """Which old channel each new one copies, so that every group of a normalisation holds whole copies of its old channels."""
    if wide % narrow or (wide != narrow and narrow % STEM_GROUPS):
        raise ValueError(f"{narrow} channels cannot be copied to {wide} in {STEM_GROUPS} equal groups")
    if wide == narrow:
        return torch.arange(narrow)
    size, group = narrow // STEM_GROUPS, wide // STEM_GROUPS
    channel = torch.arange(wide)
    return channel // group * size + channel % group % size


def _folded(weight: Tensor, squares: int, *, first_copies: int, rows: Tensor) -> Tensor:
    """Weights over the pixels of each square: their mean as before, and for all but the first copy of a channel some detail."""
    spread = (weight / squares).repeat_interleave(squares, dim=1)
    if squares == 1:
        return spread
    detail = torch.randn(*weight.shape[:2], squares, *weight.shape[2:]) * (DETAIL * weight.std() / squares)
    detail = (detail - detail.mean(dim=2, keepdim=True)).flatten(1, 2)
    if len(rows) > first_copies:
        size, group = first_copies // STEM_GROUPS, len(rows) // STEM_GROUPS
        detail[torch.arange(len(rows)) % group < size] = 0.0
    return spread + detail


def _silence(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            parameter.zero_()
