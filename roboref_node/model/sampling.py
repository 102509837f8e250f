"""Tokens drawn at random instead of the best one, for clients that want several opinions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are drawn.

    Args:
        temperature: The logits are divided by it: below 1 probable tokens become more probable, above 1 less.
        top_p: Only the most probable tokens whose probabilities together reach this are drawn (nucleus sampling,
            https://arxiv.org/abs/1904.09751); 1 = all.
        seed: The same seed, question and settings give the same answer; None draws another one every time.

    Raises:
        ValueError: The temperature is not above 0 (greedy answers are those without `Sampling`), or `top_p` not in (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature:g}, it must be above 0")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p:g}, it must lie in (0, 1]")


class Drawer:
    """Draws the tokens of one answer.

    Args:
        sampling: How.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        # On the CPU, where the same seed draws the same numbers whatever the device of the model.
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def draw(self, logits: Tensor) -> int:
        """Index into logits (n,)."""
        heights = logits.detach().cpu().double()
        shares = torch.softmax((heights - heights.max()) / self._sampling.temperature, dim=-1)
        shares, order = shares.sort(descending=True, stable=True)
        before = shares.cumsum(0) - shares
        drawn = torch.multinomial(shares * (before < self._sampling.top_p), 1, generator=self._random)
        return int(order[drawn])
