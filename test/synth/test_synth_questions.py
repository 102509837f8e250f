"""Questions have one right answer: targets match, margins hold, regions are free, mirrored pictures mirror the answer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.synth.freespace import CLEARANCE_M, container_region
from roboref_node.synth.language import DIRECTIONS, NOUNS
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


def test_on_a_plate_means_its_middle_and_not_only_its_rim(views: list[SceneView]) -> None:
    checked = 0
    for view in views:
        for item in view.present:
            if item.shape == "plate":
                region = container_region(view, item)
                u, v = (int(value) for value in item.inner_uv)
                assert region[v, u] and region.sum() == item.pixels, (view.spec.seed, item.index)
                checked += 1
    assert checked > 5


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


def test_chains_resolve_hop_by_hop_to_their_target(views: list[SceneView]) -> None:
    steps: Counter[int] = Counter()
    for number, view in enumerate(views):
        for kind in ("multi_step", "chain"):
            for attempt in range(4):
                question = asker(view, 500 * number + attempt).ask(kind)
                if question is None:
                    continue
                item = resolve(view, question.expression)
                assert item is not None and item.index == question.target, question.expression
                steps[question.steps] += 1
                lines = question.reasoning().splitlines()
                assert len(lines) == question.steps - 1
                assert all(line.startswith("[Position] [") and line.endswith(")]") for line in lines)
                for name, (x, y) in question.references:
                    index = view.rendered.instance[int(y * view.height), int(x * view.width)]
                    noun = "object" if name.endswith("object") else view.objects[index].shape
                    assert name.endswith(noun), (name, question.expression)
    assert steps[3] > 15 and steps[4] > 5 and steps[5] > 2


def test_free_space_of_a_chain_lies_beside_its_last_stop(views: list[SceneView]) -> None:
    checked = 0
    for number, view in enumerate(views):
        question = asker(view, number).ask("free_chain")
        if question is None:
            continue
        direction = next(d for d, words in DIRECTIONS.items() if question.expression.startswith(f"{words[0]} "))
        stop = resolve(view, question.expression.removeprefix(f"{DIRECTIONS[direction][0]} "))
        assert stop is not None and question.steps >= 3 and question.place
        offset = view.ground_m[question.mask] - [stop.right_m, stop.forward_m]
        along = {"left": -offset[:, 0], "right": offset[:, 0], "front": -offset[:, 1], "behind": offset[:, 1]}[direction]
        assert along.min() > 0.0
        checked += 1
    assert checked > 8


def test_one_question_has_several_wordings(views: list[SceneView]) -> None:
    texts: dict[tuple[int, str], set[str]] = {}
    for number, view in enumerate(views[:8]):
        for kind in KINDS:
            asked = [
                Asker(view, np.random.default_rng(number), canonical=wording == 0, unknown_word=lambda: "banana",
                      wording=np.random.default_rng(wording)).ask(kind)
                for wording in range(6)
            ]  # fmt: skip
            assert len({q is None for q in asked}) == 1
            found = [q for q in asked if q is not None]
            if found:
                assert len({(q.target, q.answer_uv, q.steps, q.kind) for q in found}) == 1
                texts[number, kind] = {q.text for q in found}
                assert found[0].wording == "canonical" and all("/" in q.wording for q in found[1:])
    assert np.mean([len(t) for t in texts.values()]) > 4


def test_where_colours_do_not_count_none_is_named_and_reserved_pairs_are_never_named_as_absent(views: list[SceneView]) -> None:
    absent = 0
    for number, view in enumerate(views):
        rng = np.random.default_rng(number)
        plain = Asker(view, rng, canonical=False, unknown_word=lambda: "banana", colourless=True)
        careful = Asker(view, rng, canonical=True, unknown_word=lambda: "banana", unnamed=RESERVED_PAIRS)
        for kind in KINDS:
            for _ in range(4):
                question = plain.ask(kind)
                assert question is None or not set(question.text.split()) & set(COLOURS), question.text
        for _ in range(60):
            question = careful.ask("absent")
            if question is not None:
                absent += 1
                assert not any(f"{colour} {NOUNS[shape][0]}" in question.text for colour, shape in RESERVED_PAIRS), question.text
    assert absent > 300


def test_what_is_beyond_the_grammar_resolves_to_nothing(views: list[SceneView]) -> None:
    for expression in ("", "the", "banana", "the sparkling cup", "left of", "the cup left of the banana"):
        assert resolve(views[0], expression) is None
