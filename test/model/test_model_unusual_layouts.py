"""Checkpoints in the published layout with values that none of the published ones has, and that its own code takes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import LAYERS, TILE, logits, write_tiny_checkpoint
from transformers import Qwen2Config, Qwen2ForCausalLM

from roboref_node.model import Generator
from roboref_node.model.checkpoint import convert, load_model
from roboref_node.status import Refused, Status


def edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def pictures(size=(48, 64)):
    return np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", ["2b", "8b"])
def test_rows_that_no_token_of_the_tokenizer_has_are_cut_off(tmp_path, family):
    """The published loader resizes to the tokenizer; what lies behind it could be said and has no text."""
    exact = write_tiny_checkpoint(tmp_path / "exact", family)
    padded = write_tiny_checkpoint(tmp_path / "padded", family)
    file = padded / "llm" / "model.safetensors"
    tensors = load_file(file)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name] = torch.cat([tensors[name], 100.0 * torch.ones(7, tensors[name].shape[1])])
    save_file(tensors, file)
    edit(padded / "llm" / "config.json", vocab_size=len(tensors["model.embed_tokens.weight"]))
    convert(padded, tmp_path / "converted")
    model, processor = load_model(exact, device="cpu")
    inputs = processor(*pictures(), "Point to it.")
    expected = logits(model, inputs)
    answer = Generator(model, processor).generate(inputs, max_new_tokens=12).token_ids
    for folder in (padded, tmp_path / "converted"):
        other, its_processor = load_model(folder, device="cpu")
        torch.testing.assert_close(logits(other, inputs), expected)
        assert Generator(other, its_processor).generate(inputs, max_new_tokens=12).token_ids == answer


@pytest.mark.parametrize("index", [0, 1, 2, -1, None])
def test_the_length_of_a_question_follows_the_scale_that_gives_the_size(tmp_path, index):
    folder = write_tiny_checkpoint(tmp_path / "c", "8b")
    raw = json.loads((folder / "config.json").read_text())
    raw.pop("s2_resize_output_to_scale_idx", None)
    (folder / "config.json").write_text(json.dumps(raw if index is None else {**raw, "s2_resize_output_to_scale_idx": index}))
    model, processor = load_model(folder, device="cpu")
    inputs = processor(*pictures(), "Point to it.")
    assert processor.sequence_length(inputs) == logits(model, inputs).shape[1]


@pytest.mark.parametrize(
    ("file", "changes", "expected"),
    [
        (
            "depth_tower/config.json",
            {"image_size": 2 * TILE},
            f"the first of s2_scales is {TILE}, expected the {2 * TILE} px of depth_tower",
        ),
        ("depth_tower/config.json", {"num_hidden_layers": LAYERS + 1}, f"towers' {LAYERS} and {LAYERS + 1} layers"),
    ],
)
def test_towers_that_do_not_go_together_are_refused_when_they_are_loaded(tmp_path, file, changes, expected):
    folder = write_tiny_checkpoint(tmp_path / "c", "8b")
    edit(folder / "config.json", mm_vision_select_layer=LAYERS - 1)
    load_model(folder, device="cpu")
    edit(folder / file, **changes)
    with pytest.raises(Refused) as caught:
        load_model(folder, device="cpu")
    assert caught.value.status is Status.MODEL_UNAVAILABLE and expected in caught.value.sentence


def test_mixed_precisions_are_converted_to_one_that_holds_them_all(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "c", "2b", dtype=torch.bfloat16)
    file = folder / "vision_tower" / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    convert(folder, tmp_path / "converted")
    inputs = load_model(folder, device="cpu")[1](*pictures(), "Point to it.")
    source, converted = (logits(load_model(path, device="cpu")[0], inputs) for path in (folder, tmp_path / "converted"))
    assert torch.equal(source, converted)
    assert {tensor.dtype for tensor in load_file(tmp_path / "converted" / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("hidden", [32, 30])
def test_heads_may_be_wider_than_their_share_of_the_hidden_size(tmp_path, hidden):
    """Qwen2 takes `head_dim` from its configuration; four heads of twelve make more than the hidden size."""
    folder = write_tiny_checkpoint(tmp_path / "c", "2b")
    file = folder / "llm" / "config.json"
    edit(file, hidden_size=hidden, head_dim=12)
    raw = json.loads(file.read_text())
    generator = torch.Generator().manual_seed(3)
    llm = Qwen2ForCausalLM(Qwen2Config.from_dict(raw))
    weights = {name: 0.3 * torch.randn(tuple(value.shape), generator=generator) for name, value in llm.state_dict().items()}
    save_file({name: value for name, value in weights.items() if name != "lm_head.weight"}, folder / "llm" / "model.safetensors")
    for part in ("mm_projector", "depth_projector"):
        tensors = load_file(folder / part / "model.safetensors")
        cut = {name: value[:hidden, :hidden] if name == "layers.7.weight" else value for name, value in tensors.items()}
        cut = {name: value[:hidden] if name.startswith(("layers.5.", "layers.7.")) else value for name, value in cut.items()}
        save_file({name: value.contiguous() for name, value in cut.items()}, folder / part / "model.safetensors")
    model, processor = load_model(folder, device="cpu")
    inputs = processor(*pictures(), "Point to it.")
    growing, fixed = (Generator(model, processor, fixed_cache=kind).generate(inputs, max_new_tokens=6) for kind in (False, True))
    assert growing.token_ids == fixed.token_ids and growing.score == pytest.approx(fixed.score, rel=1e-3)


@pytest.mark.parametrize("settings", [{"use_sliding_window": False}, {"use_sliding_window": True, "max_window_layers": 2}])
def test_a_short_attention_window_is_kept_in_every_layer(tmp_path, settings):
    """As in transformers 4.49, which the published code runs with, whatever the other two settings say."""
    folder = write_tiny_checkpoint(tmp_path / "c", "2b")
    everything, processor = load_model(folder, device="cpu")
    edit(folder / "llm" / "config.json", sliding_window=40, **settings)
    model, _ = load_model(folder, device="cpu")
    inputs = processor(*pictures(), "Point to it.")
    said = list(Generator(model, processor).generate(inputs, max_new_tokens=4).token_ids)
    with torch.inference_mode():
        blocks = model.encode_rgb(inputs.rgb_tiles), model.encode_depth(inputs.depth_tiles)
        embeds = model.embed(torch.cat([inputs.input_ids, torch.tensor([said])], dim=1), *blocks)
        behind = torch.arange(embeds.shape[1])[:, None] - torch.arange(embeds.shape[1])  # how far each key lies behind each query
        banded = everything(inputs_embeds=embeds, attention_mask=((behind >= 0) & (behind < 40))[None, None]).logits
    question = embeds.shape[1] - len(said)
    assert question > 80 and said == banded[0, question - 1 : -1].argmax(-1).tolist()
    torch.testing.assert_close(logits(model, inputs), banded[:, :question])
    assert not torch.allclose(logits(everything, inputs), banded[:, :question], atol=0.1)


def test_a_window_longer_than_any_question_leaves_nothing_out(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "c", "2b")
    edit(folder / "llm" / "config.json", sliding_window=16384, use_sliding_window=True)
    model, _ = load_model(folder, device="cpu")
    assert set(model.llm.config.layer_types) == {"full_attention"}


def test_questions_of_several_lengths_keep_their_attention_window(tmp_path):
    """Padding between the tokens of a row is no distance."""
    folder = write_tiny_checkpoint(tmp_path / "c", "2b")
    edit(folder / "llm" / "config.json", sliding_window=40)
    model, processor = load_model(folder, device="cpu")
    generator, frame = Generator(model, processor), pictures()
    questions = [processor(*frame, text) for text in ("Point to it.", "Point to the red cup on the left of the blue box, please.", "a")]
    alone = [generator.generate(question, max_new_tokens=8) for question in questions]
    for prefix in (None, generator.encode_frame(questions[1])):
        together = generator.generate_batch(questions, max_new_tokens=8, prefix=prefix)
        assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
        assert [answer.score for answer in together] == pytest.approx([answer.score for answer in alone], rel=1e-3)


@pytest.mark.parametrize("layout", ["published", "converted"])
def test_a_head_beside_a_tied_table_must_be_that_table(tmp_path, layout):
    folder = write_tiny_checkpoint(tmp_path / "source", "2b")
    file, prefix = folder / "llm" / "model.safetensors", ""
    if layout == "converted":
        convert(folder, folder := tmp_path / "converted")
        file, prefix = folder / "model.safetensors", "llm."
    tensors = load_file(file)
    tensors[f"{prefix}lm_head.weight"] = tensors[f"{prefix}model.embed_tokens.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    load_model(folder, device="cpu")
    tensors[f"{prefix}lm_head.weight"][3, 4] += 1.0
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(Refused, match=r"lm_head.weight is not the embedding table, as tie_word_embeddings"):
        load_model(folder, device="cpu")


def test_a_device_that_is_not_here_is_a_refusal(tmp_path):
    with pytest.raises(Refused, match="'cuda:77' cannot be used here"):
        load_model(write_tiny_checkpoint(tmp_path / "source", "2b"), device="cuda:77")
