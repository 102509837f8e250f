"""The command grammar: forms, dialogue words, and that no text gets more than a refusal out of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roboref_node.language import Act, Dialogue, parse_clause, read_dialogue, split_clauses, words_of
from roboref_node.language.skeleton import VERBS, grammar
from roboref_node.status import Refused, Status
from roboref_node.synth.language import PLACE_REQUESTS, REQUESTS
from roboref_node.task import TaskKind, normalise_instruction, parse_instruction

VOCABULARY = sorted(
    {word for terminal in (*VERBS, "PLACE_WORD", "ARTICLE", "_POLITE", "_YES", "_NO", "_OTHER", "_AGAIN") for word in words_of(terminal)}
    | {"red", "cup", "box", "it", "and", "then", ",", ".", "me", "to me", "up", "down", "of", "is", "1.5", "é", "杯"}
)


def parsed(text: str) -> list[tuple[str, str]]:
    return [(t.kind.value, t.expression) for t in parse_instruction(text)]


@pytest.mark.parametrize("terminal", VERBS)
def test_every_verb_begins_a_clause_of_one_form(terminal: str) -> None:
    forms = {clause.form for verb in words_of(terminal) if (clause := parse_clause(f"{verb} the red cup behind the box")) is not None}
    assert len(words_of(terminal)) >= 2
    assert len(forms) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("move the cup that is on the table behind the bowl", [("pick", "the cup that is on the table"), ("place", "behind the bowl")]),
        ("show me the set of pens", [("point", "the set of pens")]),
        ("pick up the cup and the bowl", [("pick", "the cup"), ("pick", "the bowl")]),
        ("move to the shelf", [("navigate", "the shelf")]),
        ("put down the cup on the shelf please", [("pick", "the cup"), ("place", "on the shelf")]),
        ("take the bottle and move it next to the box", [("pick", "the bottle"), ("place", "next to the box")]),
        ("go to the shelf, after that fetch the can", [("navigate", "the shelf"), ("pick", "the can")]),
        ("okay, robot, just grab the ball for me", [("pick", "the ball")]),
        (
            "first pick up the cup then drop it in the bowl then go to the table",
            [("pick", "the cup"), ("place", "in the bowl"), ("navigate", "the table")],
        ),
    ],
)
def test_forms_beyond_the_first_grammar(text: str, expected: list[tuple[str, str]]) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("put it back on the table", [("place", "on the table")]),
        ("put it right behind the bowl", [("place", "behind the bowl")]),
        ("gently put it carefully down in the bowl", [("place", "in the bowl")]),
        ("put the cup right behind the bowl", [("pick", "the cup"), ("place", "behind the bowl")]),
        ("pick up the cup! put it in the bowl!", [("pick", "the cup"), ("place", "in the bowl")]),
        ("pick up the red cup put it in the bowl", [("pick", "the red cup"), ("place", "in the bowl")]),
        ("pick up the cup and carefully put it in the bowl", [("pick", "the cup"), ("place", "in the bowl")]),
        ("pick up the red cup and put behind the bowl", [("pick", "the red cup"), ("place", "behind the bowl")]),
        ("put now on left", [("place", "on left")]),
        ("pick up the cup \u2014 put it in the bowl", [("pick", "the cup"), ("place", "in the bowl")]),
        (
            "put the cup in the bowl and the ball in the box",
            [("pick", "the cup"), ("place", "in the bowl"), ("pick", "the ball"), ("place", "in the box")],
        ),
        ("put it between the cup in the bowl and the ball in the box", [("place", "between the cup in the bowl and the ball in the box")]),
        ("go pick up the cup", [("pick", "the cup")]),
        ("please go and get the cup", [("pick", "the cup")]),
        ("pick up the cup, then the bowl", [("pick", "the cup"), ("pick", "the bowl")]),
        ("go to the table then the door", [("navigate", "the table"), ("navigate", "the door")]),
        ("where's the red cup", [("point", "the red cup")]),
        ("stack the red box on the blue one", [("pick", "the red box"), ("place", "on the blue one")]),
        ("take a look at the cup", [("point", "the cup")]),
        ("get to the table", [("navigate", "the table")]),
        ("pick the one facing up", [("pick", "the one facing up")]),
        ("can you get me the blue box", [("pick", "the blue box")]),
        ("bring the cup here", [("pick", "the cup")]),
        ('pick up the "red cup"', [("pick", "the red cup")]),
        ("um pick up the cup", [("pick", "the cup")]),
        ("put the cup that\u2019s on the table in the bowl", [("pick", "the cup that's on the table"), ("place", "in the bowl")]),
        ("put the cup standing on the table in the bowl", [("pick", "the cup standing on the table"), ("place", "in the bowl")]),
        ("move the cup on the left to the right of the box", [("pick", "the cup on the left"), ("place", "to the right of the box")]),
        ("put the cup on the table into the bowl", [("pick", "the cup on the table"), ("place", "into the bowl")]),
        ("take the box next to the cup", [("pick", "the box next to the cup")]),
        ("grab the cup to the left of the box", [("pick", "the cup to the left of the box")]),
        ("pick up the cup closest to the box", [("pick", "the cup closest to the box")]),
    ],
)
def test_how_people_say_it(text: str, expected: list[tuple[str, str]]) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("put the cup 10 cm behind the bowl", '"10 cm", which is not planned'),
        ("put the cup ten centimeters behind the bowl", "ten centimeters"),
        ("put the cup upside down on the table", "upside down"),
        ("pick up the cup and don't put it in the bowl", "what not to do"),
        ("please don't pick up the cup", "what not to do"),
        ("never pick up the cup", "what not to do"),
        ("under no circumstances pick up the cup", "is not understood"),
        ("on no account pick up the cup", "is not understood"),
        ("before picking up the cup go to the table", "is not understood"),
        ("take care", "does not say what"),
        ("get away from me", "does not say what"),
        ("take it away", "does not say what"),
        ("put them both in the bowl", "does not say what"),
        ("put it over there", "where to put it"),
        ("take the cup to the kitchen", "does not say where"),
        ("move the red cup from the left of the box to the right of the box", "does not say what"),
    ],
)
def test_what_no_goal_can_honour_is_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        parse_instruction(text)


@pytest.mark.parametrize("text", ["stop", "do not pick up the cup", "never mind"])
@pytest.mark.parametrize("role", ["pick", "place", "point", "navigate"])
def test_a_declared_role_makes_no_goal_of_a_no(text: str, role: str) -> None:
    with pytest.raises(Refused, match=r"what not to do|names nothing to look for"):
        parse_instruction(text, role=role)


def test_a_declared_role_takes_its_part_of_a_sentence() -> None:
    (task,) = parse_instruction("pick up the cup and put it in the bowl", role="place")
    assert task.expression == "in the bowl"


@pytest.mark.parametrize(
    "text", ["hand me the cup", "give me the cup", "bring the cup to me", "pick up the cup and give it to me", "pass me the cup"]
)
def test_handing_over_is_a_pick_for_a_person(text: str) -> None:
    (task,) = parse_instruction(text)
    assert (task.kind, task.expression, task.hand_over) == (TaskKind.PICK, "the cup", True)


def test_a_plain_pick_is_for_nobody() -> None:
    assert not parse_instruction("pick up the cup")[0].hand_over


@pytest.mark.parametrize("text", [request.format("the red cup") for request in REQUESTS if request != "i need {}"])
def test_every_request_of_the_generator_is_understood(text: str) -> None:
    (task,) = parse_instruction(text)
    assert task.expression == "the red cup"


@pytest.mark.parametrize(
    "text", [request.format("behind the bowl") for request in PLACE_REQUESTS if request.startswith(("put", "place", "set"))]
)
def test_every_place_request_is_understood(text: str) -> None:
    assert parsed(text) == [("place", "behind the bowl")]


@pytest.mark.parametrize(
    ("text", "act", "rest"),
    [
        ("stop", Act.STOP, ""),
        ("please stop the robot now", Act.STOP, ""),
        ("no, stop", Act.STOP, ""),
        ("Halt!", Act.STOP, ""),
        ("pick up the cup, no, stop", Act.STOP, ""),
        ("don't move", Act.STOP, ""),
        ("never mind", Act.CANCEL, ""),
        ("cancel that", Act.CANCEL, ""),
        ("again", Act.AGAIN, ""),
        ("do it again please", Act.AGAIN, ""),
        ("the other one", Act.OTHER, ""),
        ("no, the other one", Act.OTHER, ""),
        ("yes please", Act.YES, ""),
        ("go ahead", Act.YES, ""),
        ("no, pick up the blue cup", Act.NO, "pick up the blue cup"),
        ("nope", Act.NO, ""),
    ],
)
def test_words_of_dialogue(text: str, act: Act, rest: str) -> None:
    found = read_dialogue(normalise_instruction(text))
    assert found is not None
    assert (found.act, found.rest) == (act, rest)


@pytest.mark.parametrize(
    "text",
    [
        "No! Stop!", "Robot! Stop!", "ok stop", "okay, stop", "can you stop please", "don\u2019t move!", "pick up the cup! stop!",
        "pick up the cup no stop", '"stop"', "stop the arm", "Stop at once!", "stop in place", "don't move over there", "please STOP",
        "stop picking up the cup", "hey robot stop", "put it down - stop!", "no no stop", "pick up the cup and then stop",
    ],
)  # fmt: skip
def test_stop_is_never_missed_and_nothing_follows_it(text: str) -> None:
    assert read_dialogue(normalise_instruction(text)) == Dialogue(Act.STOP)


@pytest.mark.parametrize(
    ("text", "act", "rest"),
    [
        ("stop, pick up the blue cup and put it in the bowl", Act.STOP, "pick up the blue cup, put it in the bowl"),
        ("cancel, go to the table", Act.CANCEL, "go to the table"),
        ("cancel pick up the cup", Act.CANCEL, ""),
        ("cancel, no, stop", Act.STOP, ""),
    ],
)
def test_only_a_clause_of_its_own_follows_stop_and_cancel(text: str, act: Act, rest: str) -> None:
    assert read_dialogue(text) == Dialogue(act, rest)


@pytest.mark.parametrize("text", ["not now", "don't do it", "yes, don't do it", "no, not now"])
def test_no_in_other_words(text: str) -> None:
    found = read_dialogue(text)
    assert found is not None and found.act is Act.NO


@pytest.mark.parametrize("text", ["point at the bus stop", "go to the stop sign", "pick up the don't walk sign"])
def test_a_stop_that_is_a_thing(text: str) -> None:
    assert read_dialogue(text) is None


@pytest.mark.parametrize("text", ["the other cup", "pick up the cup", "okay robot pick up the cup", "again and again the cup", "asdf"])
def test_what_is_no_dialogue(text: str) -> None:
    assert read_dialogue(text) is None


@pytest.mark.parametrize("text", ["stop", "cancel", "again", "the other one", "yes", "no"])
def test_dialogue_is_no_instruction(text: str) -> None:
    with pytest.raises(Refused, match="names nothing to look for") as caught:
        parse_instruction(text)
    assert caught.value.status is Status.BAD_REQUEST
    assert caught.value.details["dialogue"] in {act.value for act in Act}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("what is on the table", "is not understood; say for example"),
        ("pik up the cup", 'did you mean "pick up the cup"'),
        ("put the cup", "where to put it"),
        ("move the cup to the table", "where to put it"),
        ("give it to me", "does not say what"),
        ("please", "does not say what"),
        ("don't pick up the cup", "say only what to do"),
    ],
)
def test_refusals_suggest(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        parse_instruction(text)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=120), st.lists(st.sampled_from(VOCABULARY), max_size=25).map(" ".join)))
def test_any_text_is_tasks_or_a_bad_request(text: str) -> None:
    try:
        tasks = parse_instruction(text)
    except Refused as refused:
        assert refused.status is Status.BAD_REQUEST
        assert refused.sentence
    else:
        assert tasks
        assert all(task.expression.strip() and task.instruction == text for task in tasks)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=12).map(" ".join))
def test_expressions_are_passed_on_as_spoken(text: str) -> None:
    try:
        tasks = parse_instruction(text)
    except Refused:
        return
    # Word by word; the commas between them are not spoken.
    said = normalise_instruction(text).replace(",", " ").split()
    for task in tasks:
        words = task.expression.replace(",", " ").split()
        assert words in [said[i : i + len(words)] for i in range(len(said))], task


def test_ten_thousand_characters_take_linear_time() -> None:
    def seconds(characters: int) -> float:
        times = []
        for pattern in ("pick up the red cup and ", "please ", "and then the cup ", "stop , ", "the on of ", ". , ; "):
            sentence = (pattern * characters)[:characters].strip()
            started = time.process_time()
            read_dialogue(sentence)
            for clause, _ in split_clauses(sentence):
                parse_clause(clause)
            times.append(time.process_time() - started)
        return max(times)

    grammar()
    seconds(1000)
    short, long = min(seconds(2500) for _ in range(3)), seconds(10_000)
    assert long < 12 * short + 0.05  # linear is 4
