"""``roboref train``: render scenes, train the nano, fine-tune by supervision and by reinforcement, ablations."""

from __future__ import annotations

import argparse
from pathlib import Path

from roboref_node.commands.arguments import natural, positive
from roboref_node.commands.installed import check_training_packages
from roboref_node.status import Refused
from roboref_node.strict_json import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stages."""
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    render = stages.add_parser("render", help="render training scenes into a folder; a killed run goes on")
    render.add_argument("--out", type=Path, default=Path("runs/scenes"))
    render.add_argument("--count", type=positive, default=20_000, help="number of scenes")
    render.add_argument("--start", type=natural, default=0, help="first seed to look at")
    render.add_argument(
        "--size", type=positive, default=160, help="side of the pictures in pixels, the recipe's `image_size` (default 160)"
    )
    nano = stages.add_parser("nano", help="train the nano; a killed run goes on from its last checkpoint")
    nano.add_argument("--recipe", type=Path, default=None, help="YAML recipe; default: config/train_nano.yaml")
    nano.add_argument("--scenes", type=Path, default=Path("runs/scenes"))
    nano.add_argument("--out", type=Path, default=Path("runs/nano"))
    export = stages.add_parser("export", help="write scenes and questions as tar shards (WebDataset layout); a killed run goes on")
    export.add_argument("--out", type=Path, required=True)
    export.add_argument("--count", type=positive, default=10_000, help="number of scenes")
    export.add_argument("--start", type=natural, default=0, help="first seed to look at")
    export.add_argument("--width", type=int, default=320)
    export.add_argument("--height", type=int, default=240)
    export.add_argument("--questions", type=positive, default=12, help="questions per scene")
    export.add_argument("--shard-scenes", type=int, default=500, help="scenes per tar file")
    export.add_argument("--part", default="0/1", metavar="I/N", help="write part I of N, to divide the work among processes")
    export.add_argument("--fast", action="store_true", help="no shadows and no multisampling")
    sft = stages.add_parser("sft", help="supervised fine-tuning of a RoboRefer shape; a killed run goes on from its last checkpoint")
    sft.add_argument("--recipe", required=True, help="YAML file, or the name of one in config/train, e.g. 2b_depth_align, 2b_sft")
    sft.add_argument("--init", type=Path, required=True, help="folder of the first weights, ours or a published checkpoint")
    sft.add_argument("--data", type=Path, required=True, help="folder that the recipe's data lie in")
    sft.add_argument("--out", type=Path, required=True)
    rft = stages.add_parser("rft", help="reinforcement fine-tuning by GRPO; a killed run goes on from its last checkpoint")
    rft.add_argument("--recipe", default="nano_rft", help="YAML file, or the name of one in config/train; default: nano_rft")
    rft.add_argument("--init", type=Path, default=None, help="folder of the first weights; default: the nano that ships")
    rft.add_argument("--scenes", type=Path, default=None, help="rendered scenes to draw questions from; default: runs/scenes")
    rft.add_argument("--records", type=Path, default=None, help="JSON file of recorded frames and questions instead of scenes")
    rft.add_argument("--out", type=Path, default=Path("runs/rft"))
    ablation = stages.add_parser("ablation", help="one table: arms with several seeds, compared with confidence intervals")
    ablation.add_argument("--table", required=True, help="a table of the recipe: rft, process, depth, towers")
    ablation.add_argument("--seeds", type=positive, default=3)
    ablation.add_argument("--recipe", default="ablations", help="YAML file, or the name of one in config/train; default: ablations")
    ablation.add_argument("--init", type=Path, default=None, help="weights that every arm begins with; default: the nano that ships")
    ablation.add_argument("--scenes", type=Path, default=Path("runs/scenes"))
    ablation.add_argument("--questions", type=positive, default=400, help="questions asked of each run, on reserved scenes")
    ablation.add_argument("--out", type=Path, default=Path("runs/ablations"))
    ablation.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Run one stage; 2 = the request is wrong."""
    if args.stage not in ("nano", "sft", "rft", "ablation"):
        return _STAGES[args.stage](args)
    check_training_packages(f"roboref train {args.stage}")
    code = _STAGES[args.stage](args)
    _leave_group_of_processes()
    return code


def _leave_group_of_processes() -> None:
    """End what `accelerate launch` with several processes began: its threads must not outlive the interpreter, which aborts then."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _render(args: argparse.Namespace) -> int:
    from roboref_node.synth.split import training_seeds
    from roboref_node.training.scenes import render_scenes

    render_scenes(args.out, training_seeds(args.count, args.start), args.size)
    return 0


def _export(args: argparse.Namespace) -> int:
    from roboref_node.status import Status
    from roboref_node.synth.shards import ExportSettings, export_shards
    from roboref_node.synth.split import training_seeds

    number, slash, parts = args.part.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and int(number) < int(parts)):
        raise Refused(Status.BAD_REQUEST, f"--part is {args.part!r}; it must be I/N with 0 <= I < N, for example 0/4")
    samples = 0 if args.fast else ExportSettings.samples
    try:
        settings = ExportSettings(args.width, args.height, args.questions, args.shard_scenes, shadows=not args.fast, samples=samples)
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, str(error)) from error
    done = export_shards(args.out, training_seeds(args.count, args.start), settings, part=(int(number), int(parts)))
    if not done.scenes:
        print(f"every shard of part {args.part} was in {args.out} already")
        return 0
    print(
        f"{done.scenes} scenes with {done.questions} questions in {done.seconds:.0f} s: {done.scenes / done.seconds:.1f} scenes/s, "
        f"{done.scenes / done.cpu_seconds:.1f} per second of processor time"
    )
    return 0


def _nano(args: argparse.Namespace) -> int:
    from roboref_node.config import find_config, load_yaml
    from roboref_node.training.nano import NanoRecipe, NanoTrainer
    from roboref_node.training.scenes import SceneStore

    recipe = NanoRecipe.from_dict(load_yaml(args.recipe or find_config("train_nano")))
    NanoTrainer(recipe, SceneStore(args.scenes), args.out).run()
    return 0


def _sft(args: argparse.Namespace) -> int:
    from roboref_node.training.recipes import load_recipe
    from roboref_node.training.sft import SftRecipe, run_sft

    run_sft(SftRecipe.from_dict(load_recipe(args.recipe)), weights=args.init, data=args.data, out=args.out)
    return 0


def _rft(args: argparse.Namespace) -> int:
    from roboref_node.training.recipes import SHIPPED_WEIGHTS, load_recipe
    from roboref_node.training.rft import RftRecipe, RftTrainer
    from roboref_node.training.rft_questions import open_source

    recipe = RftRecipe.from_dict(load_recipe(args.recipe))
    source = open_source(recipe, args.scenes, args.records)
    RftTrainer(recipe, source, args.init or SHIPPED_WEIGHTS, args.out).run()
    return 0


def _ablation(args: argparse.Namespace) -> int:
    from roboref_node.evaluation.ablations import print_table, run_table
    from roboref_node.training.recipes import SHIPPED_WEIGHTS, load_recipe

    comparisons, result = run_table(
        args.table,
        load_recipe(args.recipe),
        seeds=args.seeds,
        scenes=args.scenes,
        init=args.init or SHIPPED_WEIGHTS,
        out=args.out,
        questions=args.questions,
    )
    print_table(comparisons, result["claim"])
    if args.json:
        print(to_json(result))
    return 0


_STAGES = {"render": _render, "export": _export, "nano": _nano, "sft": _sft, "rft": _rft, "ablation": _ablation}
