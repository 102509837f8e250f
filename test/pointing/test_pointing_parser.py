"""One table per dialect: what is accepted, to the pixel, and what is refused, with which status."""

from __future__ import annotations

import pytest

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import MAX_ANSWER_CHARS, ParsedAnswer, parse_points
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
    (Dialect.ROBOREFER, "(0.5, 0.25), (0.25, 0.5)", [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.ROBOREFER, "(0.5, 0.25), which is the cup (the red one)", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "The 2nd cup (at [(0.5, 0.25)]) of 3 (see left).", [(319.5, 119.5)]),
    (Dialect.ROBOREFER, "1) (0.5, 0.25)", [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, 'There is no other cup in the image: [{"point_2d": [500, 250]}] (1 cup)', [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "bbox_2d": [400, 200, 600, 300], "score": 0.9}]', [(319.5, 119.5)]),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "label": "the (1, 2) cup [a] {b}"}]', [(319.5, 119.5)]),
    (Dialect.MOLMO, 'Counting the <point x="50" y="25" alt="cup">cup</point> shows a total of 1.', [(319.5, 119.5)]),
    (Dialect.MOLMO, '<point x="50" y="25">a</point> and <point x="25" y="50">b</point>', [(319.5, 119.5), (159.5, 239.5)]),
    (Dialect.MOLMO2, 'There are no other cups. <points coords="1 1 500 250" alt="cup">cup</points>', [(319.5, 119.5)]),
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
    (Dialect.ROBOREFER, "Of the 2 mugs (or cups) none is red: []"),
    (Dialect.QWEN3_VL, "None of the 2 mugs is red: []"),
    *(
        (dialect, text)
        for dialect in (Dialect.MOLMO, Dialect.MOLMO2)
        for text in (
            "there are none",
            "There are none of the 3 mugs.",
            "I think there are none.",
            "There is no red mug in the image.",
            "There is no red mug",
            "There is no mug 2 in the image.",
            "I'm sorry, there is no red mug in this image, only a blue one.",
            "There is no red mug visible. The table holds 1 bowl.",
            "There is no question mark.",
        )
    ),
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
    # cut off, with a first point that is whole
    (Dialect.ROBOREFER, "(0.5, 0.5), (0.6"),
    (Dialect.ROBOREFER, "(0.5, 0.5), (0.6,"),
    (Dialect.ROBOREFER, "(0.5, 0.5), ("),
    (Dialect.ROBOREFER, "(0.5, 0.5), "),
    (Dialect.ROBOREFER, "[0.5, 0.5], [0.6"),
    (Dialect.ROBOREFER, "[(0.5, 0.5)]\n[(0.6"),
    (Dialect.ROBOREFER, "<answer>(0.5, 0.5), (0.6"),
    (Dialect.PIXELS, "(320, 120), (32"),
    (Dialect.QWEN3_VL, '{"point_2d": [500, 250]}, {"point_2d": [300'),
    (Dialect.QWEN3_VL, '{"point_2d": [500, 250]}\n{"point_2d": '),
    (Dialect.QWEN3_VL, '{"point_2d": [500, 250]}, '),
    (Dialect.QWEN3_VL, "[] [{"),
    (Dialect.ROBOREFER, "[] [(0.6"),
    (Dialect.ROBOREFER, "[[]"),
    (Dialect.MOLMO, '<point x="50" y="25">cu'),
    (Dialect.MOLMO, '<point x="50" y="25">cup</point> <poi'),
    (Dialect.MOLMO, "There are none. <poi"),
    (Dialect.MOLMO, "There are no "),
    (Dialect.MOLMO2, '<points coords="1 1 500 250">'),
    # a broken point beside a whole one
    (Dialect.ROBOREFER, "(0.5, 0.5), (0.6 0.7)"),
    (Dialect.ROBOREFER, "(0.5, 0.5), ()"),
    (Dialect.ROBOREFER, "(0.5, 0.5), 0.6"),
    (Dialect.ROBOREFER, "(x=0.2, y=0.2) or (0.5, 0.5)"),
    (Dialect.ROBOREFER, "0.6, 0.7), (0.5, 0.5)]"),
    (Dialect.ROBOREFER, "[(0.5, 0.5)]]"),
    (Dialect.ROBOREFER, "[Position] [box] [(0.5, 0.6)]"),
    (Dialect.ROBOREFER, "[position] [box]: [(0.5, 0.6)]"),
    (Dialect.ROBOPOINT, "[Position] [box]: [(0.3, 0.4)]"),
    # prose that is neither a point nor a plain "nothing there"
    *(
        (dialect, text)
        for dialect in (Dialect.MOLMO, Dialect.MOLMO2)
        for text in (
            "There is no doubt, the mug is at x=63.5 y=44.5",
            "There is no problem: (507, 492)",
            "There is no doubt about it: the mug is on the left.",
            "There is no problem.",
            "There is no obstacle, the mug is on the left.",
            "There is no mug that is closer than the one on the left.",
            "There is no other mug in the image.",
            "There is no mug but the red one.",
            "There are none at 507 492.",
            "There are none. The mug is at 63.5",
            "The mug is on the left and there is no other.",
        )
    ),
    (Dialect.ROBOREFER, "I thought of [], but the mug is at x=0.5 y=0.5"),
    (Dialect.ROBOREFER, "[] [0.6]"),
    (Dialect.QWEN3_VL, "I thought of [], but the mug is at x=500 y=250"),
    # two answers that contradict each other
    (Dialect.ROBOREFER, '<point x="63.5" y="44.5">mug</point> [(0.5, 0.5)]'),
    (Dialect.ROBOREFER, "There is no red mug in the image; the closest is [(0.5, 0.5)]"),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250]}] or (10, 20)'),
    (Dialect.QWEN3_VL, '(10, 20) or [{"point_2d": [500, 250]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [100, 250]}]\n```json\n[{"point_2d": [500, 250]}]\n```'),
    (Dialect.QWEN3_VL, '```json\n[]\n```\n[{"point_2d": [500, 250]}]'),
    (Dialect.QWEN3_VL, '[]\n```json\n[{"point_2d": [500, 250]}]\n```'),
    (Dialect.QWEN3_VL, '```json\n[{"point_2d": [500, 250]}]\n``` <points coords="1 1 100 100">cup</points>'),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "bbox_2d": [0, 0, 10, 10]}]'),
    (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "bbox_2d": [500, 250]}]'),
    (Dialect.QWEN3_VL, '[{"bbox_2d": [600, 300, 100, 50]}]'),  # x, y, width, height: its centre is elsewhere
    (Dialect.GEMINI, 'There are none. [{"point": [500, 250]}]'),
    (Dialect.MOLMO, 'There are none. <point x="50" y="25">cup</point>'),
    (Dialect.MOLMO, '<point x="50" y="25">cup</point> (0.5, 0.5)'),
    (Dialect.MOLMO, '<point x="50" y="25" coords="1 1 100 100">cup</point>'),
    (Dialect.MOLMO, '<points x1="50" y1="25" x="1" y="1">cup</points>'),
    (Dialect.MOLMO, '<points x1="50" y1="25" x01="1" y01="1">cup</points>'),
    (Dialect.MOLMO2, '<points coords="1 1 500 250" x="10" y="10">cup</points>'),
    (Dialect.MOLMO2, '<points coords="1 1 500 250">cup</points> [{"point_2d": [1, 2]}]'),
    # the corners of a 0-1 scale, which are whole numbers
    (Dialect.ROBOBRAIN, "[(0.0, 1.0)]"),
    (Dialect.QWEN3_VL, '[{"point_2d": [1.0, 0.0]}]'),
    (Dialect.MOLMO2, '<points coords="1 1 0.0 1.0">cup</points>'),
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


