"""Packed questions compute what they would compute alone, and their labels spell the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.synth.split import RESERVED_PAIRS, is_reserved_seed, training_seeds
from roboref_node.synth.view import SceneView
from roboref_node.training import vocabulary as vocab
from roboref_node.training.batches import SLOT, BatchSettings, collate, dense_labels, draw_questions, normalise, patch_words
from roboref_node.training.nano import NanoRecipe, new_nano
from roboref_node.training.packed_attention import PACKED_ATTENTION, slot_mask
from roboref_node.training.packing import IGNORED, Packer

SMALL = NanoRecipe(
    model={
        "text_config": {
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64,
        }
    },
    batch=BatchSettings(image_size=64, patch_grid=8, token_grid=4),
)  # fmt: skip


@pytest.fixture(scope="module")
def view() -> SceneView:
    seed = training_seeds(1)[0]
    return SceneView(SceneRenderer(64, 64).render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS)))


def test_training_seeds_are_never_reserved() -> None:
    seeds = training_seeds(200)
    assert not any(is_reserved_seed(s) for s in seeds)
    share = np.mean([is_reserved_seed(s) for s in range(5000)])
    assert 0.08 < share < 0.12


def test_a_packed_question_computes_what_it_computes_alone(view: SceneView) -> None:
    torch.manual_seed(0)
    tokenizer = vocab.build_tokenizer()
    model = new_nano(tokenizer, SMALL).eval()
    rng = np.random.default_rng(1)
    mix = {"attribute": 0.5, "size": 0.2, "ordinal": 0.3, "distance": 0.3, "closest_to": 0.3, "absent": 0.2}
    questions = draw_questions(view, rng, 6, canonical=True, mix=mix)
    assert len(questions) == 6
    packed = Packer(tokenizer, 4).pack(view, questions, rng)
    depth_image = np.zeros((64, 64), dtype=np.uint8)
    rgb = normalise(view.rendered.rgb[None].copy())
    batch = collate(
        [packed], rgb, None, dense_labels(view, 8, depth_image)[None], patch_words(view, 4)[None], [questions]
    )  # fmt: skip
    media = model.encode_rgb(rgb)
    length = media.shape[1]
    embed = model.get_input_embeddings()
    with torch.no_grad():
        positions = torch.cat([torch.arange(length)[None], length + batch.position], dim=1)
        inputs = torch.cat([media, embed(batch.tokens)], dim=1)
        model.llm.set_attn_implementation(PACKED_ATTENTION)
        mask = slot_mask(batch.question.unflatten(1, (-1, SLOT)))
        together = model.llm.model(inputs_embeds=inputs, attention_mask={"full_attention": mask}, position_ids=positions).last_hidden_state
        model.llm.set_attn_implementation("sdpa")
        for number in range(len(questions)):
            own = (batch.question[0] == number).nonzero()[:, 0]
            alone = model.llm.model(inputs_embeds=torch.cat([media, embed(batch.tokens[:, own])], dim=1)).last_hidden_state
            torch.testing.assert_close(together[0, length + own], alone[0, length:], atol=2e-5, rtol=1e-4)


def test_labels_spell_the_answer(view: SceneView) -> None:
    tokenizer = vocab.build_tokenizer()
    packer = Packer(tokenizer, 4)
    rng = np.random.default_rng(2)
    questions = draw_questions(view, rng, 12, canonical=True, mix={"attribute": 1.0, "closest_to": 1.0, "absent": 0.4})
    packed = packer.pack(view, questions, rng)
    for number, question in enumerate(questions):
        labels = packed.label[(packed.question == number) & (packed.label != IGNORED)]
        text = tokenizer.decode(labels[:-1])
        assert int(labels[-1]) == packer.end
        if question.answer_uv is None:
            assert text.strip() == "[]"
            continue
        x, y = (float(part) for part in text.split("[(")[-1].removesuffix(")]").split(", "))
        assert abs(x - question.answer_uv[0]) <= 0.5 / vocab.COORDINATE_BINS + 1e-3
        assert abs(y - question.answer_uv[1]) <= 0.5 / vocab.COORDINATE_BINS + 1e-3
        for name, _ in question.references:
            assert f"[Position] [{name}]: [(" in text


def test_the_tokenizer_round_trips_and_knows_its_words(tmp_path: object) -> None:
    from transformers import AutoTokenizer

    tokenizer = vocab.build_tokenizer()
    tokenizer.save_pretrained(str(tmp_path))
    again = AutoTokenizer.from_pretrained(str(tmp_path))
    text = "Please point to the red cup left of the blue box."
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id in tokenizer("point to the teal cup")["input_ids"]
    answer = "<think>[Position] [blue box]: [(0.309, 0.520)]</think><answer>[(0.309, 0.520)]"
    assert tokenizer.decode(tokenizer(answer)["input_ids"]) == answer
