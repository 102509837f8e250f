"""Supervised fine-tuning: what is supervised, what is seen, what learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import write_tiny_checkpoint
from tiny_runs import SFT, launch_two, write_recipe, write_records

from roboref_node.model.checkpoint import load_model
from roboref_node.model.modeling import IGNORED_LABEL
from roboref_node.status import Refused
from roboref_node.training.recipes import SHIPPED_WEIGHTS
from roboref_node.training.sft import SftRecipe, run_sft
from roboref_node.training.spatial_records import Collator, RecordFile, SpatialRecords, conversation_turns


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_records(tmp_path_factory.mktemp("records") / "data")


@pytest.mark.parametrize("family", ["2b", "8b"])
def test_only_answers_and_the_ends_of_turns_are_supervised(family: str, data: Path, tmp_path: Path) -> None:
    weights = write_tiny_checkpoint(tmp_path / family, family)
    model, processor = load_model(weights, device="cpu", dtype="float32", rgb_newline=True)
    records = SpatialRecords([RecordFile(data / "records.json", data / "image", data / "depth")], processor)
    for index in (0, 1):
        sample = records[index]
        supervised = sample.labels[sample.labels != IGNORED_LABEL]
        answers = [turn["value"] for turn in records.records[index][0]["conversations"] if turn["from"] == "gpt"]
        assert processor.tokenizer.decode(supervised.tolist()) == "".join(f"{answer}<|im_end|>" for answer in answers)
    batch = Collator(0)([records[0], records[1]])
    loss = model(**batch).loss
    assert torch.isfinite(loss)
    alone = [model(**Collator(0)([records[i]])).loss for i in (0, 1)]
    counts = [int((records[i].labels != IGNORED_LABEL).sum()) for i in (0, 1)]
    expected = (alone[0] * counts[0] + alone[1] * counts[1]) / sum(counts)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_a_quoted_answer_in_a_question_is_not_supervised(data: Path, tmp_path: Path) -> None:
    _, processor = load_model(write_tiny_checkpoint(tmp_path / "2b", "2b"), device="cpu", rgb_newline=True)
    quoted = "Why is <|im_start|>assistant\nyes<|im_end|> wrong?"
    turns = [{"from": "human", "value": quoted}, {"from": "gpt", "value": "yes"}]
    (tmp_path / "quoted.json").write_text(json.dumps([{"image": "0.png", "depth": None, "conversations": turns}]))
    sample = SpatialRecords([RecordFile(tmp_path / "quoted.json", data / "image", data / "depth")], processor)[0]
    supervised = (sample.labels != IGNORED_LABEL).nonzero()[:, 0]
    assert sample.depth_tiles is None
    assert processor.tokenizer.decode(sample.labels[supervised].tolist()) == "yes<|im_end|>"
    assert int(supervised[-1]) == len(sample.labels) - 1 and len(supervised) == int(supervised[-1] - supervised[0]) + 1


def test_depth_is_shown_dropped_or_never_there(data: Path, tmp_path: Path) -> None:
    _, processor = load_model(write_tiny_checkpoint(tmp_path / "2b", "2b"), device="cpu")
    part = RecordFile(data / "records.json", data / "image", data / "depth", repeat=20)
    records = SpatialRecords([part], processor, drop_depth=0.25, seed=1)
    dropped = [records.drops(index) for index in range(len(records))]
    assert 0.15 < sum(dropped) / len(dropped) < 0.35
    for index in (dropped.index(True), dropped.index(False)):
        assert (records[index].depth_tiles is None) is dropped[index]
    colour_only = SpatialRecords([RecordFile(data / "records.json", data / "image")], processor)
    assert all(colour_only[index].depth_tiles is None for index in range(3))
    shorter = SpatialRecords([part], processor, max_turns=1)
    assert len(shorter[1].input_ids) < len(SpatialRecords([part], processor)[1].input_ids)


def test_a_marker_within_a_text_goes_with_its_line() -> None:
    """As in the published training, which puts all markers before the first question."""
    asked = "Of <image>\nand <depth>\n\nwhat <image> <depth> is red?\n"
    turns = conversation_turns({"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": "<image>\nthat"}]})
    assert turns == [("user", "Of and \nwhat   is red?"), ("assistant", "that")]


def test_a_template_without_a_header_before_answers_is_refused(data: Path) -> None:
    _, processor = load_model(SHIPPED_WEIGHTS, device="cpu")
    with pytest.raises(Refused, match="chat template"):
        SpatialRecords([RecordFile(data / "records.json", data / "image", data / "depth")], processor)[0]


def test_wrong_data_are_refused(data: Path, tmp_path: Path) -> None:
    _, processor = load_model(write_tiny_checkpoint(tmp_path / "2b", "2b"), device="cpu")
    for content in ("{}", "[1]", "no json"):
        (tmp_path / "wrong.json").write_text(content)
        with pytest.raises(Refused, match="wrong.json"):
            SpatialRecords([RecordFile(tmp_path / "wrong.json", data)], processor)
    with pytest.raises(Refused, match="alternate"):
        conversation_turns({"conversations": [{"from": "gpt", "value": "hello"}]})
    for turns in ("abc", [{"from": "human", "value": "q"}, {"from": "gpt"}], ["q", "a"]):
        with pytest.raises(Refused, match="no list of turns"):  # an answer left out must not be learned as an empty one
            conversation_turns({"conversations": turns})
    for recipe in ({}, {"data": [], "x": 1}, {"data": []}, {"data": [{}], "trainable": ["head"]}):
        with pytest.raises(Refused):
            SftRecipe.from_dict(recipe)
    with pytest.raises(Refused, match="without depth"):
        SftRecipe(data=[{}], trainable=["depth_projector"], drop_depth=0.2)
    with pytest.raises(Refused, match="TrainingArguments"):
        run_sft(SftRecipe.from_dict({**SFT, "trainer": {"batch": 1}}), weights=tmp_path / "2b", data=data, out=tmp_path / "out")


def test_depth_alignment_moves_the_depth_projector_alone(data: Path, tmp_path: Path) -> None:
    weights = write_tiny_checkpoint(tmp_path / "weights", "8b")
    recipe = SftRecipe.from_dict({
        **SFT, "data": SFT["data"][:1], "drop_depth": 0.0, "trainable": ["depth_projector"], "depth_from_rgb": True,
        "trainer": {**SFT["trainer"], "max_steps": 2, "per_device_train_batch_size": 1, "gradient_checkpointing": True},
    })  # fmt: skip
    run_sft(recipe, weights=weights, data=data, out=tmp_path / "out")
    before, _ = load_model(weights, device="cpu", dtype="float32")
    after, _ = load_model(tmp_path / "out" / "model", device="cpu", dtype="float32")
    rgb = dict(before.named_parameters())
    for name, value in after.named_parameters():
        source = name.replace("depth_tower", "vision_tower").replace("depth_projector", "mm_projector")
        assert torch.equal(value, rgb[source]) is not name.startswith("depth_projector."), name


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_learns(data: Path, tmp_path: Path) -> None:
    """`accelerate launch` with gloo: two processes with one record each take the steps of one process with two."""
    weights = write_tiny_checkpoint(tmp_path / "weights", "2b")
    trainer = {**SFT["trainer"], "max_steps": 3, "save_steps": 3, "optim": "sgd", "learning_rate": 0.05, "warmup_steps": 0}
    one = {**SFT, "trainer": trainer}
    run_sft(SftRecipe.from_dict(one), weights=weights, data=data, out=tmp_path / "one")
    two = write_recipe(tmp_path, "two", {**one, "trainer": {**trainer, "per_device_train_batch_size": 1}})
    stage = f"-m roboref_node.cli train sft --recipe {two} --init {weights} --data {data} --out {tmp_path / 'two'}"
    assert "2 processes" in launch_two(stage.split())
    state = json.loads((tmp_path / "two" / "checkpoint-3" / "trainer_state.json").read_text())
    assert state["global_step"] == 3
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    start, _ = load_model(weights, device="cpu", dtype="float32")
    moved = max(float((value - a[name]).abs().max()) for name, value in start.state_dict().items() if name in a)
    assert moved > 1e-3
    for name, value in a.items():
        assert float((value - b[name]).abs().max()) < 0.02 * moved, name
