"""Answers that say in words that the thing is not there, or that no picture was seen, and hold a point all the same."""

from __future__ import annotations

import pytest

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.status import Refused, Status

SIZE = (640, 480)
POINTS = {
    Dialect.ROBOREFER: "[(0.5, 0.25)]",
    Dialect.ROBOBRAIN: "[(320, 120)]",
    Dialect.QWEN3_VL: '```json\n[\n\t{"point_2d": [500, 250], "label": "cup"}\n]\n```',
    Dialect.GEMINI: '[{"point": [250, 500], "label": "cup"}]',
    Dialect.MOLMO: '<point x="50" y="25" alt="cup">cup</point>',
}
BOTH = (
    "The red cup is not visible in the image. The closest match is {}",
    "The red cup isn\u2019t present. {}",
    "No red cup is visible. {}",
    "I cannot see a red cup. The closest match is {}",
    "I don't see a red cup in this image, but there is a blue one: {}",
    "I couldn't find the red cup. {}",
    "I'm unable to identify the red cup. {}",
    "There does not appear to be a red cup. {}",
    "No object that fits the description is visible. {}",
    "There are no objects matching the description in the image. {}",
    "I cannot see any objects in the image. {}",
    "The image does not contain a red cup. The nearest object: {}",
    "Sorry, there is no red cup. {}",
    "{}\n\nNote: the red cup is not in the image, so this is the blue one.",
    # a model that got no picture
    "I can't view images, but the format would be {}",
    "{}\n\nThis is only how it would look, since I cannot access the image.",
)
POINT = (
    "The cup is not fully visible, but it is here: {}",
    "The cup that is not red: {}",
    "The point on the cup's handle (not the rim): {}",
    "The cup is in front of the box, not in it: {}",
    "The cup isn't empty. {}",
    "The cup does not have a handle. {}",
    "There is no doubt. {}",
    "{} I don't see any other cups.",
    "{} No other cup is visible.",
    # free space to put something down
    "There are no obstacles in this area. {}",
    "This area is free, no objects are present. {}",
    "No objects are visible there: {}",
    "{}\n\nI can't see any items in this spot, so it is free.",
)


@pytest.mark.parametrize("text", BOTH)
@pytest.mark.parametrize("dialect", POINTS)
def test_a_point_whose_remark_denies_it_is_refused(dialect: Dialect, text: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_points(text.replace("{}", POINTS[dialect]), dialect, SIZE)
    assert refusal.value.status is Status.UNPARSEABLE
    assert "says that there is nothing, and points all the same" in refusal.value.sentence


@pytest.mark.parametrize("text", POINT)
@pytest.mark.parametrize("dialect", POINTS)
def test_a_remark_about_something_else_does_not_cost_the_point(dialect: Dialect, text: str) -> None:
    assert len(parse_points(text.replace("{}", POINTS[dialect]), dialect, SIZE).points) == 1


@pytest.mark.parametrize(
    "label", ["not found", "None", "N/A", "no match", "no object found", "red cup (not visible)", "no red cup is visible", "nothing"]
)
def test_a_label_that_denies_its_own_point(label: str) -> None:
    for dialect, key in ((Dialect.QWEN3_VL, "point_2d"), (Dialect.GEMINI, "point")):
        with pytest.raises(Refused) as refusal:
            parse_points(f'[{{"{key}": [0, 0], "label": "{label}"}}]', dialect, SIZE)
        assert refusal.value.status is Status.UNPARSEABLE and label in refusal.value.sentence


@pytest.mark.parametrize(
    "label",
    [
        "no-name cola",
        "cup",
        "not the red cup",
        "nothing box",
        "no object",
        "empty space (no objects present)",
        "n\u00ba 3",
        "mug whose handle is not visible",
        "",
    ],
)
def test_labels_of_things(label: str) -> None:
    assert parse_points(f'[{{"point_2d": [500, 250], "label": "{label}"}}]', Dialect.QWEN3_VL, SIZE).points


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("This isn't in the image.", Status.NOT_FOUND),
        ("I cannot see a red cup in the image.", Status.NOT_FOUND),
        ("There is no red cup in the image.", Status.NOT_FOUND),
        ("There is no red cup (or mug) in the image.", Status.NOT_FOUND),
        ("I don't see a red cup at 120, 300.", Status.UNPARSEABLE),
        ("I cannot see a red cup in the image (", Status.UNPARSEABLE),
        ("I can't view images.", Status.UNPARSEABLE),  # it says nothing about what is in this one
        ("I am unable to access the image you sent.", Status.UNPARSEABLE),
        ("I don't see any other cup in the image.", Status.UNPARSEABLE),
    ],
)
def test_what_is_said_in_words_alone(dialect: Dialect, text: str, status: Status) -> None:
    with pytest.raises(Refused) as refusal:
        parse_points(text, dialect, SIZE)
    assert refusal.value.status is status
