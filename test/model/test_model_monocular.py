import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_depth_anything import write_depth_anything
from transformers import DepthAnythingForDepthEstimation

from roboref_node.model.monocular import MonocularDepth
from roboref_node.status import Refused, Status


def test_the_map_is_the_models_output_stretched_to_eight_bits(tmp_path):
    estimator = MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=56)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    inverse, image = estimator.inverse_depth(rgb), estimator.relative_depth_image(rgb)
    assert inverse.shape == (40, 60) and image.shape == (40, 60, 3)
    assert image.min() == 0 and image.max() == 255
    assert np.array_equal(image[..., 0], image[..., 2])
    assert image[np.unravel_index(inverse.argmax(), inverse.shape)][0] == 255  # larger = nearer = brighter


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_a_picture_without_pixels_is_refused(tmp_path, shape):
    with pytest.raises(Refused, match="No depth can be estimated: image has shape .*, expected at least one pixel") as caught:
        MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=56).relative_depth_image(np.zeros(shape, np.uint8))
    assert caught.value.status is Status.BAD_REQUEST


@pytest.mark.parametrize("shape", [(56, 5, 3), (1, 2000, 3)])
def test_a_strip_is_refused_before_it_is_enlarged_to_gigabytes(tmp_path, shape):
    estimator = MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=14)
    sentence = refusal(lambda: estimator.relative_depth_image(np.zeros(shape, np.uint8)), Status.BAD_REQUEST)
    assert f"{shape[1]}x{shape[0]}" in sentence
    assert estimator.relative_depth_image(np.zeros((56, 6, 3), np.uint8)).shape == (56, 6, 3)


def test_metric_models_are_refused(tmp_path):
    with pytest.raises(Refused, match="expected 'relative'"):
        MonocularDepth(write_depth_anything(tmp_path, depth_estimation_type="metric", max_depth=20))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(Refused, match=r"config.json is missing; expected a Depth-Anything"):
        MonocularDepth(tmp_path / "nothing")


def refusal(action, status=Status.MODEL_UNAVAILABLE):
    with pytest.raises(Refused) as caught:
        action()
    sentence = caught.value.sentence
    assert caught.value.status is status and "\n" not in sentence and len(sentence) < 1000
    return sentence


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_tensors_are_named_and_not_made_up(tmp_path):
    name = "head.conv2.weight"
    change_tensors(write_depth_anything(tmp_path), lambda tensors: tensors.pop(name))
    assert f"{tmp_path}: tensor {name} is missing" in refusal(lambda: MonocularDepth(tmp_path))


def test_tensors_of_another_shape_are_named(tmp_path):
    name = "head.conv2.bias"
    change_tensors(write_depth_anything(tmp_path), lambda tensors: tensors.update({name: torch.zeros(9)}))
    assert f"tensor {name} has shape [9], expected [" in refusal(lambda: MonocularDepth(tmp_path))


def test_layers_that_the_configuration_leaves_out(tmp_path):
    name = "backbone.encoder.layer.3.norm1.weight"
    change_tensors(write_depth_anything(tmp_path), lambda tensors: tensors.update({name.replace("3", "4"): tensors[name].clone()}))
    assert "backbone.encoder.layer.4.norm1.weight belongs to a layer" in refusal(lambda: MonocularDepth(tmp_path))


def test_a_head_for_another_task_does_no_harm(tmp_path):
    change_tensors(write_depth_anything(tmp_path), lambda tensors: tensors.update({"segmentation_head.weight": torch.zeros(9)}))
    MonocularDepth(tmp_path, device="cpu", input_size=56)


@pytest.mark.parametrize("keep", [0, 5, 2000, -100])
def test_truncated_weights(tmp_path, keep):
    file = write_depth_anything(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert str(tmp_path) in refusal(lambda: MonocularDepth(tmp_path))


@pytest.mark.parametrize("text", ["[]", "{", "", "[" * 100_000, "{}", '{"model_type": 5}'])
def test_config_json_is_no_configuration(tmp_path, text):
    (write_depth_anything(tmp_path) / "config.json").write_text(text)
    assert str(tmp_path / "config.json") in refusal(lambda: MonocularDepth(tmp_path))


def test_sections_of_the_configuration_that_are_none(tmp_path):
    file = write_depth_anything(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"backbone_config": []}))
    assert str(tmp_path) in refusal(lambda: MonocularDepth(tmp_path))


def test_models_of_which_it_is_not_known_that_near_is_large(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "glpn"}))  # gives metres
    assert "depth_estimation_type is None, expected 'relative'" in refusal(lambda: MonocularDepth(tmp_path))


def test_code_in_the_folder_is_not_run(tmp_path):
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert str(tmp_path) in refusal(lambda: MonocularDepth(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("device", ["mars", "cuda:x", "meta"])
def test_names_of_no_device(tmp_path, device):
    assert f"`device` is '{device}'" in refusal(lambda: MonocularDepth(write_depth_anything(tmp_path), device=device), Status.BAD_REQUEST)


@pytest.mark.parametrize("device", ["cuda:77", "xpu:7"])
def test_devices_that_are_not_here(tmp_path, device):
    assert f"`device` '{device}' cannot be used here" in refusal(lambda: MonocularDepth(write_depth_anything(tmp_path), device=device))


@pytest.mark.parametrize("size", [0, -1, 13])
def test_inputs_smaller_than_a_patch(tmp_path, size):
    sentence = refusal(lambda: MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=size), Status.BAD_REQUEST)
    assert f"`input_size` is {size}, expected at least one patch of the model, 14 px" in sentence


def test_the_input_is_of_whole_patches(tmp_path):
    """As the published server resizes: a part of a patch would be cut off at the right and the bottom."""
    rgb = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    odd, whole = (MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=size).inverse_depth(rgb) for size in (45, 56))
    assert np.array_equal(odd, whole)


def test_weights_stored_in_half_precision_give_the_same_map(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    single = MonocularDepth(write_depth_anything(tmp_path), device="cpu", input_size=56).inverse_depth(rgb)
    DepthAnythingForDepthEstimation.from_pretrained(tmp_path, dtype=torch.float16).save_pretrained(tmp_path)
    half = MonocularDepth(tmp_path, device="cpu", input_size=56).inverse_depth(rgb)
    assert np.allclose(half, single, atol=0.02 * np.ptp(single))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_are_none_make_no_black_map(tmp_path, wrong):
    change_tensors(write_depth_anything(tmp_path), lambda tensors: tensors["head.conv1.weight"].fill_(wrong))
    estimator = MonocularDepth(tmp_path, device="cpu", input_size=56)
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    assert "no finite numbers" in refusal(lambda: estimator.relative_depth_image(picture))
