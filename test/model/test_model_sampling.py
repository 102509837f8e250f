"""Answers drawn at random: by the model's own probabilities, and the same again for the same seed."""

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint

from roboref_node.model import Generator, TokenGrammar, load_model, point_answer
from roboref_node.model.sampling import Drawer, Sampling

TEXTS = ("Point to the cup.", "x", "Where is the red box behind the bowl?")
NEW = 10


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    model, processor = load_model(write_tiny_checkpoint(tmp_path_factory.mktemp("sampling") / "c", "2b"), device="cpu", dtype=torch.float32)
    rng = np.random.default_rng(0)
    rgb, depth = (rng.integers(0, 256, (36, 64, 3), dtype=np.uint8) for _ in range(2))
    return model, processor, [processor(rgb, depth, text) for text in TEXTS]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_they_are_probable(temperature):
    logits = torch.log(torch.tensor([0.5, 0.1, 0.0, 0.4]))
    drawer = Drawer(Sampling(temperature, seed=1))
    counts = np.bincount([drawer.draw(logits) for _ in range(4000)], minlength=4) / 4000
    expected = torch.softmax(logits / temperature, 0).numpy()
    assert counts[2] == 0
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    ("top_p", "drawn"), [(1e-9, {0}), (0.5, {0}), (0.51, {0, 3}), (0.9, {0, 3}), (0.95, {0, 1, 3}), (1.0, {0, 1, 2, 3})]
)
def test_improbable_tokens_are_left_out(top_p, drawn):
    logits = torch.log(torch.tensor([0.5, 0.06, 0.04, 0.4], dtype=torch.float64))
    drawer = Drawer(Sampling(1.0, top_p, seed=2))
    assert {drawer.draw(logits) for _ in range(500)} == drawn


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_can_be_drawn_from(dtype):
    logits = torch.tensor([-torch.inf, 3e4, -3e4, 2.9e4], dtype=dtype)
    assert Drawer(Sampling(1e-3, seed=0)).draw(logits) == 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
    ],
)
def test_what_cannot_be_drawn_is_named(changes, word):
    with pytest.raises(ValueError, match=word):
        Sampling(**changes)


@pytest.mark.parametrize("fixed", [False, True])
def test_a_seed_gives_the_same_answer_alone_and_beside_others(loaded, fixed):
    model, processor, questions = loaded
    generator = Generator(model, processor, fixed_cache=fixed)

    def answers(asked, sampling):
        return [answer.token_ids for answer in generator.generate_batch(asked, max_new_tokens=NEW, sampling=sampling)]

    hot = [Sampling(1.5, seed=seed) for seed in (3, 4, 5)]
    together = answers(questions, hot)
    assert together == answers(questions, hot) == [answers([q], [how])[0] for q, how in zip(questions, hot, strict=True)]
    greedy = answers(questions, None)
    assert answers(questions, [None, hot[1], None]) == [greedy[0], together[1], greedy[2]]
    assert together != greedy
    assert answers(questions, [Sampling(1.0, 1e-9)] * 3) == greedy
    assert answers([questions[0]] * 3, [Sampling(1.5)] * 3) != answers([questions[0]] * 3, [Sampling(1.5)] * 3), "no seed, other answers"


def test_the_scores_are_the_models_own_whatever_the_temperature(loaded):
    model, processor, (question, *_) = loaded
    answer = Generator(model, processor).generate(question, max_new_tokens=NEW, sampling=Sampling(1.7, 0.9, seed=6))
    rgb, depth = (
        model.encode_rgb(question.rgb_tiles, question.rgb_block_sizes),
        model.encode_depth(question.depth_tiles, question.depth_block_sizes),
    )
    ids = torch.cat([question.input_ids, torch.tensor([answer.token_ids])], dim=1)
    with torch.no_grad():
        logits = model.llm(inputs_embeds=model.embed(ids, rgb, depth)).logits[0, -len(answer.token_ids) - 1 : -1]
    expected = torch.softmax(logits, -1)[torch.arange(len(answer.token_ids)), torch.tensor(answer.token_ids)]
    np.testing.assert_allclose(answer.token_scores, expected, rtol=1e-4)


def test_a_grammar_holds_for_drawn_answers(loaded):
    model, processor, questions = loaded
    grammar = TokenGrammar(point_answer(think="never"), processor.tokenizer, model.config.stop_token_ids)
    generator = Generator(model, processor)
    texts = set()
    for seed in range(12):
        answer = generator.generate(questions[0], max_new_tokens=80, grammar=grammar, sampling=Sampling(2.0, seed=seed))
        assert answer.text.startswith("[") and (answer.text.endswith("]") or not answer.finished)
        texts.add(answer.text)
    assert len(texts) > 3


def test_the_number_of_samplings_is_checked(loaded):
    model, processor, questions = loaded
    with pytest.raises(ValueError, match="1 of 3"):
        Generator(model, processor).generate_batch(questions, sampling=[None])
