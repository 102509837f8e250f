"""One table per dialect: what is accepted, to the pixel, and what is refused, with which status."""

from __future__ import annotations

import pytest

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import MAX_ANSWER_CHARS, ParsedAnswer, parse_points
from roboref_node.pointing.pointer import ReasoningStep
from roboref_node.status import Refused, Status

SIZE = (640, 480)


def pixels(answer: ParsedAnswer) -> list[tuple[float, float]]:
    return [(point.u_px, point.v_px) for point in answer.points]


ACCEPTED = [
    (Dialect.ROBOREFER, "[(0.500, 0.250)]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[(0.5,0.25)]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "(0.500, 0.250)", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[[0.5, 0.25]]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[0.5, 0.25]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[( .5 , .25 )]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[(0.5, 0.25),]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[(0.5, 0.25), (0.25, 0.5)]", [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.ROBOREFER, "[(0.5, 0.25)\n(0.25, 0.5)]", [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.ROBOREFER, "The cup (red, small) is at [(0.5, 0.25)].", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "```\n[(0.5, 0.25)]\n```", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "<answer>[(0.5, 0.25)]</answer>", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "<think>maybe (0.9, 0.9)</think><answer>[(0.5, 0.25)]</answer>", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "<think>[Position] [ box]: [(0.9, 0.9)]</think><answer>[(0.5, 0.25)]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "maybe (0.9, 0.9)</think>\n[(0.5, 0.25)]", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "[(0.0, 0.0)]", [(0.0, 0.0)]),
    (Dialect.ROBOREFER, "[(1.0, 1.0)]", [(639.0, 479.0)]),
    (Dialect.ROBOREFER, "[(1, 0)]", [(639.0, 0.0)]),  # upstream's scorer takes this for pixel (1, 0)
    (Dialect.ROBOPOINT, "[(0.5, 0.25), (0.25, 0.5)]", [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "label": "cup"}]', [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, '```json\n[\n\t{"point_2d": [500, 250], "label": "cup"},\n]\n```', [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, 'Here it is: {"point_2d": [1000, 0]}', [(639.0, 0.0)]),
    (Dialect.QWEN3_VL, '[{"bbox_2d": [400, 200, 600, 300], "label": "cup"}]', [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250]}, {"point_2d": [250, 500]}]', [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.GEMINI, '[{"point": [250, 500], "label": "cup"}]', [(319.5, 119.5)]),
    (Dialect.MOLMO, '<point x="50.0" y="25.0" alt="cup">cup</point>', [(319.5, 119.5)]),
    (Dialect.MOLMO, " <point x='50' y='25' alt='the cup'>the cup</point>", [(319.5, 119.5)]),
    (Dialect.MOLMO, '<points x1="50" y1="25" x2="25" y2="50" alt="cups">cups</points>', [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.MOLMO, '<points x2="25" y2="50" x1="50" y1="25"/>', [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.MOLMO, '<point x="100.0" y="0.0">corner</point>', [(639.0, 0.0)]),
    (Dialect.MOLMO2, '<points coords="1 1 500 250">cup</points>', [(319.5, 119.5)]),
    (Dialect.MOLMO2, '<points coords="1 1 500 250 2 250 500"/>', [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.ROBOBRAIN, "[(320, 120)]", [(320.0, 120.0)]),
    (Dialect.ROBOBRAIN, "<think>x</think><answer>[320, 120]</answer>", [(320.0, 120.0)]),
    (Dialect.PIXELS, "(320.25, 120.5)", [(320.25, 120.5)]),
    (Dialect.PIXELS, "[(639, 479)]", [(639.0, 479.0)]),
    (Dialect.QWEN25_VL, '[{"point_2d": [320, 120]}]', [(320.0, 120.0)]),
    (Dialect.QWEN25_VL, '[{"bbox_2d": [0, 0, 640, 480]}]', [(319.5, 239.5)]),
]


@pytest.mark.parametrize(("dialect", "text", "expected"), ACCEPTED)
def test_accepted_answers_give_exact_pixels(dialect: Dialect, text: str, expected: list[tuple[float, float]]) -> None:
    found = pixels(parse_points(text, dialect, SIZE))
    assert len(found) == len(expected)
    assert [x for point in found for x in point] == pytest.approx([x for point in expected for x in point])


NOT_FOUND = [
    (Dialect.ROBOREFER, "[]"),
    (Dialect.ROBOREFER, "[ ]"),
    (Dialect.ROBOREFER, "<think>no cup here</think><answer>[]</answer>"),
    (Dialect.ROBOREFER, "[Position] [blue box]: [(0.3, 0.4)]\n[]"),
    (Dialect.ROBOPOINT, "There is none: []"),
    (Dialect.QWEN3_VL, "```json\n[]\n```"),
    (Dialect.QWEN25_VL, "[]"),
    (Dialect.GEMINI, "[]"),
    (Dialect.ROBOBRAIN, "[]"),
    (Dialect.PIXELS, "[]"),
    (Dialect.MOLMO, "There are none."),
    (Dialect.MOLMO2, "There are none."),
]

OUT_OF_IMAGE = [
    (Dialect.ROBOREFER, "[(320, 240)]"),
    (Dialect.ROBOREFER, "[(1.001, 0.5)]"),
    (Dialect.ROBOREFER, "[(-0.001, 0.5)]"),  # int() upstream truncates this into the image
    (Dialect.ROBOREFER, "[(0.5, 0.5), (0.5, 1.5)]"),
    (Dialect.ROBOPOINT, "[(50, 50)]"),
    (Dialect.QWEN3_VL, '[{"point_2d": [1001, 500]}]'),
    (Dialect.QWEN3_VL, '[{"bbox_2d": [400, 200, 600, 1300]}]'),
    (Dialect.GEMINI, '[{"point": [500, 1280]}]'),
    (Dialect.MOLMO, '<point x="100.1" y="50">cup</point>'),
    (Dialect.MOLMO2, '<points coords="1 1 1200 500">cup</points>'),
    (Dialect.ROBOBRAIN, "[(640, 120)]"),
    (Dialect.PIXELS, "[(10, 480)]"),
    (Dialect.QWEN25_VL, '[{"point_2d": [700, 120]}]'),
    (Dialect.QWEN25_VL, '[{"bbox_2d": [0, 0, 641, 480]}]'),
]

UNPARSEABLE = [
    (Dialect.ROBOREFER, ""),
    (Dialect.ROBOREFER, "the red cup"),
    (Dialect.ROBOREFER, "0.5, 0.25"),
    (Dialect.ROBOREFER, "[(0.5, 0.25"),
    (Dialect.ROBOREFER, "[(0.5, 0.25)"),
    (Dialect.ROBOREFER, "[(0.5, 0.25), (0.3"),
    (Dialect.ROBOREFER, "[(0.5, 0.25), (0.3)]"),
    (Dialect.ROBOREFER, "[(0.5, 0.25), (0.3, left)]"),
    (Dialect.ROBOREFER, "[(0.5, 0.25]"),
    (Dialect.ROBOREFER, "[(0.5, 0.25, 0.1)]"),
    (Dialect.ROBOREFER, "[(0.1, 0.1, 0.2, 0.2)]"),
    (Dialect.ROBOREFER, "[(0.5, nan)]"),
    (Dialect.ROBOREFER, '[{"point_2d": [0.5, 0.25]}]'),
    (Dialect.PIXELS, '[{"point": [120, 320]}]'),  # would silently swap row and column
    (Dialect.ROBOREFER, "[(inf, 0.5)]"),
    (Dialect.ROBOREFER, "[(1e-1, 0.5)]"),
    (Dialect.ROBOREFER, "[(0x1, 0.5)]"),
    (Dialect.ROBOREFER, "[(0_1, 0.5)]"),
    (Dialect.ROBOREFER, "[(\u0660.\u0665, 0.5)]"),  # Arabic digits, which float() reads
    (Dialect.ROBOREFER, "[(\uff10.\uff15, 0.5)]"),  # full-width digits
    (Dialect.ROBOREFER, "[(" + "9" * 400 + ", 0.5)]"),
    (Dialect.ROBOREFER, "[(0." + "1" * 400 + ", 0.5)]"),
    (Dialect.ROBOREFER, "[(0.1, 0.2)] or [(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "[(0.1, 0.2)], [(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "[] [(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "<think>[(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "<answer>[(0.5, 0.6)"),
    (Dialect.ROBOREFER, "<think><answer>[(0.5, 0.6)]</answer>"),
    (Dialect.ROBOREFER, "</answer>[(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "<answer>[(0.5, 0.6)]</answer> no, [(0.1, 0.1)]"),
    (Dialect.ROBOREFER, "<answer>[(0.5, 0.6)]</answer><answer>[(0.1, 0.6)]</answer>"),
    (Dialect.ROBOREFER, "[Position] [box]: nowhere\n[(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "__import__('os').system('true')"),
    (Dialect.ROBOREFER, "[(0.5, 0.5) for _ in iter(int, 1)]"),
    (Dialect.ROBOREFER, "[" + "(0.5, 0.5), " * 65 + "]"),
    (Dialect.ROBOREFER, "[" * 50 + "(0.5, 0.5)" + "]" * 50),
    (Dialect.ROBOREFER, "x" * (MAX_ANSWER_CHARS + 1)),
    (Dialect.ROBOPOINT, "[Position] [box]: [(0.3, 0.4)]\n[(0.5, 0.6)]"),
    (Dialect.QWEN3_VL, "(500, 250)"),
    (Dialect.QWEN3_VL, "[500, 250]"),
    (Dialect.QWEN3_VL, '[{"point_2d": [0.5, 0.25]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250'),
    (Dialect.QWEN3_VL, '```json\n[{"point_2d": [500, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [500]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250, 3]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": ["500", 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [true, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [NaN, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [Infinity, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [1e2, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [' + "9" * 5000 + ", 250]}]"),
    (Dialect.QWEN3_VL, '[{"point_2d": [1, 2], "point_2d": [3, 4]}]'),
    (Dialect.QWEN3_VL, '[{"point": [500, 250]}]'),
    (Dialect.QWEN3_VL, "{}"),
    (Dialect.QWEN3_VL, "[" * 4000 + "]" * 4000),
    (Dialect.GEMINI, '[{"point_2d": [500, 250]}]'),
    (Dialect.GEMINI, '[{"point": [0.25, 0.5]}]'),
    (Dialect.GEMINI, '[{"box_2d": [0, 0, 10, 10]}]'),
    (Dialect.MOLMO, '<point x="50" alt="cup">cup</point>'),
    (Dialect.MOLMO, '<points x1="50" y2="25">cup</points>'),
    (Dialect.MOLMO, '<point x="50" y="25" x="60">cup</point>'),
    (Dialect.MOLMO, '<point x="50" y="25'),
    (Dialect.MOLMO, "<point x=50 y=25>cup</point>"),
    (Dialect.MOLMO, '<point x="nan" y="25">cup</point>'),
    (Dialect.MOLMO, "[(0.5, 0.25)]"),
    (Dialect.MOLMO2, '<point x="50" y="25">cup</point>'),
    (Dialect.MOLMO2, '<points coords="1 1 500">cup</points>'),
    (Dialect.MOLMO2, '<points coords="2 1 500 250">cup</points>'),
    (Dialect.MOLMO2, '<points coords="1 1 500 250;2 1 500 250">cup</points>'),
    (Dialect.MOLMO2, '<points coords="1 1 0.5 0.25">cup</points>'),
    (Dialect.ROBOBRAIN, "[(0.5, 0.25)]"),
    (Dialect.QWEN25_VL, '[{"point_2d": [0.5, 0.25]}]'),
]


@pytest.mark.parametrize(
    ("status", "dialect", "text"),
    [
        *((Status.NOT_FOUND, *row) for row in NOT_FOUND),
        *((Status.OUT_OF_IMAGE, *row) for row in OUT_OF_IMAGE),
        *((Status.UNPARSEABLE, *row) for row in UNPARSEABLE),
    ],
)
def test_refused_answers_carry_their_status(status: Status, dialect: Dialect, text: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_points(text, dialect, SIZE)
    assert refusal.value.status is status
    assert len(refusal.value.sentence) < 600


def test_an_out_of_range_value_is_named_with_its_limit_and_setting() -> None:
    with pytest.raises(Refused) as refusal:
        parse_points("[(0.5, 1.25)]", Dialect.ROBOREFER, SIZE)
    assert "y = 1.25" in refusal.value.sentence and "0 to 1" in refusal.value.sentence and "dialect" in refusal.value.sentence
    assert refusal.value.details["value"] == 1.25


def test_absolute_dialects_refer_to_the_image_that_was_sent() -> None:
    point = parse_points('[{"point_2d": [322, 238]}]', Dialect.QWEN25_VL, SIZE, sent_size_px=(644, 476)).points[0]
    assert (point.u_px, point.v_px) == pytest.approx(((322.5) * 640 / 644 - 0.5, 238.5 * 480 / 476 - 0.5))
    with pytest.raises(Refused) as refusal:
        parse_points('[{"point_2d": [322, 478]}]', Dialect.QWEN25_VL, SIZE, sent_size_px=(644, 476))
    assert refusal.value.status is Status.OUT_OF_IMAGE
    halved = parse_points("(10, 10)", Dialect.PIXELS, SIZE, sent_size_px=(320, 240)).points[0]
    assert (halved.u_px, halved.v_px) == pytest.approx((20.5, 20.5))  # the centre of a 2x2 block


@pytest.mark.parametrize("width", [1, 2, 101, 640])
def test_rounding_gives_the_pixel_of_the_published_mapping(width: int) -> None:
    for thousandth in range(1000):
        x = thousandth / 1000
        if abs(x * width - round(x * width)) < 1e-9:
            continue  # on the border of two pixels both are right
        point = parse_points(f"[({x:.3f}, 0.5)]", Dialect.ROBOREFER, (width, 10)).points[0]
        assert round(point.u_px) == int(x * width)


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
    assert pixels(answer) == [(319.5, 119.5)]


def test_steps_without_tags_are_not_taken_for_the_answer() -> None:
    answer = parse_points("[Position] [blue box]: [(0.9, 0.9)]\n[(0.5, 0.25)]", Dialect.ROBOREFER, SIZE)
    assert pixels(answer) == [(319.5, 119.5)]
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
    assert pixels(answer) == [(319.5, 119.5)]


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
    assert pixels(answer) == [(319.5, 119.5)]
