"""Losses of the nano: next token with soft coordinates, and the auxiliary heads that make a model from scratch take off.

The auxiliary heads exist at training time only. What each is for, in order of effect: dense per-patch labels from the
renderer, word alignment of the projected tokens, image tokens that say where they are through the language head, and a
pointer from nouns and answers to image patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES, SIZES
from roboref_node.training.vocabulary import COORDINATE_BINS

DENSE_CLASSES = (len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1, 16)


class AuxiliaryHeads(nn.Module):
    """Training-only heads.

    Args:
        tower_width: Width of the tower tokens.
        width: Width of the language model.
    """

    def __init__(self, tower_width: int, width: int) -> None:
        super().__init__()
        self.rgb_dense = nn.Linear(tower_width, sum(DENSE_CLASSES))
        self.depth_dense = nn.Linear(tower_width, sum(DENSE_CLASSES))
        self.alignment_scale = nn.Parameter(torch.tensor(8.0))
        self.alignment_bias = nn.Parameter(torch.tensor(-3.0))
        self.query = nn.Linear(width, 128, bias=False)
        self.key = nn.Linear(width, 128, bias=False)


def dense_loss(logits: Tensor, labels: Tensor, parts: tuple[bool, bool, bool, bool]) -> Tensor:
    """Cross-entropy of per-patch shape, colour, size and depth; patches with an object count four times.

    Args:
        logits: (B, P, sum of classes).
        labels: int (B, 4, P).
        parts: Which of the four to use.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    weight = torch.where(labels[:, 0] > 0, 4.0, 1.0)
    for part, chunk in enumerate(torch.split(logits.float(), list(DENSE_CLASSES), dim=-1)):
        if parts[part]:
            loss = functional.cross_entropy(chunk.flatten(0, 1), labels[:, part].flatten(), reduction="none")
            total = total + (loss * weight.flatten()).sum() / weight.sum()
    return total


def alignment_loss(tokens: Tensor, words: Tensor, present: Tensor, heads: AuxiliaryHeads) -> Tensor:
    """Binary cross-entropy between projected patch tokens and the words that describe the patch.

    Args:
        tokens: (B, T, d).
        words: Word embeddings (W, d).
        present: 1 where word w describes patch t, NaN where it is not known, (B, T, W).
        heads: Scale and bias.
    """
    similarity = functional.normalize(tokens.float(), dim=-1) @ functional.normalize(words.float(), dim=-1).T
    logits = heads.alignment_scale * similarity + heads.alignment_bias
    known = (~torch.isnan(present)).float()
    return functional.binary_cross_entropy_with_logits(logits, present.nan_to_num(), known, pos_weight=logits.new_tensor(6.0))


def soft_coordinates(values: Tensor, sigma_bins: float) -> Tensor:
    """Gaussian labels over the coordinate bins, (N, COORDINATE_BINS), for normalised values (N,)."""
    centres = (torch.arange(COORDINATE_BINS, device=values.device) + 0.5) / COORDINATE_BINS
    weight = torch.exp(-0.5 * ((centres[None] - values[:, None]) * COORDINATE_BINS / sigma_bins) ** 2)
    return weight / weight.sum(dim=-1, keepdim=True)


@dataclass(frozen=True)
class TokenTargets:
    """Flat targets of the supervised positions; N = their number.

    Args:
        label: Next token, (N,).
        coordinate: Coordinate behind it or NaN, (N,).
        x0: First token of the horizontal axis.
        y0: First token of the vertical axis.
    """

    label: Tensor
    coordinate: Tensor
    x0: int
    y0: int


def token_loss(logits: Tensor, targets: TokenTargets, sigma_bins: float = 1.2) -> Tensor:
    """Cross-entropy of the next token; coordinates get Gaussian labels over their own bins.

    Args:
        logits: (N, vocabulary).
        targets: What should follow.
        sigma_bins: Width of the Gaussian.
    """
    log_p = functional.log_softmax(logits.float(), dim=-1)
    is_point = ~torch.isnan(targets.coordinate)
    hard = -log_p[~is_point].gather(1, targets.label[~is_point, None]).sum()
    soft = logits.new_zeros((), dtype=torch.float32)
    for first in (targets.x0, targets.y0):
        chosen = is_point & (targets.label >= first) & (targets.label < first + COORDINATE_BINS)
        goal = soft_coordinates(targets.coordinate[chosen], sigma_bins)
        bins = log_p[chosen][:, first : first + COORDINATE_BINS]
        soft = soft - (goal * bins).sum()
    return (hard + soft) / max(1, targets.label.numel())


def location_loss(logits: Tensor, grid: int, x0: int, y0: int) -> Tensor:
    """Image tokens say where they are: cross-entropy within each axis' bins.

    Args:
        logits: Language-head logits of the image tokens, (B, grid * grid, vocabulary).
        grid: Side of the token grid.
        x0: First token of the horizontal axis.
        y0: First token of the vertical axis.
    """
    index = torch.arange(grid * grid, device=logits.device)
    total = logits.new_zeros((), dtype=torch.float32)
    for first, place in ((x0, index % grid), (y0, index // grid)):
        goal = soft_coordinates((place + 0.5) / grid, COORDINATE_BINS / grid / 3)
        bins = functional.log_softmax(logits[..., first : first + COORDINATE_BINS].float(), dim=-1)
        total = total - (goal[None] * bins).sum(dim=-1).mean()
    return total


def pointer_loss(states: Tensor, image_states: Tensor, scene: Tensor, target: Tensor, heads: AuxiliaryHeads) -> Tensor:
    """Nouns and answers point at the patches they mean: cross-entropy against the share of each patch.

    Args:
        states: Hidden states of the pointing positions, (N, d).
        image_states: Hidden states of the RGB tokens of each scene, (B, T, d).
        scene: Scene of each position, int (N,).
        target: Share of each patch, rows sum to 1, (N, T).
        heads: Query and key projections.
    """
    # Keys once per scene: its some 80 positions share them.
    query, key = heads.query(states).float(), heads.key(image_states).float()
    logits = torch.einsum("nd,btd->nbt", query, key)[torch.arange(len(scene), device=scene.device), scene] / query.shape[-1] ** 0.5
    return -(target * functional.log_softmax(logits, dim=-1)).sum(dim=-1).mean()
