"""One completion through one reward."""

from __future__ import annotations

from typing import Any

from roboref_node.training.rewards import find_reward

MAP = {"chair": [[2, 3], [5, 3]], "sofa": [[8, 1]]}


def one(name: str, completion: str, reference: dict[str, Any], **settings: Any) -> float:
    return float(find_reward(name)([completion], [reference], **settings)[0])


def said(answer: str, thinking: str = "hm") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"
