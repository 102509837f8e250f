"""Rewards of 3D-R1 (arXiv 2507.23478; weights of its repository: 0.3 format + 0.4 perception + 0.3 semantic).

References: ``boxes_m`` (N, 6) minimum and maximum corners; ``grid`` ``{origin_m, extent_m, steps}`` for boxes on a grid;
``answer``: text to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from roboref_node.evaluation.boxes import aabb_from_centre_size, iou_aabb_3d
from roboref_node.training.rewards.answers import MAX_CHARS, answer_or_all, tags_in_order
from roboref_node.training.rewards.registry import Floats, Reference, needed, per_sample, register

MAX_BOXES = 256

_NUMBERS = r"([-+0-9.,\s]{1,400})"
_GRID_BOX = re.compile(rf"<obj>{_NUMBERS}(?:</obj>|(?=<)|$)")
_CORNER_BOX = re.compile(rf"\bbox\b[\s:=]{{0,16}}[\[(]{_NUMBERS}[\])]", re.IGNORECASE)


@register("3d_r1_format")
@per_sample
def format_paper(completion: str, reference: Reference) -> float:
    """Paper: 1 if both pairs of think and answer tags are there, in order, else 0."""
    return float(tags_in_order(completion))


@register("3d_r1_format_graded")
@per_sample
def format_graded(completion: str, reference: Reference, *, count_tags: bool = True) -> float:
    """Repository: 0.5 for both pairs of tags, 0.25 for more than 20 characters of thinking, 0.25 for more than 10 of answer.

    Args:
        completion: What the model said.
        reference: Not looked at.
        count_tags: Count the tags' own characters, as the repository does: any answer then passes its limit.
    """
    text = completion if len(completion) <= MAX_CHARS else ""
    thinking, answer = _length(text, "<think>", "</think>", count_tags), _length(text, "<answer>", "</answer>", count_tags)
    score = 0.5 if thinking is not None and answer is not None else 0.0
    return score + 0.25 * ((thinking or 0) > 20) + 0.25 * ((answer or 0) > 10)


@register("3d_r1_perception")
@per_sample
def perception(completion: str, reference: Reference, *, form: str = "repository") -> float:
    """Overlap of the answer's boxes with the true ones, axis-aligned.

    Boxes are read as ``<obj>cx, cy, cz, sx, sy, sz</obj>`` on a grid, and as ``box: [x0, y0, z0, x1, y1, z1]`` in metres, two
    opposite corners in either order.

    Args:
        completion: What the model said.
        reference: ``boxes_m`` and, for boxes on a grid, ``grid``; without it the grid's numbers are metres.
        form: ``repository``: mean over the predicted boxes of the best IoU with a true one; ``paper``: IoU of the first with the first.
    """
    true = np.asarray(needed(reference, "boxes_m"), float).reshape(-1, 6)
    predicted = _boxes(completion[:MAX_CHARS], reference)
    if not len(predicted) or not len(true):
        return 0.0
    overlaps = iou_aabb_3d(predicted[:, None], true[None])
    return float(overlaps[0, 0] if form == "paper" else overlaps.max(1).mean())


@register("3d_r1_semantic")
def semantic(completions: Sequence[str], references: Sequence[Reference], *, embed: Callable[[Sequence[str]], ArrayLike]) -> Floats:
    """``cos(E(answer), E(true answer))``, cut off at 0.

    Args:
        completions: What the model said; without an answer tag the whole text counts, as in the repository. No text earns 0.
        references: ``answer``.
        embed: E, from texts to vectors (N, D), e.g. a CLIP text encoder.
    """
    said = [answer_or_all(text) for text in completions]
    true = [str(needed(reference, "answer")) for reference in references]
    if not said:
        return np.zeros(0)
    vectors = np.asarray(embed([*said, *true]), float)
    with np.errstate(all="ignore"):
        vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        cosine = (vectors[: len(said)] * vectors[len(said) :]).sum(-1)
    return np.where([bool(text) for text in said], np.clip(np.nan_to_num(cosine), 0.0, 1.0), 0.0)


def _length(text: str, opening: str, closing: str, count_tags: bool) -> int | None:
    """Characters from the first opening tag to the next closing one; None without the pair."""
    _, opened, rest = text.partition(opening)
    inside, closed, _ = rest.partition(closing)
    return len(inside) + (len(opening) + len(closing) if count_tags else 0) if opened and closed else None


def _boxes(text: str, reference: Reference) -> Floats:
    grid = reference.get("grid")
    boxes: list[Floats] = []
    for found in _GRID_BOX.finditer(text):
        values = _six(found.group(1))
        if values is not None:
            if grid is not None:
                scale = np.asarray(grid["extent_m"], float) / float(grid.get("steps", 255))
                values = np.concatenate([np.asarray(grid["origin_m"], float) + values[:3] * scale, values[3:] * scale])
            boxes.append(aabb_from_centre_size(values))
    corners = (_six(found.group(1)) for found in _CORNER_BOX.finditer(text))
    boxes += [np.sort(values.reshape(2, 3), axis=0).ravel() for values in corners if values is not None]
    return np.array(boxes[:MAX_BOXES], float).reshape(-1, 6)


def _six(text: str) -> Floats | None:
    try:
        values = np.array([float(number) for number in text.split(",")])
    except ValueError:
        return None
    return values if values.shape == (6,) and np.isfinite(values).all() else None
