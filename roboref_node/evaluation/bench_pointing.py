"""``roboref bench pointing``: a pointing model on simulated scenes it has never seen, asked through the same interface as on a robot."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roboref_node.commands.arguments import natural, positive
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame
    from roboref_node.pointing.pointer import Pointer
    from roboref_node.synth.questions import Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--questions", type=positive, default=1200, help="number of questions (default 1200)")
    parser.add_argument("--per-scene", type=positive, default=8, help="questions per scene (default 8)")
    parser.add_argument("--model", default="nano", help="name or YAML file of the model (default nano)")
    parser.add_argument("--weights", type=Path, default=None, help="folder of weights instead of the model's own")
    parser.add_argument("--appearance", choices=("train", "heldout", "any"), default="train", help="family of textures and lights")
    parser.add_argument("--no-rgb-only", action="store_true", help="skip the second pass without depth")
    parser.add_argument("--start", type=natural, default=0, help="first reserved seed to look at")


@dataclass(frozen=True, eq=False)
class Asked:
    """One question with the frame it is about; `unseen` marks objects of a reserved colour-object pair."""

    question: Question
    frame: Frame
    unseen: bool


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Ask all questions with depth, and again without; print a table; return the JSON."""
    from roboref_node.pointing.registry import load_pointer

    overrides: dict[str, Any] = {} if args.weights is None else {"folder": str(args.weights)}
    pointer = load_pointer(args.model, **overrides)
    asked = draw(args.questions, args.per_scene, args.appearance, args.start)
    hits, times, direct = measure(pointer, asked)
    result = summarise(asked, hits) | {"p50_ms": _percentile(times, 50), "p95_ms": _percentile(times, 95)}
    result |= {
        "direct_share": round(float(np.mean(direct)), 3),
        "direct_p95_ms": _percentile([t for t, d in zip(times, direct, strict=True) if d], 95),
    }
    if not args.no_rgb_only:
        rgb_hits, _, _ = measure(load_pointer(args.model, use_depth=False, **overrides), asked)
        rgb = summarise(asked, rgb_hits)
        result |= {"rgb_only_macro": rgb["macro"], "rgb_only_kinds": rgb["kinds"]}
    print_table(result)
    return result


