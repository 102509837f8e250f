"""The simulated bench: a pointing model on reserved scenes, by kind of question and number of steps, with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.evaluation.refsim import Asked
    from roboref_node.pointing.pointer import Pointer

BASELINES = ("none", "text", "rgb")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--n", type=int, default=5000, help="number of questions (default 5000)")
    parser.add_argument("--model", default="nano", help="name or YAML file of the model (default nano)")
    parser.add_argument("--weights", type=Path, default=None, help="folder of weights instead of the model's own")
    parser.add_argument("--appearance", choices=("train", "heldout", "any"), default="train", help="family of textures and lights")
    parser.add_argument("--start", type=int, default=0, help="first seed to look at")
    parser.add_argument(
        "--baseline", choices=BASELINES, default="none", help="text: every picture is grey and has no depth; rgb: no depth (default none)"
    )
    parser.add_argument("--priors", action="store_true", help="ask no model: where the answers lie, and what one constant point reaches")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Ask all questions, print a table and return the JSON.

    Raises:
        Refused: BAD_REQUEST for fewer questions than one, or what the model refuses when it is loaded.
    """
    from roboref_node.evaluation.refsim import Tally, best_constants, draw_scenes
    from roboref_node.pointing.registry import load_pointer

    if args.n < 1:
        raise Refused(Status.BAD_REQUEST, f"--n is {args.n}; at least one question is needed", n=args.n)
    scenes = _shown(draw_scenes(args.n, args.appearance, start=args.start), args.n)
    if args.priors:
        priors = best_constants(scenes)
        _print_priors(priors)
        return {"priors": priors}
    overrides: dict[str, Any] = {} if args.weights is None else {"folder": str(args.weights)}
    if args.baseline != "none":
        overrides["use_depth"] = False
    pointer = load_pointer(args.model, **overrides)
    tally = Tally()
    for asked in scenes:
        tally.add(asked, [answers_right(pointer, item, blind=args.baseline == "text") for item in asked])
    result = tally.figures()
    _print_table(result, args)
    return result


def answers_right(pointer: Pointer, item: Asked, *, blind: bool = False) -> bool:
    """Whether the model's answer lies in the truth, or is NOT_FOUND where nothing fits.

    Args:
        pointer: The model.
        item: The question.
        blind: Show a grey picture without depth.
    """
    from dataclasses import replace

    from roboref_node.task import Task, TaskKind, parse_instruction

    question, frame = item.question, item.frame
    if blind:
        frame = replace(frame, rgb_source=np.full_like(frame.rgb, 128), depth_source=np.full_like(frame.depth_m, np.nan))
    try:
        if item.wording == "sentence":
            (task,) = parse_instruction(question.text)
        else:
            task = Task(TaskKind.PLACE if question.place else TaskKind.POINT, question.expression, question.expression)
        points = pointer.point(frame, task).points
    except Refused as refusal:
        return refusal.status is Status.NOT_FOUND and not question.mask.any()
    if not points:
        return not question.mask.any()
    height, width = question.mask.shape
    u, v = min(max(round(points[0].u_px), 0), width - 1), min(max(round(points[0].v_px), 0), height - 1)
    return bool(question.mask[v, u])


def _shown(scenes: Iterator[list[Asked]], total: int) -> Iterator[list[Asked]]:
    """The same scenes with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("questions", total=total)
        for asked in scenes:
            yield asked
            progress.advance(bar, len(asked))


def _print_table(result: dict[str, Any], args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    what = {"none": "", "text": ", without pictures", "rgb": ", without depth"}[args.baseline]
    table = Table("figure", "success", "95 % interval", title=f"refsim: {result['n']} questions on reserved scenes{what}")
    intervals = result["ci95"]
    names: Sequence[str] = [name for name in result if name not in ("n", "kinds", "ci95")]
    rows = [(name.replace("_", " "), result[name], intervals[name]) for name in names]
    rows += [(f"kind {name.replace('_', ' ')}", value, intervals["kinds"][name]) for name, value in result["kinds"].items()]
    for label, value, span in rows:
        table.add_row(label, "-" if value is None else f"{value:.1%}", "-" if span is None else f"{span[0]:.1%} to {span[1]:.1%}")
    Console().print(table)


def _print_priors(priors: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("kind", "questions", "answers in the left half", "mean answer", "best constant point", title="priors of the questions")
    for name, row in priors.items():
        if "best_constant" in row:
            x, y = row["mean_uv"]
            table.add_row(name, str(row["n"]), f"{row['left_half']:.1%}", f"({x:.2f}, {y:.2f})", f"{row['best_constant']:.1%}")
    Console().print(table)
    for name, row in priors.items():
        if "named_half" in row:
            print(f"{name}: {row['named_half']:.1%} of {row['n']} answers lie in the half of the picture that the word names")
