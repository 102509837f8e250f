"""The rewards of 3D-R1, Scene-R1 and SpaceR in closed form."""

from __future__ import annotations

import math

import pytest
from reward_calls import MAP, one, said

from roboref_node.status import Refused
from roboref_node.training.rewards import find_reward

# 3D-R1


def test_3d_r1_format() -> None:
    assert one("3d_r1_format", f"so: {said('B')}", {}) == 1
    assert one("3d_r1_format", "<answer>B</answer><think>hm</think>", {}) == 0
    assert one("3d_r1_format", "<think>hm</think>B", {}) == 0


@pytest.mark.parametrize(
    ("completion", "with_tags", "without"),
    [
        (said("B"), 0.75, 0.5),  # 17 characters of thinking with tags, 18 of answer
        (said("B", "123456"), 1.0, 0.5),
        (said("12345678901", "x" * 21), 1.0, 1.0),
        (said("1234567890", "x" * 20), 1.0, 0.5),
        ("<answer>only an answer</answer>", 0.25, 0.25),
        ("<think>" + "x" * 30 + "</think>", 0.25, 0.25),
        ("", 0.0, 0.0),
        ("</think><think></answer><answer>", 0.0, 0.0),
    ],
)
def test_3d_r1_format_graded(completion: str, with_tags: float, without: float) -> None:
    assert one("3d_r1_format_graded", completion, {}) == with_tags
    assert one("3d_r1_format_graded", completion, {}, count_tags=False) == without


def test_3d_r1_perception() -> None:
    reference = {"boxes_m": [[0, 0, 0, 2, 2, 2], [5, 5, 5, 6, 6, 6]]}
    first = "box: [0, 0, 0, 2, 2, 1]"
    assert one("3d_r1_perception", said(first), reference) == 0.5
    assert one("3d_r1_perception", said(f"{first} and box: [5,5,5,6,6,6]"), reference) == 0.75
    assert one("3d_r1_perception", said(f"box: [5,5,5,6,6,6] {first}"), reference, form="paper") == 0
    assert one("3d_r1_perception", said("<obj>1, 1, 1, 2, 2, 2</obj>"), reference) == 1
    gridded = {**reference, "grid": {"origin_m": [-1, -1, -1], "extent_m": [2.55, 2.55, 2.55], "steps": 255}}
    assert one("3d_r1_perception", said("<obj>200, 200, 200, 200, 200, 100</obj>"), gridded) == pytest.approx(0.5)
    for nothing in ("", "box: [1, 2]", "box: [nan, 0, 0, 1, 1, 1]", "box: [1e999,0,0,1,1,1]", "<obj>a</obj>", "box: [2,2,2,2,0,0]"):
        assert one("3d_r1_perception", said(nothing), reference) == 0, nothing
    # The repository takes the smaller and the larger of each coordinate, and lets a list run over several lines.
    assert one("3d_r1_perception", said("box: [2,2,2,0,0,0]"), reference) == 1
    assert one("3d_r1_perception", said("box:\n[2, 0,\n0, 0, 2,\n1]"), reference) == 0.5
    assert one("3d_r1_perception", said(first), {"boxes_m": []}) == 0


def test_3d_r1_semantic() -> None:
    vectors = {"cup": [1.0, 0.0], "mug": [0.6, 0.8], "sky": [-1.0, 0.0], "": [1.0, 0.0], "void": [0.0, 0.0]}

    def embed(texts: list[str]) -> list[list[float]]:
        return [vectors[text] for text in texts]

    values = find_reward("3d_r1_semantic")(
        [said("cup"), said("mug"), said("sky"), "mug", "", said("void")], [{"answer": "cup"}] * 6, embed=embed
    )
    assert values == pytest.approx([1, 0.6, 0, 0.6, 0, 0])
    assert one("3d_r1_semantic", said("", "cup"), {"answer": "cup"}, embed=embed) == 0  # thinking is no answer


# Scene-R1


def test_scene_r1_temporal() -> None:
    reference = {"window_s": (10.0, 20.0)}
    for answer, expected in {
        "15.0 to 25.0": 1 / 3,
        "10s to 20s": 1,
        "from 10 to 20 seconds": 1,
        "20 to 10": 0,
        "10 to 20, or 30 to 40": 0,
        "15": 0,
        "": 0,
        "nan to inf": 0,
        "99999999999999 to 999999999999999": 0,
    }.items():
        assert one("scene_r1_temporal", said(answer), reference) == pytest.approx(expected), answer
    assert one("scene_r1_temporal", "10 to 20", reference) == 0


