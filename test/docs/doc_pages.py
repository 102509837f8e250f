"""The pages that people read, and the commands that they copy from them."""

from __future__ import annotations

import re
import shlex
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```\w*\n(.*?)^```|^((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Its code blocks, fenced or indented."""
    return [fenced or indented for fenced, indented in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def inline(page: Path) -> list[str]:
    """What stands between backticks in its text."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()).replace(r"\|", "|") for code in re.findall(r"`([^`]+)`", text)]


def simple_commands(text: str) -> list[list[str]]:
    """Words of each shell command, without comments, variables in front and what connects commands."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&;()<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            continue  # no shell
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("&;()<>"):
                found.append(command)
                command = []
            elif command or not re.fullmatch(r"\w+=.*", word):
                command.append(word)
    return [command for command in found if command]


def alternatives(words: list[str]) -> list[list[str]]:
    """Every command that a synopsis stands for: ``[--json]`` is given, of ``a|b`` each, and of ``COMMAND --a | --b``."""
    words = [word.strip("[]") for word in words]
    if "|" in words:
        first, rest = words[: words.index("|")], words[words.index("|") + 1 :]
        return [*alternatives(first), *alternatives([words[0], *rest])]
    return [list(choice) for choice in product(*(word.split("|") for word in words if word))]
