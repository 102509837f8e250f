"""The questions of a replay: a small YAML file, validated in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roboref_node.config import load_yaml
from roboref_node.status import Refused, Status

_KEYS = {"at", "stamp_ns", "instruction", "role", "pixel"}


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
    unknown = set(entry) - _KEYS
    if unknown:
        raise Refused(Status.BAD_REQUEST, f"{where} has the unknown key '{sorted(unknown)[0]}'; known: {', '.join(sorted(_KEYS))}")
    try:
        pixel = entry.get("pixel")
        return BagQuestion(
            instruction=entry["instruction"],
            at_s=float(entry.get("at", 0.0)),
            stamp_ns=None if entry.get("stamp_ns") is None else int(entry["stamp_ns"]),
            role=str(entry.get("role", "")),
            pixel=None if pixel is None else (float(pixel[0]), float(pixel[1])),
        )
    except (TypeError, ValueError, IndexError) as error:
        raise Refused(Status.BAD_REQUEST, f"{where}: {error}") from None
