"""One thing at a time: several things in a sentence become several tasks, and words that would change the meaning are not lost."""

from __future__ import annotations

import pytest

from roboref_node.language import Act, Dialogue, read_dialogue, split_things
from roboref_node.pick_place import Loop, Outcome
from roboref_node.status import Refused
from roboref_node.task import TaskKind, normalise_instruction, parse_instruction


def parsed(text: str) -> list[tuple[str, str]]:
    return [(t.kind.value, t.expression) for t in parse_instruction(text)]


def moves(place: str, *things: str) -> list[tuple[str, str]]:
    return [step for thing in things for step in (("pick", thing), ("place", place))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("put the red cup and the blue cup in the bowl", moves("in the bowl", "the red cup", "the blue cup")),
        ("put the red cup and blue cup in the bowl", moves("in the bowl", "the red cup", "blue cup")),
        ("put red cup and blue cup in bowl", moves("in bowl", "red cup", "blue cup")),
        ("put the cup, the can and the ball in the box", moves("in the box", "the cup", "the can", "the ball")),
        ("put the cup as well as the can in the box", moves("in the box", "the cup", "the can")),
        (
            "put the ball on the black plate and the bowl left of the orange can",
            [*moves("on the black plate", "the ball"), *moves("left of the orange can", "the bowl")],
        ),
        ("put the cup on the left and the bowl next to the box", [*moves("on the left", "the cup"), *moves("next to the box", "the bowl")]),
        ("put the knife and fork on the table", moves("on the table", "the knife", "fork")),
        ("move the cup and the bowl onto the shelf", moves("onto the shelf", "the cup", "the bowl")),
        ("pick up the cup and the bowl and put them on the shelf", moves("on the shelf", "the cup", "the bowl")),
        ("pick up the scissors and put them in the box", moves("in the box", "the scissors")),
        ("pick up the red cup and the blue box", [("pick", "the red cup"), ("pick", "the blue box")]),
        ("PICK UP THE CUP ON THE LEFT AND THE BOWL ON THE RIGHT", [("pick", "the cup on the left"), ("pick", "the bowl on the right")]),
        ("point at the red cup and the blue box", [("point", "the red cup"), ("point", "the blue box")]),
        ("go to the table and the shelf", [("navigate", "the table"), ("navigate", "the shelf")]),
    ],
)
def test_each_thing_has_tasks_of_its_own(text: str, expected: list[tuple[str, str]]) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "thing",
    [
        "the red and white box", "the red and blue cup", "the salt and pepper shaker", "the cup between the bowl and the box",
        "the cup left of the box and behind the bowl", "the box with the red and white stripes", "the set of pens and pencils",
        "the mug, the red one", "the large, red cup",
    ],
)  # fmt: skip
def test_one_thing_stays_one(thing: str) -> None:
    assert split_things(thing) == (thing,)
    assert parsed(f"pick up {thing}") == [("pick", thing)]


def test_things_are_handed_over_one_by_one() -> None:
    for text in ("bring me the cup and the bottle", "pick up the cup and the bottle and give them to me"):
        tasks = parse_instruction(text)
        assert [(task.expression, task.hand_over) for task in tasks] == [("the cup", True), ("the bottle", True)]


