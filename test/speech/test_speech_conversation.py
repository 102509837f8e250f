"""Who says what next: nothing moves without a yes, stop needs nothing."""

from __future__ import annotations

import pytest

from roboref_node.language import Act
from roboref_node.speech.conversation import Conversation, Deed, Reaction
from roboref_node.speech.recogniser import Heard


def hear(conversation: Conversation, text: str, *, now_s: float = 0.0, certain: bool = False, onset_ns: int = 7) -> list[Reaction]:
    return conversation.hear(Heard(text, is_answer=certain), onset_ns=onset_ns, now_s=now_s)


def deeds(reactions: list[Reaction]) -> list[str]:
    return [reaction.deed.value for reaction in reactions]


def test_a_command_is_read_back_and_waits() -> None:
    conversation = Conversation()
    reactions = hear(conversation, "pick up the red cup")
    assert deeds(reactions) == ["asked", "say"]
    assert reactions[1].text == "Pick up the red cup, yes or no?"
    assert conversation.asking


def test_yes_passes_it_on_with_the_onset_of_the_command() -> None:
    conversation = Conversation()
    hear(conversation, "pick up the red cup", onset_ns=123)
    reactions = hear(conversation, "yes", certain=True, onset_ns=999)
    assert Reaction(Deed.INSTRUCT, "pick up the red cup", 123) in reactions
    assert not conversation.asking


@pytest.mark.parametrize("text", ["no", "wrong", "no, the other one", "cancel", "stop"])
def test_everything_else_does_not(text: str) -> None:
    conversation = Conversation()
    hear(conversation, "pick up the red cup")
    assert "instruct" not in deeds(hear(conversation, text, certain=True))
    assert "instruct" not in deeds(hear(conversation, "yes", certain=True)), "the question is closed"


def test_an_uncertain_yes_is_asked_again() -> None:
    conversation = Conversation()
    hear(conversation, "pick up the red cup")
    assert hear(conversation, "yes", certain=False) == [Reaction(Deed.SAY, "Yes or no?")]
    assert conversation.asking


def test_a_correction_replaces_the_question() -> None:
    conversation = Conversation()
    hear(conversation, "pick up the red cup")
    reactions = hear(conversation, "no, pick up the blue cup")
    assert "asked" in deeds(reactions)
    assert [r.text for r in hear(conversation, "yes", certain=True) if r.deed is Deed.INSTRUCT] == ["pick up the blue cup"]


def test_a_question_closes_by_itself() -> None:
    conversation = Conversation(timeout_s=8.0)
    hear(conversation, "pick up the red cup", now_s=0.0)
    assert conversation.tick(7.9) == []
    assert deeds(conversation.tick(8.0)) == ["dropped", "say"]
    assert "instruct" not in deeds(hear(conversation, "yes", now_s=8.1, certain=True))


def test_a_late_yes_answers_nothing() -> None:
    conversation = Conversation(timeout_s=8.0)
    hear(conversation, "pick up the red cup", now_s=0.0)
    assert "instruct" not in deeds(hear(conversation, "yes", now_s=9.0, certain=True))


def test_stop_needs_no_question_and_no_certainty() -> None:
    assert hear(Conversation(), "please stop the robot")[0] == Reaction(Deed.INTERRUPT, Act.STOP.value)


def test_people_who_say_yes_to_each_other_move_nothing() -> None:
    assert hear(Conversation(), "yes", certain=True) == []


def test_again_repeats_the_last_instruction_after_a_yes() -> None:
    conversation = Conversation()
    assert "nothing to do again" in hear(conversation, "again")[0].text
    hear(conversation, "pick up the red cup")
    hear(conversation, "yes", certain=True)
    assert "asked" in deeds(hear(conversation, "do it again"))
    assert [r.text for r in hear(conversation, "yes", certain=True) if r.deed is Deed.INSTRUCT] == ["pick up the red cup"]


def test_the_other_one_is_told_to_who_acts() -> None:
    conversation = Conversation()
    hear(conversation, "pick up the red cup")
    hear(conversation, "yes", certain=True)
    assert "asked" in deeds(hear(conversation, "the other one"))
    assert Reaction(Deed.TELL, "other") in hear(conversation, "yes", certain=True)


def test_without_confirmation_a_sentence_is_an_instruction() -> None:
    assert hear(Conversation(confirm=False), "pick up the red cup") == [Reaction(Deed.INSTRUCT, "pick up the red cup", 7)]


@pytest.mark.parametrize("text", ["put the cup", "nice weather today", "pik up the cup"])
def test_what_is_not_understood_is_said_with_a_reason(text: str) -> None:
    reactions = hear(Conversation(confirm=False), text)
    assert deeds(reactions) == ["say"]
    assert "I did not understand that" in reactions[0].text


def test_typed_text_is_certain() -> None:
    conversation = Conversation()
    conversation.hear(Heard("pick up the red cup"), onset_ns=0, now_s=0.0, typed=True)
    assert "instruct" in deeds(conversation.hear(Heard("yes"), onset_ns=0, now_s=1.0, typed=True))
