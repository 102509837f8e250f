"""Rewards of SpatialReasoner (arXiv 2504.20024 and its training code): accuracy, format, reasoning steps, evidence of 3D reasoning.

References: ``answer`` (a letter) and ``choices`` (letter to text, or a list for A, B, ..); ``category`` of the question for the evidence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from roboref_node.status import Refused, Status
from roboref_node.training.rewards.answers import MAX_CHARS, answer_of, spans_think_answer
from roboref_node.training.rewards.registry import Reference, needed, per_sample, register

_VECTOR = r"\(-?\d{1,9}\.\d{1,9}, -?\d{1,9}\.\d{1,9}, -?\d{1,9}\.\d{1,9}\)"
_GAP = r".{1,160}?"  # bounded: a chain that names quantities and never gives them must not take quadratic time
_EVIDENCE: dict[str, tuple[re.Pattern[str], ...]] = {
    name: tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    for name, patterns in {
        "location": (rf"3D location of {_GAP} {_VECTOR}",),
        "vector": (rf"vector from {_GAP} to {_GAP} {_VECTOR}",),
        "camera distance": (rf"distance from {_GAP} to the camera {_GAP} \d{{1,9}}\.\d{{1,9}}",),
        "pair distance": (rf"distance between {_GAP} \d{{1,9}}\.\d{{1,9}}",),
        "angle": (rf"cosine similarity between {_GAP} -?\d{{1,9}}\.\d{{1,9}}", rf"angle between {_GAP} \d{{1,9}}"),
        "front": (rf"front direction of {_GAP} {_VECTOR}",),
        "left": (rf"left direction of {_GAP} {_VECTOR}",),
    }.items()
}
_SIDES = {"vector": 1, "front": 1, "left": 1, "angle": 2}
REQUIRED: dict[str, dict[str, int]] = {
    "height_higher": {"location": 2},
    "location_above": {"location": 2},
    "location_closer_to_camera": {"location": 2, "camera distance": 2},
    "location_next_to": {"location": 2, "pair distance": 1},
    "orientation_in_front_of": {"location": 2, "vector": 1, "front": 1, "angle": 1},
    "orientation_on_the_left": {"location": 2, "vector": 1, "left": 1, "angle": 1},
    "orientation_viewpoint": {"location": 1, **_SIDES},
    "multi_object_closer_to": {"location": 3, "pair distance": 2},
    "multi_object_parallel": {"front": 2, "angle": 1},
    "multi_object_same_direction": {"front": 2, "angle": 1},
    "multi_object_facing": {"location": 3, "front": 1, "vector": 2, "angle": 2},
    "multi_object_viewpoint_towards_object": {"location": 2, **_SIDES},
}
"""Evidence that a chain of each category must state, and how often."""

MAX_CHAIN_CHARS = 16 * 1024
"""Evidence is looked for in this much of a completion; published chains have a tenth of it."""
_STEP = re.compile(r"Step \d+:|\A\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,|Therefore,")
_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LETTERS = "ABCDEFGH"


@register("spatial_reasoner_accuracy")
@per_sample
def accuracy(completion: str, reference: Reference) -> float:
    """1 if the letter inferred from the answer is right, as MMBench infers it.

    One letter stands alone among the words; or else exactly one option's text occurs. An answer that starts with one option's letter and
    holds another's text is wrong; options that are all the same are right.
    """
    choices = needed(reference, "choices")
    if not isinstance(choices, Mapping):
        choices = dict(zip(_LETTERS, choices, strict=False))
    options = {str(letter): str(text) for letter, text in choices.items() if text is not None}
    answer = answer_of(completion) or completion[:MAX_CHARS].strip()
    if any(answer.startswith(f"{letter}.") and any(text in answer for o, text in options.items() if o != letter) for letter in options):
        return 0.0
    return float(_inferred(answer, options) == str(needed(reference, "answer")) or len(set(options.values())) == 1)


@register("spatial_reasoner_format")
@per_sample
def format_tags(completion: str, reference: Reference) -> float:
    """1 if the trimmed completion is a think block, optional white space and an answer block."""
    return float(spans_think_answer(completion.strip()))


@register("spatial_reasoner_steps")
@per_sample
def reasoning_steps(completion: str, reference: Reference, *, enough: int = 3) -> float:
    """``min(1, n / 3)`` with n the number of "Step 1:", leading "1.", bullets and words like "First,"."""
    return min(1.0, len(_STEP.findall(completion[:MAX_CHARS])) / enough)


@register("spatial_reasoner_process")
@per_sample
def process(completion: str, reference: Reference) -> float:
    """``(TP + TN) / (TP + TN + FP + FN)`` over the kinds of evidence that the question's category needs (`REQUIRED`).

    TP = Σ min(found, needed), FN = Σ missing, FP = Σ surplus, repeats included, TN = kinds neither needed nor found. A cosine and an angle
    are the same evidence, and giving both counts once. The numbers themselves are not checked.
    """
    category = str(needed(reference, "category"))
    if category not in REQUIRED:
        raise Refused(Status.BAD_REQUEST, f"SpatialReasoner has no category {category!r}; it has {', '.join(REQUIRED)}")
    required = REQUIRED[category]
    text = completion[:MAX_CHAIN_CHARS]
    score: Counter[str] = Counter()
    for kind, patterns in _EVIDENCE.items():
        counts = [len(pattern.findall(text)) for pattern in patterns]
        found = sum(counts) - (1 if len(counts) > 1 and all(counts) else 0)
        wanted = required.get(kind, 0)
        score["right"] += min(found, wanted) if wanted else int(found == 0)
        score["wrong"] += abs(found - wanted)
    return score["right"] / score.total()


def _inferred(answer: str, options: Mapping[str, str]) -> str | None:
    words = answer.translate(_PUNCTUATION).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and not ("A" in words and len(words) > 3):  # "A" may be an article
        return letters[0]
    lowered = answer.lower()
    named = [letter for letter, text in options.items() if text.lower() in lowered]
    return named[0] if len(named) == 1 else None
