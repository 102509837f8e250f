"""Rewards of SpatialReasoner (arXiv 2504.20024 and its training code): accuracy, format, reasoning steps, evidence of 3D reasoning.

References: ``answer`` (a letter) and ``choices`` (letter to text, or a list for A, B, ..); ``category`` of the question for the evidence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from roboref_node.status import Refused, Status
from roboref_node.training.rewards.answers import MAX_CHARS, THINK_TO_ANSWER, answer_or_all
from roboref_node.training.rewards.registry import Reference, needed, per_sample, register

_VECTOR = r" \(-?\d+\.\d+, -?\d+\.\d+, -?\d+\.\d+\)"
# Per kind, its phrases; per phrase, the pieces that follow one another on a line with anything between them.
_EVIDENCE: dict[str, tuple[tuple[re.Pattern[str], ...], ...]] = {
    kind: tuple(tuple(re.compile(piece, re.IGNORECASE) for piece in phrase) for phrase in phrases)
    for kind, phrases in {
        "location": ((r"3D location of ", _VECTOR),),
        "vector": ((r"vector from ", r" to ", _VECTOR),),
        "camera distance": ((r"distance from ", r" to the camera ", r" \d+\.\d+"),),
        "pair distance": ((r"distance between ", r" \d+\.\d+"),),
        "angle": ((r"cosine similarity between ", r" -?\d+\.\d+"), (r"angle between ", r" \d+")),
        "front": ((r"front direction of ", _VECTOR),),
        "left": ((r"left direction of ", _VECTOR),),
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

_LAST_TAG = re.compile(r"</answer>$", re.MULTILINE)
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
    answer = answer_or_all(completion)
    if any(answer.startswith(f"{letter}.") and any(text in answer for o, text in options.items() if o != letter) for letter in options):
        return 0.0
    return float(_inferred(answer, options) == str(needed(reference, "answer")) or len(set(options.values())) == 1)


@register("spatial_reasoner_format")
@per_sample
def format_tags(completion: str, reference: Reference) -> float:
    """1 if the completion begins with a think block, optional white space and an answer block that ends a line, whatever lines follow."""
    text = completion[:MAX_CHARS]
    turn = THINK_TO_ANSWER.search(text, len("<think>")) if text.startswith("<think>") else None
    return float(turn is not None and _LAST_TAG.search(text, turn.end()) is not None)


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
    lines = completion[:MAX_CHARS].split("\n")
    score: Counter[str] = Counter()
    for kind, phrases in _EVIDENCE.items():
        counts = [sum(_occurrences(line, phrase) for line in lines) for phrase in phrases]
        found = sum(counts) - (1 if len(counts) > 1 and all(counts) else 0)
        wanted = required.get(kind, 0)
        score["right"] += min(found, wanted) if wanted else int(found == 0)
        score["wrong"] += abs(found - wanted)
    return score["right"] / score.total()


def _occurrences(line: str, phrase: Sequence[re.Pattern[str]]) -> int:
    """How often the pieces of a phrase follow one another: what ``piece.*?piece`` finds, in time that is linear in the line.

    Where the first piece is there and the rest is not, the rest does not follow a later first piece either.
    """
    count = position = 0
    while True:
        for piece in phrase:
            found = piece.search(line, position)
            if found is None:
                return count
            position = found.end()
        count += 1


def _inferred(answer: str, options: Mapping[str, str]) -> str | None:
    words = answer.translate(_PUNCTUATION).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and not ("A" in words and len(words) > 3):  # "A" may be an article
        return letters[0]
    lowered = answer.lower()
    named = [letter for letter, text in options.items() if text.lower() in lowered]
    return named[0] if len(named) == 1 else None
