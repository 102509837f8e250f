import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_checkpoint import CHANNELS, LAYERS, TILE, logits, write_tiny_checkpoint
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from roboref_node.commands import convert as convert_command
from roboref_node.model import checkpoint
from roboref_node.model.checkpoint import convert
from roboref_node.status import Refused, Status

FAMILIES = ("2b", "8b")
load_model = partial(checkpoint.load_model, device="cpu")  # where there is a GPU too: most results are compared with the CPU's


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp(request.param) / "checkpoint", request.param)


def pictures(seed=0, size=(48, 64)):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2)]


def reference_logits(folder, inputs, family):
    """The forward pass of facts on the format, written with stock transformers classes and nothing of the package."""
    config = Qwen2Config.from_dict(json.loads((folder / "llm" / "config.json").read_text()))
    llm = Qwen2ForCausalLM(config).eval()
    llm.load_state_dict(load_file(folder / "llm" / "model.safetensors"), strict=not config.tie_word_embeddings)
    newline = llm.model.embed_tokens.weight[198:199]
    blocks = {}
    for kind, part, tiles in (("<image>", "vision", inputs.rgb_tiles), ("<depth>", "depth", inputs.depth_tiles)):
        tower = SiglipVisionModel(SiglipVisionConfig.from_dict(json.loads((folder / f"{part}_tower" / "config.json").read_text()))).eval()
        weights = load_file(folder / f"{part}_tower" / "model.safetensors")
        tower.load_state_dict({name.removeprefix("vision_model."): value for name, value in weights.items()})
        tokens = tower(tiles, output_hidden_states=True).hidden_states[-2]
        projector = load_file(folder / f"{'mm' if part == 'vision' else 'depth'}_projector" / "model.safetensors")
        grid = tokens.reshape(-1, 4, 4, CHANNELS)
        if family == "2b":
            groups = nn.functional.pad(grid, (0, 0, 0, 2, 0, 2)).unfold(1, 3, 3).unfold(2, 3, 3)  # [N, 2, 2, c, 3, 3]
            flat = groups.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)
            blocks[kind] = [torch.cat([b, newline]) for b in mlp(projector, flat)]
        else:
            whole = [lay_out(grid[:1], 1, 1), lay_out(grid[1:5], 2, 2), lay_out(grid[5:], 3, 4)]
            size = whole[-1].shape[1:]
            merged = torch.cat([nn.functional.interpolate(g[None], size=size, mode="area")[0] for g in whole])  # [3c, 12, 16]
            groups = merged.unfold(1, 2, 2).unfold(2, 2, 2).permute(1, 2, 3, 4, 0).flatten(2)  # [6, 8, 4 * 3c]
            blocks[kind] = [torch.cat([mlp(projector, groups.flatten(0, 1)[None])[0], newline])]
    parts, text = [], llm.model.embed_tokens(inputs.input_ids[0])
    markers = {263: "<image>", 265: "<depth>"}
    for position, token in enumerate(inputs.input_ids[0].tolist()):
        parts.append(blocks[markers[token]].pop(0) if token in markers else text[position : position + 1])
    assert not any(blocks.values())
    return llm(inputs_embeds=torch.cat(parts)[None]).logits


def lay_out(tiles, rows, columns):
    """[rows * columns, s, s, c] -> [c, rows * s, columns * s]."""
    lines = [torch.cat([tiles[row * columns + column] for column in range(columns)], dim=1) for row in range(rows)]
    return torch.cat(lines).permute(2, 0, 1)


