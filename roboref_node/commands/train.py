"""``roboref train``: render training scenes, train the nano, copy the result into the package."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stages."""
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    render = stages.add_parser("render", help="render training scenes into a folder; a killed run goes on")
    render.add_argument("--out", type=Path, default=Path("runs/scenes"))
    render.add_argument("--count", type=int, default=20_000, help="number of scenes")
    render.add_argument("--start", type=int, default=0, help="first seed to look at")
    render.add_argument("--size", type=int, default=160, help="side of the model's input in pixels")
    nano = stages.add_parser("nano", help="train the nano; a killed run goes on from its last checkpoint")
    nano.add_argument("--recipe", type=Path, default=None, help="YAML recipe; default: config/train_nano.yaml")
    nano.add_argument("--scenes", type=Path, default=Path("runs/scenes"))
    nano.add_argument("--out", type=Path, default=Path("runs/nano"))


def run(args: argparse.Namespace) -> int:
    """Run one stage."""
    if args.stage == "render":
        from roboref_node.synth.split import training_seeds
        from roboref_node.training.scenes import render_scenes

        render_scenes(args.out, training_seeds(args.count, args.start), args.size)
        return 0
    from roboref_node.config import find_config, load_yaml
    from roboref_node.training.nano import NanoRecipe, NanoTrainer
    from roboref_node.training.scenes import SceneStore

    recipe = NanoRecipe.from_dict(load_yaml(args.recipe or find_config("train_nano")))
    NanoTrainer(recipe, SceneStore(args.scenes), args.out).run()
    return 0