@pytest.mark.parametrize(
    ("dialect", "whole", "first"),
    [
        (Dialect.ROBOREFER, "[(0.5, 0.25), (0.25, 0.5)]", ""),
        (Dialect.ROBOREFER, "(0.5, 0.25), (0.25, 0.5)", "(0.5, 0.25)"),
        (Dialect.ROBOREFER, "(0.5, 0.25)\n(0.25, 0.5)", "(0.5, 0.25)\n"),
        (Dialect.ROBOREFER, "[0.5, 0.25], [0.25, 0.5]", "[0.5, 0.25]"),
        (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "label": "a"}, {"point_2d": [250, 500]}]', ""),
        (Dialect.QWEN3_VL, '```json\n[{"point_2d": [500, 250]}, {"point_2d": [250, 500]}]\n```', ""),
        (Dialect.GEMINI, '[{"point": [250, 500], "label": "a"}, {"point": [500, 250], "label": "b"}]', ""),
        (Dialect.MOLMO, '<points x1="50" y1="25" x2="25" y2="50" alt="cups">cups</points>', ""),
        (Dialect.MOLMO, '<point x="50" y="25">a</point> <point x="25" y="50">b</point>', '<point x="50" y="25">a</point> '),
        (Dialect.MOLMO2, '<points coords="1 1 500 250 2 250 500">cups</points>', ""),
    ],
)
def test_no_beginning_of_a_longer_answer_is_accepted_but_where_a_point_ends(dialect: Dialect, whole: str, first: str) -> None:
    assert len(parse_points(whole, dialect, SIZE).points) == 2
    for length in range(len(first.rstrip()) + 1 if first else 0, len(whole)):
        if whole[:length] == first:
            continue
        with pytest.raises(Refused) as refusal:
            parse_points(whole[:length], dialect, SIZE)
        assert refusal.value.status is Status.UNPARSEABLE


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
