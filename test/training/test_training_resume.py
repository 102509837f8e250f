"""A run that is killed in the middle and started again ends with the weights of a run that was never interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import NANO, RFT, SFT, kill_when, steps_logged, write_recipe, write_records, write_scenes

from roboref_node.cli import main
from roboref_node.training.run_folder import load_state


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], start: dict[str, torch.Tensor] | None = None) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0.0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.timeout(900)
def test_nano_killed_in_both_phases(scenes: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "nano", NANO)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["nano", "--recipe", recipe, "--scenes", scenes, "--out"]
    assert main(["train", *map(str, arguments), str(whole)]) == 0
    for step in (3, 9):  # the towers alone learn up to step 6
        kill_when([*arguments, broken], lambda step=step: steps_logged(broken) >= step, tmp_path / "output.txt")
        state = load_state(broken)
        assert state is not None and step - 2 < state["step"] < NANO["pretrain_steps"] + NANO["steps"]
    assert main(["train", *map(str, arguments), str(broken)]) == 0
    one, other = load_state(whole), load_state(broken)
    assert one["step"] == other["step"] == NANO["pretrain_steps"] + NANO["steps"]
    assert_same(one["model"], other["model"])
    assert_same(one["heads"], other["heads"])


@pytest.mark.timeout(900)
def test_reinforcement_killed(scenes: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "rft", RFT)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["rft", "--recipe", recipe, "--scenes", scenes, "--out"]
    assert main(["train", *map(str, arguments), str(whole)]) == 0
    kill_when([*arguments, broken], lambda: steps_logged(broken) >= 3, tmp_path / "output.txt")
    state = load_state(broken)
    assert state is not None and 0 < state["step"] < RFT["steps"]
    assert main(["train", *map(str, arguments), str(broken)]) == 0
    one, other = load_state(whole), load_state(broken)
    assert one["step"] == other["step"] == RFT["steps"]
    assert_same(one["model"], other["model"])
    moved = max(float((one["model"][n] - state["model"][n]).abs().max()) for n in one["model"])
    assert moved > 1e-4, "the steps after the kill changed nothing, so equality says nothing"
    assert any((whole / "curves").glob("events.out.tfevents.*"))


@pytest.mark.timeout(900)
def test_supervised_killed(tmp_path: Path) -> None:
    from tiny_checkpoint import write_tiny_checkpoint

    weights, data = write_tiny_checkpoint(tmp_path / "weights", "2b"), write_records(tmp_path / "data")
    recipe = write_recipe(tmp_path, "sft", SFT)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["sft", "--recipe", recipe, "--init", weights, "--data", data, "--out"]
    assert main(["train", *map(str, arguments), str(whole)]) == 0
    kill_when([*arguments, broken], lambda: (broken / "checkpoint-2" / "complete").exists(), tmp_path / "output.txt")
    assert not (broken / "model").exists()
    unfinished = broken / "checkpoint-11"
    unfinished.mkdir()  # as a kill in the middle of writing leaves it
    assert main(["train", *map(str, arguments), str(broken)]) == 0
    assert_same(load_file(whole / "model" / "model.safetensors"), load_file(broken / "model" / "model.safetensors"))
    assert any(whole.rglob("events.out.tfevents.*"))
