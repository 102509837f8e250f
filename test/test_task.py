"""Sentences become tasks; what is not understood is refused with a suggestion."""

from __future__ import annotations

import pytest

from roboref_node.language import Act, Dialogue
from roboref_node.status import Refused, Status
from roboref_node.task import MAX_INSTRUCTION_CHARS, Task, find_dialogue, parse_instruction


def parsed(text: str, role: str = "") -> list[tuple[str, str]]:
    return [(t.kind.value, t.expression) for t in parse_instruction(text, role=role)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "pick up the red cup left of the blue box and put it behind the bowl",
            [("pick", "the red cup left of the blue box"), ("place", "behind the bowl")],
        ),
        ("Please, could you grab the green cone?", [("pick", "the green cone")]),
        (
            "put the apple in the bowl, then the cup on the shelf",
            [("pick", "the apple"), ("place", "in the bowl"), ("pick", "the cup"), ("place", "on the shelf")],
        ),
        ("move the red cup to the left of the box", [("pick", "the red cup"), ("place", "to the left of the box")]),
        ("place it between the red cup and the blue box", [("place", "between the red cup and the blue box")]),
        ("take the bottle. put it on the plate", [("pick", "the bottle"), ("place", "on the plate")]),
        ("pick the cup up", [("pick", "the cup")]),
        ("go to the table and pick up the cup", [("navigate", "the table"), ("pick", "the cup")]),
        ("Point at the cup between the box and the bowl!", [("point", "the cup between the box and the bowl")]),
        ("the leftmost box", [("point", "the leftmost box")]),
        ("pick up the\tred\n cup", [("pick", "the red cup")]),
    ],
)
def test_sentences(text: str, expected: list[tuple[str, str]]) -> None:
    assert parsed(text) == expected


def test_the_instruction_is_kept_verbatim() -> None:
    text = "  Pick up the RED cup. "
    assert parse_instruction(text)[0].instruction == text


def test_a_declared_role_takes_the_expression() -> None:
    assert parsed("the red cup", role="pick") == [("pick", "the red cup")]
    assert parsed("pick up the red cup", role="pick") == [("pick", "the red cup")]
    assert parsed("behind the bowl", role="PLACE") == [("place", "behind the bowl")]


@pytest.mark.parametrize("text", ["", "   ", "\x00\x01", "?!", "12345", "asdf qwer", "pick up", "the"])
def test_nonsense_is_a_bad_request(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_instruction(text)
    assert caught.value.status is Status.BAD_REQUEST
    assert caught.value.sentence


def test_the_length_limit_is_named() -> None:
    with pytest.raises(Refused, match=str(MAX_INSTRUCTION_CHARS)):
        parse_instruction("pick up " + "x" * 10_000)
    with pytest.raises(Refused, match="unknown"):
        parse_instruction("the red cup", role="juggle")


def test_tasks_are_values() -> None:
    assert parse_instruction("pick up the cup") == parse_instruction("pick up the cup")
    assert isinstance(parse_instruction("pick up the cup")[0], Task)


def test_what_the_speech_node_tells_about_another_candidate_is_no_instruction():
    """It publishes the value of the act; pick_place, which listens, would begin to work on it and repeat it at the next "again"."""
    assert find_dialogue(Act.OTHER.value) == Dialogue(Act.OTHER)
    assert [task.expression for task in parse_instruction("pick up the other cup")] == ["the other cup"]
    assert find_dialogue("other cups are red") is None
