"""The model on a GPU against the CPU. What else is generated there, test_model_generation.py compares on every device there is."""

import argparse
from functools import partial

import numpy as np
import pytest
import torch
from tiny_checkpoint import logits, write_tiny_checkpoint

from roboref_node.evaluation import bench_model
from roboref_node.model import Generator, load_model, relative_depth_image
from roboref_node.model.checkpoint import plan_memory

if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU that torch can use", allow_module_level=True)

QUESTION = "Point to the cup."


@pytest.fixture(scope="module", params=["2b", "8b"])
def folder(request, tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp(request.param) / "c", request.param, dtype=torch.float32)


def pictures(size=(480, 640)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8), relative_depth_image(rng.uniform(0.3, 3.0, size).astype(np.float32))


@pytest.mark.parametrize("size", [(480, 640), (480, 848), (31, 200)])
def test_pictures_are_prepared_bit_for_bit_as_on_the_cpu(folder, size):
    here, there = (load_model(folder, device=device)[1](*pictures(size), QUESTION) for device in ("cpu", "cuda"))
    for name in ("input_ids", "rgb_tiles", "depth_tiles"):
        tensor = getattr(there, name)
        assert tensor.device.type == "cuda" and torch.equal(getattr(here, name), tensor.cpu()), name
    assert (here.rgb_block_sizes, here.depth_block_sizes, here.prompt) == (there.rgb_block_sizes, there.depth_block_sizes, there.prompt)


def test_logits_are_near_those_of_the_cpu(folder):
    load = partial(load_model, folder, dtype=torch.float32)
    (exact, on_cpu), (model, processor) = load(device="cpu"), load(device="cuda")
    expected = logits(exact, on_cpu(*pictures((48, 64)), QUESTION))
    assert float((logits(model, processor(*pictures((48, 64)), QUESTION)) - expected).abs().max()) < 1e-3
    assert float(expected.std()) > 0.1


def test_the_gpu_and_bfloat16_are_what_nothing_else_was_asked_for(folder):
    model, processor = load_model(folder)
    assert (model.device.type, model.dtype, processor.device.type) == ("cuda", torch.bfloat16, "cuda")
    answer = Generator(model, processor).generate(processor(*pictures((48, 64)), QUESTION), max_new_tokens=8)
    assert len(answer.token_ids) <= 8 and 0.0 < answer.score <= 1.0
    estimate, place, free = plan_memory(folder)
    assert place.type == "cuda" and 0 < estimate.total < free


def test_graphs_beat_the_plain_path():
    parser = argparse.ArgumentParser()
    bench_model.add_arguments(parser)
    row = bench_model.run(parser.parse_args(["--shape", "nano", "--device", "cuda", "--image", "640x480", "--repeats", "5"]))
    assert row["device"] == torch.cuda.get_device_name() and row["dtype"] == "bfloat16"
    assert row["speedup"] > 1.0
    assert row["memory_gb"] > 0
