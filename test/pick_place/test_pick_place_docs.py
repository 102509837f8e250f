"""The page tells every outcome, every state and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from roboref_node.pick_place import LoopSettings, Outcome, State

PAGE = (Path(__file__).resolve().parents[2] / "docs/pick_place.md").read_text()


def test_every_outcome_is_documented_once() -> None:
    assert re.findall(r"^\| `(\w+)` \| ", PAGE.split("## How it ends")[1].split("\n## ")[0], re.MULTILINE) == [o.value for o in Outcome]


def test_every_state_and_every_setting_that_is_named_exists() -> None:
    states = PAGE.split("Feedback and status name each state as it is entered:")[1].split("\n")[0]
    assert re.findall(r"`(\w+)`", states) == [state.value for state in State]
    named = set(re.findall(r"`loop\.(\w+)`", PAGE))
    assert named and named <= set(LoopSettings.__dataclass_fields__)
