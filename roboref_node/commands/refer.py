"""``roboref refer``: the pipeline on image files, with or without the model, with or without a robot's pose."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roboref_node.commands.arguments import picture
from roboref_node.commands.overrides import add_set_argument, camera_from, settings_from
from roboref_node.commands.refusals import tell
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json

if TYPE_CHECKING:
    from roboref_node.referral import Referral
    from roboref_node.task import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--rgb", type=Path, required=True, help="colour picture")
    parser.add_argument("--depth", type=Path, required=True, help="16-bit PNG in millimetres, or NPY in metres")
    parser.add_argument("--camera", type=Path, required=True, help="camera file: ours, camera_calibration's, or a printed CameraInfo")
    parser.add_argument("--depth-camera", type=Path, help="camera file of a depth image that is not registered to the colour image")
    parser.add_argument("--color-from-depth", type=Path, help="YAML pose of the depth camera in the colour camera's frame")
    parser.add_argument("--instruction", default="", help='what is asked, e.g. "pick up the red cup"')
    parser.add_argument("--role", default="", help="point, pick, place or navigate; default: from the instruction, or point")
    parser.add_argument("--pixel", help="U,V: skip the model and take this pixel")
    parser.add_argument("--robot", default="ur5", help="robot profile (default ur5)")
    parser.add_argument("--model", default="nano", help="pointing model (default nano)")
    parser.add_argument(
        "--camera-pose",
        type=Path,
        help="YAML with position_m and quaternion_xyzw of the camera's optical frame in the robot's goal frame; without it goals are "
        "given in the optical frame, level with the largest plane in view, and neither reach nor workspace is checked",
    )
    add_set_argument(parser)
    parser.add_argument("--explain", type=picture, metavar="PNG", help="draw what was seen and decided")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Answer; 0 = every task has a goal, 1 = refused, 2 = the request itself is wrong."""
    try:
        referrals, code = _refer(args)
    except (Refused, OSError) as error:
        return tell(error, as_json=args.json, referrals=[])
    for referral in referrals:
        print(f"{referral.status.value}: {referral.sentence}")
    if args.json:
        first = next((r for r in referrals if not r.ok), referrals[0])
        print(to_json({**first.to_dict(), "referrals": [r.to_dict() for r in referrals]}))
    return code


def _refer(args: argparse.Namespace) -> tuple[tuple[Referral, ...], int]:
    from roboref_node.geometry.transform import Transform
    from roboref_node.imagefiles import load_frame, load_pose
    from roboref_node.level import LEVEL, in_optical, level_from_optical, unlimited
    from roboref_node.pipeline import Context, Pipeline
    from roboref_node.plausibility import check_cameras

    pixel = parse_pixel(args.pixel)
    tasks = _tasks(args, pixel)
    profile, settings = settings_from(args.robot, args.overrides)
    limits = _depth_limits(args.overrides)
    frame = load_frame(
        args.rgb, args.depth, args.camera, depth_camera=args.depth_camera, color_from_depth=args.color_from_depth,
        near_m=limits["near_m"], far_m=limits["far_m"],
    )  # fmt: skip
    check_cameras(frame)
    pointer = None
    if pixel is None:
        from roboref_node.pointing.registry import load_pointer

        pointer = load_pointer(args.model)
    if args.camera_pose is not None:
        goal_from_optical = load_pose(args.camera_pose)
        transforms = dict.fromkeys(profile.frames_needed, goal_from_optical)
    else:
        goal_from_optical = level_from_optical(frame)
        profile = unlimited(profile, frame.camera.width)
        transforms = {LEVEL: goal_from_optical}
    pipeline = Pipeline(pointer, profile, settings)
    # One frame says nothing of where a mobile robot stands; its base is taken to be the goal frame's origin.
    context = Context(goal_from_base=Transform.identity())
    referrals = pipeline.refer_all(frame, tasks, transforms, pixel=pixel, context=context)
    files = ("rgb", "depth", "camera", "depth_camera", "color_from_depth")
    source: dict[str, Any] = {name: str(getattr(args, name).resolve()) for name in files if getattr(args, name) is not None}
    source |= limits
    referrals = tuple(replace(r, provenance={**r.provenance, "source": source}) for r in referrals)
    shown_from_optical = goal_from_optical
    if args.camera_pose is None:
        shown_from_optical = Transform.identity()
        referrals = tuple(in_optical(r, goal_from_optical, frame.frame_id) for r in referrals)
    if args.explain is not None:
        from roboref_node.drawing import draw_explanation
        from roboref_node.picturefiles import write_picture

        write_picture(args.explain, draw_explanation(frame, referrals, goal_from_optical=shown_from_optical))
    return referrals, 0 if all(r.ok for r in referrals) else 1


def _depth_limits(overrides: Sequence[str]) -> dict[str, float]:
    """Nearest and farthest distance that the sensor reports.

    Raises:
        Refused: BAD_REQUEST for a setting that is wrong, or of topics rather than of files.
    """
    from roboref_node.imagefiles import FAR_M, NEAR_M
    from roboref_node.rgbd import DepthSettings

    depth, slop_s = camera_from(overrides, DepthSettings(NEAR_M, FAR_M), 0.0)
    if depth.aligned or slop_s:
        raise Refused(Status.BAD_REQUEST, "--set depth.aligned and sync_slop_s are for topics; of a depth file --depth-camera says it all")
    return {"near_m": depth.near_m, "far_m": depth.far_m}


def parse_pixel(text: str | None) -> tuple[float, float] | None:
    """``U,V`` as numbers; None stays None.

    Raises:
        Refused: BAD_REQUEST when it is something else.
    """
    if text is None:
        return None
    try:
        u, v = (float(part) for part in text.split(","))
    except ValueError:
        raise Refused(Status.BAD_REQUEST, f"--pixel {text!r} is not of the form U,V, for example 320,240") from None
    return u, v


def _tasks(args: argparse.Namespace, pixel: tuple[float, float] | None) -> tuple[Task, ...]:
    from roboref_node.task import Task, TaskKind, parse_instruction

    if args.instruction or pixel is None:
        return parse_instruction(args.instruction, role=args.role)
    try:
        kind = TaskKind(args.role or "point")
    except ValueError:
        raise Refused(
            Status.BAD_REQUEST, f"the role {args.role!r} is unknown; use one of: {', '.join(k.value for k in TaskKind)}"
        ) from None
    return (Task(kind, "the given pixel", ""),)
