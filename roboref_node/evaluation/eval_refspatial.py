"""RefSpatial-Bench and its Expand version from a local folder: score answer files, or ask a pointing model."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roboref_node.pointing.dialect import Dialect
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.evaluation.refspatial_data import BenchSample, BenchTask
    from roboref_node.pointing.pointer import Pointer

Answer = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--data", type=Path, required=True, help="folder with <task>/question.json, or with parquet files")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--answers", type=Path, nargs="+", metavar="FILE", help="answer files (.jsonl), or a folder with one per task")
    source.add_argument("--model", help="name or YAML file of a pointing model to ask")
    parser.add_argument("--mode", choices=("official", "strict"), default="official", help="official: every quirk of the published script")
    parser.add_argument("--family", help="whose answers they are: roborefer, robopoint, claude, gpt4o, robobrain, qwen, molmo, gemini")
    parser.add_argument("--dialect", choices=[d.value for d in Dialect], help="strict mode: the answers' dialect, if not the family's")
    parser.add_argument("--task", help="task of the answer file, if its name and its questions do not tell")
    parser.add_argument("--save", type=Path, metavar="DIR", help="with --model: write <task>.jsonl answer files here")
    parser.add_argument("--limit", type=int, default=0, help="with --model: ask the first N questions of each task only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print a table and return the JSON.

    Raises:
        Refused: BAD_REQUEST with what is wrong in the data, the answers or the arguments.
    """
    from roboref_node.evaluation.refspatial_data import load_refspatial

    tasks = load_refspatial(args.data)
    if args.task and args.task not in tasks:
        raise Refused(Status.BAD_REQUEST, f"there is no task {args.task!r} in {args.data}; there are {', '.join(tasks)}")
    if args.model:
        chosen = {name: task for name, task in tasks.items() if args.task in (None, name)}
        answers = _ask(args.model, chosen, args.limit, args.save)
    else:
        answers = _read_answers(args.answers, tasks, args.task)
    word = _family_word(args.family, answers, args.model)
    score = _official if args.mode == "official" else _strict
    results = {name: score(tasks[name], lines, word, args.dialect) for name, lines in answers.items()}
    accuracies = [result["accuracy"] for result in results.values()]
    summary = {
        "benchmark": "refspatial",
        "mode": args.mode,
        "family": word,
        "n": sum(result["total"] for result in results.values()),
        "evaluated": sum(result["evaluated"] for result in results.values()),
        "macro": None if None in accuracies else sum(accuracies) / len(accuracies),
        "tasks": results,
    }
    _print_table(summary)
    return summary


def _family_word(family: str | None, answers: Mapping[str, list[Answer]], model: str | None) -> str:
    """The word of `refspatial_official.FAMILIES` for --family, or for the model that the answer files name."""
    from roboref_node.evaluation.refspatial_official import FAMILIES

    known = ", ".join(word.lower() for word in FAMILIES)
    if family:
        for word in FAMILIES:
            if word.lower() == family.lower():
                return word
        raise Refused(Status.BAD_REQUEST, f"--family {family!r} is none of {known}")
    named = {str(line.get("model_id", "")) for lines in answers.values() for line in lines}
    words = {next((word for word in FAMILIES if word in name), None) for name in named}
    if model:
        return _word_of_model(model)
    if len(words) == 1 and None not in words:
        return str(words.pop())
    raise Refused(Status.BAD_REQUEST, f"the answers do not name one known model in `model_id`: give --family, one of {known}")


def _word_of_model(model: str) -> str:
    from roboref_node.evaluation.refspatial_strict import DIALECTS
    from roboref_node.pointing.registry import read_model_file

    dialect = read_model_file(model, {})[1].get("dialect", Dialect.ROBOREFER.value)
    return next((word for word, value in DIALECTS.items() if value.value == dialect), "RoboRefer")


@dataclass(frozen=True)
class _Scored:
    """What the table by steps needs of one question."""

    accuracy: float
    step: int


