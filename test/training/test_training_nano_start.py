"""A nano that goes on from weights, and scenes whose colours are taken away."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import NANO, launch_two, write_recipe, write_scenes
from transformers import AutoTokenizer

import roboref_node.model
from roboref_node.config import find_config, load_yaml
from roboref_node.sim.appearance import COLOURS, colour_names, sample_colour
from roboref_node.sim.meshes import SHAPES
from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.status import Refused
from roboref_node.synth.split import RESERVED_PAIRS, training_seeds
from roboref_node.synth.view import SceneView
from roboref_node.training.augmentation import repaint
from roboref_node.training.batches import BatchSettings, PackedBatches, patch_words
from roboref_node.training.nano import NanoRecipe, NanoTrainer, load_weights, new_nano
from roboref_node.training.objectives import AuxiliaryHeads, alignment_loss, dense_loss, pointer_loss
from roboref_node.training.packing import IGNORED, dense_labels
from roboref_node.training.scenes import SceneStore, render_scenes
from roboref_node.training.vocabulary import build_tokenizer

SHIPPED = Path(roboref_node.model.__file__).parent / "weights" / "nano"


@pytest.fixture(scope="module")
def view() -> SceneView:
    seed = training_seeds(3)[2]
    return SceneView(SceneRenderer(64, 64).render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS)))


def test_the_vocabulary_is_that_of_the_shipped_weights() -> None:
    assert build_tokenizer().get_vocab() == AutoTokenizer.from_pretrained(SHIPPED).get_vocab()


def test_a_recipe_starts_from_the_shipped_weights_and_refuses_others(tmp_path: Path) -> None:
    recipe = replace(NanoRecipe.from_dict(load_yaml(find_config("train_nano_grow"))), init="package:weights/nano")
    model = new_nano(build_tokenizer(), recipe)
    load_weights(model, recipe.init)
    from safetensors.torch import load_file

    stored = load_file(SHIPPED / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name].float()), name
    with pytest.raises(FileNotFoundError, match="model.safetensors does not exist"):
        load_weights(model, str(tmp_path))
    small = new_nano(build_tokenizer(), replace(recipe, model={"text_config": {"hidden_size": 192, "num_hidden_layers": 4}}))
    with pytest.raises(ValueError, match="a model cannot be made smaller"):
        load_weights(small, recipe.init)


def test_repainting_keeps_the_table_and_makes_no_reserved_pair(view: SceneView) -> None:
    rgb, instance, objects = view.rendered.rgb, view.rendered.instance, view.spec.objects
    checked = 0
    for seed in range(40):
        painted = repaint(rgb, instance, objects, np.random.default_rng(seed))
        assert np.array_equal(painted[instance < 0], rgb[instance < 0])
        for index, item in enumerate(objects):
            mask = instance == index
            if mask.sum() < 8:
                continue
            seen = np.median(painted[mask].astype(float), axis=0) / 255.0
            hue, saturation, value = colorsys.rgb_to_hsv(*seen)
            # Clipped highlights and the rounding of dark pixels shift a hue; clear colours show what was painted.
            if saturation < 0.4 or value < 0.3:
                continue
            for colour, shape in RESERVED_PAIRS:
                if shape == item.shape and colour != "white":
                    centre = colorsys.rgb_to_hsv(*sample_colour(colour, np.random.default_rng(0)))[0]
                    assert abs((hue - centre + 0.5) % 1.0 - 0.5) > 0.03, (shape, seen)
                    checked += 1
    assert checked > 10


def test_every_drawn_colour_has_its_name_among_the_cautious_ones() -> None:
    for colour in COLOURS:
        for seed in range(50):
            assert colour in colour_names(sample_colour(colour, np.random.default_rng(seed)))


def test_hidden_colours_cost_nothing(view: SceneView) -> None:
    depth = np.zeros((64, 64), dtype=np.uint8)
    known, hidden = (torch.from_numpy(dense_labels(view, 8, depth, colours=c))[None] for c in (True, False))
    assert (hidden[0, 1] == IGNORED).any() and torch.equal(known[0, [0, 2, 3]], hidden[0, [0, 2, 3]])
    torch.manual_seed(0)
    logits = torch.randn(1, 64, len(SHAPES) + len(COLOURS) + 2 + 3 + 16, requires_grad=True)
    dense_loss(logits, hidden, (False, True, False, False)).backward()
    assert logits.grad is not None
    objects = hidden[0, 0] > 0
    assert logits.grad[0, objects].abs().max() == 0.0
    words = torch.from_numpy(patch_words(view, 4, colours=False))[None]
    vectors = torch.randn(len(SHAPES) + len(COLOURS), 8, requires_grad=True)
    alignment_loss(torch.randn(1, 16, 8), vectors, words, AuxiliaryHeads(4, 8)).backward()
    assert vectors.grad is not None
    assert vectors.grad[: len(SHAPES)].abs().max() > 0.0 and vectors.grad[len(SHAPES) :].abs().max() == 0.0


def test_a_noun_points_into_its_own_scene() -> None:
    heads = AuxiliaryHeads(tower_width=8, width=16)
    image = torch.nn.functional.normalize(torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    scene = torch.tensor([2, 0, 2, 1])
    # Each position looks for what one patch of its scene shows; the loss is small only where keys of that scene are asked.
    with torch.no_grad():
        heads.key.weight.copy_(torch.eye(128, 16))
        heads.query.weight.copy_(40 * torch.eye(128, 16))
    patch = torch.tensor([0, 4, 3, 1])
    target = torch.nn.functional.one_hot(patch, 5).float()
    states = image[scene, patch]
    right = pointer_loss(states, image, scene, target, heads)
    assert right < 1.0
    assert pointer_loss(states, image, scene.roll(1), target, heads) > right + 0.5
    per_position = torch.einsum("nd,ntd->nt", heads.query(states), heads.key(image[scene])) / 128**0.5
    assert torch.isclose(right, torch.nn.functional.cross_entropy(per_position, patch))


def test_a_run_with_repainted_scenes_learns_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    render_scenes(tmp_path / "scenes", training_seeds(6), 32)
    store = SceneStore(tmp_path / "scenes")
    batch = BatchSettings(scenes=2, questions=6, image_size=32, patch_grid=4, token_grid=2, repaint=0.5)
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
    recipe = NanoRecipe(
        pretrain_steps=2,
        steps=4,
        attribute_steps=0,
        warm_up=2,
        workers=0,
        save_every=3,
        log_every=2,
        model={"text_config": text},
        batch=batch,
    )  # fmt: skip
    NanoTrainer(recipe, store, tmp_path / "whole").run()
    half = NanoTrainer(recipe, store, tmp_path / "halves")
    batches = half._batches()
    for _ in range(3):
        half._train_step(next(batches))
        half.step += 1
    half.save()
    NanoTrainer(recipe, store, tmp_path / "halves").run()
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True)["model"] for name in ("whole", "halves")]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], atol=1e-5, rtol=0.0)


def test_scenes_of_another_size_are_refused(tmp_path: Path) -> None:
    render_scenes(tmp_path, training_seeds(2), 32)
    with pytest.raises(Refused, match="32 px wide, the recipe's `image_size` is 160: run `roboref train render --size 160`"):
        NanoTrainer(NanoRecipe(), SceneStore(tmp_path), tmp_path / "run")


def test_the_same_step_gives_the_same_batch(tmp_path: Path) -> None:
    render_scenes(tmp_path, training_seeds(3), 32)
    settings = BatchSettings(scenes=2, questions=5, image_size=32, patch_grid=4, token_grid=2, repaint=0.5)
    one, other = (PackedBatches(SceneStore(tmp_path), build_tokenizer(), settings, 3).batch(7) for _ in range(2))
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.rgb, other.rgb) and one.kinds == other.kinds


def test_two_processes_learn_from_the_mean_of_their_batches(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "scenes")
    recipe = {**NANO, "pretrain_steps": 1, "steps": 1, "warm_up": 1, "save_every": 2}
    # The last step is a second start, so that both processes go on from the checkpoint of the first.
    for name, steps in (("first", 0), ("second", 1)):
        file = write_recipe(tmp_path, name, {**recipe, "steps": steps})
        stage = f"-m roboref_node.cli train nano --recipe {file} --scenes {scenes} --out {tmp_path / 'two'}"
        assert "2 processes" in launch_two(stage.split())
    one = NanoTrainer(NanoRecipe.from_dict(recipe), SceneStore(scenes), tmp_path / "one")
    data = PackedBatches(one.store, one.tokenizer, one.recipe.batch, one.recipe.seed, attribute_batches=3)
    for step in range(2):
        gradients = []
        for process in range(2):
            data.process, data.processes = process, 2
            _, share = one._backward(data.batch(step))
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in one.optimiser.parameters])
            one.model.zero_grad()
            one.heads.zero_grad()
        for parameter, first, second in zip(one.optimiser.parameters, *gradients, strict=True):
            parameter.grad = (first + second) / 2
        one.optimiser.step(share)
        one.step += 1
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)["model"]
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], atol=1e-5, rtol=0.0, msg=lambda text, name=name: f"{name}: {text}")
