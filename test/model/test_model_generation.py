import re

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from roboref_node.model import (
    Generator,
    RoboReferConfig,
    RoboReferModel,
    RoboReferProcessor,
    TokenGrammar,
    generation,
    load_model,
    point_answer,
)
from roboref_node.model.conversation import attach_tokenizer
from roboref_node.model.decode_step import DecodeStep
from roboref_node.model.decoding import FixedDecoder
from roboref_node.status import Refused, Status

TEXTS = ("Point to the cup.", "x", "Where is the red box behind the bowl?")
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
POINTS = re.compile(r"\[\]|\[\((0\.\d{1,4}|1\.0{1,4}), (0\.\d{1,4}|1\.0{1,4})\)(, \((0\.\d{1,4}|1\.0{1,4}), (0\.\d{1,4}|1\.0{1,4})\))*\]")
NEW = 12


@pytest.fixture(scope="module", params=[f"{family}-{device}" for device in DEVICES for family in ("2b", "8b")])
def loaded(request, tmp_path_factory):
    family, device = request.param.split("-")
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp(request.param) / "c", family)
    model, processor = load_model(folder, device=device, dtype=torch.float32)
    rng = np.random.default_rng(0)
    rgb, depth, other = (rng.integers(0, 256, (36, 64, 3), dtype=np.uint8) for _ in range(3))
    same_frame = [processor(rgb, depth, text) for text in TEXTS]
    frames = [same_frame[0], processor(other, depth, TEXTS[1]), processor(other[:30, :30], None, TEXTS[2])]
    return model, processor, same_frame, frames


def transformers_answer(model, inputs):
    """Greedy tokens of the stock generate method."""
    with torch.no_grad():
        rgb = model.encode_rgb(inputs.rgb_tiles, inputs.rgb_block_sizes)
        depth = None if inputs.depth_tiles is None else model.encode_depth(inputs.depth_tiles, inputs.depth_block_sizes)
        embeds = model.embed(inputs.input_ids, rgb, depth)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=model.device)
        stops = model.config.stop_token_ids
        ids = model.llm.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=NEW, do_sample=False, eos_token_id=stops, pad_token_id=stops[0]
        )[0].tolist()
    return [token for token in ids if token not in stops]


@pytest.mark.parametrize("fixed", [False, True])
def test_answers_are_those_of_transformers(loaded, fixed):
    model, processor, same_frame, frames = loaded
    generator = Generator(model, processor, fixed_cache=fixed)
    for inputs in (*same_frame, *frames):
        assert list(generator.generate(inputs, max_new_tokens=NEW).token_ids) == transformers_answer(model, inputs)


@pytest.mark.parametrize("fixed", [False, True])
def test_questions_answered_together_get_the_same_answers(loaded, fixed):
    model, processor, same_frame, frames = loaded
    generator = Generator(model, processor, fixed_cache=fixed)
    for questions in (same_frame, frames):
        expected = [transformers_answer(model, inputs) for inputs in questions]
        assert [list(a.token_ids) for a in generator.generate_batch(questions, max_new_tokens=NEW)] == expected


def test_batches_of_any_size_share_few_fixed_caches(loaded, monkeypatch):
    """Each costs the recording of its graphs and its memory; a server's batches have every size."""
    made = []

    class Counted(FixedDecoder):
        def __init__(self, layers, batch, length, *, graphs):
            made.append((batch, length))
            super().__init__(layers, batch, length, graphs=graphs)

    monkeypatch.setattr(generation, "FixedDecoder", Counted)
    model, processor, same_frame, frames = loaded
    questions = [*same_frame, *frames]
    expected = [transformers_answer(model, inputs) for inputs in questions]
    generator = Generator(model, processor, fixed_cache=True)
    for size in (1, 3, 6, 2, 4, 5, 3, 1):
        assert [list(a.token_ids) for a in generator.generate_batch(questions[:size], max_new_tokens=NEW)] == expected[:size]
    assert made == [(1, 512), (4, 512), (8, 512), (2, 512)]
    singles = [length for _, length in made[:1]]
    for longest in (150, 400, 150, 1500, NEW):  # much too long is no good either: it slows every step down
        generator.generate(questions[0], max_new_tokens=longest)
        singles += [length for _, length in made[4 + len(singles) - 1 :]]
    assert singles == [512, 1024, 2560, 512]