def _official(task: BenchTask, lines: Sequence[Answer], word: str, dialect: str | None) -> dict[str, Any]:
    from roboref_node.evaluation.refspatial_official import FAMILIES, Outcome, score_official

    if dialect is not None:
        raise Refused(Status.BAD_REQUEST, "--dialect belongs to --mode strict: the official mode reads answers by --family")
    score = score_official([line.get("text") for line in lines], lambda index: _mask(task, lines[index]), FAMILIES[word])
    outcomes = Counter(sample.outcome for sample in score.samples)
    scored = [
        _Scored(sample.accuracy, _step(task, line))
        for sample, line in zip(score.samples, lines, strict=True)
        if sample.outcome is Outcome.SCORED
    ]
    crash = None
    if score.crashed_at is not None:
        sample = score.samples[score.crashed_at]
        crash = {
            "error": "IndexError",
            "question_id": _id(lines[score.crashed_at]),
            "reason": sample.reason,
            "answers": outcomes[Outcome.CRASH],
        }
    return {
        "accuracy": _number(score.accuracy),
        "evaluated": score.evaluated,
        "total": score.total,
        "dropped": [_id(line) for sample, line in zip(score.samples, lines, strict=True) if sample.outcome is Outcome.DROPPED],
        "crash": crash,
        "huge_boxes": [_id(line) for sample, line in zip(score.samples, lines, strict=True) if sample.huge_box],
        **(_spread(scored) if crash is None else {"ci95": None, "steps": {}}),
    }


def _strict(task: BenchTask, lines: Sequence[Answer], word: str, dialect: str | None) -> dict[str, Any]:
    from roboref_node.evaluation.refspatial_strict import DIALECTS, score_strict

    texts: dict[str, object] = {}
    for line in lines:
        key = _id(line)
        if key in texts:
            raise Refused(Status.BAD_REQUEST, f"task {task.name}: two answers to question {key}")
        if key not in task.samples:
            raise Refused(Status.BAD_REQUEST, f"task {task.name} has no question {key!r}, which the answer file answers")
        texts[key] = line.get("text")
    score = score_strict(texts, task.samples, Dialect(dialect) if dialect else DIALECTS[word])
    return {
        "accuracy": _number(score.accuracy),
        "evaluated": len(score.samples),
        "total": len(score.samples),
        "answered": score.answered,
        "parse_rate": _number(score.parse_rate),
        "refused": dict(Counter(sample.reason for sample in score.samples.values() if sample.reason)),
        **_spread([_Scored(sample.accuracy, task.samples[key].step) for key, sample in score.samples.items()]),
    }


def _spread(scored: Sequence[_Scored]) -> dict[str, Any]:
    """Interval of the mean, and the mean by number of steps."""
    from roboref_node.evaluation.metrics import bootstrap_interval

    by_step: dict[int, list[float]] = defaultdict(list)
    for sample in scored:
        by_step[sample.step].append(sample.accuracy)
    low, high = bootstrap_interval([sample.accuracy for sample in scored])
    return {
        "ci95": [_number(low), _number(high)],
        "steps": {str(step): {"accuracy": sum(v) / len(v), "n": len(v)} for step, v in sorted(by_step.items())},
    }


def _mask(task: BenchTask, line: Answer) -> Any:
    """The mask that the answer names, as in the published script; by question when it names none."""
    if task.folder is not None and "mask_path" in line:
        return task.mask_at(str(line["mask_path"]))
    sample = task.samples.get(_id(line))
    if sample is None:
        raise Refused(Status.BAD_REQUEST, f"task {task.name} has no question {_id(line)!r}, which the answer file answers")
    return sample.mask()


def _id(line: Answer) -> str:
    return str(line.get("question_id", line.get("id", "")))


