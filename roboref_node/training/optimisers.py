"""Muon on the weight matrices of the transformers, AdamW on everything else, one learning-rate schedule for both."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from roboref_node.status import Refused, Status


class MuonAdamW:
    """Both optimisers behind one ``step``.

    Args:
        model: Matrices inside its layers and projectors go to Muon, the rest to AdamW.
        heads: Training-only heads, AdamW.
        muon_lr, adamw_lr: Peak learning rates.
        weight_decay: For both.
    """

    def __init__(self, model: nn.Module, heads: nn.Module, *, muon_lr: float, adamw_lr: float, weight_decay: float = 0.01) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inside = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
                (matrices if inside else others).append(parameter)
        self.muon = torch.optim.Muon(matrices, lr=muon_lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW([*others, *heads.parameters()], lr=adamw_lr, weight_decay=weight_decay, betas=(0.9, 0.98))
        self.peaks = (muon_lr, adamw_lr)
        self.parameters = [*matrices, *others, *heads.parameters()]

    def step(self, share: float) -> float:
        """Clip, update and clear the gradients with the learning rates scaled by `share`; returns the gradient norm.

        Raises:
            Refused: INTERNAL, before anything is changed, when the gradients are not finite.
        """
        norm = finite_norm(float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)))
        for optimiser, peak in zip((self.muon, self.adamw), self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, dict[str, object]]:
        """State of both optimisers."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Inverse of `state_dict`."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def finite_norm(norm: float) -> float:
    """The norm of a step's gradients; one that is not finite would spoil the weights, and the next checkpoint with them.

    Raises:
        Refused: INTERNAL.
    """
    if not math.isfinite(norm):
        sentence = f"the gradient norm is {norm}: the run stops, its last state is kept; a lower learning rate or fp32 may help"
        raise Refused(Status.INTERNAL, sentence)
    return norm


def cosine(step: int, total: int, warm_up: int, floor: float = 0.02) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to `floor`."""
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, total - warm_up))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def count_parameters(parameters: Iterable[torch.Tensor]) -> int:
    """Number of scalars."""
    return sum(p.numel() for p in parameters)
