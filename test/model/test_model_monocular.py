import numpy as np
import pytest
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from roboref_node.model.monocular import MonocularDepth
from roboref_node.status import Refused, Status


def tiny(tmp_path, **changes):
    torch.manual_seed(0)
    backbone = {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 56,
        "patch_size": 14, "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False, "apply_layernorm": True,
    }  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        **changes,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    return tmp_path


def test_the_map_is_the_models_output_stretched_to_eight_bits(tmp_path):
    estimator = MonocularDepth(tiny(tmp_path), device="cpu", input_size=56)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    inverse, image = estimator.inverse_depth(rgb), estimator.relative_depth_image(rgb)
    assert inverse.shape == (40, 60) and image.shape == (40, 60, 3)
    assert image.min() == 0 and image.max() == 255
    assert np.array_equal(image[..., 0], image[..., 2])
    assert image[np.unravel_index(inverse.argmax(), inverse.shape)][0] == 255  # larger = nearer = brighter


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_a_picture_without_pixels_is_refused(tmp_path, shape):
    with pytest.raises(Refused, match="No depth can be estimated: image has shape .*, expected at least one pixel") as caught:
        MonocularDepth(tiny(tmp_path), device="cpu", input_size=56).relative_depth_image(np.zeros(shape, np.uint8))
    assert caught.value.status is Status.BAD_REQUEST


def test_metric_models_are_refused(tmp_path):
    with pytest.raises(Refused, match="expected 'relative'"):
        MonocularDepth(tiny(tmp_path, depth_estimation_type="metric", max_depth=20))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(Refused, match=r"config.json is missing; expected a Depth-Anything"):
        MonocularDepth(tmp_path / "nothing")
