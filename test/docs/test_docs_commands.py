"""Every command line in the pages is one that the programs take."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, alternatives, blocks, inline, simple_commands

from roboref_node.cli import COMMANDS
from roboref_node.commands.parser import CommandParser

PLACEHOLDERS = {"N": "1", "S": "1", "SECONDS": "1", "PNG": "why.png"}


class Wrong(Exception):
    """What argparse says."""


class Incomplete(Wrong):
    """Arguments are missing, and those that are there are right."""


class _Missing(Exception):
    pass


class _Parser(CommandParser):
    """Raises instead of ending the process; of an option that it lacks before those that are missing."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        try:
            return super().parse_known_args(args, namespace)
        except _Missing as missing:
            for word in args:
                if word.startswith("--") and word not in self._option_string_actions:
                    raise Wrong(f"there is no {word}") from None
            raise Incomplete(str(missing)) from None

    def error(self, message: str) -> None:  # type: ignore[override]
        raise (_Missing if "are required" in message else Wrong)(message)


def check(words: list[str]) -> None:
    """Parse the words behind ``roboref`` as the command would, without running it."""
    words = [PLACEHOLDERS.get(word, word) for word in words]
    name = words[0]
    if name.startswith("-"):
        return
    if name not in COMMANDS:
        raise Wrong(f"there is no command {name}")
    parser = _Parser(prog=name)
    importlib.import_module(f"roboref_node.commands.{COMMANDS[name].module}").add_arguments(parser)
    if "--help" in words:
        return
    arguments = parser.parse_args(words[1:])
    if name in ("bench", "eval"):
        parser = _Parser(prog=f"{name} {arguments.name}")
        parser.add_argument("--json", action="store_true")
        importlib.import_module(f"roboref_node.evaluation.{name}_{arguments.name}").add_arguments(parser)
        parser.parse_args(arguments.arguments)


def roboref_commands(text: str) -> list[list[str]]:
    """The words behind ``roboref``, or behind the module that is the same."""
    found = []
    for words in simple_commands(text):
        if "roboref_node.cli" in words:
            found += alternatives(words[words.index("roboref_node.cli") + 1 :])
        elif words[0] == "roboref" and len(words) > 1:
            found += alternatives(words[1:])
    return found


def test_there_are_commands_to_check() -> None:
    assert sum(len(roboref_commands(block)) for page in PAGES for block in blocks(page)) > 40
    assert sum(len(roboref_commands(code)) for page in PAGES for code in inline(page)) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_blocks_are_taken_as_they_stand(page: Path) -> None:
    for block in blocks(page):
        for words in roboref_commands(block):
            try:
                check(words)
            except Wrong as wrong:
                pytest.fail(f"roboref {' '.join(words)}: {wrong}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_name_what_there_is(page: Path) -> None:
    """They may leave out what is needed: `roboref convert` is spoken of without its folders."""
    for code in inline(page):
        for words in roboref_commands(code):
            try:
                check(words)
            except Incomplete:
                continue
            except Wrong as wrong:
                pytest.fail(f"roboref {' '.join(words)}: {wrong}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`roboref {name}\b", (ROOT / "README.md").read_text())


def launch_source(file: str) -> str:
    """A launch file with what it includes: ROS's launch, which would tell the arguments, comes with a distribution only."""
    source = (ROOT / "launch" / file).read_text() + (ROOT / "roboref_node/ros/launching.py").read_text()
    return source + (launch_source("refer.launch.py") if '"refer.launch.py"' in source else "")


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "launch").glob("*.py"))], ids=lambda page: page.name)
def test_arguments_of_launch_files_are_declared(page: Path) -> None:
    for file, rest in re.findall(r"ros2 launch roboref (\w+\.launch\.py)([^\n`#]*)", page.read_text(encoding="utf-8")):
        for argument in re.findall(r"(\w+):=", rest):
            assert f'"{argument}"' in launch_source(file), f"{page.name}: {file} has no argument {argument}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [code for code in (*inline(page), *"\n".join(blocks(page)).splitlines()) if code.startswith("make ")]
    for code in named:
        assert code.split()[1] in targets | {"-C"}, f"{page.name}: {code}"
