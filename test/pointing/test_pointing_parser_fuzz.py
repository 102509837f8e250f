"""Whatever a model says, the parser answers within a millisecond: points inside the image, or one of its three refusals."""

from __future__ import annotations

import random
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.molmo_syntax import MAX_ATTRIBUTES
from roboref_node.pointing.parser import MAX_ANSWER_CHARS, MAX_FINAL_CHARS, parse_points
from roboref_node.pointing.syntax import MAX_TUPLE_MARKS
from roboref_node.status import Refused, Status

WIDTH, HEIGHT = 640, 480
REFUSALS = {Status.NOT_FOUND, Status.OUT_OF_IMAGE, Status.UNPARSEABLE}
LIMIT_S = 1e-3
ANSWERS = 100_000

SEEDS = (
    "[(0.461, 0.527)]",
    "[(0.461, 0.527), (0.2, 0.3)]",
    "[]",
    "<think>[Position] [second mug]: [(0.331, 0.520)]\n[Size] [mug]: 0.12 m</think><answer>[(0.5, 0.25)]</answer>",
    '```json\n[{"point_2d": [500, 250], "label": "cup"}]\n```',
    '[{"bbox_2d": [400, 200, 600, 300]}]',
    '[{"point": [250, 500], "label": "cup"}]',
    '<point x="50.0" y="25.0" alt="cup">cup</point>',
    '<points x1="50" y1="25" x2="25" y2="50" alt="cups">cups</points>',
    '<points coords="1 1 500 250 2 250 500">cup</points>',
    "There are none.",
    "[(320, 120)]",
)
FRAGMENTS = (
    *"()[]{}<>,.:;\"'`-+/=\\ \n\t\x00",
    *("0.5", "1", "999999999999", "9" * 300, "1e309", "-0", "nan", "NaN", "inf", "Infinity", "0x10", "1_0", "\u0663", "\uff15", "\u00bd"),
    *("<think>", "</think>", "<answer>", "</answer>", "[Position] [a]: ", "[Size] [", "```", "```json", '{"point_2d":', '{"point":'),
    *(
        '"bbox_2d":',
        "<point ",
        '<points coords="1 1 ',
        'x="5" y="5"',
        "\ud800",
        "\u202e",
        "\U0001f600",
        "cup",
        "null",
        "true",
        "__import__('os')",
    ),
)


def outcome(text: str, dialect: Dialect) -> Status:
    try:
        answer = parse_points(text, dialect, (WIDTH, HEIGHT))
    except Refused as refusal:
        assert refusal.status in REFUSALS
        return refusal.status
    assert answer.points
    for point in answer.points:
        assert 0 <= point.u_px <= WIDTH - 1 and 0 <= point.v_px <= HEIGHT - 1
    return Status.OK


def fuzzed(rng: random.Random) -> str:
    kind = rng.randrange(6)
    seed = rng.choice(SEEDS)
    if kind == 0:  # cut off
        return seed[: rng.randrange(len(seed) + 1)]
    if kind == 1:  # a few characters replaced, inserted or removed
        text = list(seed)
        for _ in range(rng.randrange(1, 5)):
            position = rng.randrange(len(text) + 1)
            text[position : position + rng.randrange(2)] = rng.choice(FRAGMENTS)
        return "".join(text)
    if kind == 2:  # fragments in any order
        return "".join(rng.choice(FRAGMENTS) for _ in range(rng.randrange(1, 40)))
    if kind == 3:  # any text
        return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(sys.maxunicode + 1)))) for _ in range(rng.randrange(60)))
    if kind == 4:  # nested
        depth = rng.randrange(1, 300)
        return rng.choice(("[", "(", "{", '{"a":', "<points ")) * depth + seed + rng.choice(("]", ")", "}", "")) * depth
    return rng.choice(FRAGMENTS) * rng.randrange(1, 200) + seed  # a model in a loop


def seconds(text: str, dialect: Dialect, tries: int) -> float:
    """CPU time of the fastest try: the parser's own cost, not the machine's other load."""
    best = float("inf")
    for _ in range(tries):
        start = time.thread_time()
        outcome(text, dialect)
        best = min(best, time.thread_time() - start)
    return best


def test_hundred_thousand_fuzzed_answers_are_parsed_or_refused_within_a_millisecond() -> None:
    rng = random.Random(20260)
    dialects = list(Dialect)
    seen: dict[Status, int] = {}
    slow: list[tuple[str, Dialect]] = []
    for number in range(ANSWERS):
        text, dialect = fuzzed(rng), dialects[number % len(dialects)]
        start = time.thread_time()
        status = outcome(text, dialect)
        if time.thread_time() - start > LIMIT_S:
            slow.append((text, dialect))
        seen[status] = seen.get(status, 0) + 1
    assert set(seen) == {Status.OK, *REFUSALS}  # the fuzz reaches every branch
    for text, dialect in slow:  # a garbage collection may have fallen into the first try
        assert seconds(text, dialect, tries=5) < LIMIT_S, (dialect, text[:200])


