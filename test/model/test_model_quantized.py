"""Language-model weights of 8 and 4 bits, with torchao itself: `make test` runs this file with torchao on its path."""

from functools import partial

import numpy as np
import pytest
import torch
from tiny_checkpoint import logits, write_tiny_checkpoint

from roboref_node.model import Generator, RoboReferConfig, RoboReferModel, checkpoint
from roboref_node.model.quantization import quantize_language_model

pytest.importorskip("torchao", reason="needs torchao, which `make test` installs for this file alone")

load_model = partial(checkpoint.load_model, device="cpu")
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")


@pytest.mark.parametrize("family", ["2b", "8b"])
def test_eight_bit_weights_answer_nearly_alike(family, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint", family)
    exact, processor = load_model(folder)
    rough, _ = load_model(folder, quantize="int8")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    inputs = processor(*pictures, "Point to it.")
    difference = float((logits(exact, inputs) - logits(rough, inputs)).abs().max())
    assert 0 < difference < 0.5
    growing, fixed = (Generator(rough, processor, fixed_cache=way).generate(inputs, max_new_tokens=8) for way in (False, True))
    assert len(growing.token_ids) <= 8 and 0.0 < growing.score <= 1.0
    assert fixed.token_ids == growing.token_ids


@pytest.mark.parametrize(
    ("device", "kind", "tolerance"),
    [("cpu", "int8", 0.05), pytest.param("cuda", "int8", 0.05, marks=ON_GPU), pytest.param("cuda", "int4", 0.4, marks=ON_GPU)],
)
def test_layers_of_the_published_width_compute_nearly_alike(device, kind, tolerance):
    config = RoboReferConfig.roborefer_2b()
    config.text.num_hidden_layers = config.vision.num_hidden_layers = config.depth.num_hidden_layers = 2
    torch.manual_seed(0)
    with torch.device(device):
        model = RoboReferModel(config).to(torch.bfloat16).eval()
        embeds = torch.randn(1, 64, config.text.hidden_size, dtype=torch.bfloat16)
    with torch.inference_mode():
        exact = model.llm.model(inputs_embeds=embeds).last_hidden_state.float()
        quantize_language_model(model, kind, torch.device(device))
        rough = model.llm.model(inputs_embeds=embeds).last_hidden_state.float()
    assert 0.0 < float((rough - exact).norm() / exact.norm()) < tolerance