def test_a_fixed_cache_that_is_full_gives_way_to_a_larger_one(loaded, monkeypatch):
    """Rows that wait for each other's forced tokens can take more slots than any of them has tokens."""
    model, processor, same_frame, _ = loaded
    unloaded = []

    class Full(FixedDecoder):
        @property
        def room(self):
            return 0 if len(unloaded) < 3 else super().room

        def unload(self, rows):
            unloaded.append(rows)
            return super().unload(rows)

    monkeypatch.setattr(generation, "FixedDecoder", Full)
    answers = Generator(model, processor, fixed_cache=True).generate_batch(same_frame, max_new_tokens=NEW)
    assert [list(a.token_ids) for a in answers] == [transformers_answer(model, inputs) for inputs in same_frame]
    assert unloaded == [3, 3, 3]


def test_an_answer_that_overflowed_does_not_spoil_the_next(loaded, monkeypatch):
    model, processor, same_frame, _ = loaded
    generator = Generator(model, processor, fixed_cache=True)
    expected = generator.generate(same_frame[0], max_new_tokens=NEW).token_ids

    def overflow(self, ids, valid):
        self.cache.fill_(torch.nan)
        return torch.full((ids.shape[0], model.config.text.vocab_size), torch.nan, device=ids.device)

    with monkeypatch.context() as patch:
        patch.setattr(DecodeStep, "__call__", overflow)
        patch.setattr(FixedDecoder, "_record", None)
        generator._decoders[1]._graphs.clear()
        with pytest.raises(Refused, match="no finite numbers"):
            generator.generate(same_frame[0], max_new_tokens=NEW)
    assert generator.generate(same_frame[0], max_new_tokens=NEW).token_ids == expected


@pytest.mark.parametrize("fixed", [False, True])
def test_a_prefix_is_reused_and_not_used_up(loaded, fixed):
    model, processor, same_frame, _ = loaded
    generator = Generator(model, processor, fixed_cache=fixed)
    prefix = generator.encode_frame(same_frame[0])
    assert 0 < prefix.shared_positions < (length := prefix.cache.get_seq_length()) == processor.sequence_length(same_frame[0])
    expected = [transformers_answer(model, inputs) for inputs in same_frame]
    for _ in range(2):
        alone = [generator.generate(inputs, max_new_tokens=NEW, prefix=prefix) for inputs in same_frame]
        assert [list(a.token_ids) for a in alone] == expected
    together = generator.generate_batch(same_frame, max_new_tokens=NEW, prefix=prefix)
    assert [list(a.token_ids) for a in together] == expected
    assert prefix.cache.get_seq_length() == length


def test_the_prefix_of_other_pictures_is_refused(loaded):
    model, processor, same_frame, frames = loaded
    generator = Generator(model, processor)
    with pytest.raises(ValueError, match="computed for other pictures"):
        generator.generate(frames[2], prefix=generator.encode_frame(same_frame[0]))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("max_points", [1, 3])
def test_a_grammar_allows_well_formed_points_only(loaded, fixed, max_points):
    model, processor, same_frame, frames = loaded
    grammar = TokenGrammar(point_answer(max_points, think="never"), processor.tokenizer, model.config.stop_token_ids)
    generator = Generator(model, processor, fixed_cache=fixed)
    alone = [generator.generate(inputs, max_new_tokens=80, grammar=grammar) for inputs in (*same_frame, *frames)]
    for answer in alone:
        assert answer.finished and POINTS.fullmatch(answer.text), answer.text
        assert answer.text.count("(") <= max_points
        assert answer.forward_passes <= len(answer.token_ids)
    assert [a.text for a in generator.generate_batch(same_frame, max_new_tokens=80, grammar=grammar)] == [a.text for a in alone[:3]]


def test_jumping_forward_changes_no_answer(loaded):
    model, processor, same_frame, _ = loaded
    grammar = TokenGrammar(point_answer(2, think="never", allow_empty=False), processor.tokenizer, model.config.stop_token_ids)
    stepwise = TokenGrammar(point_answer(2, think="never", allow_empty=False), processor.tokenizer, model.config.stop_token_ids)
    stepwise.forced = lambda state: None
    generator = Generator(model, processor)
    for inputs in same_frame:
        fast, slow = (generator.generate(inputs, max_new_tokens=80, grammar=g) for g in (grammar, stepwise))
        assert fast.token_ids == slow.token_ids
        assert fast.forward_passes < slow.forward_passes


@pytest.mark.parametrize("fixed", [False, True])
def test_a_pass_of_the_model_makes_a_token(loaded, fixed):
    """The last of an answer that is cut off too: what would come behind it is not computed."""
    model, processor, same_frame, frames = loaded
    generator = Generator(model, processor, fixed_cache=fixed)
    for tokens in (1, 2, 9):
        for answer in generator.generate_batch([*same_frame, *frames], max_new_tokens=tokens, stop_ids=(-1,)):
            assert (len(answer.token_ids), answer.forward_passes, answer.finished) == (tokens, tokens, False)