def test_an_arm_with_one_gripper_takes_no_second_thing_into_it() -> None:
    unused: object = object()  # nothing is looked at and nothing moves
    for text in ("pick up the cup and the bowl", "grab the cup, point at the ball, then take the bowl"):
        report = Loop(unused, unused, unused, release_height_m=0.01).run(text)  # type: ignore[arg-type]
        assert report.outcome is Outcome.HAND_FULL
        assert "would hold the cup" in report.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("put both cups in the bowl", "more than one thing"),
        ("pick up all of the red blocks", "more than one thing"),
        ("put everything on the shelf", "more than one thing"),
        ("pick up the two cups", "more than one thing"),
        ("grab the 2 cups", "more than one thing"),
        ("pick up those", "more than one thing"),
        ("pick up the cup next to the bowl and the box", "more than one way"),
        ("put the red, the green and the blue cup in the bowl", "more than one way"),
        ("pick up the red cup, the blue box", "more than one way"),
        ("pick up the cup and wipe the table", "more than one way"),
        ("pick up the cup or the bowl", "which of two"),
        ("pick up the blue cup, not the red one", "what is not meant"),
        ("pick up the cup but not the red one", "what is not meant"),
        ("pick up the blue cup instead of the red one", "what is not meant"),
        ("pick up everything except the cup", "what is not meant"),
        ("pick up the red cup, no, the blue one", "takes something back"),
        ("pick up the red cup sorry the blue cup", "takes something back"),
        ("pick up the cup if it is red", "on what condition"),
        ("pick up the cup when i say so", "on what condition"),
        ("pick up the cup in five minutes", "on what condition"),
        ("go to the table after lunch", "on what condition"),
        ("put the cup in the bowl without touching the box", "says how"),
        ("pick up the cup with your left hand", "says how"),
        ("put the red cup on the shelf and the blue cup too", "goes on after the place"),
        ("put the cup in the bowl, the ball in the box", "goes on after the place"),
        ("put cup in bowl and ball in box", "goes on after the place"),
        ("put the cup in front of the bowl and the ball in the box", "goes on after the place"),
        ("put the cup on the left of the bowl and the ball next to the box", "goes on after the place"),
        ("put it in the", "breaks off"),
        ("pick up the cup and the", "breaks off"),
        ("pick up the cup and put it next to it", 'says "next to it"'),
        ("put the cup in the bowl and the ball behind it", 'says "behind it"'),
        ("pick up the cup left of it", 'says "left of it"'),
        ("give the cup to john", "somebody else"),
        ("give her the cup", "somebody else"),
        ("place the apple into the basket and close it", "goes on after the place"),
        ("put most of the blocks in the box", "more than one thing"),
        ("put the cup in the bowl or on the plate", "which of two"),
        ("put the cup in my left hand", "on people"),
        ("go to the kitchen and back", "does not say where"),
        ("pick up the cup, then to the table", "does not say what"),
        ("take a break", "nothing to be taken"),
        ("put your hand on the table", "nothing to be taken"),
        ("lay the cup on its side", "on its side"),
        ("go left", "does not say what"),
        ("come back", "does not say what"),
        ("get lost", "does not say what"),
    ],
)
def test_what_would_become_a_goal_for_something_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        parse_instruction(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("put the drum on the table", moves("on the table", "the drum")),
        ("put the ham and the cream on the tray", moves("on the tray", "the ham", "the cream")),
        ("put the foot on the shelf", moves("on the shelf", "the foot")),
        ("move the cup to behind the bowl", moves("behind the bowl", "the cup")),
        ("move the cup over to the left of the bowl", moves("to the left of the bowl", "the cup")),
        ("put the cup next to the bowl and the box", moves("next to the bowl and the box", "the cup")),
        ("pick up the cup very carefully", [("pick", "the cup")]),
        ("pick up the cup that is not red", [("pick", "the cup that is not red")]),
        ("pick up the box farthest away", [("pick", "the box farthest away")]),
        ("find me the red cup", [("point", "the red cup")]),
        ("pick up the cup with tea in it", [("pick", "the cup with tea in it")]),
        ("so put the cup in the bowl, thank you very much", moves("in the bowl", "the cup")),
        ("i'd like you to pick up the thing i am pointing at", [("pick", "the thing i am pointing at")]),
        ("go to the kitchen and then to the table", [("navigate", "the kitchen"), ("navigate", "the table")]),
        ("go to the table and wait", [("navigate", "the table")]),
        ("go to the table and wait there for me", [("navigate", "the table")]),
    ],
)
def test_words_that_change_nothing(text: str, expected: list[tuple[str, str]]) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "wait", "Wait!", "wait a moment", "hold on", "hold on a second", "hang on", "robot, wait", "no, wait", "please wait", "pause",
        "just a moment", "pick up the cup, wait", "whoa", "that's enough", "i said stop", "make it stop", "wait for me",
    ],
)  # fmt: skip
def test_wait_is_a_stop(text: str) -> None:
    assert read_dialogue(normalise_instruction(text)) == Dialogue(Act.STOP)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("wait, pick up the blue cup", "pick up the blue cup"),
        ("wait until i am done and then pick up the cup", ""),
        ("wait five minutes then pick up the cup", ""),
        ("wait for me and then pick up the cup", ""),
    ],
)
def test_what_is_to_be_done_later_is_not_done_now(text: str, rest: str) -> None:
    assert read_dialogue(text) == Dialogue(Act.STOP, rest)


@pytest.mark.parametrize("role", ["pick", "place", "navigate"])
@pytest.mark.parametrize("text", ["the cup if it is red", "the cup and the"])
def test_a_declared_role_loses_no_condition_either(text: str, role: str) -> None:
    with pytest.raises(Refused, match=r"condition|breaks off"):
        parse_instruction(text, role=role)


def test_a_declared_role_is_for_one_thing() -> None:
    with pytest.raises(Refused, match="2 things for one pick"):
        parse_instruction("the red cup and the blue cup", role="pick")
    with pytest.raises(Refused, match="more than one thing"):
        parse_instruction("pick up both cups", role="pick")
    (task,) = parse_instruction("put the red cup and the blue cup in the bowl", role="place")
    assert (task.kind, task.expression) == (TaskKind.PLACE, "in the bowl")
