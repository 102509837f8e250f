"""RefSpatial-Bench as a robot would feel it: every question counts, and an answer is in the model's one dialect or it is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from roboref_node.evaluation.metrics import mask_hit_rate
from roboref_node.evaluation.refspatial_data import BenchSample
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.status import Refused, Status

DIALECTS: dict[str, Dialect] = {
    "RoboRefer": Dialect.ROBOREFER,
    "RoboPoint": Dialect.ROBOPOINT,
    "Claude": Dialect.ROBOPOINT,
    "GPT4O": Dialect.ROBOPOINT,
    "RoboBrain": Dialect.ROBOBRAIN,
    "Qwen": Dialect.QWEN25_VL,
    "Molmo": Dialect.MOLMO,
    "Gemini": Dialect.GEMINI,
}
"""The dialect that the benchmark's prompts ask each family for."""


@dataclass(frozen=True)
class StrictSample:
    """One question.

    Args:
        accuracy: Share of the answer's points in the mask; 0 without a readable answer.
        reason: Why the answer has no point; empty when it has one.
    """

    accuracy: float
    reason: str = ""


@dataclass(frozen=True)
class StrictScore:
    """One task.

    Args:
        accuracy: Mean over all questions; NaN when there are none.
        parse_rate: Share of the questions with a readable answer, "nothing there" included.
        answered: Number of questions with an answer, readable or not.
        samples: By question id.
    """

    accuracy: float
    parse_rate: float
    answered: int
    samples: Mapping[str, StrictSample]


def score_strict(texts: Mapping[str, object], samples: Mapping[str, BenchSample], dialect: Dialect) -> StrictScore:
    """Score the answers of one task; what is missing, unreadable or out of range counts 0.

    Args:
        texts: Answers by question id.
        samples: The task's questions.
        dialect: Of the model. Coordinates in pixels are those of the original picture.
    """
    scores = {key: _score(texts.get(key), sample, dialect) for key, sample in samples.items()}
    count = len(scores)
    return StrictScore(
        accuracy=sum(s.accuracy for s in scores.values()) / count if count else math.nan,
        parse_rate=sum(s.reason in ("", Status.NOT_FOUND.value) for s in scores.values()) / count if count else math.nan,
        answered=sum(texts.get(key) is not None for key in samples),
        samples=scores,
    )


def _score(text: object, sample: BenchSample, dialect: Dialect) -> StrictSample:
    if not isinstance(text, str):
        return StrictSample(0.0, "NO_ANSWER")
    mask = sample.mask()
    height, width = mask.shape
    try:
        points = parse_points(text, dialect, (width, height)).points
    except Refused as refusal:
        return StrictSample(0.0, refusal.status.value)
    # The parser has clamped 1.0 into the last pixel; flooring after the half-pixel shift gives int(x·W) for everything else.
    pixels = [(math.floor(point.u_px + 0.5), math.floor(point.v_px + 0.5)) for point in points]
    return StrictSample(mask_hit_rate(pixels, mask))
