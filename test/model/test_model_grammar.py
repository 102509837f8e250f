"""The language of well-formed answers, and the choice among its tokens."""

import pytest
import torch
from tiny_checkpoint import tiny_tokenizer

from roboref_node.model import TokenGrammar, point_answer
from roboref_node.training.vocabulary import NOTHING, X_TOKENS, build_tokenizer


def accepts(grammar, tokenizer, string):
    state = grammar.automaton.start
    for character in string:
        state = grammar.automaton.step(state, character)
        if state is None:
            return False
    return grammar.automaton.accepts(state)


STEP = "[Position] [blue box]: [(0.3, 0.4)]"
WELL_FORMED = {
    "[(0.484, 0.613)]": True, "[(0.1, 0.2), (1.0, 0.0)]": True, "[]": True, "[(0.484,0.613)]": False,
    "[(1.2, 0.5)]": False, "[(48, 61)]": False,
    "(0.484, 0.613)": False, "[(0.484, 0.613)": False, "": False, "[(0.484, 0.613)] ": False, "[(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)]": False,
    f"<think>{STEP}</think><answer>[(0.1, 0.2)]": True, f"<think>\n{STEP}\n{STEP}</think>\n<answer>[]</answer>": True,
    "<think>[Orientation] [cup]: (0.1, -0.2, 0.97) [Size] [cup]: 0.12</think><answer>[(0.1, 0.2)]": True,
    "<think>hm</think><answer>[]": False, f"<think>{STEP}": False,
}  # fmt: skip


@pytest.mark.parametrize("string", WELL_FORMED)
def test_language_of_answers(string):
    tokenizer = tiny_tokenizer()
    assert accepts(TokenGrammar(point_answer(2), tokenizer, [259]), tokenizer, string) == WELL_FORMED[string]


def test_reasoning_can_be_forbidden_or_required():
    tokenizer = tiny_tokenizer()
    reasoned = f"<think>{STEP}</think><answer>[]"
    for think, plain, steps in (("never", True, False), ("optional", True, True), ("always", False, True)):
        grammar = TokenGrammar(point_answer(think=think), tokenizer, [259])
        assert (accepts(grammar, tokenizer, "[]"), accepts(grammar, tokenizer, reasoned)) == (plain, steps)


def test_names_and_steps_of_any_length_share_few_states():
    """Each state walks the whole vocabulary once: half a second for one of 150,000 tokens."""
    tokenizer = tiny_tokenizer()
    grammar = TokenGrammar(point_answer(), tokenizer, [259])
    state, seen = grammar.automaton.start, set()
    for character in "<think>" + 3 * f"[Position] [{'a long name ' * 9}]: [(0.3, 0.4)]\n":
        state = grammar.automaton.step(state, character)
        seen.add(state)
    assert None not in seen and len(seen) < 80


def test_a_grammar_needs_sensible_settings():
    with pytest.raises(ValueError, match="think is 'maybe'"):
        point_answer(think="maybe")
    with pytest.raises(ValueError, match="max_points is 0"):
        point_answer(0)


def test_the_end_is_a_choice_only_where_the_answer_may_end():
    tokenizer = tiny_tokenizer()
    grammar = TokenGrammar(point_answer(1, think="never"), tokenizer, [259])
    state = grammar.start
    assert 259 not in grammar.allowed(state)
    for character in "[]":
        state = grammar.advance(state, tokenizer.convert_tokens_to_ids(character))
    assert grammar.allowed(state).tolist() == [259]
    assert grammar.forced(state) == 259


def test_a_point_that_is_spread_over_many_tokens_is_one_choice():
    tokenizer = build_tokenizer()
    grammar = TokenGrammar(point_answer(1, think="never"), tokenizer, [tokenizer.eos_token_id])
    points, nothing = tokenizer.convert_tokens_to_ids(list(X_TOKENS)), tokenizer.convert_tokens_to_ids(NOTHING)
    logits = torch.full((len(tokenizer),), -20.0)
    logits[points], logits[nothing] = 0.0, 0.5
    logits[points[7]] = 0.25
    assert grammar.choose(grammar.start, logits) == points[7], "together the points are more probable than nothing"
    logits[nothing] = 6.0
    assert grammar.choose(grammar.start, logits) == nothing


def test_digits_of_other_vocabularies_are_chosen_one_by_one():
    tokenizer = tiny_tokenizer()
    grammar = TokenGrammar(point_answer(1, think="never"), tokenizer, [259])
    state = grammar.start
    for token in tokenizer("[(0.", add_special_tokens=False)["input_ids"]:
        state = grammar.advance(state, token)
    for seed in range(20):
        logits = torch.randn(len(tokenizer) + 8, generator=torch.Generator().manual_seed(seed))
        allowed = grammar.allowed(state)
        assert grammar.choose(state, logits) == int(allowed[logits[allowed].argmax()])
