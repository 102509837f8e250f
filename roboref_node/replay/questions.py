"""The questions of a replay: a small YAML file, validated in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roboref_node.config import load_yaml
from roboref_node.status import Refused, Status

_KEYS = {"at", "stamp_ns", "instruction", "role", "pixel"}

_LONGEST_S = 1e6
"""Eleven days: no bag is longer."""


@dataclass(frozen=True)
class BagQuestion:
    """One question about a bag.

    Args:
        instruction: What is asked.
        at_s: Seconds after the bag's first image; ignored when `stamp_ns` is given.
        stamp_ns: Stamp of the image.
        role: See `task.parse_instruction`.
        pixel: Skips the model.
    """

    instruction: str
    at_s: float = 0.0
    stamp_ns: int | None = None
    role: str = ""
    pixel: tuple[float, float] | None = None


def load_questions(path: str | Path) -> list[BagQuestion]:
    """Read ``questions:``, a list of ``{at | stamp_ns, instruction, role, pixel}``.

    Raises:
        Refused: BAD_REQUEST naming the entry and the key that is wrong.
    """
    entries = load_yaml(path).get("questions")
    if not isinstance(entries, list) or not entries:
        raise Refused(Status.BAD_REQUEST, f"{path} needs a non-empty list under the key 'questions'")
    return [_question(entry, f"{path}: question {number}") for number, entry in enumerate(entries, 1)]


def _question(entry: Any, where: str) -> BagQuestion:
    if not isinstance(entry, dict) or not isinstance(entry.get("instruction"), str):
        raise Refused(Status.BAD_REQUEST, f"{where} needs an 'instruction' in quotes")
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise Refused(Status.BAD_REQUEST, f"{where} has the unknown key '{unknown[0]}'; known: {', '.join(sorted(_KEYS))}")
    given = {key: value for key, value in entry.items() if value is not None}
    at_s, stamp_ns, role, pixel = (given.get(key) for key in ("at", "stamp_ns", "role", "pixel"))
    if at_s is not None and stamp_ns is not None:
        raise Refused(Status.BAD_REQUEST, f"{where} has both 'at' and 'stamp_ns': one of them says which image is meant")
    for key, legal, what in (
        ("at", at_s is None or (_is_number(at_s) and 0 <= at_s <= _LONGEST_S), f"a number of seconds from 0 to {_LONGEST_S:.0f}"),
        ("stamp_ns", stamp_ns is None or (type(stamp_ns) is int and 0 <= stamp_ns < 2**63), "whole nanoseconds"),
        ("role", role is None or isinstance(role, str), "text"),
        (
            "pixel",
            pixel is None or (isinstance(pixel, list) and len(pixel) == 2 and all(map(_is_number, pixel))),
            "a list [u, v] of two numbers",
        ),
    ):
        if not legal:
            raise Refused(Status.BAD_REQUEST, f"{where}: '{key}' is {given[key]!r}, it must be {what}")
    return BagQuestion(
        entry["instruction"], float(at_s or 0.0), stamp_ns, role or "", None if pixel is None else (float(pixel[0]), float(pixel[1]))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
