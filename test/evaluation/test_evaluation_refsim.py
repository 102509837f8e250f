"""The simulated bench counts what it says: reserved scenes, reserved pairs, wordings of one question, intervals, priors."""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pytest

from roboref_node.evaluation import eval_refsim
from roboref_node.evaluation.refsim import GENERAL, PAIR, UNKNOWN, WORDING, WORDINGS, Asked, Tally, best_constants, draw_scenes
from roboref_node.frame import Frame
from roboref_node.pointing.pointer import PixelPoint, PointAnswer
from roboref_node.status import Refused
from roboref_node.synth.language import UNKNOWN_NOUNS
from roboref_node.task import Task

KEYS = {
    "n", "macro", "step1", "step2", "step3", "free_space", "unseen_pairs", "seen_pairs", "unknown_nouns_refused", "wording_gap", "kinds",
    "ci95",
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes() -> list[list[Asked]]:
    return list(draw_scenes(150, size=(160, 120)))


def test_questions_are_of_reserved_scenes_and_count_for_what_they_are(scenes: list[list[Asked]]) -> None:
    asked = [item for scene in scenes for item in scene]
    assert len(asked) == 150
    purposes = Counter(item.purpose for item in asked)
    assert set(purposes) == {GENERAL, PAIR, UNKNOWN, WORDING} and purposes[GENERAL] > 60
    for item in asked:
        question = item.question
        assert item.frame.rgb.shape == (120, 160, 3) and question.mask.shape == (120, 160)
        if item.purpose == PAIR:
            assert item.unseen
        if item.purpose == UNKNOWN:
            assert not question.mask.any() and set(question.text.replace(".", "").split()) & set(UNKNOWN_NOUNS)
    kinds = Counter(item.question.kind for item in asked if item.purpose == GENERAL)
    assert len(kinds) >= 13 and max(kinds.values()) <= 2 * np.median(list(kinds.values()))


def test_wordings_are_of_one_question(scenes: list[list[Asked]]) -> None:
    triples = 0
    for scene in scenes:
        variants = [item for item in scene if item.purpose == WORDING]
        if len(variants) == len(WORDINGS):
            triples += 1
            assert tuple(item.wording for item in variants) == WORDINGS
            assert len({(item.question.target, item.question.answer_uv) for item in variants}) == 1
    assert triples >= 4


class Truth:
    """Answers with the truth of the question whose expression it is asked, except for some."""

    def __init__(self, scenes: list[list[Asked]], wrong: set[str]) -> None:
        self.wrong = wrong
        self.known = {(item.scene, item.question.expression): item.question for scene in scenes for item in scene}

    def point(self, frame: Frame, task: Task) -> PointAnswer:
        question = self.known[frame.stamp_ns, task.expression]
        if question.answer_uv is None or question.kind in self.wrong:
            return PointAnswer(points=(), text="[]", steps=(), timings_ms={}, provenance={})
        u, v = question.answer_uv[0] * frame.camera.width - 0.5, question.answer_uv[1] * frame.camera.height - 0.5
        return PointAnswer(points=(PixelPoint(u, v, 1.0),), text="", steps=(), timings_ms={}, provenance={})


def test_figures_follow_from_the_answers(scenes: list[list[Asked]]) -> None:
    for wrong, expected in ((set(), 1.0), ({"attribute", "size", "ordinal", "distance", "height"}, 0.0)):
        tally = Tally()
        pointer = Truth(scenes, wrong)
        for scene in scenes:
            usable = [item for item in scene if item.wording != "sentence"]
            tally.add(usable, [eval_refsim.answers_right(pointer, item) for item in usable])  # type: ignore[arg-type]
        figures = tally.figures()
        assert set(figures) == KEYS
        assert figures["step1"] == expected and figures["step2"] == figures["step3"] == figures["free_space"] == 1.0
        assert figures["unknown_nouns_refused"] == 1.0
        assert figures["kinds"]["attribute"] == expected and figures["kinds"]["chain"] == 1.0
        wrong_share = len(wrong & set(figures["kinds"])) / len(figures["kinds"])
        assert figures["macro"] == pytest.approx(1.0 - wrong_share, abs=1e-4)
        assert figures["ci95"]["step1"] == [expected, expected]
        low, high = figures["ci95"]["macro"]
        assert low <= figures["macro"] <= high


def test_seen_pairs_are_weighted_with_the_kinds_of_the_unseen_ones() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Kind:
        kind: str
        steps: int = 1

    def item(kind: str, unseen: bool) -> Asked:
        return Asked(Kind(kind), None, 0, GENERAL, unseen)  # type: ignore[arg-type]

    tally = Tally()
    tally.add([item("attribute", True)] * 3 + [item("size", True)], [True, True, False, False])
    tally.add([item("attribute", False)] * 2 + [item("size", False)] * 8, [True, True] + [False] * 8)
    figures = tally.figures()
    assert figures["unseen_pairs"] == 0.5
    assert figures["seen_pairs"] == 0.75  # attribute 1.0 with weight 3, size 0.0 with weight 1


def test_priors_are_balanced_and_no_constant_point_solves_the_bench(scenes: list[list[Asked]]) -> None:
    priors = best_constants(scenes)
    kinds = {name: row for name, row in priors.items() if "best_constant" in row}
    total = sum(row["n"] for row in kinds.values())
    left = sum(row["left_half"] * row["n"] for row in kinds.values()) / total
    assert 0.35 < left < 0.65
    assert sum(row["best_constant"] * row["n"] for row in kinds.values()) / total < 0.4


def test_the_shipped_nano_beats_the_same_model_without_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    eval_refsim.add_arguments(parser)
    seeing = eval_refsim.run(parser.parse_args(["--n", "40"]))
    blind = eval_refsim.run(parser.parse_args(["--n", "40", "--baseline", "text"]))
    assert set(seeing) == KEYS and seeing["n"] == 40
    assert seeing["macro"] > blind["macro"] + 0.2
    assert "macro" in capsys.readouterr().out
    with pytest.raises(Refused, match="--n is 0"):
        eval_refsim.run(parser.parse_args(["--n", "0"]))