def mlp(weights, tokens):
    for slot in sorted({int(name.split(".")[1]) for name in weights}):
        weight, bias = weights[f"layers.{slot}.weight"], weights[f"layers.{slot}.bias"]
        if weight.dim() == 1:
            tokens = nn.functional.layer_norm(tokens, weight.shape, weight, bias)
        else:
            tokens = nn.functional.linear(tokens, weight, bias)
            following = f"layers.{slot + 2}.weight"
            tokens = nn.functional.gelu(tokens) if following in weights else tokens
    return tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_format(family, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", family, seed=3)
    model, processor = load_model(folder)
    inputs = processor(*pictures(), "Point to the cup.")
    with torch.no_grad():
        expected = reference_logits(folder, inputs, family)
    got = logits(model, inputs)
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) < 1e-5
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize("change", ["newline", "tower"])
def test_the_comparison_notices_mistakes(change, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b", seed=3)
    model, processor = load_model(folder)
    inputs = processor(*pictures(), "Point to the cup.")
    with torch.no_grad():
        expected = reference_logits(folder, inputs, "2b")
    if change == "newline":
        model.config.newline_token_ids = [197]
    else:
        model.vision_tower, model.depth_tower = model.depth_tower, model.vision_tower
    assert float((logits(model, inputs) - expected).abs().max()) > 0.1


def test_layers_that_nothing_reads_are_not_created(folder):
    model, _ = load_model(folder)
    assert len(model.vision_tower.layers) == LAYERS - 1
    assert not any("post_layernorm" in name for name, _ in model.named_parameters())


def test_the_head_is_tied_in_the_small_family_only(tmp_path):
    for family in FAMILIES:
        model, _ = load_model(write_tiny_checkpoint(tmp_path / family, family))
        assert (model.llm.lm_head.weight is model.llm.model.embed_tokens.weight) == (family == "2b")


def test_tower_constants_and_rope_survive(folder):
    config = load_model(folder)[0].config
    assert config.text.rope_parameters["rope_theta"] == 1e6
    assert config.select_layer == -2
    assert config.tile_size == TILE
    assert config.max_sequence == 16384


@pytest.mark.parametrize("variant", [{"sharded": True}, {"nested": True}])
def test_shards_and_a_nested_folder_load_alike(variant, tmp_path):
    plain, _ = load_model(write_tiny_checkpoint(tmp_path / "plain", "8b"))
    other, _ = load_model(write_tiny_checkpoint(tmp_path / "other", "8b", **variant))
    for (name, a), (_, b) in zip(plain.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convert_is_bit_equal(folder, dtype, tmp_path):
    family = "2b" if json.loads((folder / "config.json").read_text())["image_aspect_ratio"] == "dynamic" else "8b"
    source = write_tiny_checkpoint(tmp_path / "source", family, dtype=dtype)
    convert(source, tmp_path / "converted")
    model, processor = load_model(source, dtype=dtype)
    again, processor_again = load_model(tmp_path / "converted", dtype=dtype)
    assert {v.dtype for v in load_file(tmp_path / "converted" / "model.safetensors").values()} == {dtype}
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b), name
    inputs, inputs_again = processor(*pictures(), "Point to it."), processor_again(*pictures(), "Point to it.")
    assert torch.equal(inputs.input_ids, inputs_again.input_ids)
    if dtype == torch.float32:
        assert torch.equal(logits(model, inputs), logits(again, inputs_again))


def test_saved_models_give_the_same_logits(folder, tmp_path):
    model, processor = load_model(folder)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, processor_again = load_model(tmp_path / "saved")
    picture, depth = (Image.fromarray(p) for p in pictures())
    a = logits(model, processor(picture, depth, "Point to it."))
    assert torch.equal(a, logits(again, processor_again(picture, depth, "Point to it.")))


def test_convert_command(folder, tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    convert_command.add_arguments(parser)
    assert convert_command.run(parser.parse_args([str(folder), str(tmp_path / "new"), "--json"])) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["status"] == "OK"
    with pytest.raises(Refused, match="not empty"):
        convert_command.run(parser.parse_args([str(folder), str(tmp_path / "new")]))


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def drop(file, name):
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file)


def add(file, name, shape=(2,), dtype=torch.float32):
    save_file(load_file(file) | {name: torch.zeros(shape, dtype=dtype)}, file)


BREAKAGES = {
    "no such folder": (lambda f: shutil.rmtree(f), "is not a folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing; expected a RoboRefer checkpoint"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
    "other model": (lambda f: edit(f / "config.json", model_type="llava"), "model_type is 'llava', expected one of 'llava_llama'"),
    "other tiling": (lambda f: edit(f / "config.json", image_aspect_ratio="pad"), "image_aspect_ratio is 'pad', expected one of 'dynamic'"),
    "scales without tiling": (lambda f: edit(f / "config.json", dynamic_s2=True), "dynamic_s2 is True, which contradicts"),
    "other encoder": (
        lambda f: edit(f / "config.json", image_encoder='{"_target_": "x.BasicImageEncoder", "end_tokens": null}'),
        "expected a BasicImageEncoder without arguments",
    ),
    "other feature": (lambda f: edit(f / "config.json", mm_vision_select_feature="patch"), "mm_vision_select_feature is 'patch'"),
    "no tower": (lambda f: shutil.rmtree(f / "depth_tower"), "depth_tower/config.json is missing; expected the configuration of a SigLIP"),
    "no tower weights": (lambda f: (f / "vision_tower" / "model.safetensors").unlink(), "expected the weights there or a"),
    "pickled weights": (
        lambda f: (f / "vision_tower" / "model.safetensors").rename(f / "vision_tower" / "pytorch_model.bin"),
        "pytorch_model.bin is a pickle and is not read",
    ),
    "truncated weights": (lambda f: (f / "llm" / "model.safetensors").write_bytes(b"\x10\x00"), "cannot be read as safetensors"),
    "no tokenizer": (lambda f: (f / "llm" / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "other projector": (lambda f: edit(f / "mm_projector" / "config.json", mm_projector_type="linear"), "of different types"),
    "other image size": (
        lambda f: edit(f / "vision_tower" / "preprocessor_config.json", size={"height": 384, "width": 384}),
        "expected height and width 56",
    ),
    "other language model": (lambda f: edit(f / "llm" / "config.json", model_type="llama"), "model_type is 'llama', expected 'qwen2'"),
    "missing tensor": (lambda f: drop(f / "llm" / "model.safetensors", "model.norm.weight"), "tensor llm.model.norm.weight is missing"),
    "missing tower tensor": (
        lambda f: drop(f / "depth_tower" / "model.safetensors", "vision_model.embeddings.patch_embedding.bias"),
        "tensor depth_tower.embeddings.patch_embedding.bias is missing",
    ),
    "unexpected tensor": (lambda f: add(f / "llm" / "model.safetensors", "model.extra"), "tensor model.extra is not part of this model"),
    "unexpected layer": (
        lambda f: add(f / "vision_tower" / "model.safetensors", "vision_model.encoder.layers.3.layer_norm1.bias"),
        "layers.3.layer_norm1.bias is not part",
    ),
    "wrong shape": (
        lambda f: (
            drop(f / "llm" / "model.safetensors", "model.norm.weight"),
            add(f / "llm" / "model.safetensors", "model.norm.weight", (7,)),
        ),
        r"model.norm.weight has shape \[7\], expected \[32\]",
    ),
    "whole numbers": (
        lambda f: (
            drop(f / "llm" / "model.safetensors", "model.norm.weight"),
            add(f / "llm" / "model.safetensors", "model.norm.weight", (32,), torch.int64),
        ),
        "llm/model.safetensors: tensor model.norm.weight holds torch.int64, expected floating-point numbers",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_missing_or_wrong_file_is_one_sentence(name, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b")
    breakage, sentence = BREAKAGES[name]
    breakage(folder)
    with pytest.raises(Refused, match=sentence) as caught:
        load_model(folder)
    assert caught.value.status is Status.MODEL_UNAVAILABLE
    assert "\n" not in caught.value.sentence


def test_a_marker_that_the_tokenizer_lacks_is_named(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b")
    file = folder / "llm" / "tokenizer.json"
    file.write_text(file.read_text().replace("<depth>", "<other>"))
    with pytest.raises(Refused, match="no token '<depth>'"):
        load_model(folder)


def test_tokenizers_saved_as_vocabulary_and_merges_give_the_same_ids(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b")
    expected = load_model(folder)[1](*pictures(), "It's 12.5 %\n\n\n  of b\u00fc").input_ids
    llm = folder / "llm"
    file = llm / "tokenizer.json"
    stored = json.loads(file.read_text())
    (llm / "vocab.json").write_text(json.dumps(stored["model"]["vocab"]))
    (llm / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in stored["model"]["merges"]))
    added = {str(t["id"]): {key: value for key, value in t.items() if key != "id"} for t in stored["added_tokens"]}
    edit(llm / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", added_tokens_decoder=added)
    file.unlink()
    assert torch.equal(load_model(folder)[1](*pictures(), "It's 12.5 %\n\n\n  of b\u00fc").input_ids, expected)
    added["265"]["content"] = "<other>"
    edit(llm / "tokenizer_config.json", added_tokens_decoder=added | {"266": {"content": "<image>", "special": True}})
    with pytest.raises(Refused, match="no readable tokenizer"):
        load_model(folder)


@pytest.mark.parametrize("shards_left", [True, False])
def test_what_an_older_save_left_beside_the_single_file_is_not_read(shards_left, tmp_path):
    """Transformers looks for the single file first."""
    wanted = write_tiny_checkpoint(tmp_path / "wanted", "2b", seed=1)
    older = write_tiny_checkpoint(tmp_path / "older", "2b", seed=2, sharded=True)
    for file in (older / "llm").glob("model*"):
        if shards_left or file.suffix == ".json":
            shutil.copy(file, wanted / "llm")
    model, _ = load_model(wanted)
    assert torch.equal(model.llm.model.norm.weight, load_file(wanted / "llm" / "model.safetensors")["model.norm.weight"])


def test_a_shard_that_the_index_lists_must_be_there(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b", sharded=True)
    (folder / "llm" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Refused, match=r"model-00002-of-00002.safetensors is missing"):
        load_model(folder)


def test_tensors_that_nothing_reads_may_be_absent_or_present(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", "2b")
    file = folder / "vision_tower" / "model.safetensors"
    drop(file, "vision_model.post_layernorm.weight")
    drop(file, f"vision_model.encoder.layers.{LAYERS - 1}.mlp.fc1.weight")
    add(file, "vision_model.head.probe")
    load_model(folder)


def test_a_model_that_does_not_fit_is_refused_before_loading(folder, monkeypatch):
    from roboref_node.model import memory

    monkeypatch.setattr(memory, "available_memory", lambda device: 1000)
    monkeypatch.setattr(checkpoint, "_fill", lambda *arguments: pytest.fail("loaded all the same"))
    with pytest.raises(Refused, match=r"needs 0\.\d\d GB .* on cpu, and 0\.00 GB are free") as caught:
        load_model(folder)
    assert caught.value.details["free_bytes"] == 1000


def test_depth_may_share_the_colour_tower_or_be_absent(tmp_path):
    for name, changes in {"shared": {"use_depth_tower": False}, "none": {"enable_depth": False, "use_depth_tower": False}}.items():
        folder = write_tiny_checkpoint(tmp_path / name, "2b")
        edit(folder / "config.json", **changes)
        model, processor = load_model(folder)
        assert model.depth_tower is None
        assert (model.depth_projector is None) == (name == "none")
        rgb, depth = pictures()
        logits(model, processor(rgb, depth if name == "shared" else None, "Point to it."))


@pytest.mark.parametrize(
    ("quantize", "status", "sentence"),
    [
        ("int3", Status.BAD_REQUEST, "quantize is 'int3', expected one of int8, int4"),
        ("int8", Status.MODEL_UNAVAILABLE, "needs the package torchao"),
    ],
)
def test_quantization_that_cannot_work_is_refused(folder, quantize, status, sentence, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match=sentence) as caught:
        load_model(folder, quantize=quantize)
    assert caught.value.status is status


def test_four_bits_need_a_gpu(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(Refused, match="int4 needs an NVIDIA GPU and bfloat16, not cpu and torch.float32"):
        load_model(folder, quantize="int4")
