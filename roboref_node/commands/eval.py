"""``roboref eval NAME``: one module ``roboref_node/evaluation/eval_<name>.py`` per benchmark, found by its file name.

A module has a docstring (its first line is the help), ``add_arguments(parser)`` and ``run(args) -> dict``, the JSON; it imports what is
heavy inside `run` only. A request that cannot be served is a `Refused`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

import roboref_node.evaluation
from roboref_node.commands.parser import CommandParser
from roboref_node.strict_json import to_json

_PREFIX = "eval_"


def benchmarks() -> tuple[str, ...]:
    """Names of the benchmarks, sorted."""
    modules = pkgutil.iter_modules(roboref_node.evaluation.__path__)
    return tuple(sorted(module.name.removeprefix(_PREFIX) for module in modules if module.name.startswith(_PREFIX)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's name; its own arguments follow it."""
    names = benchmarks()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "benchmarks:\n" + "\n".join(f"  {name:<11} {_summary(_module(name))}" for name in names)
    parser.add_argument("name", choices=names, metavar="NAME")
    rest = parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="arguments of the benchmark; --json for one JSON object as the last line"
    )
    rest.required = False  # Python 3.11 and earlier ask for it by name when the benchmark's is missing


def run(args: argparse.Namespace) -> int:
    """Run one benchmark and print what it returns; 0 = done, 2 = the request is wrong."""
    module = _module(args.name)
    parser = CommandParser(prog=f"roboref eval {args.name}", description=_summary(module))
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    module.add_arguments(parser)
    options = parser.parse_args(args.arguments)
    result = module.run(options)
    sys.stdout.flush()
    if options.json:
        print(to_json(result))
    return 0


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"roboref_node.evaluation.{_PREFIX}{name}")


def _summary(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]
