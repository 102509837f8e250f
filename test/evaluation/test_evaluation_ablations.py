"""Comparisons of training arms: paired, with intervals that mean what they say; tables as data."""

from __future__ import annotations

import numpy as np
import pytest

from roboref_node.evaluation.ablations import compare, draw, run_table
from roboref_node.status import Refused
from roboref_node.training.recipes import SHIPPED_WEIGHTS, load_recipe


def test_a_difference_with_its_intervals() -> None:
    scenes = np.repeat(np.arange(100), 3)
    baseline = np.zeros((3, 300), dtype=bool)
    arm = np.zeros((3, 300), dtype=bool)
    for seed, count in enumerate((90, 60, 75)):  # 30 %, 20 %, 25 %
        arm[seed, :count] = True
    result = compare("a", "b", arm, baseline, scenes)
    assert result.arm_by_seed == (0.3, 0.2, 0.25) and result.difference == pytest.approx(0.25)
    reach = 4.302653 * 0.05 / 3**0.5  # Student, two degrees of freedom
    assert result.seed_ci95 == pytest.approx((0.25 - reach, 0.25 + reach), abs=1e-5)
    assert 0.15 < result.scene_ci95[0] < 0.25 < result.scene_ci95[1] < 0.35
    assert result.verdict == "holds"
    assert compare("b", "a", baseline, arm, scenes).verdict == "reversed"
    assert compare("a", "a", arm, arm, scenes).verdict == "not shown"
    with pytest.raises(ValueError, match="two seeds"):
        compare("a", "b", arm[:1], baseline[:1], scenes)


def test_the_scene_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Questions of one scene fall together: an interval over questions would be too narrow."""
    rng = np.random.default_rng(0)
    covered = []
    for trial in range(60):
        by_scene = rng.random((60, 1)) < 0.3
        arm = np.repeat(by_scene, 5, axis=1).reshape(1, -1).repeat(2, axis=0)
        result = compare("a", "b", arm, np.zeros_like(arm), np.repeat(np.arange(60), 5), seed=trial)
        covered.append(result.scene_ci95[0] <= 0.3 <= result.scene_ci95[1])
    assert np.mean(covered) >= 0.88


def test_every_table_names_known_arms_and_kinds() -> None:
    settings = load_recipe("ablations")
    for name, table in settings["tables"].items():
        asked = draw(len(table["kinds"]), table["kinds"], table.get("minimum_steps", 1))
        assert {a.question.kind for a in asked} == set(table["kinds"]), name
        assert all(a.question.steps >= table.get("minimum_steps", 1) for a in asked)
        for arm in (table["arm"], *table["baselines"]):
            assert arm in settings["arms"], (name, arm)


def test_wrong_tables_are_refused(tmp_path) -> None:
    good = {"arms": {"a": {"stage": "none"}}, "tables": {"t": {"claim": "", "arm": "a", "baselines": ["a"], "kinds": ["size"]}}}
    wrong = [
        ("u", good, 3), ("t", good, 1), ("t", {**good, "arms": {}}, 3), ("t", {**good, "arms": {"a": {"stage": "magic"}}}, 3),
        ("t", {**good, "tables": {"t": {**good["tables"]["t"], "kind": "size"}}}, 3),
    ]  # fmt: skip
    for name, settings, seeds in wrong:
        with pytest.raises(Refused):
            run_table(name, settings, seeds=seeds, scenes=tmp_path, init=SHIPPED_WEIGHTS, out=tmp_path, questions=4)


def test_a_table_of_the_shipped_nano_against_itself(tmp_path) -> None:
    settings = {
        "arms": {"sighted": {"stage": "none"}, "blind": {"stage": "none", "use_depth": False}},
        "tables": {"t": {"claim": "depth helps", "arm": "sighted", "baselines": ["blind"], "kinds": ["distance", "attribute"]}},
    }
    options = {"seeds": 2, "scenes": tmp_path, "init": SHIPPED_WEIGHTS, "out": tmp_path, "questions": 16}
    (comparison,), result = run_table("t", settings, **options)
    assert comparison.questions == 16 and comparison.arm_by_seed[0] == comparison.arm_by_seed[1] > 0.4
    assert result["comparisons"][0]["verdict"] in ("holds", "not shown", "reversed")
    again, _ = run_table("t", settings, **options)
    assert again == [comparison]
