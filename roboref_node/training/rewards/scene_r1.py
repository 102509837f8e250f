"""Rewards of Scene-R1 (arXiv 2506.17545): when (tIoU + format), where (IoU + JSON + format), and what (EM, EM-R).

References: ``window_s`` (start, end); ``box_px`` (x0, y0, x1, y1); ``answer``: a text, or several that are right.
"""

from __future__ import annotations

import re
from typing import Any

from roboref_node.evaluation.boxes import iou_2d
from roboref_node.evaluation.metrics import exact_match, exact_match_r, temporal_iou
from roboref_node.training.rewards.answers import answer_of, json_in, numbers, sections
from roboref_node.training.rewards.registry import Reference, needed, per_sample, register

_TIME = r"(\d{1,9}(?:\.\d{1,9})?)\s{0,4}(?:s|sec|seconds)?"
_WINDOW = re.compile(rf"(?<![\d.]){_TIME}\s{{0,4}}(?:to|-|–)\s{{0,4}}{_TIME}(?![\d.]*\d)", re.IGNORECASE)


@register("scene_r1_format")
@per_sample
def format_tags(completion: str, reference: Reference) -> float:
    """1 if the completion is one think block and one answer block, else 0."""
    return float(sections(completion) is not None)


@register("scene_r1_temporal")
@per_sample
def temporal(completion: str, reference: Reference) -> float:
    """Overlap (tIoU) of ``window_s`` with the answer's window, e.g. ``15.8 to 20.3``, also with ``s``; 0 without exactly one."""
    windows = _WINDOW.findall(answer_of(completion))
    if len(windows) != 1:
        return 0.0
    return float(temporal_iou([float(time) for time in windows[0]], needed(reference, "window_s")))


@register("scene_r1_json")
@per_sample
def json_keys(completion: str, reference: Reference) -> float:
    """1 if the answer is one JSON object with ``bbox_2d`` (four numbers) and ``label`` (text), fenced or not, else 0."""
    return float(_grounding(completion) is not None)


@register("scene_r1_box")
@per_sample
def box(completion: str, reference: Reference) -> float:
    """2D IoU of ``box_px`` with the answer's ``bbox_2d``; 0 without one."""
    found = _grounding(completion)
    return 0.0 if found is None else float(iou_2d(found, needed(reference, "box_px")))


@register("scene_r1_exact")
@per_sample
def exact(completion: str, reference: Reference) -> float:
    """EM: 1 only if the answer is right and the format is too."""
    return float(_is_right(completion, reference) and sections(completion) is not None)


@register("scene_r1_exact_penalised")
@per_sample
def exact_penalised(completion: str, reference: Reference) -> float:
    """EM-R: +1 right and well formed; −0.5 well formed but wrong; −1 badly formed."""
    return float(exact_match_r(_is_right(completion, reference), sections(completion) is not None))


def _grounding(completion: str) -> tuple[float, ...] | None:
    try:
        document: Any = json_in(answer_of(completion))
    except ValueError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("label"), str):
        return None
    return numbers(document.get("bbox_2d"), 4)


def _is_right(completion: str, reference: Reference) -> bool:
    right = needed(reference, "answer")
    right = [right] if isinstance(right, str) else list(right)
    return bool(exact_match([answer_of(completion)] * len(right), [str(text) for text in right]).any())
