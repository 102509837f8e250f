"""Who says what next: nothing moves without a yes, stop needs nothing."""

from __future__ import annotations

import time

import pytest

from roboref_node.language import Act
from roboref_node.speech.conversation import UNHEARD, Conversation, Deed, Inquiry, Reaction
from roboref_node.speech.recogniser import Heard


def hear(conversation: Conversation, text: str, *, now_s: float = 0.0, certain: bool = False, onset_ns: int = 7) -> list[Reaction]:
    return conversation.hear(Heard(text, is_answer=certain), onset_ns=onset_ns, now_s=now_s)


def deeds(reactions: list[Reaction]) -> list[str]:
    return [reaction.deed.value for reaction in reactions]


def test_a_command_is_read_back_and_waits() -> None:
    conversation = Conversation()
    reactions = hear(conversation, "pick up the red cup")
    assert deeds(reactions) == ["asked", "say"]
    assert reactions[1].text == "Yes or no: Pick up the red cup?"
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


def test_a_yes_from_before_the_question_is_no_answer_to_it() -> None:
    """A slow recogniser, or the language model: somebody said yes to somebody else while the robot was still thinking."""
    conversation = Conversation()
    hear(conversation, "pick up the red cup", now_s=5.0)
    early = conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=5.1, began_s=3.0)
    assert early == [Reaction(Deed.SAY, "Yes or no?")]
    assert "instruct" in deeds(conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=7.0, began_s=6.0))


def test_a_question_that_took_the_language_model_long_is_open_as_long_as_any() -> None:
    def rewrite(sentence: str) -> str:
        time.sleep(0.3)
        return "pick up the cup"

    conversation = Conversation(timeout_s=1.0, rewrite=rewrite)
    hear(conversation, "i would love to have the cup", now_s=10.0)
    assert conversation.tick(11.2) == []
    early = conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=11.2, began_s=10.1)
    assert "instruct" not in deeds(early), "it was said before the question"
    assert "dropped" in deeds(conversation.tick(11.5))


@pytest.mark.parametrize("text", ["pick up the red cup", "again"])
def test_what_was_said_before_a_stop_is_not_done_without_a_yes(text: str) -> None:
    """ "Pick up the red cup ... stop!": the spotter is done before the recogniser, which then gives the command."""
    conversation = Conversation(confirm=False)
    assert deeds(hear(conversation, "go to the table", now_s=1.0)) == ["instruct"]
    conversation.interrupt(Act.STOP, 5.0)
    late = conversation.hear(Heard(text), onset_ns=0, now_s=5.2, began_s=4.0)
    assert deeds(late) == ["asked", "say"]
    hear(conversation, "no", now_s=6.0)
    assert deeds(conversation.hear(Heard(text), onset_ns=0, now_s=7.0, began_s=6.5)) == ["instruct"]


def test_the_time_for_an_answer_begins_when_the_question_has_been_spoken() -> None:
    conversation = Conversation(timeout_s=2.0)
    hear(conversation, "put the red cup left of the blue box", now_s=0.0)
    conversation.spoke_s = 4.0  # a slow voice
    assert conversation.tick(5.9) == []
    assert "dropped" in deeds(conversation.tick(6.0))


@pytest.mark.parametrize(("text", "act"), [("stop, pick up the blue cup", Act.STOP), ("cancel that, pick up the blue cup", Act.CANCEL)])
def test_what_follows_a_stop_is_asked_about(text: str, act: Act) -> None:
    conversation = Conversation(confirm=False)
    reactions = hear(conversation, text)
    assert reactions[0] == Reaction(Deed.INTERRUPT, act.value)
    assert Reaction(Deed.ASKED, "pick up the blue cup") in reactions


def test_a_command_that_begins_with_yes_is_not_lost() -> None:
    assert "asked" in deeds(hear(Conversation(), "yes, pick up the red cup", certain=True))
    assert hear(Conversation(), "yes i have seen him at the station") == [], "people who talk to each other"


def test_a_stop_that_is_repeated_without_end_is_a_stop() -> None:
    for text in ("stop " * 200, "pick up the cup, stop! " * 50, "I do not know " * 60 + ", stop"):
        assert hear(Conversation(), text)[0] == Reaction(Deed.INTERRUPT, Act.STOP.value)


CUP = Inquiry("pick_place", "a1", "Pick the red cup?", 30.0)


def asked(now_s: float = 10.0) -> Conversation:
    """A conversation in which the robot has asked whether to pick the red cup."""
    conversation = Conversation()
    conversation.inquire(CUP, now_s)
    assert conversation.tick(now_s) == [
        Reaction(Deed.ASKED, "Pick the red cup"),
        Reaction(Deed.SAY, "Yes or no: Pick the red cup?"),
    ]
    return conversation


def answers(reactions: list[Reaction]) -> list[tuple[str, str]]:
    """Which question was answered, and how."""
    return [(reaction.inquiry.id, reaction.deed.value) for reaction in reactions if reaction.inquiry is not None]


