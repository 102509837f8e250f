"""``roboref bench NAME``: one module per benchmark; ``--json`` prints exactly one JSON object as the last line."""

from __future__ import annotations

import argparse
import importlib
import sys

from roboref_node.commands.installed import ROS_IS_MISSING, tells_that_ros_is_missing
from roboref_node.commands.parser import CommandParser
from roboref_node.strict_json import to_json

BENCHMARKS = {
    "pointing": "success of the pointing model on simulated scenes it has never seen, by kind of question",
    "lift": "pixel to 3D: time and error, against three other ways to do it",
    "ingest": "CPU of the idle refer node against a bare subscription (needs ROS 2)",
    "e2e": "instruction to goal over DDS without the model's time (needs ROS 2)",
    "demo": "the whole demonstration on many scenes, each in fresh processes, held against the truth (needs ROS 2)",
    "navigate": "a simulated G1 walks to where it sees and reaches an object, and looks again",
    "serve": "`roboref serve` under load: fairness, memory, a kill and a restart",
    "pickplace": "sentences in, objects moved: picks and places that the physics confirms",
    "speech": 'spoken commands understood, other sentences not obeyed, "stop" to the moving arm (needs ROS 2)',
    "model": "time and memory of the model, by stage",
}

_NEED_ROS = ("ingest", "e2e", "demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's name; its own arguments follow it."""
    lines = [f"  {name:<9} {text}" for name, text in BENCHMARKS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "benchmarks:\n" + "\n".join(lines)
    parser.add_argument("name", choices=list(BENCHMARKS), metavar="NAME")
    rest = parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="arguments of the benchmark; --json for one JSON object as the last line"
    )
    rest.required = False  # Python 3.11 and earlier ask for it by name when the benchmark's is missing


def run(args: argparse.Namespace) -> int:
    """Run one benchmark and print what it returns; 0 = done, 1 = something in it crashed, 3 = it needs ROS 2."""
    others = [name for name in BENCHMARKS if name not in _NEED_ROS]
    if args.name in _NEED_ROS and tells_that_ros_is_missing(f"roboref bench {args.name}", others, as_json="--json" in args.arguments):
        return ROS_IS_MISSING
    module = importlib.import_module(f"roboref_node.evaluation.bench_{args.name}")
    parser = CommandParser(prog=f"roboref bench {args.name}", description=BENCHMARKS[args.name])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    module.add_arguments(parser)
    options = parser.parse_args(args.arguments)
    result = module.run(options)
    sys.stdout.flush()
    if options.json:
        print(to_json(result))
    return 1 if result.get("crashed") else 0
