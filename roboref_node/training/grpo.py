"""Group relative policy optimisation: the loss, as pure functions of log-probabilities (Shao et al. 2024, arXiv 2402.03300)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from roboref_node.status import Refused, Status

AVERAGES = ("answer", "token")


@dataclass(frozen=True)
class GrpoSettings:
    """What the loss is made of.

    Args:
        clip_low: The ratio is clipped below at 1 - clip_low.
        clip_high: The ratio is clipped above at 1 + clip_high; larger than `clip_low` it lets rare tokens grow (DAPO).
        kl: Weight β of the KL divergence to the reference model, 0 = no reference model is kept.
        average: ``answer``: each answer counts alike, as published; ``token``: each token does (DAPO).
        scale_rewards: Divide by the group's standard deviation, as published; False is Dr. GRPO.

    Raises:
        Refused: BAD_REQUEST for a value outside its range.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.0
    average: str = "answer"
    scale_rewards: bool = True

    def __post_init__(self) -> None:
        if not (0.0 < self.clip_low < 1.0 and self.clip_high > 0.0):
            raise Refused(Status.BAD_REQUEST, f"clip_low {self.clip_low} must lie between 0 and 1, and clip_high {self.clip_high} above 0")
        if self.kl < 0.0:
            raise Refused(Status.BAD_REQUEST, f"kl is {self.kl}, it may not be negative")
        if self.average not in AVERAGES:
            raise Refused(Status.BAD_REQUEST, f"average is {self.average!r}, expected one of {', '.join(AVERAGES)}")


class GrpoLoss(NamedTuple):
    """The loss and what a curve shows of it; `kl` and `clipped` are means over tokens, weighted as the loss is."""

    loss: Tensor
    kl: Tensor
    clipped: Tensor


def token_weights(row: Tensor, answers: float, tokens: float, average: str) -> Tensor:
    """Weight of each token in the loss; all the weights of a step sum to 1.

    Args:
        row: Answer that each token belongs to, int64 (N,).
        answers: Answers of the whole step.
        tokens: Tokens of all answers of the whole step.
        average: See `GrpoSettings`.
    """
    if average == "token":
        return torch.full(row.shape, 1.0 / max(1, tokens), device=row.device)
    lengths = torch.bincount(row).clamp(min=1)
    return 1.0 / (lengths[row] * max(1, answers))


def grpo_loss(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, weight: Tensor, settings: GrpoSettings, reference_logp: Tensor | None = None
) -> GrpoLoss:
    """``-Σ w · [min(ρ A, clip(ρ, 1 - ε_low, 1 + ε_high) A) - β KL]`` with ``ρ = exp(logp - old_logp)``.

    The divergence is estimated as ``exp(r) - r - 1``, ``r = reference_logp - logp``: never negative, unbiased, its gradient pulls
    towards the reference.

    Args:
        logp: Log-probability of each sampled token under the model that is trained, (N,).
        old_logp: Under the model that sampled, without gradient, (N,).
        advantage: Of the answer that the token belongs to, (N,).
        weight: See `token_weights`, (N,).
        settings: Clipping and β.
        reference_logp: Under the reference model, without gradient, (N,); needed when β > 0.
    """
    ratio = torch.exp(logp - old_logp)
    bounded = ratio.clamp(1.0 - settings.clip_low, 1.0 + settings.clip_high)
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    clipped = (weight * (bounded * advantage < ratio * advantage)).sum().detach()
    kl = torch.zeros_like(logp)
    if reference_logp is not None:
        distance = reference_logp - logp
        kl = torch.exp(distance) - distance - 1.0
    loss = -(weight * (gain - settings.kl * kl)).sum()
    return GrpoLoss(loss, (weight * kl).sum().detach(), clipped)
