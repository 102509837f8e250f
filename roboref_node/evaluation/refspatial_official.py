"""RefSpatial-Bench as its published script scores it, quirks included (github.com/Zhoues/RoboRefer, Evaluation/summarize_acc.py).

A figure from this module can be put next to published ones. What a robot would need is measured by `refspatial_strict`. The quirks:

* An answer that the script cannot read (an exception in its parser, or no text at all) is left out of the mean, while an answer
  without any point counts 0.
* Tuples: only ``(1, 2)`` with the number right after the bracket and no blank before a comma; digits of any script; ``.5`` is no number.
  A pair is scaled by the image only if a dot occurs in it: ``(1, 0)`` is pixel (1, 0). Scaling truncates towards zero, so -0.001 is inside
  and 1.0 is outside. Points outside count as misses.
* A tuple of four is a box: all its pixels are pooled with the other points. Boxes are scaled even without a dot. A negative side is an
  exception. Boxes are counted here without being filled, since some would need terabytes; the script would run out of memory on them,
  and `SampleScore.huge_box` marks those answers.
* Points that NumPy holds as floats or as Python integers (a fraction in a family of absolute pixels, numbers beyond 64 bits) end the whole
  run with an IndexError: there is no figure then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

HUGE_BOX_PIXELS = 20_000_000
"""The script needs about 150 bytes per pixel of a box: 3 GB at this size."""
_LARGEST_ARRAY = np.iinfo(np.intp).max

_TUPLE = re.compile(r"\(([-+]?\d+(?:\.\d*)?(?:,\s*[-+]?\d+(?:\.\d*)?)*)\)")
_INDEXED_ATTRIBUTES = re.compile(r'x\d+="(-?\d+(?:\.\d*)?)"\s+y\d+="(-?\d+(?:\.\d*)?)"')
_FENCED = re.compile(r"```(?:\w+)?\n(.*?)```", re.DOTALL)


class Family(str, Enum):
    """How the script reads a model's answers; chosen there by a word in the model's name."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    MOLMO = "molmo"
    GEMINI = "gemini"


FAMILIES: dict[str, Family] = {
    "RoboPoint": Family.RELATIVE,
    "Claude": Family.RELATIVE,
    "GPT4O": Family.RELATIVE,
    "RoboRefer": Family.RELATIVE,
    "RoboBrain": Family.ABSOLUTE,
    "Qwen": Family.ABSOLUTE,
    "Molmo": Family.MOLMO,
    "Gemini": Family.GEMINI,
}
"""Word in a model's name, in the order in which the script looks for them."""


def family_of(model_name: str) -> Family | None:
    """The family of a model's name, by its first word in `FAMILIES`, case included; None when the script would not score it."""
    return next((family for word, family in FAMILIES.items() if word in model_name), None)


class Outcome(str, Enum):
    """What the script does with one answer."""

    SCORED = "scored"
    DROPPED = "dropped"
    CRASH = "crash"


@dataclass(frozen=True)
class SampleScore:
    """One answer.

    Args:
        outcome: Scored, left out of the mean, or the end of the run.
        accuracy: Share of its points in the mask; NaN unless scored.
        points: Number of points, pixels of boxes included.
        reason: Why it was not scored.
        huge_box: The script would probably run out of memory.
    """

    outcome: Outcome
    accuracy: float = float("nan")
    points: int = 0
    reason: str = ""
    huge_box: bool = False


@dataclass(frozen=True)
class OfficialScore:
    """One task.

    Args:
        accuracy: Mean over the evaluated answers; NaN when there is none, or when the script crashes.
        evaluated: Number of answers in the mean.
        total: Number of answers.
        crashed_at: Index of the answer that ends the script's run with an IndexError; None when none does.
        samples: One per answer. After a crash too, although the script looks no further.
    """

    accuracy: float
    evaluated: int
    total: int
    crashed_at: int | None
    samples: tuple[SampleScore, ...]


Mask = NDArray[np.bool_]


def score_official(texts: Sequence[object], mask_of: Callable[[int], Mask], family: Family) -> OfficialScore:
    """Score the answers of one task as the script does.

    Args:
        texts: The models' answers as read from the answer file; None where the server failed.
        mask_of: From the index of an answer to its mask (H, W).
        family: How to read the answers.
    """
    samples = tuple(score_answer(text, mask_of(index), family) for index, text in enumerate(texts))
    scored = [sample.accuracy for sample in samples if sample.outcome is Outcome.SCORED]
    crashed_at = next((index for index, sample in enumerate(samples) if sample.outcome is Outcome.CRASH), None)
    accuracy = float(np.mean(scored)) if scored and crashed_at is None else float("nan")
    return OfficialScore(accuracy, len(scored), len(samples), crashed_at, samples)


