"""The layouts of RViz and Foxglove show topics and call services that the nodes have, in panels that are laid out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from roboref_node.console.history import History

ROOT = Path(__file__).resolve().parents[2]
SOURCES = "".join(path.read_text() for folder in ("nodes", "ros") for path in (ROOT / "roboref_node" / folder).glob("*.py"))


def exists(topic: str) -> bool:
    """True when a node of the package has this topic or service."""
    if topic.startswith(("/refer/", "/pick_place/")):
        return f'"~/{topic.split("/", 2)[2]}"' in SOURCES
    return topic.removeprefix("/") in SOURCES


def test_foxglove() -> None:
    layout = json.loads((ROOT / "config/roboref_foxglove.json").read_text())
    panels = layout["configById"]
    assert set(leaves(layout["layout"])) == set(panels)
    text = json.dumps(panels)
    named = set(re.findall(r'"(/(?:refer|pick_place|camera)/[\w/]+)', text)) | {"/diagnostics"}
    assert {"/pick_place/instruction", "/pick_place/stop", "/refer/overlay"} <= named
    assert all(exists(topic) for topic in named), [topic for topic in named if not exists(topic)]


def leaves(node: Any) -> list[str]:
    return [node] if isinstance(node, str) else [*leaves(node["first"]), *leaves(node["second"])]


def test_rviz() -> None:
    topics = re.findall(r"(?:Value|Topic): (/\S+)", (ROOT / "config/roboref.rviz").read_text())
    assert {"/refer/place_pose", "/refer/grasp_pose"} <= set(topics)
    assert all(exists(topic) for topic in topics), [topic for topic in topics if not exists(topic)]


def test_the_history_shows_text_and_never_markup() -> None:
    history = History(keep=3)
    history.note("pick <script>alert(1)</script>", "running", "a & b")
    history.note("pick <script>alert(1)</script>", "waiting", "Pick it?")
    assert len(history.entries) == 1 and history.entries[0].status == "waiting"
    history.note("pick <script>alert(1)</script>", "done", "it's done")
    history.note("pick <script>alert(1)</script>", "running", "again")
    assert [entry.status for entry in history.entries] == ["running", "done"] and [e.number for e in history.entries] == [2, 1]
    assert "<script>" not in history.to_html() and "&lt;script&gt;" in history.to_html()
    for index in range(5):
        history.note(f"sentence {index}", "refused", "")
    assert len(history.entries) == 3 and history.entries[0].number == 7
