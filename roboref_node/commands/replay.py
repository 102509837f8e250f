"""``roboref replay``: questions about a bag, answered by the same pipeline without a ROS graph."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roboref_node.commands.overrides import add_set_argument, camera_from, settings_from
from roboref_node.commands.refusals import tell
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json
from roboref_node.task import Task, TaskKind, parse_instruction

if TYPE_CHECKING:
    from roboref_node.pipeline import Pipeline
    from roboref_node.referral import Referral
    from roboref_node.replay import BagQuestion, RgbdBag
    from roboref_node.replay.recorded import RecordedQuestion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bag", type=Path, help="folder of a rosbag2, or its mcap file")
    parser.add_argument(
        "--questions",
        type=Path,
        help="YAML: questions: [{at: SECONDS, instruction: TEXT}, ...]; default: those recorded in the bag",
    )
    parser.add_argument("--golden", type=Path, help="JSON of an earlier run; differences beyond the tolerances end with status 1")
    parser.add_argument("--write-golden", action="store_true", help="write the answers to the file of --golden instead of comparing")
    parser.add_argument("--robot", default="ur5", help="robot profile (default ur5)")
    parser.add_argument("--model", default="nano", help="pointing model (default nano)")
    parser.add_argument("--camera", default="/camera", metavar="NS", help="namespace of the camera's topics (default /camera)")
    parser.add_argument("--color-topic", metavar="TOPIC", help="its colour images (default NS/color/image_raw); compressed ones too")
    parser.add_argument("--depth-topic", metavar="TOPIC", help="its depth images (default NS/aligned_depth_to_color/image_raw)")
    parser.add_argument("--color-info-topic", metavar="TOPIC", help="calibration of colour (default: camera_info beside the images)")
    parser.add_argument("--depth-info-topic", metavar="TOPIC", help="calibration of depth (default: camera_info beside the images)")
    parser.add_argument("--rectified", action="store_true", help="the image topics carry rectified images")
    add_set_argument(parser)
    parser.add_argument("--overlays", type=Path, help="folder for one picture per question")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Answer all questions; 0 = done and equal to the golden file, 1 = different, 2 = could not run."""
    started = time.perf_counter()
    try:
        result = _replay(args, started)
    except (Refused, OSError) as error:
        return tell(error, as_json=args.json, answers=[])
    _print(result)
    if args.golden is not None and not result["differences"]:
        count = len(result["answers"])
        print(f"written: {args.golden}, {count} answers" if args.write_golden else f"the same {count} answers as in {args.golden}")
    if args.json:
        print(to_json(result))
    return 1 if result["differences"] else 0


def _replay(args: argparse.Namespace, started: float) -> dict[str, Any]:
    from roboref_node.pipeline import Pipeline
    from roboref_node.pointing.registry import load_pointer
    from roboref_node.replay import BagTopics, RgbdBag, compare, load_questions, read_golden, write_golden
    from roboref_node.replay.bag import SLOP_S, declared
    from roboref_node.replay.recorded import SLOP_S as RECORDED_SLOP_S
    from roboref_node.rgbd import DepthSettings, DepthTrust

    if args.write_golden and args.golden is None:
        raise Refused(Status.BAD_REQUEST, "--write-golden needs --golden FILE, where the answers are written")
    for folder in (args.overlays, args.golden.parent if args.golden and args.write_golden else None):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    golden = read_golden(args.golden) if args.golden and not args.write_golden else None
    trust, slop_s = declared(rectified=args.rectified), SLOP_S
    if args.questions is not None:
        questions = load_questions(args.questions)
    else:
        recorded = _recorded(args.bag)
        questions, slop_s = [question.as_question() for question in recorded], RECORDED_SLOP_S
        trust = replace(recorded[0].trust, rectified=args.rectified or recorded[0].trust.rectified)
    depth, slop_s = camera_from(args.overrides, DepthSettings(trust.near_m, trust.far_m, trust.aligned), slop_s)
    profile, settings = settings_from(args.robot, args.overrides)
    pointer = load_pointer(args.model) if any(q.pixel is None for q in questions) else None
    loaded = time.perf_counter()
    topics = BagTopics.of(
        args.camera,
        color=args.color_topic,
        depth=args.depth_topic,
        color_info=args.color_info_topic,
        depth_info=args.depth_info_topic,
    )
    pipeline = Pipeline(pointer, profile, settings)
    with RgbdBag(args.bag, topics, DepthTrust.of(depth, rectified=trust.rectified), slop_s=slop_s) as bag:
        answers = [a for number, question in enumerate(questions, 1) for a in _answer(pipeline, bag, question, number, args.overlays)]
        duration_s = bag.duration_s
    elapsed_s = time.perf_counter() - loaded
    model_s = sum(a["timings_ms"].get("model", 0.0) for a in answers) / 1e3
    differences: list[str] = []
    if args.golden and args.write_golden:
        write_golden(answers, args.golden)
    elif golden is not None:
        differences = compare(answers, golden)
    return {
        "status": "OK" if not differences else "DIFFERENT",
        "bag_s": round(duration_s, 3),
        "load_s": round(loaded - started, 3),
        "wall_s": round(elapsed_s, 3),
        "model_s": round(model_s, 3),
        "realtime_factor": round(duration_s / max(1e-6, elapsed_s - model_s), 2),
        "differences": differences,
        "answers": answers,
    }


