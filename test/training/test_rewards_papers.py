"""The rewards of 3D-R1, Scene-R1, SpaceR, SpatialReasoner and 3D-RFT in closed form."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest

from roboref_node.status import Refused
from roboref_node.training.rewards import available_rewards, find_reward
from roboref_node.training.rewards.spatial_reasoner import REQUIRED


def one(name: str, completion: str, reference: dict[str, Any], **settings: Any) -> float:
    return float(find_reward(name)([completion], [reference], **settings)[0])


def said(answer: str, thinking: str = "hm") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"


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
    for nothing in ("", "box: [1, 2]", "box: [nan, 0, 0, 1, 1, 1]", "box: [1e999,0,0,1,1,1]", "<obj>a</obj>", "box: [2,2,2,0,0,0]"):
        assert one("3d_r1_perception", said(nothing), reference) == 0, nothing
    assert one("3d_r1_perception", said(first), {"boxes_m": []}) == 0


def test_3d_r1_semantic() -> None:
    vectors = {"cup": [1.0, 0.0], "mug": [0.6, 0.8], "sky": [-1.0, 0.0], "": [1.0, 0.0], "void": [0.0, 0.0]}

    def embed(texts: list[str]) -> list[list[float]]:
        return [vectors[text] for text in texts]

    values = find_reward("3d_r1_semantic")(
        [said("cup"), said("mug"), said("sky"), "mug", "", said("void")], [{"answer": "cup"}] * 6, embed=embed
    )
    assert values == pytest.approx([1, 0.6, 0, 0.6, 0, 0])


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


MAP = {"chair": [[2, 3], [5, 3]], "sofa": [[8, 1]]}
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


# SpatialReasoner


def test_spatial_reasoner_accuracy() -> None:
    reference = {"answer": "B", "choices": ["the cup", "the bowl", None]}
    answers = {"B": 1, "(B)": 1, "The answer is B.": 1, "the bowl": 1, "A": 0, "the cup or the bowl": 0, "B. the cup": 0, "": 0, "A B": 0}
    for answer, expected in answers.items():
        assert one("spatial_reasoner_accuracy", said(answer), reference) == expected, answer
    assert one("spatial_reasoner_accuracy", said("A bowl is the bowl"), {**reference, "answer": "B"}) == 1  # the article is no letter
    assert one("spatial_reasoner_accuracy", "", {"answer": "B", "choices": {"A": "yes", "B": "yes"}}) == 1


def test_spatial_reasoner_format_and_steps() -> None:
    assert one("spatial_reasoner_format", f"\n{said('B')}\n", {}) == 1
    assert one("spatial_reasoner_format", "B", {}) == 0
    texts = ["", "First, a.", "First, a. Next, b.", "1. a\n- b\n- c\n- d", "Step 1: a Step 2: b Step 3: c"]
    assert [one("spatial_reasoner_steps", text, {}) for text in texts] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])


CHAIN = {
    "location": "The 3D location of the cup is (0.10, 0.20, 1.50).",
    "vector": "The vector from the cup to the box is (0.10, -0.20, 1.50).",
    "camera distance": "The distance from the cup to the camera is 1.50.",
    "pair distance": "The distance between the cup and the box is 0.40.",
    "angle": "The cosine similarity between the two is -0.97.",
    "front": "The front direction of the cup is (0.10, 0.20, 0.90).",
    "left": "The left direction of the cup is (0.10, 0.20, 0.90).",
}


@pytest.mark.parametrize("category", sorted(REQUIRED))
def test_spatial_reasoner_process_is_full_for_exactly_the_evidence(category: str) -> None:
    required = REQUIRED[category]
    chain = "\n".join(CHAIN[kind] for kind, count in required.items() for _ in range(count))
    reference = {"category": category}
    needed = sum(required.values())
    true_negatives = len(CHAIN) - len(required)
    assert one("spatial_reasoner_process", chain, reference) == 1
    assert one("spatial_reasoner_process", "", reference) == pytest.approx(true_negatives / (true_negatives + needed))
    kind = next(iter(required))
    surplus = f"{chain}\n{CHAIN[kind]}"
    assert one("spatial_reasoner_process", surplus, reference) == pytest.approx((needed + true_negatives) / (needed + true_negatives + 1))


def test_spatial_reasoner_process_cosine_and_angle_are_one_evidence() -> None:
    reference = {"category": "multi_object_parallel"}
    chain = f"{CHAIN['front']}\n{CHAIN['front']}\n{CHAIN['angle']}\n"
    assert one("spatial_reasoner_process", f"{chain}The angle between the two is 167 degrees.", reference) == 1
    everything = "\n".join(CHAIN.values())
    # right: front 1 + angle 1; wrong: front 1 missing, five kinds too many
    assert one("spatial_reasoner_process", everything, reference) == pytest.approx(2 / 8)
    with pytest.raises(Refused, match="category"):
        one("spatial_reasoner_process", chain, {"category": "taste"})


# 3D-RFT

CHAIR = {"label": "chair", "bbox_3d": [0, 0, 0, 1, 1, 1, 0, 0, 0]}
TABLE = {"label": "table", "bbox_3d": [5, 0, 0, 1, 1, 1, 0, 0, 0]}


def boxes(*entries: dict[str, Any]) -> str:
    return said(json.dumps(list(entries)))


def box(label: str, *values: float, **more: Any) -> dict[str, Any]:
    return {"label": label, "bbox_3d": list(values), **more}


def test_3d_rft_detection() -> None:
    reference = {"boxes": [CHAIR, TABLE]}
    octagon = 2 * (math.sqrt(2) - 1)
    turned = box("chair", 0, 0, 0, 1, 1, 1, math.pi / 4, 0, 0)
    assert one("3d_rft_iou", boxes(CHAIR, TABLE), reference) == pytest.approx(1)
    assert one("3d_rft_iou", boxes(turned), reference) == pytest.approx(octagon / (2 - octagon))
    assert one("3d_rft_iou", boxes(turned), reference, over="true") == pytest.approx(octagon / (2 - octagon) / 2)
    assert one("3d_rft_f1", boxes(turned), reference) == pytest.approx(2 / 3)
    assert one("3d_rft_f1", boxes(turned), reference, threshold=0.9) == 0
    wrong = box("sofa", *CHAIR["bbox_3d"])
    assert one("3d_rft_iou", boxes(wrong), reference) == 0 and one("3d_rft_f1", boxes(wrong), reference) == 0
    assert one("3d_rft_iou", boxes(wrong), reference, match_labels=False) == pytest.approx(1)
    assert one("3d_rft_f1", boxes(CHAIR, CHAIR, TABLE), reference) == pytest.approx(4 / 5)
    assert one("3d_rft_f1", said("[]"), {"boxes": []}) == one("3d_rft_iou", said("[]"), {"boxes": []}) == 1
    assert one("3d_rft_f1", said("[]"), reference) == one("3d_rft_iou", said("[]"), reference) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "chair",
        "[5]",
        "{}",
        json.dumps([{"label": "chair", "bbox_3d": [0] * 8}]),
        json.dumps([{"label": "chair", "bbox_3d": [0, 0, 0, -1, 1, 1, 0, 0, 0]}]),
        json.dumps([{"label": 3, "bbox_3d": [0, 0, 0, 1, 1, 1, 0, 0, 0]}]),
        '[{"label": "chair", "bbox_3d": [0, 0, 0, 1, 1, NaN, 0, 0, 0]}]',
        json.dumps([CHAIR] * 65),
        "[" * 50_000,
    ],
)
def test_3d_rft_garbage(answer: str) -> None:
    reference = {"boxes": [CHAIR], "frame": 3, "aabb_m": [0, 0, 0, 1, 1, 1], "world_from_camera": np.eye(4)}
    for name in ("3d_rft_format", "3d_rft_iou", "3d_rft_f1", "3d_rft_frame", "3d_rft_grounding_iou"):
        assert one(name, said(answer), reference) == 0, name


def test_3d_rft_huge_numbers_are_finite() -> None:
    reference = {"boxes": [CHAIR], "aabb_m": [0, 0, 0, 1, 1, 1], "world_from_camera": np.eye(4)}
    for value in (1e300, -1e300, 1e-300):
        huge = boxes(box("chair", value, value, value, 1e300, abs(value), 1, value, value, value))
        assert one("3d_rft_format", huge, reference) == 1
        for name in ("3d_rft_iou", "3d_rft_f1", "3d_rft_grounding_iou"):
            assert one(name, huge, reference) == pytest.approx(0, abs=1e-9)


def test_3d_rft_grounding() -> None:
    pose = np.array([[0, 0, 1, 1], [-1, 0, 0, 2], [0, -1, 0, 3], [0, 0, 0, 1.0]])
    reference = {"frame": 7, "aabb_m": [1, 1, 2, 4, 2.5, 2.5], "world_from_camera": {7: pose}}
    # camera x ± .75 → world y; camera y ± .25 → world z; camera z 1.5 ± 1.5 → world x
    found = box("chair", 0.25, 0.75, 1.5, 1.5, 0.5, 3, 0, 0, 0, frame=7)
    assert one("3d_rft_grounding_iou", boxes(found), reference) == pytest.approx(1)
    assert one("3d_rft_grounding_iou", boxes({**found, "frame": 8}), reference) == 0
    assert one("3d_rft_grounding_iou", boxes(found), {**reference, "world_from_camera": pose}) == pytest.approx(1)
    frames = {7: 1, 8: 0.8, 4: 0.4, 12: 0, -100: 0}
    for number, expected in frames.items():
        assert one("3d_rft_frame", boxes({**found, "frame": number}), reference) == pytest.approx(expected)
    assert one("3d_rft_frame", boxes(CHAIR), reference) == 0
    assert one("3d_rft_format", boxes(CHAIR), reference) == 1 and one("3d_rft_format", boxes(CHAIR), reference, frame=True) == 0


def test_3d_rft_answer() -> None:
    assert one("3d_rft_answer", said("(B)"), {"answer": "B"}) == 1
    assert one("3d_rft_answer", said("C"), {"answer": "B"}) == 0
    assert one("3d_rft_answer", said(""), {"answer": ""}) == 0
    assert one("3d_rft_answer", said("1.5 m"), {"answer": 1.0}) == 0  # strictly below: 50 % is not
    assert one("3d_rft_answer", said("1.49"), {"answer": 1.0}) == pytest.approx(0.1)
    assert one("3d_rft_answer", said("many"), {"answer": 1.0}) == 0


# All of them

REFERENCE = {
    "image_size_px": (640, 480),
    "point_px": (1, 1),
    "mask": np.ones((2, 2), bool),
    "steps": [],
    "boxes_m": [[0, 0, 0, 1, 1, 1]],
    "answer": "3",
    "choices": ["x", "y", "z"],
    "category": "height_higher",
    "window_s": (0, 1),
    "box_px": (0, 0, 1, 1),
    "task": "numerical",
    "map": MAP,
    "boxes": [CHAIR],
    "frame": 3,
    "world_from_camera": np.eye(4),
    "aabb_m": [0, 0, 0, 1, 1, 1],
}


def test_hostile_completions_cost_little_time() -> None:
    hostile = [
        "vector from a to " * 4000,
        "<think>" * 9000,
        "</think>" + "<think>" * 8000,
        "<map>" + "'a':[" * 12_000 + "</map>",
        said("[" * 60_000),
        said("1" * 60_000),
        said('{"a":' * 10_000),
        said("1.1 to " * 9000),
        "[Position] [a]: " * 4000,
        "<obj>" + "1," * 300,
        "x" * 1_000_000,
        "<think>" + "</think> " * 7000,
        "<map>" + "[[1,2]," * 8000 + "</map>",
        "distance from x to the camera " * 2000,
        said("-" * 60_000),
    ]
    for name in available_rewards():
        settings = {"3d_r1_semantic": {"embed": lambda t: np.ones((len(t), 2))}, "spacer_length": {"count_tokens": len, "group_size": 1}}
        started = time.process_time()
        values = find_reward(name)(hostile, [REFERENCE] * len(hostile), **settings.get(name, {}))
        assert np.isfinite(values).all()
        assert time.process_time() - started < 3.0, name