def test_the_score_is_the_probability_of_the_answer(loaded):
    model, processor, same_frame, _ = loaded
    grammar = TokenGrammar(point_answer(1, think="never", allow_empty=False), processor.tokenizer, model.config.stop_token_ids)
    answer = Generator(model, processor).generate(same_frame[0], max_new_tokens=80, grammar=grammar)
    said = torch.tensor(answer.token_ids, device=model.device)
    ids = torch.cat([same_frame[0].input_ids, said[None]], dim=1)
    with torch.no_grad():
        inputs = same_frame[0]
        logits = model(ids, inputs.rgb_tiles, inputs.depth_tiles, inputs.rgb_block_sizes, inputs.depth_block_sizes).logits[0]
    before = logits[-len(answer.token_ids) - 1 : -1].log_softmax(-1).gather(1, said[:, None])[:, 0].exp().tolist()
    decided = [score for score in answer.token_scores if score != 1.0]
    assert 4 <= len(decided) < len(answer.token_ids)
    for score, probability in zip(answer.token_scores, before, strict=True):
        assert score == 1.0 or score == pytest.approx(probability, rel=1e-3)
    assert answer.score == pytest.approx(float(np.prod(decided)), rel=1e-6)


def test_canceling_ends_the_answer(loaded):
    model, processor, same_frame, _ = loaded
    polls = iter([False, False, True])
    with pytest.raises(Refused) as caught:
        Generator(model, processor).generate(same_frame[0], canceled=lambda: next(polls))
    assert caught.value.status is Status.CANCELED


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("part", ["model.norm", "model.layers.0.input_layernorm"])
def test_numbers_that_are_not_finite_are_no_answer(loaded, fixed, constrained, part, monkeypatch):
    model, processor, same_frame, _ = loaded
    monkeypatch.setitem(
        model.llm.get_submodule(part)._parameters, "weight", torch.nn.Parameter(torch.full((32,), torch.nan, device=model.device))
    )
    grammar = TokenGrammar(point_answer(1), processor.tokenizer, model.config.stop_token_ids) if constrained else None
    with pytest.raises(Refused, match="weights hold NaN or infinity, or overflow torch.float32") as caught:
        Generator(model, processor, fixed_cache=fixed).generate_batch(same_frame, grammar=grammar)
    assert caught.value.status is Status.MODEL_UNAVAILABLE


def test_an_answer_that_is_cut_off_says_so(loaded):
    model, processor, same_frame, _ = loaded
    answer = Generator(model, processor).generate(same_frame[0], max_new_tokens=2)
    assert len(answer.token_ids) <= 2
    assert answer.finished == (len(answer.token_ids) < 2)


def test_stages_are_timed(loaded):
    model, processor, same_frame, _ = loaded
    answer = Generator(model, processor).generate(same_frame[0], max_new_tokens=3)
    assert set(answer.timings_ms) == {"vision", "prefill", "decode"}
    assert all(value >= 0 for value in answer.timings_ms.values())


def whole_number_tokenizer():
    """Coordinates are single tokens, as the nano's."""
    numbers = [f"0.{i:03d}" for i in range(0, 1000, 125)]
    layout = ["[(", ", ", ")]", "[]", "<think>", "</think><answer>", "[Position] [", "]: ", *numbers]
    special = ["<pad>", "<image>", "<depth>", "<end>"]
    vocabulary = {token: i for i, token in enumerate([*special, "cup", " box", *layout])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ["cup", " box", *layout]])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>", clean_up_tokenization_spaces=False)
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    return fast


def test_one_point_of_whole_numbers_costs_three_passes():
    torch.manual_seed(1)
    tokenizer = whole_number_tokenizer()
    config = RoboReferConfig.nano(len(tokenizer))
    attach_tokenizer(config, tokenizer)
    model, processor = RoboReferModel(config).eval(), RoboReferProcessor(config, tokenizer)
    image = np.zeros((20, 20, 3), np.uint8)
    grammar = TokenGrammar(point_answer(1, think="never", allow_empty=False), tokenizer, config.stop_token_ids)
    answer = Generator(model, processor).generate(processor(image, image, "cup"), grammar=grammar)
    assert POINTS.fullmatch(answer.text)
    assert len(answer.token_ids) == 5
    assert answer.forward_passes == 3  # prefill, x behind the forced bracket, y behind the forced comma; the rest is forced
    reasoned = TokenGrammar(point_answer(1, think="always"), tokenizer, config.stop_token_ids)
    answer = Generator(model, processor).generate(processor(image, image, "cup"), grammar=reasoned, max_new_tokens=200)
    assert answer.text.startswith("<think>")