def _recorded(bag: Path) -> tuple[RecordedQuestion, ...]:
    from roboref_node.replay.recorded import read_recorded

    questions = read_recorded(bag)
    if not questions:
        raise Refused(Status.BAD_REQUEST, f"{bag} holds no recorded question; give --questions")
    return questions


def _answer(pipeline: Pipeline, bag: RgbdBag, question: BagQuestion, number: int, overlays: Path | None) -> list[dict[str, Any]]:
    from roboref_node.drawing import draw_overlay
    from roboref_node.picturefiles import write_picture
    from roboref_node.pipeline import Context
    from roboref_node.referral import Referral

    tasks: tuple[Task, ...] = (Task(TaskKind.POINT, question.instruction, question.instruction),)
    picture = None
    try:
        tasks = parse_instruction(question.instruction, role=question.role)
        stamp_ns = question.stamp_ns if question.stamp_ns is not None else bag.stamps_ns[0] + round(question.at_s * 1e9)
        frame = bag.frame_at(stamp_ns)
        profile = pipeline.profile
        transforms = {
            name: bag.transforms.lookup(name, frame.frame_id, frame.stamp_ns) for name in (*pipeline.frames_needed(), profile.base_frame)
        }
        base = transforms[profile.goal_frame] @ transforms[profile.base_frame].inverse()
        referrals: tuple[Referral, ...] = pipeline.refer_all(
            frame, tasks, transforms, pixel=question.pixel, context=Context(goal_from_base=base)
        )
        if overlays is not None:
            picture = draw_overlay(frame, referrals, goal_from_optical=transforms[profile.goal_frame])
    except Refused as refusal:
        referrals = tuple(Referral(task=t, status=refusal.status, sentence=refusal.sentence, details=refusal.details) for t in tasks)
    if overlays is not None and picture is not None:
        write_picture(overlays / f"{frame.stamp_ns}_{len(list(overlays.iterdir())):03d}.png", picture)
    how = {"declared": asdict(bag.trust), "sync_slop_s": bag.slop_s}
    source = {"bag": str(bag.path.resolve()), "topics": vars(bag.topics), **how, "question": number}
    return [replace(r, provenance={**r.provenance, "source": source}).to_dict() for r in referrals]


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("instruction", "task", "status", "pixel", "goal (m)", "ms")
    for a in result["answers"]:
        goal = "-" if a["goal"] is None else "{:.3f} {:.3f} {:.3f} in {}".format(*a["goal"]["position_m"], a["goal"]["frame"])
        pixel = "-" if a["pixel"] is None else "{:.0f} {:.0f}".format(*a["pixel"])
        table.add_row(a["task"]["instruction"], a["task"]["kind"], a["status"], pixel, goal, f"{a['timings_ms'].get('total', 0.0):.0f}")
    Console().print(table)
    for a in result["answers"]:
        if a["status"] != Status.OK.value:
            print(f"{a['task']['instruction']!r}: {a['status']}: {a['sentence']}")
    print(
        f"{result['bag_s']:.1f} s of bag in {result['wall_s']:.2f} s, of which the model {result['model_s']:.2f} s: "
        f"{result['realtime_factor']:.1f}x real time"
    )
    for text in result["differences"]:
        print(f"DIFFERENT {text}")
