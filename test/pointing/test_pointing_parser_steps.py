"""The reasoning steps of RoboRefer answers: what is read, what counts as malformed, and that none is taken for the answer."""

from __future__ import annotations

import pytest

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.pointing.pointer import ReasoningStep

SIZE = (640, 480)
ANSWER_PX = pytest.approx((319.5, 119.5))


def test_reasoning_steps_are_read_in_order_with_their_values() -> None:
    text = (
        "<think>[Position] [second mug]: [(0.331, 0.520)]\n[Orientation] [mug handle]: [(0.000, 0.600, 0.800)]\n"
        "[Size] [mug]: 0.12 m\n[Position] [boxes]: [(0.1, 0.2), (0.3, 0.4)]</think><answer>[(0.5, 0.25)]</answer>"
    )
    answer = parse_points(text, Dialect.ROBOREFER, SIZE)
    assert answer.steps == (
        ReasoningStep("Position", "second mug", ((0.331, 0.520),)),
        ReasoningStep("Orientation", "mug handle", ((0.0, 0.6, 0.8),)),
        ReasoningStep("Size", "mug", ((0.12,),)),
        ReasoningStep("Position", "boxes", ((0.1, 0.2), (0.3, 0.4))),
    )
    assert answer.malformed_steps == 0
    assert (answer.points[0].u_px, answer.points[0].v_px) == ANSWER_PX


def test_steps_without_tags_are_not_taken_for_the_answer() -> None:
    answer = parse_points("[Position] [blue box]: [(0.9, 0.9)]\n[(0.5, 0.25)]", Dialect.ROBOREFER, SIZE)
    assert (answer.points[0].u_px, answer.points[0].v_px) == ANSWER_PX
    assert answer.steps == (ReasoningStep("Position", "blue box", ((0.9, 0.9),)),)


@pytest.mark.parametrize(
    "step",
    [
        "[Position] [a]: [(1.3, 0.5)]",
        "[Orientation] [a]: [(1, 1, 1)]",
        "[Size] [a]: -2",
        "[Position] [a]: [(0.1, 0.2, 0.3)]",
        "[Size] [a]: big",
    ],
)
def test_malformed_steps_in_the_thinking_are_counted_and_do_not_hide_the_answer(step: str) -> None:
    answer = parse_points(f"<think>{step}</think><answer>[(0.5, 0.25)]</answer>", Dialect.ROBOREFER, SIZE)
    assert (answer.steps, answer.malformed_steps) == ((), 1)
    assert (answer.points[0].u_px, answer.points[0].v_px) == ANSWER_PX


@pytest.mark.parametrize(
    ("steps", "read", "malformed"),
    [
        ("[Position] [a]: (0.1, 0.2)\n" * 64, 64, 0),
        ("[Orientation] [a]: (0, 0.6, 0.8)\n" * 64, 64, 0),
        ("[Position] [a]: (0.1, 0.2)\n" * 300, 64, 1),
        ("[Size] [a]: big\n" * 300, 0, 65),
        ("[Position] [a]: [" + "(0.1, 0.2), " * 60 + "(0.1, 0.2)]\n" + "[Position] [b]: (0.1, 0.2)\n" * 10, 11, 0),
        (("[Position] [a]: [" + "(0.1, 0.2), " * 60 + "(0.1, 0.2)]\n") * 4, 2, 1),
    ],
)
def test_only_so_many_steps_and_numbers_are_read(steps: str, read: int, malformed: int) -> None:
    answer = parse_points(f"<think>{steps}</think>[(0.5, 0.25)]", Dialect.ROBOREFER, SIZE)
    assert (len(answer.steps), answer.malformed_steps) == (read, malformed)
    assert (answer.points[0].u_px, answer.points[0].v_px) == ANSWER_PX
