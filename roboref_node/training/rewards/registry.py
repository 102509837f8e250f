"""Rewards by name: every reward is a pure function from completions and references to one number per completion."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from roboref_node.status import Refused, Status

Floats = NDArray[np.float64]
Reference = Mapping[str, Any]


class Reward(Protocol):
    """A reward. Its settings are keyword arguments with defaults, except for what must be injected (an embedding, a tokenizer)."""

    def __call__(self, completions: Sequence[str], references: Sequence[Reference], /, **settings: Any) -> Floats:
        """One finite number per completion, shape (N,).

        Args:
            completions: What the model said.
            references: What is true of each completion's question; the keys are each reward's own.
            **settings: Of this reward.
        """
        ...


_REWARDS: dict[str, Reward] = {}


def register(name: str) -> Callable[[Callable[..., Floats]], Reward]:
    """Register a batch function under a name, checked: one finite number per completion, or an error that says which."""

    def decorate(function: Callable[..., Floats]) -> Reward:
        @functools.wraps(function)
        def reward(completions: Sequence[str], references: Sequence[Reference], /, **settings: Any) -> Floats:
            if len(completions) != len(references):
                raise ValueError(f"reward {name}: {len(completions)} completions and {len(references)} references")
            values = np.asarray(function(completions, references, **settings), float)
            if values.shape != (len(completions),) or not np.isfinite(values).all():
                raise ValueError(f"reward {name} gave {values.shape} for {len(completions)} completions, or a number that is not finite")
            return values

        if name in _REWARDS:
            raise ValueError(f"there are two rewards named {name!r}")
        _REWARDS[name] = reward
        return reward

    return decorate


def per_sample(function: Callable[..., float]) -> Callable[..., Floats]:
    """A batch function from one over a single completion and its reference."""

    @functools.wraps(function)
    def batch(completions: Sequence[str], references: Sequence[Reference], /, **settings: Any) -> Floats:
        return np.array([function(text, reference, **settings) for text, reference in zip(completions, references, strict=True)], float)

    return batch


def available_rewards() -> tuple[str, ...]:
    """Names of all rewards, sorted."""
    return tuple(sorted(_REWARDS))


def find_reward(name: str) -> Reward:
    """The reward of a name.

    Raises:
        Refused: BAD_REQUEST listing the known ones.
    """
    try:
        return _REWARDS[name]
    except KeyError:
        raise Refused(Status.BAD_REQUEST, f"there is no reward {name!r}; known are {', '.join(available_rewards())}") from None


def settings_of(name: str) -> dict[str, bool]:
    """Names of a reward's settings, and whether each must be given."""
    parameters = inspect.signature(find_reward(name)).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}


def needed(reference: Reference, key: str) -> Any:
    """`reference[key]`.

    Raises:
        Refused: BAD_REQUEST: the data lack what the reward compares with, which is never the model's fault.
    """
    try:
        return reference[key]
    except KeyError:
        raise Refused(Status.BAD_REQUEST, f"a reference lacks {key!r}; it has {', '.join(map(str, reference)) or 'nothing'}") from None
