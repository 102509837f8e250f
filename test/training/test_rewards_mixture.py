"""Registry, weighted sums, YAML and group advantages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboref_node.status import Refused
from roboref_node.training.rewards import PRESETS, RewardMixture, available_rewards, find_reward, group_advantages, register, registry

GOOD = "<think>[Position] [cup]: [(0.5, 0.5)]</think><answer>[(0.5, 0.5)]</answer>"
REFERENCE = {
    "image_size_px": (100, 100),
    "point_px": (49.5, 49.5),
    "steps": [{"kind": "Position", "target": "cup", "values": [(0.5, 0.5)]}],
}
INJECTED = {"embed": lambda texts: [[1.0, float(len(text))] for text in texts], "count_tokens": len}


def test_roborefer_preset_is_the_papers_sum() -> None:
    mixture = RewardMixture.from_mapping({"preset": "roborefer"})
    mixed = mixture([GOOD, "[(0.5, 0.5)]", "?"], [REFERENCE] * 3)
    assert mixed.total.tolist() == [2.5, 1.0, 0.0]
    assert mixed.parts["roborefer_process_accuracy"].tolist() == [1.0, 0.0, 0.0]


def test_from_yaml_with_settings(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "lr: 1.0\nrewards:\n  preset: roborefer\n  roborefer_process_format: 0\n  roborefer_point: {weight: 2, tolerance_px: 3}\n"
    )
    mixture = RewardMixture.from_yaml(file)
    assert {term.name: term.weight for term in mixture.terms} == {
        "roborefer_outcome_format": 1.0,
        "roborefer_point": 2.0,
        "roborefer_process_accuracy": 0.25,
    }
    near = {**REFERENCE, "point_px": (45.0, 49.5)}
    assert mixture(["[(0.5, 0.5)]"] * 2, [REFERENCE, near]).total.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_can_be_built(preset: str) -> None:
    mixture = RewardMixture.from_mapping({"preset": preset}, INJECTED)
    assert {term.name for term in mixture.terms} == set(PRESETS[preset])


@pytest.mark.parametrize(
    ("mapping", "word"),
    [
        ({"unknown": 1.0}, "no reward 'unknown'"),
        ({"preset": "unknown"}, "no preset 'unknown'"),
        ({"roborefer_point": "much"}, "'much'"),
        ({"roborefer_point": True}, "True"),
        ({"roborefer_point": float("nan")}, "nan"),
        ({"roborefer_point": {"weight": 1, "tolerance": 5}}, "tolerance_px"),
        ({"3d_r1_semantic": 1.0}, "embed"),
        ({}, "at least one"),
    ],
)
def test_a_wrong_mixture_is_refused_by_name(mapping: dict, word: str) -> None:
    with pytest.raises(Refused, match=word):
        RewardMixture.from_mapping(mapping)


def test_every_reward_takes_an_empty_batch_and_checks_lengths() -> None:
    for name in available_rewards():
        settings = {"3d_r1_semantic": {"embed": INJECTED["embed"]}, "spacer_length": {"count_tokens": len}}.get(name, {})
        assert find_reward(name)([], [], **settings).shape == (0,)
        with pytest.raises(ValueError, match="2 completions and 1 references"):
            find_reward(name)(["a", "b"], [{}], **settings)


def test_a_reward_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REWARDS", {})
    reward = register("test_broken")(lambda completions, references: np.full(len(completions), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        reward(["a"], [{}])
    with pytest.raises(ValueError, match="two rewards"):
        register("test_broken")(lambda completions, references: np.zeros(1))


def test_group_advantages_in_closed_form() -> None:
    values = group_advantages([1, 0, 0, 1, 5, 5, 5, 5], 4, 1e-12)
    assert values == pytest.approx([3**0.5 / 2, -(3**0.5) / 2, -(3**0.5) / 2, 3**0.5 / 2, 0, 0, 0, 0])
    assert group_advantages([1, 0, 0, 1], 4, 1e-12, ddof=0) == pytest.approx([1, -1, -1, 1])
    assert group_advantages([3, 1], 2, scale=False).tolist() == [1.0, -1.0]
    assert group_advantages([1, 0], 2, 0.5, ddof=0) == pytest.approx([0.5, -0.5])
    for wrong, size in (([1, 2, 3], 2), ([1], 1), ([1, float("nan")], 2), ([[1, 2]], 2)):
        with pytest.raises(ValueError):
            group_advantages(wrong, size)


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8), st.floats(-100, 100))
def test_advantages_do_not_change_with_an_offset(rewards: list[float], offset: float) -> None:
    advantages = group_advantages(rewards, 4)
    assert np.isfinite(advantages).all()
    assert advantages.reshape(2, 4).mean(1) == pytest.approx([0, 0], abs=1e-6)
    assert group_advantages(np.array(rewards) + offset, 4) == pytest.approx(advantages, abs=1e-3)
