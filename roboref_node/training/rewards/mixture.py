"""Weighted sums of rewards from a mapping or a YAML file, and the advantages of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roboref_node.config import load_yaml
from roboref_node.status import Refused, Status
from roboref_node.training.rewards.registry import Floats, Reference, find_reward, settings_of

PRESETS: dict[str, dict[str, Any]] = {
    "roborefer": {
        "roborefer_outcome_format": 1.0,
        "roborefer_point": 1.0,
        "roborefer_process_format": 0.25,
        "roborefer_process_accuracy": 0.25,
    },
    "roborefer_outcome_only": {"roborefer_outcome_format": 1.0, "roborefer_point": 1.0},
    "3d_r1": {"3d_r1_format_graded": 0.3, "3d_r1_perception": 0.4, "3d_r1_semantic": 0.3},
    "3d_r1_alternative": {"3d_r1_format_graded": 0.4, "3d_r1_perception": 0.4, "3d_r1_semantic": 0.2},
    "scene_r1_when": {"scene_r1_temporal": 1.0, "scene_r1_format": 1.0},
    "scene_r1_where": {"scene_r1_box": 1.0, "scene_r1_json": 1.0, "scene_r1_format": 1.0},
    "spacer": {"spacer_task_and_map": 1.0, "spacer_format": 1.0, "spacer_length": 1.0},
    "spatial_reasoner": {"spatial_reasoner_accuracy": 1.0, "spatial_reasoner_format": 1.0},
    "spatial_reasoner_zero_3d": {
        "spatial_reasoner_accuracy": 1.0,
        "spatial_reasoner_format": 1.0,
        "spatial_reasoner_steps": 1.0,
        "spatial_reasoner_process": 1.0,
    },
    "3d_rft_detection": {"3d_rft_format": 1.0, "3d_rft_iou": 1.0, "3d_rft_f1": 1.0},
    "3d_rft_grounding": {"3d_rft_format": 1.0, "3d_rft_frame": 1.0, "3d_rft_grounding_iou": 1.0},
    "3d_rft_reasoning": {"3d_rft_answer": 1.0},
}
"""The published sums, by name; ``preset: NAME`` in a YAML file."""


@dataclass(frozen=True)
class WeightedReward:
    """One term: ``weight · reward(completions, references, **settings)``."""

    name: str
    weight: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MixedRewards:
    """Rewards of a batch.

    Args:
        total: (N,) weighted sum.
        parts: (N,) each, unweighted, by name: what a training curve shows.
    """

    total: Floats
    parts: Mapping[str, Floats]


@dataclass(frozen=True)
class RewardMixture:
    """A weighted sum of rewards.

    Args:
        terms: In the order of the sum.

    Raises:
        Refused: BAD_REQUEST for an unknown reward or setting, a missing one, or a weight that is not a number.
    """

    terms: tuple[WeightedReward, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise Refused(Status.BAD_REQUEST, "a mixture of rewards needs at least one reward")
        for term in self.terms:
            settings = settings_of(term.name)
            unknown = sorted(set(term.settings) - set(settings))
            missing = [name for name, required in settings.items() if required and name not in term.settings]
            if unknown:
                known = ", ".join(settings) or "none"
                raise Refused(Status.BAD_REQUEST, f"reward {term.name} has no setting {unknown[0]!r}; it has: {known}")
            if missing:
                raise Refused(Status.BAD_REQUEST, f"reward {term.name} needs {missing[0]!r}; pass it in `injected`")
            if not np.isfinite(term.weight):
                raise Refused(Status.BAD_REQUEST, f"the weight of reward {term.name} is {term.weight}")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], injected: Mapping[str, Any] | None = None) -> RewardMixture:
        """From ``{name: weight}`` or ``{name: {weight: w, setting: value}}``; the key ``preset`` adds the terms of `PRESETS`.

        Args:
            mapping: Plain data. A reward named next to a preset replaces the preset's term; weight 0 removes it.
            injected: Settings that plain data cannot hold, such as ``embed`` or ``count_tokens``, for the rewards that have them.

        Raises:
            Refused: BAD_REQUEST.
        """
        named = dict(mapping)
        preset = named.pop("preset", None)
        if preset is not None and preset not in PRESETS:
            raise Refused(Status.BAD_REQUEST, f"there is no preset {preset!r}; known are {', '.join(PRESETS)}")
        named = {**PRESETS.get(str(preset), {}), **named}
        terms = (_term(name, value, injected or {}) for name, value in named.items())
        return cls(tuple(term for term in terms if term.weight != 0))

    @classmethod
    def from_yaml(cls, path: str | Path, injected: Mapping[str, Any] | None = None) -> RewardMixture:
        """From the section ``rewards`` of a YAML file, or from the whole file when it has none.

        Raises:
            Refused: BAD_REQUEST.
        """
        data = load_yaml(path)
        section = data.get("rewards", data)
        if not isinstance(section, dict):
            raise Refused(Status.BAD_REQUEST, f"`rewards` in {path} is a {type(section).__name__}, not a mapping")
        return cls.from_mapping(section, injected)

    def __call__(self, completions: Sequence[str], references: Sequence[Reference]) -> MixedRewards:
        """Reward a batch.

        Args:
            completions: (N,) what the model said.
            references: (N,) what is true; must hold the keys of every reward in the sum.
        """
        parts = {term.name: find_reward(term.name)(completions, references, **term.settings) for term in self.terms}
        total = np.zeros(len(completions))
        for term in self.terms:
            total += term.weight * parts[term.name]
        return MixedRewards(total, parts)


def _term(name: str, value: Any, injected: Mapping[str, Any]) -> WeightedReward:
    settings: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"weight": value}
    weight = settings.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise Refused(Status.BAD_REQUEST, f"the weight of reward {name} is {weight!r}, not a number")
    own = {key: injected[key] for key in settings_of(name) if key in injected}
    return WeightedReward(name, float(weight), {**own, **settings})


def group_advantages(rewards: ArrayLike, group_size: int, epsilon: float = 1e-4, *, ddof: int = 1, scale: bool = True) -> Floats:
    """``(r − mean) / (std + ε)`` within each group of answers to one question (GRPO, Shao et al. 2024).

    Args:
        rewards: (N,), the groups one after another.
        group_size: G; N must be a multiple.
        epsilon: ε: a group of equal rewards has advantage 0.
        ddof: 1 for the sample's standard deviation, as in TRL, R1-V and SpaceR; 0 for the population's.
        scale: False leaves out the division (Dr. GRPO), which weighs easy and hard questions alike.

    Returns:
        (N,); the mean of each group is 0.

    Raises:
        ValueError: N is not a multiple of G, G is smaller than 2, or a reward is not finite.
    """
    values = np.asarray(rewards, float)
    if group_size < 2 or values.ndim != 1 or len(values) % group_size:
        raise ValueError(f"{values.shape} rewards do not divide into groups of {group_size} (at least 2)")
    if not np.isfinite(values).all():
        raise ValueError("a reward is not finite")
    groups = values.reshape(-1, group_size)
    centred = groups - groups.mean(-1, keepdims=True)
    if scale:
        centred = centred / (groups.std(-1, ddof=ddof, keepdims=True) + epsilon)
    return np.asarray(centred.ravel())
