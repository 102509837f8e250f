"""GRPO: the loss in closed form, scores that equal the model's own, answers that follow the reward."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoint import write_tiny_checkpoint
from tiny_runs import RFT, launch_two, write_recipe, write_scenes

from roboref_node.model.checkpoint import load_model
from roboref_node.status import Refused
from roboref_node.training.grpo import GrpoSettings, grpo_loss, token_weights
from roboref_node.training.packing import IGNORED
from roboref_node.training.recipes import SHIPPED_WEIGHTS, available_recipes, load_recipe
from roboref_node.training.rewards import group_advantages
from roboref_node.training.rft import RftRecipe, RftTrainer
from roboref_node.training.rft_questions import RecordedQuestions, SceneQuestions, open_source
from roboref_node.training.rollouts import FrameQuestions, RolloutScorer, Sampler, target_rows
from roboref_node.training.run_folder import load_state
from roboref_node.training.scenes import SceneStore
from roboref_node.training.sft import SftRecipe, training_arguments


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


def test_first_pass_is_the_policy_gradient() -> None:
    logp = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantage, weight = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 0.25, 0.25])
    result = grpo_loss(logp, logp.detach(), advantage, weight, GrpoSettings())
    result.loss.backward()
    torch.testing.assert_close(result.loss.detach(), -(weight * advantage).sum())
    torch.testing.assert_close(logp.grad, -weight * advantage)
    assert float(result.clipped) == 0.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "moves"),
    [
        (1.5, 1.0, 1.2, False),  # good and already likelier: clipped
        (0.5, 1.0, 0.5, True),  # good but less likely: pulled back
        (0.5, -1.0, -0.8, False),  # bad and already rarer: clipped
        (1.5, -1.0, -1.5, True),  # bad but likelier: pushed away
    ],
)
def test_clipping(ratio: float, advantage: float, gain: float, moves: bool) -> None:
    logp = torch.tensor([math.log(ratio)], requires_grad=True)
    result = grpo_loss(logp, torch.zeros(1), torch.tensor([advantage]), torch.ones(1), GrpoSettings())
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(-gain, abs=1e-6)
    assert bool(logp.grad.abs() > 1e-6) is moves
    assert bool(result.clipped > 0) is not moves


def test_divergence_pulls_towards_the_reference() -> None:
    reference = torch.tensor([-1.0, -1.0])
    logp = torch.tensor([-0.2, -3.0], requires_grad=True)
    result = grpo_loss(logp, logp.detach(), torch.zeros(2), torch.full((2,), 0.5), GrpoSettings(kl=0.1), reference)
    result.loss.backward()
    expected = 0.5 * sum(math.exp(d) - d - 1.0 for d in (-0.8, 2.0))
    assert float(result.kl) == pytest.approx(expected, rel=1e-5)
    assert float(result.loss.detach()) == pytest.approx(0.1 * expected, rel=1e-5)
    assert logp.grad[0] > 0 > logp.grad[1]  # descent lowers the first, raises the second


def test_weights_of_a_step_sum_to_one() -> None:
    row = torch.tensor([0, 0, 0, 1, 2, 2])
    for average in ("answer", "token"):
        assert float(token_weights(row, 3, 6, average).sum()) == pytest.approx(1.0)
    assert token_weights(row, 3, 6, "answer")[3] == pytest.approx(1 / 3)


@pytest.mark.parametrize("wrong", [{"clip_low": 1.2}, {"kl": -0.1}, {"average": "sum"}])
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(Refused):
        RftRecipe.from_dict({"grpo": wrong})


def test_unknown_names_are_refused(scenes: Path) -> None:
    for recipe in ({"stepz": 3}, {"grpo": {"clip": 0.2}}, {"samples": 1}):
        with pytest.raises(Refused):
            RftRecipe.from_dict(recipe)
    with pytest.raises(Refused, match="no_kind"):
        SceneQuestions(SceneStore(scenes), {"no_kind": 1.0}, 0, canonical=0.0, drop_depth=0.0)
    with pytest.raises(Refused):
        open_source(RftRecipe(), scenes, scenes / "records.json")


def test_every_recipe_can_be_read(tmp_path: Path) -> None:
    assert {"nano_rft", "2b_depth_align", "2b_sft", "2b_rft", "8b_depth_align", "8b_sft", "8b_rft"} <= set(available_recipes())
    for name in available_recipes():
        if name.endswith("rft"):
            assert RftRecipe.from_dict(load_recipe(name)).samples == 8
        elif name.endswith(("sft", "align")):
            recipe = SftRecipe.from_dict(load_recipe(name))
            arguments = training_arguments(replace(recipe, trainer={**recipe.trainer, "use_cpu": True, "bf16": False}), tmp_path)
            assert arguments.num_train_epochs == 1 and arguments.get_warmup_steps(1000) == 30


@pytest.mark.parametrize("trainer", [{"fish": 1}, {"optim": "fish"}, {"use_cpu": True, "fp16": True}])
def test_what_transformers_refuses_of_a_recipe_is_a_sentence(trainer: dict, tmp_path: Path) -> None:
    """The published recipes ask for bfloat16, and ended in a traceback on a machine without a GPU."""
    recipe = SftRecipe.from_dict(load_recipe("2b_sft"))
    with pytest.raises(Refused, match="BAD_REQUEST: `trainer` "):
        training_arguments(replace(recipe, trainer={**recipe.trainer, **trainer}), tmp_path)


@pytest.mark.parametrize("family", ["2b", "8b", "nano"])
def test_packed_scores_are_the_models_own(family: str, tmp_path: Path) -> None:
    """The score of each sampled token equals that of a plain forward pass over pictures, question and answer."""
    weights = SHIPPED_WEIGHTS if family == "nano" else write_tiny_checkpoint(tmp_path / family, family)
    model, processor = load_model(weights, device="cpu", dtype="float32")
    rng = np.random.default_rng(0)
    frame = FrameQuestions(
        rng.integers(0, 256, size=(60, 80, 3), dtype=np.uint8),
        rng.integers(0, 256, size=(60, 80, 3), dtype=np.uint8),
        ("point to the cup", "please point to the red box left of the bowl"),
        ({}, {}),
    )
    rollouts = Sampler(model, processor, samples=3, temperature=0.7, max_new_tokens=6)(frame, torch.Generator().manual_seed(1))
    assert len(rollouts.completions) == 6 and rollouts.tokens.shape[0] == 6
    with torch.no_grad():
        packed = RolloutScorer(model, 0.7)(rollouts)
        rows = target_rows(rollouts)
        model.llm.set_attn_implementation("sdpa")
        for row in range(6):
            targets = rollouts.targets[row]
            end = int((targets != IGNORED).nonzero().max()) + 1
            ids = torch.cat([rollouts.prefix, rollouts.tokens[row, :end]])[None]
            inputs = rollouts.inputs
            logits = model(
                input_ids=ids, rgb_tiles=inputs.rgb_tiles, depth_tiles=inputs.depth_tiles,
                rgb_block_sizes=inputs.rgb_block_sizes, depth_block_sizes=inputs.depth_block_sizes,
            ).logits[0, -end:]  # fmt: skip
            chosen = targets[:end] != IGNORED
            alone = torch.log_softmax(logits[chosen] / 0.7, dim=-1).gather(-1, targets[:end][chosen][:, None])[:, 0]
            torch.testing.assert_close(packed[rows == row], alone, atol=2e-4, rtol=1e-4)
            text = processor.decode([t for t in targets[:end][chosen].tolist() if t not in model.config.stop_token_ids])
            assert text == rollouts.completions[row]
        keep = [False, True, True, False, False, True]
        some = RolloutScorer(model, 0.7)(rollouts.rows(keep))
        torch.testing.assert_close(some, packed[torch.tensor(keep)[rows]], atol=1e-5, rtol=1e-5)


def test_samples_come_from_the_distribution() -> None:
    """A cold sampler repeats the greedy answer; a warm one does not."""
    model, processor = load_model(SHIPPED_WEIGHTS, device="cpu", dtype="float32")
    frame = FrameQuestions(np.full((80, 80, 3), 128, dtype=np.uint8), None, ("point to the red cup",), ({},))
    cold = Sampler(model, processor, samples=4, temperature=1e-3, max_new_tokens=8)(frame, torch.Generator().manual_seed(0))
    warm = Sampler(model, processor, samples=8, temperature=1.5, max_new_tokens=8)(frame, torch.Generator().manual_seed(0))
    again = Sampler(model, processor, samples=8, temperature=1.5, max_new_tokens=8)(frame, torch.Generator().manual_seed(0))
    assert len(set(cold.completions)) == 1 < len(set(warm.completions))
    assert warm.completions == again.completions


def test_the_model_learns_what_is_rewarded(scenes: Path, tmp_path: Path) -> None:
    """Paid for answering without steps, the model gives them up: the share of structured answers falls."""
    recipe = RftRecipe.from_dict({
        **RFT, "steps": 6, "samples": 8, "learning_rate": 5e-4, "grpo": {}, "trainable": "language", "drop_depth": 0.0,
        "rewards": {"roborefer_outcome_format": {"weight": -1.0, "closed": False}}, "kinds": {"closest_to": 1.0}, "save_every": 6,
    })  # fmt: skip
    tower = load_model(SHIPPED_WEIGHTS, device="cpu", dtype="float32")[0].vision_tower.state_dict()
    RftTrainer(recipe, open_source(recipe, scenes, None), SHIPPED_WEIGHTS, tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    shares = [line["reward/roborefer_outcome_format"] for line in lines]
    assert shares[0] > 0.6 and shares[-1] < 0.4, shares
    state = load_state(tmp_path)
    assert all(torch.equal(state["model"][f"vision_tower.{name}"], value) for name, value in tower.items()), "language alone learns"
    model, processor = load_model(tmp_path / "model", device="cpu", dtype="float32")
    assert processor.tokenizer.get_vocab() and model.config.stop_token_ids


def test_recorded_questions_train_a_tiny_roborefer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, size=(40, 60, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 256, size=(40, 60), dtype=np.uint8)).save(tmp_path / "a_depth.png")
    step = {"kind": "Position", "target": "blue box", "values": [0.2, 0.3]}
    question = {"text": "Point to the cup left of the blue box.", "point": [0.5, 0.5], "steps": [step]}
    nothing = {"text": "Point to the banana.", "point": None}
    (tmp_path / "rft.json").write_text(json.dumps([{"image": "a.png", "depth": "a_depth.png", "questions": [question, nothing]}]))
    source = RecordedQuestions(tmp_path / "rft.json", 0)
    frame = source.draw(0, 0, 2)
    assert frame.rgb.shape == frame.depth_image.shape == (40, 60, 3)
    by_text = dict(zip(frame.texts, frame.references, strict=True))
    assert by_text[question["text"]]["point_px"] == (29.5, 19.5) and by_text[nothing["text"]]["point_px"] is None
    recipe = RftRecipe.from_dict({
        "steps": 1, "frames": 1, "questions": 2, "samples": 2, "max_new_tokens": 4, "save_every": 1, "grpo": {"kl": 0.1}, "updates": 2,
        "gradient_checkpointing": True, "rewards": {"preset": "roborefer"},
    })  # fmt: skip
    RftTrainer(recipe, source, write_tiny_checkpoint(tmp_path / "weights", "2b"), tmp_path / "out").run()
    assert load_state(tmp_path / "out")["step"] == 1
    with pytest.raises(Refused, match="rft_missing"):
        RecordedQuestions(tmp_path / "rft_missing.json", 0)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([1], "not a list of frames"),
        ([{"image": "a.png", "questions": "abc"}], "not a list of frames"),
        ([{"image": "a.png", "questions": [{"text": "x"}]}], "`text` and `point`"),  # left out, it would teach that nothing fits
        ([{"image": "a.png", "questions": [{"point": [0.5, 0.5]}]}], "`text` and `point`"),
        ([{"image": "a.png", "questions": [{"text": "x", "point": [320, 200]}]}], r"`point` is \[320, 200\]"),
        ([{"image": "a.png", "questions": [{"text": "x", "point": [float("nan"), 0.5]}]}], "between 0 and 1"),
        ([{"image": "a.png", "questions": [{"text": "x", "point": None, "steps": "a"}]}], "not a list"),
        ([{"image": "a.png", "questions": [{"text": "x", "point": None, "steps": [{"kind": "Position"}]}]}], "a step needs"),
        (
            [{"image": "a.png", "questions": [{"text": "x", "point": None, "steps": [{"kind": "Hue", "target": "a", "values": 1}]}]}],
            "a step",
        ),
    ],
)
def test_recorded_questions_that_are_not_whole_are_refused(frames: list, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "rft.json").write_text(json.dumps(frames))
    with pytest.raises(Refused, match=sentence):
        RecordedQuestions(tmp_path / "rft.json", 0)


def test_steps_of_every_kind_are_taken(tmp_path: Path) -> None:
    values = {"Position": [[0.2, 0.3], [0.4, 0.5]], "Orientation": [0, 0, 1], "Size": 0.2}
    steps = [{"kind": kind, "target": "a", "values": value} for kind, value in values.items()]
    question = {"text": "x", "point": [0, 1], "steps": steps}
    (tmp_path / "rft.json").write_text(json.dumps([{"image": "a.png", "questions": [question]}]))
    assert RecordedQuestions(tmp_path / "rft.json", 0).frames[0]["questions"][0]["steps"] == steps


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_learns(scenes: Path, tmp_path: Path) -> None:
    """`accelerate launch` with gloo: two processes with a frame each see the rewards and gradients of one process with both."""
    one = {**RFT, "steps": 2, "frames": 2, "grpo": {}}
    recipe = RftRecipe.from_dict(one)
    RftTrainer(recipe, open_source(recipe, scenes, None), SHIPPED_WEIGHTS, tmp_path / "one").run()
    two = write_recipe(tmp_path, "two", {**one, "frames": 1})
    stage = f"-m roboref_node.cli train rft --recipe {two} --scenes {scenes} --out {tmp_path / 'two'}"
    assert "2 processes" in launch_two(stage.split())
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 2
    first, other = logs[0][0], logs[1][0]
    assert first["norm"] > 0.01
    assert other["norm"] == pytest.approx(first["norm"], rel=1e-3)
    weights = [load_state(tmp_path / name)["model"] for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=3e-4, rtol=0.0, msg=lambda text, name=name: f"{name}: {text}")


def test_equal_rewards_have_no_advantage() -> None:
    advantages = group_advantages([1.0, 1.0, 1.0, 0.0, 1.0, 0.0], 3)
    assert (advantages[:3] == 0).all() and advantages[4] > 0 > advantages[3]