def _step(task: BenchTask, line: Answer) -> int:
    sample = task.samples.get(_id(line))
    return sample.step if sample is not None else 0


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read_answers(paths: Sequence[Path], tasks: Mapping[str, BenchTask], forced: str | None) -> dict[str, list[Answer]]:
    files = [file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    if not files:
        raise Refused(Status.BAD_REQUEST, f"there is no .jsonl file in {', '.join(map(str, paths))}")
    answers: dict[str, list[Answer]] = {}
    for file in files:
        lines = _read_lines(file)
        name = forced or _task_of(file, lines, tasks)
        if name in answers:
            raise Refused(Status.BAD_REQUEST, f"two answer files are about task {name}; the second is {file}")
        answers[name] = lines
    return answers


def _read_lines(file: Path) -> list[Answer]:
    try:
        texts = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read the answers {file}: {error}") from error
    lines: list[Answer] = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(Status.BAD_REQUEST, f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(line, dict):
            raise Refused(Status.BAD_REQUEST, f"{file}, line {number} holds a {type(line).__name__}, not an answer")
        lines.append(line)
    return lines


def _task_of(file: Path, lines: Sequence[Answer], tasks: Mapping[str, BenchTask]) -> str:
    """The task an answer file is about: the only one, the one it is named after, the one its lines name, or the one with its questions."""
    if len(tasks) == 1:
        return next(iter(tasks))
    by_name = {name.lower(): name for name in tasks}
    named = {str(line.get(key, "")).lower() for line in lines for key in ("task", "task_name", "category")} & set(by_name)
    if file.stem.lower() in by_name:
        return by_name[file.stem.lower()]
    if len(named) == 1:
        return by_name[named.pop()]
    asked = [(_id(line), line.get("mask_path"), line.get("prompt")) for line in lines]
    fitting = [
        name for name, task in tasks.items() if asked and all(_fits(task.samples.get(key), mask, prompt) for key, mask, prompt in asked)
    ]
    if len(fitting) == 1:
        return fitting[0]
    raise Refused(Status.BAD_REQUEST, f"it is not clear which task {file} answers: give --task, one of {', '.join(tasks)}")


def _fits(sample: BenchSample | None, mask_path: Any, prompt: Any) -> bool:
    return sample is not None and mask_path in (None, sample.mask_path) and prompt in (None, sample.prompt)


def _ask(model: str, tasks: Mapping[str, BenchTask], limit: int, save: Path | None) -> dict[str, list[Answer]]:
    from rich.progress import track

    from roboref_node.pointing.registry import load_pointer

    pointer = load_pointer(model)
    answers: dict[str, list[Answer]] = {}
    for name, task in tasks.items():
        chosen = list(task.samples.values())[: limit or None]
        answers[name] = [
            {
                "question_id": sample.id,
                "text": _answer(pointer, sample),
                "model_id": pointer.name,
                "mask_path": sample.mask_path,
                "prompt": sample.prompt,
                "object_name": sample.object,
                "step": sample.step,
            }
            for sample in track(chosen, description=name, disable=not sys.stderr.isatty())
        ]
        if not task.folder:
            answers[name] = [{key: value for key, value in line.items() if key != "mask_path"} for line in answers[name]]
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            file = save / f"{name.replace('/', '_')}.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in answers[name]), encoding="utf-8")
    return answers


def _answer(pointer: Pointer, sample: BenchSample) -> str | None:
    """What the model says, readable or not; None when it said nothing, as the published client writes when its server fails.

    The benchmark has no depth: models that take it are asked with colour alone, or estimate it themselves.
    """
    import numpy as np

    from roboref_node.frame import Frame
    from roboref_node.geometry.camera import CameraModel
    from roboref_node.task import Task, TaskKind

    rgb = sample.rgb()
    height, width = rgb.shape[:2]
    camera = CameraModel(float(width), float(width), (width - 1) / 2, (height - 1) / 2, width, height)
    frame = Frame(rgb, np.full((height, width), np.nan, np.float32), camera)
    try:
        return pointer.point(frame, Task(TaskKind.POINT, sample.object, sample.prompt)).text
    except Refused as refusal:
        if refusal.status in (Status.MODEL_UNAVAILABLE, Status.MODEL_TIMEOUT, Status.BAD_REQUEST):
            print(f"question {sample.id}: {refusal.sentence}", file=sys.stderr)
            return None
        said = refusal.details.get("answer")
        return said if isinstance(said, str) else "[]"


def _print_table(summary: Mapping[str, Any]) -> None:
    """A person's view of the result."""
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "accuracy", "95 %", "evaluated", "total", title=f"RefSpatial-Bench, {summary['mode']}, {summary['family']}")
    for name, result in summary["tasks"].items():
        low, high = result["ci95"] or (None, None)
        interval = "-" if low is None else f"{low:.1%} to {high:.1%}"
        accuracy = "-" if result["accuracy"] is None else f"{result['accuracy']:.2%}"
        table.add_row(name, accuracy, interval, str(result["evaluated"]), str(result["total"]))
    Console().print(table)
    for name, result in summary["tasks"].items():
        if result.get("crash"):
            crash = result["crash"]
            print(f"{name}: the published script ends with an IndexError at question {crash['question_id']}: it gives no figure.")
        if result.get("huge_boxes"):
            print(f"{name}: the published script would need gigabytes for the boxes in the answers to {', '.join(result['huge_boxes'])}.")
