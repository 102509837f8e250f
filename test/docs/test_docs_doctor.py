"""The doctor's page lists every finding that there is, and none that there is not."""

from __future__ import annotations

import ast
import re

from doc_pages import ROOT

KEYS = ("color", "depth")


def finding_ids() -> set[str]:
    """First arguments of every ``Finding(...)`` in the program; those with a key are meant for both images."""
    found = set()
    for path in (*(ROOT / "roboref_node/doctor").glob("*.py"), ROOT / "roboref_node/commands/doctor.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(first.value)
                elif isinstance(first, ast.JoinedStr):
                    suffix = "".join(str(part.value) for part in first.values if isinstance(part, ast.Constant))
                    found |= {f"{key}{suffix}" for key in KEYS}
    return found


def test_every_finding_is_listed_and_every_listed_one_exists() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == finding_ids()
