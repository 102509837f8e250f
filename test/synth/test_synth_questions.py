"""Questions have one right answer: targets match, margins hold, regions are free, mirrored pictures mirror the answer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.synth.freespace import CLEARANCE_M
from roboref_node.synth.language import DIRECTIONS
from roboref_node.synth.questions import KINDS, Asker, in_direction
from roboref_node.synth.resolve import resolve
from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds, training_seeds
from roboref_node.synth.view import SceneView


@pytest.fixture(scope="module")
def views() -> list[SceneView]:
    renderer = SceneRenderer(160, 160)
    return [SceneView(renderer.render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS))) for seed in training_seeds(24)]


def asker(view: SceneView, seed: int, *, canonical: bool = True) -> Asker:
    return Asker(view, np.random.default_rng(seed), canonical=canonical, unknown_word=lambda: "banana")


def test_every_kind_is_asked_and_its_answer_is_right(views: list[SceneView]) -> None:
    counts: Counter[str] = Counter()
    for number, view in enumerate(views):
        for kind in KINDS:
            for attempt in range(8):
                question = asker(view, 100 * number + attempt, canonical=attempt % 2 == 0).ask(kind)
                if question is None:
                    continue
                counts[question.kind] += 1
                if question.answer_uv is None:
                    assert not question.mask.any()
                    continue
                u, v = int(question.answer_uv[0] * view.width), int(question.answer_uv[1] * view.height)
                assert question.mask[v, u], (question.kind, question.text)
                assert question.expression in question.text
                for _, (x, y) in question.references:
                    assert 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0
    assert set(counts) == set(KINDS)


def test_free_space_keeps_its_clearance(views: list[SceneView]) -> None:
    checked = 0
    for number, view in enumerate(views):
        question = asker(view, number).ask("free_space")
        if question is None:
            continue
        points = view.points_m[question.mask]
        assert np.abs(points[:, 2]).max() < 0.005
        for item in view.objects:
            if item.support == "table":
                assert np.hypot(*(points[:, :2] - item.centre_m[:2]).T).min() >= item.radius_m + CLEARANCE_M - 1e-9
        checked += 1
    assert checked > 10


def test_a_direction_and_its_opposite_never_both_hold(views: list[SceneView]) -> None:
    opposite = {"left": "right", "right": "left", "front": "behind", "behind": "front"}
    found = 0
    for view in views:
        for anchor in view.present:
            for item in view.present:
                for direction in DIRECTIONS:
                    if item.index != anchor.index and in_direction(view, anchor, direction, (item,)) is not None:
                        found += 1
                        assert in_direction(view, anchor, opposite[direction], (item,)) is None
                        assert in_direction(view, item, direction, (anchor,)) is None
    assert found > 50


def test_reserved_pairs_stay_out_of_training_and_come_when_asked_for() -> None:
    for seed in training_seeds(60):
        assert not any((o.colour, o.shape) in RESERVED_PAIRS for o in sample_scene(seed, excluded_pairs=RESERVED_PAIRS).objects)
    for seed, pair in zip(reserved_seeds(len(RESERVED_PAIRS)), sorted(RESERVED_PAIRS), strict=True):
        assert any((o.colour, o.shape) == pair for o in sample_scene(seed, excluded_pairs=RESERVED_PAIRS, required_pair=pair).objects)


def test_expressions_resolve_to_what_they_were_made_from(views: list[SceneView]) -> None:
    resolved = 0
    for number, view in enumerate(views):
        for kind in ("attribute", "ordinal", "relative"):
            for attempt in range(6):
                question = asker(view, 1000 * number + attempt).ask(kind)
                if question is None or question.target is None:
                    continue
                item = resolve(view, question.expression)
                if item is not None:
                    assert item.index == question.target, question.expression
                    resolved += 1
    assert resolved > 60


def test_what_is_beyond_the_grammar_resolves_to_nothing(views: list[SceneView]) -> None:
    for expression in ("", "the", "banana", "the sparkling cup", "left of", "the cup left of the banana"):
        assert resolve(views[0], expression) is None
