"""Folders and settings with which the transformers back-end must not answer: each one wrong thing in a real, small LLaVA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llava import LESSON
from transformers import Qwen2Config, Qwen2ForCausalLM

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.registry import load_pointer
from roboref_node.pointing.transformers_model import TransformersPointer, TransformersSettings
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

CUP = Task(TaskKind.PICK, "the red cup", "take the red cup")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(taught_llava, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(taught_llava, tmp_path / "model"))


def settings(folder: Path | str, **changes) -> TransformersSettings:
    return TransformersSettings(str(folder), Dialect.QWEN3_VL, **{"device": "cpu", "format_suffix": False, **changes})


def refusal(action: Callable[[], object], status: Status = Status.MODEL_UNAVAILABLE) -> str:
    with pytest.raises(Refused) as caught:
        action()
    sentence = caught.value.sentence
    assert caught.value.status is status and "\n" not in sentence and len(sentence) < 1000
    json.dumps(caught.value.details)
    return sentence


def load_refusal(folder: Path | str, **changes) -> str:
    sentence = refusal(lambda: TransformersPointer(settings(folder, **changes)))
    assert str(folder) in sentence
    return sentence


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def named(tensors: dict[str, torch.Tensor], end: str) -> str:
    return next(name for name in sorted(tensors) if name.endswith(end))


def change_json(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class TestTensors:
    def test_missing_ones_are_named_and_not_made_up(self, folder) -> None:
        change_tensors(folder, lambda tensors: tensors.pop(named(tensors, "layers.1.mlp.down_proj.weight")))
        assert "layers.1.mlp.down_proj.weight is missing" in load_refusal(folder)

    def test_a_whole_part_that_is_missing_is_counted(self, folder) -> None:
        change_tensors(folder, lambda tensors: [tensors.pop(name) for name in sorted(tensors) if "vision_tower" in name])
        sentence = load_refusal(folder)
        assert "vision_tower" in sentence and " more is missing" in sentence

    def test_other_shapes_are_named(self, folder) -> None:
        def shorten(tensors: dict[str, torch.Tensor]) -> None:
            name = named(tensors, "layers.1.mlp.down_proj.weight")
            tensors[name] = tensors[name][:, :60].contiguous()

        change_tensors(folder, shorten)
        assert "layers.1.mlp.down_proj.weight has shape [32, 60], expected [32, 64]" in load_refusal(folder)

    def test_a_configuration_with_fewer_layers_than_the_files(self, folder) -> None:
        config = json.loads((folder / "config.json").read_text())
        kinds = config["text_config"].get("layer_types")
        change_json(
            folder / "config.json",
            text_config=config["text_config"] | {"num_hidden_layers": 1} | ({"layer_types": kinds[:1]} if kinds else {}),
        )
        assert "layers.1." in load_refusal(folder)

    @pytest.mark.parametrize("leaf", ["down_proj.bias", "down_proj.weight_scale", "down_proj.lora_A.weight"])
    def test_what_belongs_into_a_layer_and_has_no_place_there(self, folder, leaf) -> None:
        def add(tensors: dict[str, torch.Tensor]) -> None:
            name = named(tensors, "layers.1.mlp.down_proj.weight")
            tensors[name.replace("down_proj.weight", leaf)] = torch.ones(32)

        change_tensors(folder, add)
        assert f"layers.1.mlp.{leaf} belongs to a layer" in load_refusal(folder)

    def test_what_published_checkpoints_carry_besides_is_no_reason_to_refuse(self, folder, frame) -> None:
        def add(tensors: dict[str, torch.Tensor]) -> None:
            layer = named(tensors, "layers.1.mlp.down_proj.weight").removesuffix("mlp.down_proj.weight")
            position = named(tensors, "embeddings.position_embedding.weight").replace("position_embedding.weight", "position_ids")
            extra = (f"{layer}self_attn.rotary_emb.inv_freq", position, "mtp.layers.0.mlp.down_proj.weight", "value_head.weight")
            tensors.update({name: torch.ones(1, 5) for name in extra})

        change_tensors(folder, add)
        assert TransformersPointer(settings(folder)).point(frame, CUP).text == LESSON

    def test_tied_weights_are_stored_once(self, folder, frame) -> None:
        def tie(tensors: dict[str, torch.Tensor]) -> None:
            tensors.pop(named(tensors, "lm_head.weight"))

        change_tensors(folder, tie)
        assert "lm_head.weight is missing" in load_refusal(folder)
        config = json.loads((folder / "config.json").read_text())
        change_json(folder / "config.json", tie_word_embeddings=True, text_config=config["text_config"] | {"tie_word_embeddings": True})
        TransformersPointer(settings(folder))

    def test_numbers_that_are_none(self, folder) -> None:
        change_tensors(folder, lambda tensors: tensors[named(tensors, "layers.1.mlp.down_proj.weight")].fill_(float("nan")))
        assert "no finite numbers" in refusal(lambda: TransformersPointer(settings(folder)))

    def test_numbers_that_overflow_the_precision(self, folder) -> None:
        change_tensors(folder, lambda tensors: tensors[named(tensors, "layers.1.mlp.down_proj.weight")].mul_(1e6))
        assert "overflow torch.float16 (`dtype`" in refusal(lambda: TransformersPointer(settings(folder, dtype="float16")))


class TestFiles:
    @pytest.mark.parametrize("keep", [0, 5, 2000, -100])
    def test_truncated_weights(self, folder, keep) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:keep])
        load_refusal(folder)

    def test_a_shard_that_is_not_there(self, folder) -> None:
        shard = "model-00001-of-00002.safetensors"
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / shard)
        places = dict.fromkeys(tensors, shard) | {named(tensors, "lm_head.weight"): "model-00002-of-00002.safetensors"}
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
        load_refusal(folder)
        index.write_text("[]")
        load_refusal(folder)

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            "{",
            "",
            "[" * 100_000,
            "{}",
            '{"model_type": "nothing"}',
            '{"model_type": 5}',
            '{"model_type": "llava", "text_config": []}',
        ],
        ids=["list", "cut", "empty", "deep", "no type", "unknown type", "type is a number", "section is a list"],
    )
    def test_config_json_is_no_configuration(self, folder, text) -> None:
        (folder / "config.json").write_text(text)
        load_refusal(folder)

    def test_config_json_is_missing(self, folder) -> None:
        (folder / "config.json").unlink()
        assert "config.json is missing; expected a model folder for transformers" in load_refusal(folder)

    def test_a_chat_template_is_missing_or_broken(self, folder) -> None:
        template = folder / "chat_template.jinja"
        template.write_text("{% for %}")
        load_refusal(folder)
        template.unlink()
        assert "chat template" in load_refusal(folder)

    def test_a_chat_template_without_pictures(self, folder) -> None:
        (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}<ask>")
        load_refusal(folder)

    def test_processor_files_are_missing(self, folder) -> None:
        (folder / "processor_config.json").unlink()
        load_refusal(folder)

    def test_a_tokenizer_alone_would_drop_the_picture(self, folder) -> None:
        (folder / "processor_config.json").unlink()
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config.pop("processor_class", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        kinds = {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}}
        (folder / "config.json").write_text(json.dumps({"model_type": "vision-encoder-decoder", **kinds}))
        assert "holds no image processor" in load_refusal(folder)

    def test_answers_that_would_never_end(self, folder) -> None:
        (folder / "generation_config.json").unlink()
        assert "eos_token_id" in load_refusal(folder)

    @pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json", "generation_config.json"])
    @pytest.mark.parametrize("text", ["[]", "{"])
    def test_other_files_that_are_no_json_objects(self, folder, name, text) -> None:
        assert (folder / name).is_file()
        (folder / name).write_text(text)
        load_refusal(folder)

    def test_a_model_that_reads_no_pictures(self, folder) -> None:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
        Qwen2ForCausalLM(Qwen2Config(vocab_size=100, **sizes)).save_pretrained(folder)
        load_refusal(folder)

    def test_code_in_the_folder_is_not_run(self, folder) -> None:
        config = json.loads((folder / "config.json").read_text()) | {
            "model_type": "mine",
            "auto_map": {"AutoConfig": "mine.Config", "AutoModelForImageTextToText": "mine.Model"},
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
        load_refusal(folder)
        assert not (folder / "ran").exists()

    def test_beams_that_the_folder_asks_for_change_no_score(self, folder, frame) -> None:
        plain = TransformersPointer(settings(folder)).point(frame, CUP)
        change_json(folder / "generation_config.json", num_beams=3, num_return_sequences=2)
        assert TransformersPointer(settings(folder)).point(frame, CUP).points == plain.points


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"dtype": "nonsense"}, "`dtype` is 'nonsense', expected one of auto, float32, bfloat16, float16"),
            ({"dtype": "int8"}, "`dtype` is 'int8'"),
            ({"dtype": ""}, "`dtype` is ''"),
            ({"max_new_tokens": 0}, "`max_new_tokens` is 0, expected at least 1"),
            ({"max_new_tokens": -1}, "`max_new_tokens` is -1"),
            ({"device": "mars"}, "`device` is 'mars'"),
            ({"device": ""}, "`device` is ''"),
            ({"device": "cuda:x"}, "`device` is 'cuda:x'"),
            ({"device": "meta"}, "`device` is 'meta': expected cpu, cuda or cuda:1"),
        ],
    )
    def test_values_out_of_range_are_refused_before_a_folder_is_read(self, change, expected) -> None:
        assert expected in refusal(lambda: settings("/nowhere", **change), Status.BAD_REQUEST)

    def test_the_same_in_a_model_file(self, folder, tmp_path) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(f"backend: transformers\nfolder: {folder}\ndialect: qwen3_vl\ndtype: nonsense\n")
        assert "`dtype`" in refusal(lambda: load_pointer(file), Status.BAD_REQUEST)

    @pytest.mark.parametrize("device", ["cuda:77", "xpu:7", "mps", "fpga"])
    def test_devices_that_are_not_here(self, folder, device) -> None:
        sentence = refusal(lambda: TransformersPointer(settings(folder, device=device)))
        assert f"`device` '{device}' cannot be used here" in sentence

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_without_cuda(self, folder) -> None:
        assert "`device` 'cuda' cannot be used here" in refusal(lambda: TransformersPointer(settings(folder, device="cuda")))

    @pytest.mark.parametrize("path", ["~nobody-of-this-name/model", "a\0b"])
    def test_paths_that_are_none(self, path) -> None:
        refusal(lambda: TransformersPointer(settings(path)))


class TestQuestions:
    def test_a_picture_without_pixels(self, folder) -> None:
        camera = CameraModel(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
        empty = Frame(np.zeros((0, 64, 3), np.uint8), np.zeros((0, 64), np.float32), camera)
        pointing = TransformersPointer(settings(folder))
        assert "the camera's size" in refusal(lambda: pointing.point(empty, CUP), Status.BAD_REQUEST)
