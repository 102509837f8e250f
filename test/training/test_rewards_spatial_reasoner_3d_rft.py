"""The rewards of SpatialReasoner and 3D-RFT in closed form; hostile completions against every reward."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from reward_calls import MAP, one, said

from roboref_node.status import Refused
from roboref_node.training.rewards import available_rewards, find_reward
from roboref_node.training.rewards.spatial_reasoner import REQUIRED

# SpatialReasoner


def test_spatial_reasoner_accuracy() -> None:
    reference = {"answer": "B", "choices": ["the cup", "the bowl", None]}
    answers = {"B": 1, "(B)": 1, "The answer is B.": 1, "the bowl": 1, "A": 0, "the cup or the bowl": 0, "B. the cup": 0, "": 0, "A B": 0}
    for answer, expected in answers.items():
        assert one("spatial_reasoner_accuracy", said(answer), reference) == expected, answer
    assert one("spatial_reasoner_accuracy", said("A bowl is the bowl"), {**reference, "answer": "B"}) == 1  # the article is no letter
    assert one("spatial_reasoner_accuracy", "", {"answer": "B", "choices": {"A": "yes", "B": "yes"}}) == 1
    assert one("spatial_reasoner_accuracy", "It is B.", reference) == 1  # without tags the whole text is the answer
    assert one("spatial_reasoner_accuracy", said("", "It is B."), reference) == 0  # an empty answer is not made up for by thinking


def test_spatial_reasoner_format_and_steps() -> None:
    texts = [said("B"), f"{said('B')}\n", f"{said('B')}\nmore", said("B") + said("C"), f"\n{said('B')}", f"{said('B')} more", "B"]
    assert [one("spatial_reasoner_format", text, {}) for text in texts] == [1, 1, 1, 1, 0, 0, 0]  # as the published pattern has it
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


def test_spatial_reasoner_process_finds_evidence_however_far_apart_on_a_line() -> None:
    reference = {"category": "height_higher"}
    far = f"The 3D location of {'very ' * 400}old cup is (0.10, 0.20, 1.50)."
    long_chain = "\n".join(["a line of reasoning"] * 1500 + [CHAIN["location"]])
    both = one("spatial_reasoner_process", f"{CHAIN['location']}\n{CHAIN['location']}", reference)
    assert both == 1
    for chain in (f"{far} {CHAIN['location']}", f"{long_chain} {CHAIN['location']}"):
        assert one("spatial_reasoner_process", chain, reference) == both
    across = "The 3D location of the cup\nis (0.10, 0.20, 1.50)."
    assert one("spatial_reasoner_process", across, reference) == one("spatial_reasoner_process", "", reference)


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