def score_answer(text: object, mask: Mask, family: Family) -> SampleScore:
    """Score one answer as the script does.

    Args:
        text: The answer; anything but a string is dropped.
        mask: (H, W); its size is the image's for the script.
        family: How to read the answer.
    """
    height, width = mask.shape
    if not isinstance(text, str):
        return SampleScore(Outcome.DROPPED, reason=f"the answer is {type(text).__name__}, not text")
    try:
        points, boxes = _read(text, width, height, family)
        dtype = _array_type(points, boxes)
    # The script catches every exception of its parser; these are the ones that numbers and foreign JSON can cause.
    except (ValueError, TypeError, OverflowError, RecursionError, KeyError) as error:
        return SampleScore(Outcome.DROPPED, reason=f"{type(error).__name__}: {error}"[:200])
    count = len(points) + sum(box.area for box in boxes)
    huge = any(box.area > HUGE_BOX_PIXELS for box in boxes)
    if not count:
        return SampleScore(Outcome.SCORED, 0.0, huge_box=huge)
    if dtype.kind not in "iu":
        return SampleScore(Outcome.CRASH, points=count, reason=f"IndexError: points of type {dtype} cannot index the mask", huge_box=huge)
    hits = sum(bool(mask[int(y), int(x)]) for x, y in points if 0 <= x < width and 0 <= y < height)
    hits += sum(int(np.count_nonzero(mask[max(b.y0, 0) : max(b.y1, 0), max(b.x0, 0) : max(b.x1, 0)])) for b in boxes)
    return SampleScore(Outcome.SCORED, hits / count, count, huge_box=huge)


@dataclass(frozen=True)
class _Box:
    """Pixels x0 ≤ x < x1, y0 ≤ y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        sides = (self.x1 - self.x0, self.y1 - self.y0)
        if min(sides) < 0:
            raise ValueError("negative dimensions are not allowed")
        # NumPy multiplies the sides that are not 0, times 8 bytes, and refuses what no address space holds.
        if max(sides) > _LARGEST_ARRAY or max(sides[0], 1) * max(sides[1], 1) * 8 > _LARGEST_ARRAY:
            raise ValueError("a box has more pixels than an array can have")

    @property
    def area(self) -> int:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


Number = int | float
Points = list[tuple[Number, Number]]


def _read(text: str, width: int, height: int, family: Family) -> tuple[Points, list[_Box]]:
    if family is Family.MOLMO:
        return [(_scaled(float(x) / 100, width), _scaled(float(y) / 100, height)) for x, y in _INDEXED_ATTRIBUTES.findall(text)], []
    if family is Family.GEMINI:
        return _read_fenced_json(text, width, height), []
    return _read_tuples(text, width, height, family is Family.ABSOLUTE)


def _read_tuples(text: str, width: int, height: int, absolute: bool) -> tuple[Points, list[_Box]]:
    points: Points = []
    boxes: list[_Box] = []
    for match in _TUPLE.finditer(text):
        values = [float(number) if "." in number else int(number) for number in match.group(1).split(",")]
        if len(values) == 2:
            x, y = values
            if not absolute and (isinstance(x, float) or isinstance(y, float)):
                x, y = _scaled(x, width), _scaled(y, height)
            points.append((x, y))
        elif len(values) == 4:
            corners = values if absolute else [_scaled(value, size) for value, size in zip(values, (width, height) * 2, strict=True)]
            if not all(isinstance(corner, int) for corner in corners):
                raise TypeError("a box in absolute pixels has a fraction")
            boxes.append(_Box(*map(int, corners)))
    return points, boxes


def _read_fenced_json(text: str, width: int, height: int) -> Points:
    fenced = _FENCED.search(text)
    if fenced is None:
        return []
    try:
        document: Any = json.loads(fenced.group(1).strip())
    except json.JSONDecodeError:
        return []
    points: Points = []
    for item in document:  # a document that is no list, or holds something else than objects, fails here as it does there
        if "point" in item and isinstance(item["point"], list) and len(item["point"]) == 2:
            row, column = item["point"]
            points.append((_scaled(column / 1000, width), _scaled(row / 1000, height)))
    return points


def _scaled(value: Number, size: int) -> int:
    return int(value * size)


def _array_type(points: Points, boxes: list[_Box]) -> np.dtype[Any]:
    """Element type of the array that NumPy makes of the points and of the pixels of the boxes.

    Raises:
        OverflowError: A corner is beyond 64 bits and NumPy refuses to add it (version 2; version 1 turns to floats). Empty boxes too.
    """
    rows: list[Any] = []
    for box in boxes:
        pixels = np.zeros(min(box.area, 1), np.int64)
        rows.extend(np.stack([pixels + box.x0, pixels + box.y0], axis=1))
    return np.array([*points, *rows]).dtype
