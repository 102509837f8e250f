"""Supervised training of the nano that begins with given weights instead of random ones."""

from __future__ import annotations

from pathlib import Path

from roboref_node.model.checkpoint import load_model
from roboref_node.status import Refused, Status
from roboref_node.training.nano import NanoRecipe, NanoTrainer
from roboref_node.training.scenes import SceneStore


def continued_nano(recipe: NanoRecipe, store: SceneStore, weights: Path, folder: Path, *, depth_from_rgb: bool = False) -> NanoTrainer:
    """A trainer whose model holds `weights`, or its own last checkpoint when it has one.

    Args:
        recipe: Its `model` section must describe the model in `weights`; ``shared_depth_tower`` and ``use_depth`` may differ.
        store: Rendered scenes.
        weights: Model folder.
        folder: Of the run.
        depth_from_rgb: Begin with copies of the colour tower and projector in the depth branch, as the published models did.

    Raises:
        Refused: BAD_REQUEST when vocabulary or shapes differ.
    """
    trainer = NanoTrainer(recipe, store, folder)
    if trainer.step:
        return trainer
    source, processor = load_model(weights, device="cpu", dtype="float32")
    if processor.tokenizer.get_vocab() != trainer.tokenizer.get_vocab():
        raise Refused(Status.BAD_REQUEST, f"{weights} was trained with another vocabulary than this version's; train it anew")
    state = dict(source.state_dict())
    if depth_from_rgb:
        copies = {"vision_tower.": "depth_tower.", "mm_projector.": "depth_projector."}
        for old, new in copies.items():
            state |= {new + name.removeprefix(old): value.clone() for name, value in state.items() if name.startswith(old)}
    own = trainer.model.state_dict()
    for name, value in own.items():
        if name not in state or state[name].shape != value.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise Refused(Status.BAD_REQUEST, f"{weights}: {name} is {found}, the recipe's `model` needs {tuple(value.shape)}")
    trainer.model.load_state_dict({name: state[name] for name in own})
    return trainer
