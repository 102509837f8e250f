"""What the pages say of parameters and names of the nodes is what the nodes have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup, . ./env.sh)")

from roboref_node.goals.profile import load_profile
from roboref_node.nodes import speech
from roboref_node.nodes.replay import ReplaySettings
from roboref_node.nodes.sim import SimSettings
from roboref_node.nodes.sim_g1 import SimG1Settings
from roboref_node.parameters import describe
from roboref_node.ros import settings as refer_settings
from roboref_node.ros.navigate_settings import NavigateSettings
from roboref_node.ros.pick_place_settings import PickPlaceSettings
from roboref_node.ros.record_settings import RecordSettings
from roboref_node.speech.settings import SpeechSettings

SETTINGS = {
    "refer": refer_settings.ReferSettings(),
    "sim": SimSettings(),
    "sim_g1": SimG1Settings(),
    "replay": ReplaySettings(),
    "navigate": NavigateSettings(),
    "pick_place": PickPlaceSettings(),
    "speech": SpeechSettings(),
}


def names(node: str) -> set[str]:
    return {item.name for item in describe(SETTINGS[node])} | {"use_sim_time"}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """From a heading to the next one."""
    return text.split(heading)[1].split("\n## ")[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_parameters_on_command_lines_exist(path: Path) -> None:
    for line in "\n".join(blocks(path)).splitlines():
        node = re.search(r"roboref_node\.nodes\.(\w+) --ros-args", line)
        if node is not None:
            assert set(re.findall(r"-p ([\w.]+):=", line)) <= names(node[1]), line


@pytest.mark.parametrize(
    ("name", "heading", "node"),
    [("ros", "## `sim`", "sim"), ("ros", "## `replay`", "replay"), ("navigation", "## The simulated G1", "sim_g1")],
)
def test_lists_of_parameters_are_complete(name: str, heading: str, node: str) -> None:
    listed = section(page(name), heading).split("Parameters:")[1].split(".\n")[0].split("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", listed)))
    assert names(node) - {"use_sim_time"} == told & names(node)


@pytest.mark.parametrize(("name", "live"), [("ros", refer_settings.LIVE), ("speech", speech.LIVE)])
def test_what_may_change_at_any_time_is_said(name: str, live: frozenset[str]) -> None:
    sentence = page(name).split("may change at any time")[0].split(". ")[-1]
    assert set(re.findall(r"`(\w+)`", sentence)) == live


def test_defaults_of_recording_are_those_of_the_parameters() -> None:
    defaults = {f"record.{item.name}": item.value for item in describe(RecordSettings())}
    told: dict[str, str] = {}
    for row in re.findall(r"^\| (`record\..*?) \| (.*?) \|", page("provenance"), re.MULTILINE):
        told |= dict(zip(re.findall(r"`([\w.]+)`", row[0]), row[1].replace("`", "").split(", "), strict=True))
    assert told == {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in defaults.items()}


def test_settings_that_the_pages_name_in_sections_exist() -> None:
    known = {name for node in SETTINGS for name in names(node)}
    known |= {f"profile.{name}" for robot in ("ur5", "g1") for name in load_profile(robot).to_parameters()}
    sections = {name.rpartition(".")[0] for name in known}
    for path in PAGES:
        for name in re.findall(
            r"`((?:pipeline|profile|record|loop|depth|vocabulary|end_point)\.[\w.]+\w)`", path.read_text(encoding="utf-8")
        ):
            assert name in known | sections, f"{path.name} names {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_private_names_in_tables_are_in_the_program(path: Path) -> None:
    program = "".join(
        file.read_text(encoding="utf-8") for folder in ("nodes", "ros", "speech") for file in (ROOT / "roboref_node" / folder).rglob("*.py")
    )
    for row in re.findall(r"^\| (?:in|out|service|action) \| (.*?) \|", path.read_text(encoding="utf-8"), re.MULTILINE):
        for name in re.findall(r"`(~/[\w/]+)`", row):
            assert f'"{name}"' in program, f"{path.name}: {name}"