def test_scene_r1_json_and_box() -> None:
    reference = {"box_px": (0, 0, 10, 10)}
    good = '{"bbox_2d": [0, 0, 10, 5], "label": "cup"}'
    assert one("scene_r1_json", said(good), reference) == 1 and one("scene_r1_box", said(good), reference) == 0.5
    fenced = f"```json\n{good[:-1]},}}\n```"
    assert one("scene_r1_json", said(fenced), reference) == 1
    for broken in (
        "",
        "[0, 0, 10, 5]",
        '{"bbox_2d": [0, 0, 10], "label": "cup"}',
        '{"bbox_2d": [0, 0, 10, "5"], "label": "cup"}',
        '{"bbox_2d": [0, 0, NaN, 5], "label": "cup"}',
        '{"bbox_2d": [0, 0, 1e999, 5], "label": "cup"}',
        '{"bbox_2d": [0, 0, true, 5], "label": "cup"}',
        '{"bbox_2d": [0, 0, 10, 5]}',
        f"The box is {good}",
        "[" * 30_000,
    ):
        assert one("scene_r1_json", said(broken), reference) == 0, broken[:40]
        assert one("scene_r1_box", said(broken), reference) == 0, broken[:40]


def test_scene_r1_exact() -> None:
    reference = {"answer": ["brown", "dark brown"]}
    cases = [said("Brown "), said("red"), "brown", "<answer>brown</answer>", ""]
    assert [one("scene_r1_exact", text, reference) for text in cases] == [1, 0, 0, 0, 0]
    assert [one("scene_r1_exact_penalised", text, reference) for text in cases] == [1, -0.5, -1, -1, -1]
    assert one("scene_r1_format", said("x"), reference) == 1 and one("scene_r1_format", f"a {said('x')}", reference) == 0


# SpaceR


def test_spacer_format() -> None:
    assert [one("spacer_format", text, {}) for text in (said("B"), f" {said('B')}", said("B") + said("C"), "<think></answer>")] == [
        1,
        0,
        1,
        0,
    ]


def test_spacer_tasks() -> None:
    assert one("spacer_multiple_choice", said(" B "), {"answer": "B"}) == 1
    assert one("spacer_multiple_choice", said("B."), {"answer": "B"}) == 0
    assert one("spacer_multiple_choice", "B", {"answer": "B"}) == 0
    assert one("spacer_multiple_choice", "", {"answer": ""}) == 0
    assert one("spacer_ocr", said("pick the red"), {"answer": "pick the red cup"}) == 0.75
    assert one("spacer_ocr", said("a b c d"), {"answer": "x"}) == 0
    assert one("spacer_free_form", said("the cat sat on the mat"), {"answer": "the cat is on the mat"}) == pytest.approx(
        (5 / 6 + 3 / 5 + 5 / 6) / 3
    )
    assert one("spacer_free_form", "", {"answer": "x"}) == 0


@pytest.mark.parametrize(
    ("answer", "lenient", "strict"),
    [
        ("10", 1, 1),
        ("12.4 m", 0.6, 0.6),
        ("ten", 1, 0),
        ("a table 10 away", 0, 1),
        ("-10", 1, 0),
        ("", 0, 0),
        ("nan", 0, 0),
        ("9" * 400, 0, 0),
    ],
)
def test_spacer_numerical(answer: str, lenient: float, strict: float) -> None:
    assert one("spacer_numerical", said(answer), {"answer": 10.0}) == pytest.approx(lenient)
    assert one("spacer_numerical", said(answer), {"answer": 10.0}, lenient=False) == pytest.approx(strict)


def test_spacer_regression() -> None:
    values = {"1,000": 1, "750": 0.75, "0": 0, "-5000": 0, "1000 m": 0, "": 0, "nan": 0, "inf": 0}
    for answer, expected in values.items():
        assert one("spacer_regression", said(answer), {"answer": 1000}) == pytest.approx(expected), answer
    assert one("spacer_regression", said("0"), {"answer": 0}) == 0  # the published ε's: even the right 0 differs by ε / ε
    with pytest.raises(Refused, match="task"):
        one("spacer_task", said("0"), {"answer": 0, "task": "haiku"})


