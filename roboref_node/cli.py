"""``roboref``: one command, one module per subcommand, each imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NamedTuple

from roboref_node import __version__
from roboref_node.commands.installed import ROS_IS_MISSING, tells_that_ros_is_missing
from roboref_node.commands.parser import CommandParser
from roboref_node.commands.refusals import tell
from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json


class Command(NamedTuple):
    """A subcommand: its module in `roboref_node.commands`, and one line of help.

    Args:
        module: Name of the module.
        summary: The line.
        needs_ros: It cannot run without ROS 2.
        takes_name: Its first argument is a name that its help lists.
    """

    module: str
    summary: str
    needs_ros: bool = False
    takes_name: bool = False


COMMANDS: dict[str, Command] = {
    "demo": Command("demo", "simulated cell and refer node as processes over DDS, one question each way, overlay and truth", True),
    "refer": Command("refer", "one question about image files: colour, depth, camera"),
    "ask": Command("ask", "send one question to a running refer node and print the answer", True),
    "record": Command("record", "record the simulated cell, or any camera, into a rosbag2", True),
    "replay": Command("replay", "the same pipeline on a rosbag, without a ROS graph, against a golden file"),
    "bench": Command("bench", "measure: pointing, lift, ingest, e2e, demo, navigate, serve, pickplace, speech, model", takes_name=True),
    "eval": Command("eval", "score: refspatial (RefSpatial-Bench), refsim (the simulated bench)", takes_name=True),
    "train": Command("train", "render and export scenes; train: nano, sft, rft; compare by ablation", takes_name=True),
    "convert": Command("convert", "turn a published RoboRefer checkpoint into one self-contained folder"),
    "serve": Command("serve", "the model over HTTP: RoboRefer's API and an OpenAI-compatible one"),
    "import-pcd": Command("import_pcd", "turn an organised point cloud into image files or a bag"),
    "explain": Command("explain", "why this goal, or why none: a stored answer or a recorded question drawn again"),
    "doctor": Command("doctor", "what is wrong with this machine or this robot, and the command that fixes it"),
}


def build_parser() -> argparse.ArgumentParser:
    """The top-level parser; a subcommand's own arguments are added by `main` once it is known."""
    parser = CommandParser(prog="roboref", description="A sentence becomes a goal pose that a robot can execute.")
    parser.add_argument("--version", action="version", version=f"roboref {__version__}")
    lines = [f"  {name:<11} {c.summary}{' (needs ROS 2)' if c.needs_ros else ''}" for name, c in COMMANDS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "commands:\n" + "\n".join(lines) + "\n\n`roboref COMMAND --help` tells a command's arguments."
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns its exit status.

    Args:
        argv: Arguments without the program name; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        build_parser().print_help(sys.stderr)
        return 2
    top = build_parser().parse_args(argv)
    command = COMMANDS[top.command]
    as_json = "--json" in top.arguments
    try:
        module = importlib.import_module(f"roboref_node.commands.{command.module}")
        parser = CommandParser(prog=f"roboref {top.command}", description=command.summary[0].upper() + command.summary[1:] + ".")
        module.add_arguments(parser)
        if command.takes_name and not top.arguments:
            parser.print_help(sys.stderr)
            return 2
        arguments = parser.parse_args(top.arguments)
        others = [name for name, other in COMMANDS.items() if not other.needs_ros]
        if command.needs_ros and tells_that_ros_is_missing(f"roboref {top.command}", others, as_json=as_json):
            return ROS_IS_MISSING
        return int(module.run(arguments) or 0)
    except KeyboardInterrupt:
        if as_json:
            print(to_json({"status": Status.CANCELED.value, "sentence": f"roboref {top.command} was interrupted by Ctrl-C"}), flush=True)
        return 130
    except BrokenPipeError:
        return 141
    except (Refused, OSError) as error:
        return tell(error, as_json=as_json)
    except ModuleNotFoundError as error:
        if (error.name or "roboref_node").partition(".")[0] == "roboref_node":
            raise
        sentence = f"roboref {top.command} needs the Python package {error.name}, which is not installed (docs/installation.md)"
        return tell(Refused(Status.BAD_REQUEST, sentence), as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
