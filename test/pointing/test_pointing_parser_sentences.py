"""A refused answer's sentence says what is wrong with it, and which dialect it looks like."""

from __future__ import annotations

import pytest

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.status import Refused, Status

SIZE = (640, 480)


@pytest.mark.parametrize(
    ("dialect", "text", "words"),
    [
        (Dialect.QWEN25_VL, '[{"label": "mug"}]', "'point_2d' is missing in an object with the keys 'label'"),
        (Dialect.QWEN3_VL, '[{"label": "mug"}]', "'point_2d' is missing in an object with the keys 'label'"),
        (Dialect.QWEN3_VL, "[{}]", "'point_2d' is missing in an object with no keys"),
        (Dialect.QWEN3_VL, '[{"bbox_2d": [1, 2]}]', "'bbox_2d' must be a list of 4 numbers"),
        (Dialect.QWEN3_VL, '[{"point": [250, 500]}]', "it looks like dialect 'gemini'"),
        (Dialect.GEMINI, '[{"point_2d": [500, 250]}]', "it looks like dialect 'qwen25_vl' or 'qwen3_vl'"),
        (Dialect.GEMINI, '[{"box_2d": [0, 0, 10, 10]}]', "'point' is missing in an object with the keys 'box_2d'"),
        (Dialect.QWEN3_VL, '[{"point_2d": [500, 250', "the JSON is cut off"),
        (Dialect.QWEN3_VL, '[{"point_2d": [500, 250]}, {"point_2d": [30', "the JSON is cut off"),
        (Dialect.QWEN3_VL, '[{"point_2d": [500, 250], "label": "mu', "the JSON is cut off"),
        (Dialect.MOLMO2, '<point x="63.5" y="44.5">', "has the attribute 'x', and no 'coords': it looks like dialect 'molmo'"),
        (Dialect.MOLMO2, '<points x1="63.5" y1="44.5"/>', "has the attribute 'x1', and no 'coords': it looks like dialect 'molmo'"),
        (Dialect.MOLMO2, '<points alt="cup">cup</points>', "has no attribute 'coords'"),
        (Dialect.MOLMO2, '<points coords="1 1 500 250  2 300 200"/>', "a number is missing"),
        (Dialect.MOLMO, '<points coords="1 1 500 250">cup</points>', "it looks like dialect 'molmo2'"),
        (Dialect.MOLMO, '<point x="50" y="25">cu', "not closed by a </point>"),
        (Dialect.ROBOREFER, '<point x="63.5" y="44.5">mug</point>', "holds a <point> tag"),
        (Dialect.ROBOREFER, "(0.5, 0.5), (0.6", "goes on after its last whole point"),
        (Dialect.ROBOREFER, "[(0.5", "cut off before its first point"),
        (Dialect.ROBOREFER, "[(0.5 0.5)]", "with a comma in between"),
        (Dialect.ROBOREFER, "[(x=0.5, y=0.5)]", "'x=0.5' is not a plain number"),
        (Dialect.ROBOREFER, "[Position] [box] [(0.5, 0.6)]", "'[Position]' begins a reasoning step"),
    ],
)
def test_the_sentence_names_what_is_wrong(dialect: Dialect, text: str, words: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_points(text, dialect, SIZE)
    assert refusal.value.status is Status.UNPARSEABLE
    assert words in refusal.value.sentence


def test_an_out_of_range_value_is_named_with_its_limit_and_setting() -> None:
    with pytest.raises(Refused) as refusal:
        parse_points("[(0.5, 1.25)]", Dialect.ROBOREFER, SIZE)
    assert "y = 1.25" in refusal.value.sentence and "0 to 1" in refusal.value.sentence and "dialect" in refusal.value.sentence
    assert refusal.value.details["value"] == 1.25