MALFORMED_STEPS = ("[Size][a]:", "[Size][a]:.....", "[Position][a]:(.)", "[Position][a]:[(1,1,)]", "[Orientation][a]:(1,1,1)")
HOSTILE = {
    "open parentheses": "(" * MAX_ANSWER_CHARS,
    "empty lists": "[]" * (MAX_ANSWER_CHARS // 2),
    "step heads": "[Position] [" * (MAX_ANSWER_CHARS // 12),
    "long step names": ("[Position] [" + "a" * 190) * (MAX_ANSWER_CHARS // 202),
    "endless step value": "[Size] [a]: (" + "1," * 30_000,
    "steps": "<think>" + "[Position] [a]: [(0.1, 0.2)]\n" * 2200 + "</think>[]",
    "broken steps": "<think>" + ("[Position] [a]: [(0.1, 0.2" + " 0.2" * 20 + "\n") * 600 + "</think>[]",
    "think tags": "<think>" * (MAX_ANSWER_CHARS // 7),
    "pairs": "(0.1, 0.2)" * 800,
    "spaced brackets": "   [  " * 1300,
    "JSON lists": "[" + "[1,2]," * 1300,
    "JSON objects": "[" + '{"point_2d":[1,2]},' * 400 + "]",
    "JSON depth": '{"a":' * 1600,
    "commas": "[" + "," * 8000 + "]",
    "spaced commas": "[" + (", " * 4000) + "]",
    "fences": "```" * 2700,
    "tag heads": "<point " * 1100,
    "attributes": "<point" + " x='1'" * 1150 + ">",
    "coordinates": '<points coords="' + "1 " * 4000 + '">',
    "digits": "[(" + "1" * 8000 + ", 1)]",
    "blanks": "[(" + " " * 8000 + "1, 1)]",
    "newlines": "\n" * 8000,
    **{f"malformed {step}": "<think>" + step * (24_000 // len(step)) + "</think>[(0.5, 0.5)]" for step in MALFORMED_STEPS},
    "tuples in steps": "<think>" + ("[Position][a]:[" + "(0,0)" * 199 + "]") * 24 + "</think>[(0.5, 0.5)]",
    "numbers in steps": "<think>" + ("[Orientation][a]:(" + "0," * 499 + ")") * 24 + "</think>[(0.5, 0.5)]",
    "open brackets": "[" * 8100,
    "empty pairs": "(,)" * 2700,
    "remarks": "(a,b)" * 1600,
    "remarks up to the limit": "(a, b) " * MAX_TUPLE_MARKS,
    "numbered remarks": "(a1, b) " * MAX_TUPLE_MARKS,
    "numbers that are none": "(inf, b) " * MAX_TUPLE_MARKS,
    "denials of nothing": "no " * 2700,
    "denials of something": "I cannot see any other cup. The image does not show " * 150 + "[(0.5, 0.5)]",
    "a label of denials": '[{"point_2d": [1, 2], "label": "' + "not fully visible " * 440 + '"}]',
    "long remarks": "(x,y,z,w,q)" * 740,
    "blanks in the list": "[" + " " * 4000 + "(0.5, 0.5)" + " " * 4000 + "]",
    "commas after the point": "[(0.5, 0.5)" + "," * 8000 + "]",
    "empty JSON lists": "[" + "[]" * 4000 + "]",
    "empty JSON objects": "[" + "{}" * 4000 + "]",
    "closing brackets": "[" + "]" * 8000,
    "attribute name": "<point " + "a" * 8000 + ">",
    "attribute names": "<point " + "a " * 4000 + ">",
    "numbered attributes": "<points " + " ".join(f'x{i}="1" y{i}="1"' for i in range(390)) + ">",
    "commas and blanks": "(0.5, 0.5)" + ("," + " " * 60) * 130,
    "blanks after a comma": '{"point_2d":[1,2]},' + " " * 8000 + "x",
    "open brackets after the point": "(0.5, 0.5)" + " (." * 500 + " " * 6000,
    "pairs beside JSON": '[{"point_2d": [1, 2]}]' + "(        1" * 500,
    "digits in a denial": "There is no " + "1 " * 4000,
    "blanks in a denial": "There is no " + " " * 8000,
    "a long denial": "There is no " + "a " * 4000 + "in the image",
    "unclosed labels": '<point x="1" y="1">' * 400,
    "labels": '<point x="1" y="1">a</point>' * 64 + "<" * 4000,
    "numbered in two ways": "<points " + " ".join(f'x{i:03d}="1" y{i}="1"' for i in range(MAX_ATTRIBUTES // 2)) + "/>",
    "a model in a loop that sees nothing": "I cannot see it. " + "see a big " * 800,
    "cannot see": "cannot see a b " * 540,
    "too long": "a" * 10_000_000,
}


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("name", list(HOSTILE))
def test_patterns_that_blow_up_careless_expressions_take_less_than_a_millisecond(name: str, dialect: Dialect) -> None:
    whole = HOSTILE[name]
    for text in {whole, whole[:MAX_FINAL_CHARS]}:  # the second is never refused for its length alone
        assert seconds(text, dialect, tries=7) < LIMIT_S


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec=None), max_size=400), st.sampled_from(list(Dialect)))
@example("[(0.5, 0.5)\x00]", Dialect.ROBOREFER)
def test_any_text_is_answered_or_refused(text: str, dialect: Dialect) -> None:
    outcome(text, dialect)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(2, 4000), st.integers(2, 4000))
def test_all_normalised_dialects_agree_on_the_same_place(x: int, y: int, width: int, height: int) -> None:
    texts = {
        Dialect.ROBOREFER: f"[({x / 1000:.3f}, {y / 1000:.3f})]",
        Dialect.ROBOPOINT: f"[({x / 1000:.3f}, {y / 1000:.3f})]",
        Dialect.QWEN3_VL: f'[{{"point_2d": [{x}, {y}]}}]',
        Dialect.GEMINI: f'[{{"point": [{y}, {x}]}}]',
        Dialect.MOLMO: f'<point x="{x / 10:.1f}" y="{y / 10:.1f}">a</point>',
        Dialect.MOLMO2: f'<points coords="1 1 {x:03d} {y:03d}">a</points>',
    }
    points = [parse_points(text, dialect, (width, height)).points[0] for dialect, text in texts.items()]
    for point in points[1:]:
        assert (point.u_px, point.v_px) == pytest.approx((points[0].u_px, points[0].v_px), abs=1e-6)
