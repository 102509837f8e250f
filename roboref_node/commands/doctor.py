"""``roboref doctor``: findings with what, why and fix; the exit status says whether a question would work."""

from __future__ import annotations

import argparse
import importlib.util

from roboref_node.commands.arguments import above_zero
from roboref_node.strict_json import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", default="nano", help="pointing model that is to be used (default nano); none examines none")
    parser.add_argument("--topics", action="store_true", help="listen to a running robot too: topics, calibration, units, TF, clock")
    parser.add_argument("--camera", default="camera", metavar="NS", help="namespace of the camera's topics (default camera)")
    parser.add_argument("--robot", default="ur5", help="robot profile whose frames TF must know (default ur5)")
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="other names of single topics; may be repeated")
    parser.add_argument(
        "--seconds", type=above_zero, default=5.0, help="listen no longer than this once the camera is discovered (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def run(args: argparse.Namespace) -> int:
    """Examine; 0 = a question would work, 1 = it would not."""
    from roboref_node.doctor import Finding, Level, examine_machine

    findings = examine_machine(args.model)
    if args.topics and importlib.util.find_spec("rclpy") is None:
        why = "a running robot cannot be listened to without ROS 2"
        fix = ". ./env.sh   (or: source /opt/ros/$ROS_DISTRO/setup.bash, then your workspace)"
        findings.append(Finding("topics", Level.ERROR, "rclpy cannot be imported", why, fix))
    elif args.topics:
        from roboref_node.doctor.robot import examine_robot

        findings += examine_robot(args.camera, robot=args.robot, remaps=args.remap, duration_s=args.seconds)
    ok = all(f.level is not Level.ERROR for f in findings)
    for finding in findings:
        print(f"{finding.level.value:<8}{finding.what}")
        if finding.why:
            print(f"        why: {finding.why}")
        if finding.fix:
            print(f"        fix: {finding.fix}")
    errors, warnings = (sum(f.level is level for f in findings) for level in (Level.ERROR, Level.WARNING))
    subject = "a question" if args.topics else "a question on this machine (roboref doctor --topics listens to the robot too)"
    print(f"\n{subject} would {'work' if ok else 'not work'}: {errors} errors, {warnings} warnings")
    if args.json:
        print(to_json({"ok": ok, "findings": [f.to_dict() for f in findings]}))
    return 0 if ok else 1
