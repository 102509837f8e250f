"""Models that answer in pixels of the picture after their own resizing must leave the size that is sent alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from character_tokenizer import character_tokenizer
from transformers import (
    PaddleOCRVLConfig,
    PaddleOCRVLForConditionalGeneration,
    PaddleOCRVLImageProcessorPil,
    PaddleOCRVLProcessor,
)

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.sent_image import SizeRule
from roboref_node.pointing.transformers_model import TransformersPointer, TransformersSettings
from roboref_node.status import Refused, Status

pytestmark = pytest.mark.usefixtures("own_cache")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
PROCESSOR = SizeRule(28, min_pixels=28 * 28 * 4, max_pixels=28 * 28 * 256)
"""448x448 pixels at most."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small model with random weights, whose processor resizes as Qwen2.5-VL's does, and other than that runs without torchvision."""
    path = tmp_path_factory.mktemp("resizing")
    tokenizer = character_tokenizer(["<image>"], extra_special_tokens={"image_token": "<image>"})
    images = PaddleOCRVLImageProcessorPil(
        size={"shortest_edge": PROCESSOR.min_pixels, "longest_edge": PROCESSOR.max_pixels}, patch_size=14, merge_size=2
    )
    PaddleOCRVLProcessor(images, tokenizer, chat_template=TEMPLATE).save_pretrained(path)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = {**layers, "vocab_size": len(tokenizer), "num_key_value_heads": 2, "head_dim": 16, "rope_parameters": rope}
    model = PaddleOCRVLForConditionalGeneration(PaddleOCRVLConfig(text_config=text, vision_config=layers, image_token_id=3))
    model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 0
    model.save_pretrained(path)
    return path


def pointer(folder: Path, dialect: Dialect, rule: SizeRule) -> TransformersPointer:
    return TransformersPointer(TransformersSettings(str(folder), dialect, device="cpu", resize=rule))


def test_a_size_that_the_processor_changes_is_refused_at_load(folder: Path) -> None:
    with pytest.raises(Refused) as refusal:
        pointer(folder, Dialect.QWEN25_VL, SizeRule(28, 3136, 1003520))  # 640x480 as 644x476, which is more than it takes
    assert refusal.value.status is Status.BAD_REQUEST
    assert "644x476" in refusal.value.sentence and "`resize`" in refusal.value.sentence and "`max_pixels`" in refusal.value.sentence
    seen = refusal.value.details["seen_px"]
    assert seen[0] * seen[1] <= PROCESSOR.max_pixels and f"{seen[0]}x{seen[1]}" in refusal.value.sentence


def test_a_size_that_the_processor_changes_is_refused_for_the_one_picture_that_has_it(folder: Path) -> None:
    loaded = pointer(folder, Dialect.ROBOBRAIN, SizeRule(28, max_pixels=PROCESSOR.max_pixels))
    with pytest.raises(Refused) as refusal:  # a multiple of 28, and too small for the processor
        loaded._inputs(np.zeros((28, 28, 3), dtype=np.uint8), "point")
    assert refusal.value.status is Status.BAD_REQUEST and refusal.value.details["sent_px"] == [28, 28]


def test_the_processor_s_own_limits_are_right(folder: Path) -> None:
    inputs = pointer(folder, Dialect.QWEN25_VL, PROCESSOR)._inputs(np.zeros((336, 448, 3), dtype=np.uint8), "point")
    assert inputs["image_grid_thw"].tolist() == [[1, 24, 32]]


def test_dialects_whose_numbers_are_shares_of_the_picture_do_not_care(folder: Path) -> None:
    assert pointer(folder, Dialect.QWEN3_VL, SizeRule()).dialect is Dialect.QWEN3_VL
