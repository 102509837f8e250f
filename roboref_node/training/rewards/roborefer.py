"""Rewards of RoboRefer (arXiv 2506.04308, section 3.3 and appendix): r = R_OF + R_P + 0.25 R_PF + 0.25 R_Acc.

References: ``image_size_px`` (width, height); ``point_px`` (u, v) in pixels of that image, (0, 0) the centre of the first one, or None when
nothing fits the description; ``mask`` bool (H, W); ``steps``: annotated key steps, each ``{kind, target, values}`` as in `ReasoningStep`,
optionally with ``pattern``, a regular expression for the target's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from roboref_node.evaluation.metrics import within_angle, within_l1, within_relative
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.pointing.pointer import PixelPoint, ReasoningStep
from roboref_node.pointing.reasoning import split_steps
from roboref_node.status import Refused, Status
from roboref_node.training.rewards.answers import sections, thinking_of
from roboref_node.training.rewards.registry import Reference, needed, per_sample, register

PAPER_TOLERANCE_PX = 50.0
PAPER_TOLERANCE_SHARE = PAPER_TOLERANCE_PX / (960 + 540)
"""50 px at the 960 × 540 of the paper's simulated pictures, as a share of width + height."""

_ARTICLE = re.compile(r"^(?:the|a|an) ")


@register("roborefer_outcome_format")
@per_sample
def outcome_format(completion: str, reference: Reference, *, closed: bool = True) -> float:
    """R_OF: 1 if the completion is ``<think>..</think><answer>..</answer>`` and nothing else.

    Args:
        completion: What the model said.
        reference: Not looked at.
        closed: Require the last tag; False for models that end their turn instead of writing it.
    """
    return _structured(completion, closed)


@register("roborefer_structure")
@per_sample
def structure(completion: str, reference: Reference, *, closed: bool = True) -> float:
    """R_OF for questions that need no steps too: think/answer where ``steps`` are annotated, an answer without thinking where not.

    Args:
        completion: What the model said.
        reference: ``steps``.
        closed: See `outcome_format`.
    """
    if needed(reference, "steps"):
        return _structured(completion, closed)
    return float("<think>" not in completion and "</think>" not in completion)


@register("roborefer_point")
@per_sample
def point(completion: str, reference: Reference, *, tolerance_px: float = PAPER_TOLERANCE_PX) -> float:
    """R_P: 1 if ``|Δu| + |Δv| ≤ 50 px`` between the first point of the answer and the reference's.

    Where nothing fits (``point_px`` is None), 1 for an answer that says so.
    """
    return _point(completion, reference, tolerance_px)


@register("roborefer_point_relative")
@per_sample
def point_relative(completion: str, reference: Reference, *, tolerance_share: float = PAPER_TOLERANCE_SHARE) -> float:
    """R_P with a tolerance that grows with the picture: ``|Δu| + |Δv| ≤ share · (W + H)``."""
    width, height = needed(reference, "image_size_px")
    return _point(completion, reference, tolerance_share * (width + height))


@register("roborefer_point_in_mask")
@per_sample
def point_in_mask(completion: str, reference: Reference) -> float:
    """Share of the answer's points in ``mask``: what RefSpatial-Bench measures; an empty mask is matched by an empty answer."""
    mask = np.asarray(needed(reference, "mask"), bool)
    points = _points(completion, (mask.shape[1], mask.shape[0]))
    if not points:
        return float(points is not None and not mask.any())
    return float(np.mean([mask[math.floor(p.v_px + 0.5), math.floor(p.u_px + 0.5)] for p in points]))


@register("roborefer_process_format")
@per_sample
def process_format(completion: str, reference: Reference) -> float:
    """R_PF: 1 if the thinking has steps ``[Position|Orientation|Size] [object]: value``, and every line that begins like one is one."""
    rest, steps, malformed = split_steps(thinking_of(completion))
    return float(bool(steps) and not malformed and not any(line.lstrip().startswith("[") for line in rest.split("\n")))