def draw(count: int, per_scene: int, appearance: str, start: int = 0) -> list[Asked]:
    """Questions on rendered scenes of reserved seeds; every other scene holds an object of a reserved pair."""
    from roboref_node.frame import Frame
    from roboref_node.sim.noise import add_depth_noise
    from roboref_node.sim.render import SceneRenderer
    from roboref_node.sim.scene import SceneSettings, sample_scene
    from roboref_node.synth.language import UNKNOWN_NOUNS
    from roboref_node.synth.questions import KINDS, Asker
    from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds
    from roboref_node.synth.view import SceneView

    renderer = SceneRenderer(640, 480)
    settings = SceneSettings(appearance=appearance)
    pairs = sorted(RESERVED_PAIRS)
    kinds = list(KINDS)
    counts = dict.fromkeys(kinds, 0)
    asked: list[Asked] = []
    for number, seed in enumerate(reserved_seeds(10 * count, start)):
        if len(asked) >= count:
            break
        rng = np.random.default_rng([seed, 7])
        pair = pairs[(number // 2) % len(pairs)] if number % 2 else None
        spec = sample_scene(seed, excluded_pairs=RESERVED_PAIRS, required_pair=pair, settings=settings)
        rendered = renderer.render(spec)
        view = SceneView(rendered)
        depth = add_depth_noise(rendered.depth_m, np.random.default_rng([seed, 8]))
        frame = Frame(rendered.rgb.copy(), depth, spec.camera, stamp_ns=number)
        asker = Asker(view, rng, canonical=False, unknown_word=partial(_draw_word, UNKNOWN_NOUNS, rng))
        # Rare kinds first, so that no kind is judged by a handful of questions.
        for kind in sorted(kinds, key=lambda kind: counts[kind])[:per_scene]:
            question = next((q for q in (asker.ask(kind) for _ in range(12)) if q is not None), None)
            if question is None:
                continue
            counts[kind] += 1
            item = None if question.target is None else view.objects[question.target]
            asked.append(Asked(question, frame, item is not None and (item.colour, item.shape) in RESERVED_PAIRS))
    return asked[:count]


def _draw_word(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _percentile(values: list[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 1) if values else None


def measure(pointer: Pointer, asked: list[Asked]) -> tuple[list[bool], list[float], list[bool]]:
    """Whether each answer is right, how long it took in milliseconds, and whether it came without reasoning steps.

    The first question, a warm-up, is asked twice.
    """
    from roboref_node.task import Task, TaskKind

    hits: list[bool] = []
    times: list[float] = []
    direct: list[bool] = []
    for item in [asked[0], *asked]:
        question = item.question
        task = Task(TaskKind.PLACE if question.place else TaskKind.POINT, question.expression, question.expression)
        steps = False
        started = time.perf_counter()
        try:
            answer = pointer.point(item.frame, task)
            steps, point = bool(answer.steps), answer.points[0]
            height, width = question.mask.shape
            u, v = min(max(round(point.u_px), 0), width - 1), min(max(round(point.v_px), 0), height - 1)
            hit = bool(question.mask[v, u])
        except Refused as refusal:
            hit = refusal.status is Status.NOT_FOUND and not question.mask.any()
        times.append((time.perf_counter() - started) * 1e3)
        hits.append(hit)
        direct.append(not steps)
    return hits[1:], times[1:], direct[1:]


def summarise(asked: list[Asked], hits: list[bool]) -> dict[str, Any]:
    """Success per kind, their mean, and success on reserved pairs; fractions of 1."""
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for item, hit in zip(asked, hits, strict=True):
        by_kind[item.question.kind].append(hit)
    kinds = {kind: round(float(np.mean(values)), 4) for kind, values in sorted(by_kind.items())}
    unseen = [hit for item, hit in zip(asked, hits, strict=True) if item.unseen]
    seen = [hit for item, hit in zip(asked, hits, strict=True) if not item.unseen and item.question.target is not None]
    return {
        "n": len(asked),
        "macro": round(float(np.mean(list(kinds.values()))), 4),
        "kinds": kinds,
        "kind_counts": {kind: len(values) for kind, values in sorted(by_kind.items())},
        "unseen_pairs": round(float(np.mean(unseen)), 4) if unseen else None,
        "unseen_n": len(unseen),
        "seen_pairs": round(float(np.mean(seen)), 4) if seen else None,
    }


def print_table(result: dict[str, Any]) -> None:
    """A person's view of the result."""
    from rich.console import Console
    from rich.table import Table

    table = Table("kind", "questions", "success", "without depth", title=f"pointing: {result['n']} questions on reserved scenes")
    rgb = result.get("rgb_only_kinds", {})
    for kind, share in result["kinds"].items():
        table.add_row(kind, str(result["kind_counts"][kind]), f"{share:.1%}", f"{rgb[kind]:.1%}" if kind in rgb else "-")
    macro_rgb = f"{result['rgb_only_macro']:.1%}" if "rgb_only_macro" in result else "-"
    table.add_row("mean over kinds", str(result["n"]), f"{result['macro']:.1%}", macro_rgb, style="bold")
    Console().print(table)
    if result["unseen_pairs"] is not None:
        print(
            f"colour-object pairs never seen in training: {result['unseen_pairs']:.1%} of {result['unseen_n']} "
            f"(seen pairs {result['seen_pairs']:.1%})"
        )
    print(f"answer time p50 {result['p50_ms']} ms, p95 {result['p95_ms']} ms")
    print(f"without reasoning ({result['direct_share']:.0%} of the answers) p95 {result['direct_p95_ms']} ms")