def test_a_yes_answers_the_question_of_another_node_once() -> None:
    conversation = asked()
    assert answers(hear(conversation, "yes", now_s=12.0, certain=True)) == [("a1", "agree")]
    assert answers(hear(conversation, "yes", now_s=12.5, certain=True)) == []


def test_a_yes_that_began_before_the_question_was_asked_does_not() -> None:
    conversation = asked(10.0)
    early = conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=10.4, began_s=9.9)
    assert early == [Reaction(Deed.SAY, "Yes or no?")]
    assert answers(hear(conversation, "yes", now_s=10.6, certain=False)) == [], "perhaps a noise"


@pytest.mark.parametrize("text", ["no", "no, pick up the blue cup", "no, the other one", "stop", "cancel", "hold on"])
def test_no_and_stop_decline_it_at_any_time(text: str) -> None:
    early = asked(10.0).hear(Heard(text), onset_ns=0, now_s=10.4, began_s=9.0)
    assert answers(early) == [("a1", "decline")]


def test_a_stop_from_elsewhere_declines_it_too() -> None:
    assert answers(asked().interrupt(Act.STOP, 11.0)) == [("a1", "decline")]


def test_of_two_questions_a_yes_answers_the_last_one_that_was_asked() -> None:
    """An order in the middle of the robot's question: its read-back is the question now, and the other waits."""
    conversation = asked()
    assert "asked" in deeds(hear(conversation, "pick up the blue cup", now_s=11.0))
    heard = hear(conversation, "no", now_s=12.0)
    assert answers(heard) == [] and "dropped" in deeds(heard)
    assert [r.text for r in conversation.tick(12.1) if r.deed is Deed.SAY] == ["Yes or no: Pick the red cup?"]
    assert answers(conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=12.3, began_s=12.05)) == [], "before it was asked anew"
    assert answers(hear(conversation, "yes", now_s=13.0, certain=True)) == [("a1", "agree")]


def test_another_order_that_is_confirmed_declines_what_waits_first() -> None:
    conversation = asked()
    hear(conversation, "pick up the blue cup", now_s=11.0)
    reactions = hear(conversation, "yes", now_s=12.0, certain=True)
    assert [d for d in deeds(reactions) if d in ("decline", "agree", "instruct")] == ["decline", "instruct"]


def test_a_question_that_comes_while_another_is_open_waits() -> None:
    conversation = Conversation()
    hear(conversation, "pick up the blue cup", now_s=9.0)
    conversation.inquire(CUP, 10.0)
    assert conversation.tick(10.1) == []
    hear(conversation, "no", now_s=11.0)
    assert "asked" in deeds(conversation.tick(11.1))


def test_a_new_question_of_the_same_node_takes_the_place_of_the_old_one() -> None:
    conversation = asked()
    conversation.inquire(Inquiry("pick_place", "b2", "Put the red cup on the table?", 30.0), 20.0)
    early = conversation.hear(Heard("yes", is_answer=True), onset_ns=0, now_s=20.3, began_s=19.8)
    assert answers(early) == [], "that was meant for the first"
    assert answers(hear(conversation, "yes", now_s=21.0, certain=True)) == [("b2", "agree")]


def test_a_question_that_was_answered_elsewhere_or_whose_node_started_anew_is_closed() -> None:
    for id_ in ("a1", ""):
        conversation = asked()
        assert deeds(conversation.withdraw("pick_place", id_, "")) == ["dropped"]
        assert answers(hear(conversation, "yes", now_s=12.0, certain=True)) == []
    conversation = asked()
    assert conversation.withdraw("pick_place", "of yesterday", "") == [] and conversation.asking


def test_a_node_that_has_died_is_not_waited_for() -> None:
    conversation = asked(10.0)
    assert conversation.tick(41.0) == []
    assert deeds(conversation.tick(42.1)) == ["dropped", "say"]
    conversation = asked(10.0)
    assert answers(hear(conversation, "yes", now_s=12.0, certain=True)) == [("a1", "agree")]
    assert [r.text for r in conversation.tick(14.1)] == [UNHEARD]
    assert conversation.tick(15.0) == []
    conversation = asked(10.0)
    hear(conversation, "yes", now_s=12.0, certain=True)
    conversation.withdraw("pick_place", "a1", "")
    assert conversation.tick(14.1) == [], "it closed the question: the answer has come"


def test_what_was_replaced_is_not_confirmed_later() -> None:
    conversation = Conversation(confirm=False)
    conversation.interrupt(Act.STOP, 5.0)
    conversation.hear(Heard("pick up the red cup"), onset_ns=0, now_s=5.2, began_s=4.0)
    assert "dropped" in deeds(hear(conversation, "go to the table", now_s=7.0))
    assert "instruct" not in deeds(hear(conversation, "yes", now_s=8.0, certain=True))