@register("roborefer_process_accuracy")
@per_sample
def process_accuracy(
    completion: str,
    reference: Reference,
    *,
    tolerance_px: float = PAPER_TOLERANCE_PX,
    minimum_cosine: float = 0.8,
    size_tolerance: float = 0.15,
    over: str = "matched",
) -> float:
    """R_Acc: mean over the steps that an annotated key step names, in any order, of 1/0.

    Position is right at L1 < 50 px, Orientation at cos > 0.8, Size within ±15 %.

    Args:
        completion: What the model said.
        reference: ``image_size_px`` and ``steps``.
        tolerance_px: Of Position.
        minimum_cosine: Of Orientation.
        size_tolerance: Of Size.
        over: ``matched``: the mean over the completion's steps that match, as published, where one right step is enough;
            ``annotated``: over the key steps, of which each is earned once and those not mentioned are wrong.
    """
    return _process(completion, reference, tolerance_px, minimum_cosine, size_tolerance, over)


@register("roborefer_process_accuracy_relative")
@per_sample
def process_accuracy_relative(
    completion: str,
    reference: Reference,
    *,
    tolerance_share: float = PAPER_TOLERANCE_SHARE,
    minimum_cosine: float = 0.8,
    size_tolerance: float = 0.15,
    over: str = "matched",
) -> float:
    """`process_accuracy` with Position at ``L1 < share · (W + H)``."""
    width, height = needed(reference, "image_size_px")
    return _process(completion, reference, tolerance_share * (width + height), minimum_cosine, size_tolerance, over)


def _structured(completion: str, closed: bool) -> float:
    text = completion if closed or completion.rstrip().endswith("</answer>") else f"{completion}</answer>"
    return float(sections(text) is not None)


def _point(completion: str, reference: Reference, tolerance_px: float) -> float:
    target = needed(reference, "point_px")
    points = _points(completion, needed(reference, "image_size_px"))
    if points is None or target is None or not points:
        return float(points == () and target is None)
    return float(within_l1((points[0].u_px, points[0].v_px), target, tolerance_px))


def _points(completion: str, size_px: tuple[int, int]) -> tuple[PixelPoint, ...] | None:
    """Points of the answer; empty when the model says that nothing fits, None when the answer cannot be read."""
    try:
        return parse_points(completion, Dialect.ROBOREFER, (int(size_px[0]), int(size_px[1]))).points
    except Refused as refusal:
        return () if refusal.status is Status.NOT_FOUND else None


def _process(completion: str, reference: Reference, tolerance_px: float, cosine: float, size: float, over: str) -> float:
    if over not in ("matched", "annotated"):
        raise Refused(Status.BAD_REQUEST, f"`over` must be matched or annotated, not {over!r}")
    annotated = needed(reference, "steps")
    _, steps, _ = split_steps(thinking_of(completion))

    def right(step: ReasoningStep, key: Mapping[str, Any]) -> bool:
        if step.kind == "Orientation":
            return bool(within_angle(step.values[0], _values(key)[0], cosine))
        if step.kind == "Size":
            return bool(within_relative(step.values[0][0], _values(key)[0][0], size))
        scale = np.asarray(needed(reference, "image_size_px"), float)
        found, true = np.asarray(step.values) * scale, np.asarray(_values(key)) * scale
        # A step may list several places: each must be near a true one, and as many.
        near = within_l1(found[:, None], true[None], tolerance_px, inclusive=False)
        return bool(len(found) == len(true) and near.any(1).all() and near.any(0).all())

    if over == "annotated":
        earned = [any(_names(key, step) and right(step, key) for step in steps) for key in annotated]
        return float(np.mean(earned)) if earned else 0.0
    matches = [[right(step, key) for key in annotated if _names(key, step)] for step in steps]
    earned = [any(match) for match in matches if match]
    return float(np.mean(earned)) if earned else 0.0


def _values(key: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    values = needed(key, "values")
    if np.ndim(values) == 0:
        return ((float(values),),)
    return tuple(tuple(row) for row in values) if np.ndim(values) == 2 else (tuple(values),)


def _names(key: Mapping[str, Any], step: ReasoningStep) -> bool:
    if needed(key, "kind") != step.kind:
        return False
    pattern = key.get("pattern")
    if pattern is not None:
        return re.fullmatch(str(pattern), step.target, re.IGNORECASE) is not None
    return _plain(str(needed(key, "target"))) == _plain(step.target)


def _plain(name: str) -> str:
    return _ARTICLE.sub("", " ".join(name.lower().split()))
