"""RoboRefer's rewards in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from roboref_node.status import Refused
from roboref_node.training.rewards import find_reward

SIZE = (640, 480)


def one(name: str, completion: str, reference: dict[str, Any], **settings: Any) -> float:
    values = find_reward(name)([completion], [reference], **settings)
    assert values.shape == (1,) and values.dtype == np.float64
    return float(values[0])


def at(u_px: float, v_px: float) -> str:
    """An answer whose pixel is (u, v): pixel 0 is half a pixel inside the picture."""
    return f"[({(u_px + 0.5) / SIZE[0]:.8f}, {(v_px + 0.5) / SIZE[1]:.8f})]"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("<think>a</think><answer>[(0.1, 0.2)]</answer>", 1),
        ("\n<think>a</think>\n<answer>[]</answer>\n", 1),
        ("<think></think><answer></answer>", 1),
        ("[(0.1, 0.2)]", 0),
        ("<think>a</think><answer>b", 0),
        ("<think>a</think> so <answer>b</answer>", 0),
        ("<think>a</think><answer>b</answer> done", 0),
        ("<answer>b</answer><think>a</think>", 0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0),
        ("<think>a</think><answer>b</answer>" + "x" * 70_000, 0),
        ("", 0),
    ],
)
def test_outcome_format(completion: str, expected: float) -> None:
    assert one("roborefer_outcome_format", completion, {}) == expected


def test_outcome_format_of_a_model_that_leaves_the_last_tag_out() -> None:
    assert one("roborefer_outcome_format", "<think>a</think><answer>[(0.1, 0.2)]", {}, closed=False) == 1
    assert one("roborefer_outcome_format", "<think>a</think>[(0.1, 0.2)]", {}, closed=False) == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (at(100, 100), 1),
        (at(129, 120.5), 1),
        (at(131, 120), 0),
        (at(151, 100), 0),
        ("[]", 0),
        ("", 0),
        ("[(nan, 0.5)]", 0),
        ("[(1e400, 0.5)]", 0),
        ("[(1.5, 0.5)]", 0),
        ("(((((", 0),
        ("9" * 100_000, 0),
    ],
)
def test_point(answer: str, expected: float) -> None:
    reference = {"image_size_px": SIZE, "point_px": (100, 100)}
    assert one("roborefer_point", answer, reference) == expected
    assert one("roborefer_point", f"<think>[Position] [cup]: [(0.9, 0.9)]</think><answer>{answer}</answer>", reference) == expected


def test_point_where_nothing_fits() -> None:
    reference = {"image_size_px": SIZE, "point_px": None}
    assert one("roborefer_point", "[]", reference) == 1
    assert one("roborefer_point", at(100, 100), reference) == 0
    assert one("roborefer_point", "no idea", reference) == 0


def test_relative_point_scales_with_the_picture() -> None:
    answer = "[(0.5, 0.5)]"
    for scale in (1, 4):
        size = (960 * scale, 540 * scale)
        near = {"image_size_px": size, "point_px": (480 * scale + 49 * scale, 270 * scale)}
        far = {"image_size_px": size, "point_px": (480 * scale + 51 * scale, 270 * scale)}
        assert (one("roborefer_point_relative", answer, near), one("roborefer_point_relative", answer, far)) == (1, 0)
        assert one("roborefer_point", answer, near) == (1 if scale == 1 else 0)


def test_point_in_mask() -> None:
    mask = np.zeros((480, 640), bool)
    mask[100:200, 100:200] = True
    both = f"{at(150, 150)[:-1]}, {at(10, 10)[1:]}"
    assert one("roborefer_point_in_mask", at(150, 150), {"mask": mask}) == 1
    assert one("roborefer_point_in_mask", both, {"mask": mask}) == 0.5
    assert one("roborefer_point_in_mask", "[]", {"mask": mask}) == 0
    assert one("roborefer_point_in_mask", "[]", {"mask": np.zeros((4, 4), bool)}) == 1
    assert one("roborefer_point_in_mask", "?", {"mask": np.zeros((4, 4), bool)}) == 0


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ("[Position] [red cup]: [(0.1, 0.2)]\n[Size] [red cup]: 0.12 m\n[Orientation] [car]: (1.0, 0.0, 0.0)", 1),
        ("First the cup.\n[Position] [red cup]: [(0.1, 0.2)]", 1),
        ("[Position] [red cup]: somewhere", 0),
        ("[Position] [red cup]: [(0.1, 0.2)]\n[Colour] [red cup]: red", 0),
        ("[Position] [red cup]: [(0.1, 0.2)]\n[Size] [red cup]: big", 0),
        ("[Orientation] [car]: (3.0, 0.0, 0.0)", 0),
        ("no steps", 0),
        ("", 0),
    ],
)
def test_process_format(thinking: str, expected: float) -> None:
    assert one("roborefer_process_format", f"<think>{thinking}</think><answer>[(0.1, 0.2)]</answer>", {}) == expected
    assert one("roborefer_process_format", thinking, {}) == 0  # outside the thinking nothing is a step


STEPS = [
    {"kind": "Position", "target": "the red cup", "values": [(0.5, 0.5)]},
    {"kind": "Size", "target": "red cup", "values": 0.2},
    {"kind": "Orientation", "target": "car", "values": (0.0, 0.0, 1.0)},
]
PROCESS = {"image_size_px": (1000, 1000), "steps": STEPS}


def process(thinking: str, **settings: Any) -> float:
    return one("roborefer_process_accuracy", f"<think>{thinking}</think><answer>[]</answer>", PROCESS, **settings)


def test_process_accuracy_gates() -> None:
    assert process("[Position] [red cup]: [(0.524, 0.525)]") == 1
    assert process("[Position] [red cup]: [(0.525, 0.5251)]") == 0  # L1 < 50, not ≤
    assert process("[Size] [Red Cup]: 0.23") == 1
    assert process("[Size] [red cup]: 0.231") == 0
    assert process("[Orientation] [car]: (0.58, 0.0, 0.815)") == 1
    assert process("[Orientation] [car]: (0.61, 0.0, 0.79)") == 0
    assert process("[Position] [red cup]: [(0.5, 0.5), (0.9, 0.9)]") == 0  # one of two places is wrong


def test_process_accuracy_is_free_of_order_and_ignores_other_names() -> None:
    steps = ["[Orientation] [car]: (0.0, 0.0, 1.0)", "[Size] [red cup]: 9.0", "[Position] [red cup]: [(0.5, 0.5)]"]
    assert process("\n".join(steps)) == process("\n".join(reversed(steps))) == pytest.approx(2 / 3)
    assert process("[Position] [blue cup]: [(0.5, 0.5)]") == 0
    assert process("[Size] [car]: 0.2") == 0  # the name is annotated with another kind
    assert process("") == 0


def test_process_accuracy_over_annotated_steps_closes_the_loophole() -> None:
    assert process("[Size] [red cup]: 0.2") == 1
    assert process("[Size] [red cup]: 0.2", over="annotated") == pytest.approx(1 / 3)
    assert process("[Size] [red cup]: 0.2\n" * 3, over="annotated") == pytest.approx(1 / 3)
    with pytest.raises(Refused, match="over"):
        process("x", over="all")


def test_process_accuracy_by_pattern_and_relative() -> None:
    reference = {"image_size_px": (1920, 1080), "steps": [{"kind": "Position", "pattern": ".*cup.*", "target": "", "values": [(0.5, 0.5)]}]}
    completion = "<think>[Position] [second cup]: [(0.5, 0.55)]</think><answer>[]</answer>"  # 54 px away
    assert one("roborefer_process_accuracy", completion, reference) == 0
    assert one("roborefer_process_accuracy_relative", completion, reference) == 1


def test_garbage_earns_nothing_and_never_nan() -> None:
    reference = {**PROCESS, "point_px": (1.0, 1.0), "mask": np.ones((4, 4), bool)}
    garbage = ["", "\x00", "<think>", "[Position] [a]: [(1e999, nan)]", "((" * 20_000, "[(0.5, 0.5" * 9_000, "💥" * 1000, "</think>" * 999]
    for name in ("outcome_format", "point", "point_relative", "point_in_mask", "process_format", "process_accuracy"):
        values = find_reward(f"roborefer_{name}")(garbage, [reference] * len(garbage))
        assert values.tolist() == [0.0] * len(garbage), name
    assert math.isfinite(one("roborefer_process_accuracy", "<think>[Size] [red cup]: 999.0</think>", PROCESS))


def test_a_reference_without_its_key_is_a_clear_error() -> None:
    with pytest.raises(Refused, match="point_px"):
        one("roborefer_point", "[(0.1, 0.1)]", {"image_size_px": SIZE})
