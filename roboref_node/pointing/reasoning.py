"""Reasoning steps of RoboRefer answers: ``[Position] [second mug]: [(0.331, 0.520)]``."""

from __future__ import annotations

import math
import re

from roboref_node.pointing.pointer import ReasoningStep
from roboref_node.pointing.syntax import AnswerSyntaxError, read_number

MAX_STEPS = 64
"""Heads of steps that are looked at, in each part of an answer."""
MAX_STEP_NUMBERS = 256
"""Numbers that all steps of a part may hold together: more than `MAX_STEPS` of the longest kind with one row each."""
_STEP = re.compile(r"\[(Position|Orientation|Size)\][ \t]{0,4}\[([^\[\]\r\n]{1,200})\][ \t]{0,4}:[ \t]{0,4}")
_VALUE = re.compile(r"[(\[][-+0-9., ()\t]{1,1000}[)\]]|[0-9.]{1,24}")
_TUPLE = re.compile(r"\(([^()]{0,200})\)")
_UNIT = re.compile(r"[ \t]{0,2}(?:metres|meters|metre|meter|m)\b")
_LENGTH = {"Position": 2, "Orientation": 3, "Size": 1}


def split_steps(text: str) -> tuple[str, tuple[ReasoningStep, ...], int]:
    """Take the reasoning steps out of an answer.

    Position values are normalised points, Orientation values unit vectors in the optical frame, Size values metres.

    Args:
        text: The answer, or its thinking part.

    Returns:
        The text without the well-formed steps, the steps in their order, and the number of malformed ones (left in the text). What
        follows the first `MAX_STEPS` steps or `MAX_STEP_NUMBERS` numbers is not read, and counts as one malformed step.
    """
    kept: list[str] = []
    steps: list[ReasoningStep] = []
    malformed = 0
    end = 0
    numbers = 0
    for head in _STEP.finditer(text):
        value = _VALUE.match(text, head.end())
        numbers += value.group().count(",") + 1 if value else 0
        if len(steps) + malformed == MAX_STEPS or numbers > MAX_STEP_NUMBERS:
            malformed += 1
            break
        values = _read_value(head.group(1), value.group()) if value else None
        if value is None or values is None:
            malformed += 1
            continue
        steps.append(ReasoningStep(head.group(1), head.group(2).strip(), values))
        kept.append(text[end : head.start()])
        unit = _UNIT.match(text, value.end()) if head.group(1) == "Size" else None
        end = unit.end() if unit else value.end()
    kept.append(text[end:])
    return "\n".join(kept), tuple(steps), malformed


def _read_value(kind: str, body: str) -> tuple[tuple[float, ...], ...] | None:
    """The numbers of a step's value; None when it is not one of this kind."""
    tuples = [inner.group(1) for inner in _TUPLE.finditer(body)] or [body.strip("()[]")]
    try:
        rows = tuple(tuple(read_number(number) for number in row.split(",")) for row in tuples)
    except AnswerSyntaxError:
        return None
    if not all(len(row) == _LENGTH[kind] and _is_valid(kind, row) for row in rows):
        return None
    return rows


def _is_valid(kind: str, row: tuple[float, ...]) -> bool:
    if kind == "Position":
        return all(0.0 <= value <= 1.0 for value in row)
    if kind == "Orientation":
        return abs(math.hypot(*row) - 1.0) <= 0.05  # three printed decimals and a model's rounding
    return 0.0 < row[0] < 1000.0
