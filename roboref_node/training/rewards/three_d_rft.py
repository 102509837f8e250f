"""Rewards of 3D-RFT (arXiv 2603.04976): the metric is the reward.

Completions answer with JSON: ``[{"label": "chair", "bbox_3d": [x, y, z, w, h, d, ψ, θ, φ]}, ..]`` in the first camera's frame, with
``frame`` for grounding. References: ``boxes``: the same list; ``frame``; ``aabb_m`` (minimum and maximum corner in the world) and
``world_from_camera`` (4, 4), or frame number to (4, 4), for grounding; ``answer`` for questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from roboref_node.evaluation.boxes import iou_aabb_3d, iou_oriented_3d
from roboref_node.evaluation.matching import detect
from roboref_node.evaluation.metrics import frame_score, mean_relative_accuracy
from roboref_node.training.rewards.answers import answer_of, json_in, number_in, numbers
from roboref_node.training.rewards.registry import Floats, Reference, needed, per_sample, register

MAX_BOXES = 64
"""More boxes than this in one answer is a model in a loop: it counts as unreadable."""

_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


class _Box(NamedTuple):
    label: str
    values: tuple[float, ...]
    frame: float | None = None


@register("3d_rft_format")
@per_sample
def format_json(completion: str, reference: Reference, *, frame: bool = False) -> float:
    """1 if the answer is a JSON list of labelled boxes of nine numbers, sizes positive; with `frame`, each names its frame."""
    boxes = _boxes(completion)
    return float(boxes is not None and not (frame and any(box.frame is None for box in boxes)))


@register("3d_rft_iou")
@per_sample
def iou(completion: str, reference: Reference, *, over: str = "predicted", match_labels: bool = True, euler: str = "ZXY") -> float:
    """R_IoU = ``(1/N) Σ_i max_j IoU3D(b_i, b*_j)`` on boxes turned in any way.

    Args:
        completion: What the model said.
        reference: ``boxes``.
        over: i runs over the ``predicted`` boxes, so that one good box suffices, or over the ``true`` ones.
        match_labels: Boxes of different labels do not overlap.
        euler: Order of ψ, θ, φ, intrinsic axes in capitals (EmbodiedScan: ZXY).
    """
    overlaps = _overlaps(completion, reference, match_labels, euler)
    if overlaps is None or not overlaps.size:
        return float(overlaps is not None and overlaps.shape == (0, 0))
    return float(overlaps.max(1 if over == "predicted" else 0).mean())


@register("3d_rft_f1")
@per_sample
def f1(completion: str, reference: Reference, *, threshold: float = 0.25, match_labels: bool = True, euler: str = "ZXY") -> float:
    """R_F1 = ``2 TP / (2 TP + FP + FN)`` at IoU ≥ 0.25, matched one to one."""
    overlaps = _overlaps(completion, reference, match_labels, euler)
    return 0.0 if overlaps is None else detect(overlaps, threshold).f1


@register("3d_rft_frame")
@per_sample
def frame(completion: str, reference: Reference, *, scale: float = 5.0) -> float:
    """R_frame = ``max(0, 1 − |f̂ − f| / 5)`` of the first box's frame."""
    boxes = _boxes(completion)
    if not boxes or boxes[0].frame is None:
        return 0.0
    return float(frame_score(boxes[0].frame, float(needed(reference, "frame")), scale))


@register("3d_rft_grounding_iou")
@per_sample
def grounding_iou(completion: str, reference: Reference, *, euler: str = "ZXY") -> float:
    """3D IoU in the world of the first box's axis-aligned hull with ``aabb_m``, after camera → world of the named frame."""
    boxes = _boxes(completion)
    if not boxes:
        return 0.0
    pose = needed(reference, "world_from_camera")
    if isinstance(pose, Mapping):
        number = boxes[0].frame
        pose = pose.get(int(number)) if number is not None and number.is_integer() else None
        if pose is None:
            return 0.0
    centre, size, turn = _geometry(boxes[:1], euler)
    matrix = np.asarray(pose, float)
    with np.errstate(all="ignore"):
        corners = (centre[0] + (_CORNERS * size[0]) @ turn[0].T) @ matrix[:3, :3].T + matrix[:3, 3]
    hull = np.concatenate([corners.min(0), corners.max(0)])
    return float(iou_aabb_3d(hull, needed(reference, "aabb_m")))


@register("3d_rft_answer")
@per_sample
def answer(completion: str, reference: Reference) -> float:
    """Exact match where ``answer`` is a text (a letter); mean relative accuracy with ``<`` where it is a number."""
    true = needed(reference, "answer")
    said = answer_of(completion)
    if isinstance(true, str):
        return float(bool(said) and said.strip(" .()").lower() == true.strip().lower())
    number = number_in(said)
    return 0.0 if number is None else float(mean_relative_accuracy(number, float(true), inclusive=False))


def _boxes(completion: str) -> list[_Box] | None:
    try:
        document: Any = json_in(answer_of(completion))
    except ValueError:
        return None
    entries = document if isinstance(document, list) else [document]
    return _parsed(entries) if len(entries) <= MAX_BOXES else None


def _parsed(entries: Sequence[Any]) -> list[_Box] | None:
    boxes: list[_Box] = []
    for entry in entries:
        values = numbers(entry.get("bbox_3d"), 9) if isinstance(entry, dict) else None
        if values is None or min(values[3:6]) <= 0 or not isinstance(entry.get("label"), str):
            return None
        number = entry.get("frame")
        boxes.append(_Box(entry["label"].strip().lower(), values, number if type(number) is float else None))
    return boxes


def _overlaps(completion: str, reference: Reference, match_labels: bool, euler: str) -> Floats | None:
    """(N, M) IoU of predicted and true boxes; None when the answer cannot be read."""
    predicted = _boxes(completion)
    if predicted is None:
        return None
    true = [_Box(str(box["label"]).strip().lower(), tuple(map(float, box["bbox_3d"]))) for box in needed(reference, "boxes")]
    overlaps = np.zeros((len(predicted), len(true)))
    labels = np.array([[not match_labels or p.label == t.label for t in true] for p in predicted], bool).reshape(overlaps.shape)
    rows, columns = np.nonzero(labels)
    if len(rows):
        a, b = _geometry([predicted[i] for i in rows], euler), _geometry([true[j] for j in columns], euler)
        overlaps[rows, columns] = iou_oriented_3d(a, b)
    return overlaps


def _geometry(boxes: Sequence[_Box], euler: str) -> tuple[Floats, Floats, Floats]:
    values = np.array([box.values for box in boxes], float)
    turns = Rotation.from_euler(euler, np.fmod(values[:, 6:9], 2 * math.pi)).as_matrix()
    return values[:, :3], values[:, 3:6], turns