PERFECT = "<map>{'chair': [[2, 3], [5, 3]], \"sofa\": [(8, 1)],}</map>"


def test_spacer_map_published_and_without_loopholes() -> None:
    reference = {"task": "multiple choice", "answer": "B", "map": MAP}
    extra = PERFECT.replace(",}", ", 'piano': [[0, 0], [1, 1], [2, 2]]}")
    nothing = "<map>{'piano': [[1, 1]]}</map>"
    rewards = {
        (name, key): one(name, said(answer, thinking), reference)
        for name in ("spacer_task_and_map", "spacer_map", "spacer_map_published")
        for key, (answer, thinking) in {
            "right, no map": ("B", "hm"),
            "right, perfect": ("B", PERFECT),
            "right, extra": ("B", extra),
            "right, worthless": ("B", nothing),
            "wrong, perfect": ("C", PERFECT),
        }.items()
    }
    published = {key: value for (name, key), value in rewards.items() if name == "spacer_task_and_map"}
    assert published == {"right, no map": 1, "right, perfect": 2, "right, extra": 2, "right, worthless": 0, "wrong, perfect": 0}
    plain = {key: value for (name, key), value in rewards.items() if name == "spacer_map"}
    assert plain == {"right, no map": 0, "right, perfect": 1, "right, extra": 0.5, "right, worthless": 0, "wrong, perfect": 1}
    assert rewards["spacer_map_published", "right, extra"] == 1


def test_spacer_map_is_read_as_published_or_as_said() -> None:
    reference = {"map": {"Chair": [[2, 3], [5, 3]]}}
    inexact = said("B", "<map>{'Chair ': [['2', '3'], [5.9, 3.9], [1, 2, 3]]}</map>")
    assert one("spacer_map_published", inexact, reference) == 1  # cut to whole cells, what is no pair is not counted
    gap = math.hypot(0.9, 0.9) / (10 * math.sqrt(2))
    assert one("spacer_map", inexact, reference) == pytest.approx((1 + 1 - gap) / 3)


def test_spacer_map_counts_for_good_numbers_only() -> None:
    reference = {"task": "numerical", "answer": 10, "map": MAP}
    assert one("spacer_task_and_map", said("10", PERFECT), reference) == 2
    assert one("spacer_task_and_map", said("12.5", PERFECT), reference) == pytest.approx(1.6)
    assert one("spacer_task_and_map", said("13", PERFECT), reference) == pytest.approx(0.5)  # 0.5 is not above 0.5
    assert one("spacer_task_and_map", said("cup", PERFECT), {**reference, "task": "OCR", "answer": "cup"}) == 1


@pytest.mark.parametrize(
    "body", ["", "{}", "garbage", "{'chair': [[nan, 1]]}", "{'chair': [[1e999, 1]]}", "{'chair': 5}", "{'chair': [[1, 2, 3]]}"]
)
def test_spacer_map_of_garbage(body: str) -> None:
    assert one("spacer_map", said("B", f"<map>{body}</map>"), {"map": MAP}) == 0


def test_spacer_length() -> None:
    reference = {"task": "multiple choice", "answer": "B"}

    def text(answer: str, words: int) -> str:
        return said(answer, "w " * words)

    group = [text("B", 400), text("B", 10), text("C", 400), text("B", 600)]
    settings = {"count_tokens": lambda text: len(text.split()) - 1, "group_size": 4}
    length = find_reward("spacer_length")
    assert length(group, [reference] * 4, **settings).tolist() == [0.2, 0, 0, 0]
    alone = [text("B", 400), text("C", 400), text("C", 400), text("C", 400)]
    assert length(alone, [reference] * 4, **settings).tolist() == [0, 0, 0, 0]
    edges = [text("B", 320), text("B", 319), text("B", 512), text("B", 513)]
    assert length(edges, [reference] * 4, **settings).tolist() == [0.2, 0, 0.2, 0]
    with pytest.raises(ValueError, match="groups of 4"):
        length(group[:3], [reference] * 3, **settings)
