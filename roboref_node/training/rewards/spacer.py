"""Rewards of SpaceR (arXiv 2504.01805 and its training code): format, one per kind of task, map, length.

References: ``task`` (multiple choice, numerical, OCR, free-form or regression), ``answer``, ``map``: category to cells of a 10 × 10 grid.
The published map reward has three loopholes: leaving the map out is always safe, invented categories are free, and a map worth
nothing takes the answer's reward away. `map_plain` is the form without them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from roboref_node.evaluation.matching import map_score
from roboref_node.evaluation.metrics import mean_relative_accuracy
from roboref_node.evaluation.metrics_text import Stemmer, rouge_l, rouge_n, word_error_rate
from roboref_node.status import Refused, Status
from roboref_node.training.rewards.answers import answer_of, map_in, number_in, spans_think_answer
from roboref_node.training.rewards.registry import Floats, Reference, needed, per_sample, register

GRID_CELLS = 10
LENGTH_BONUS = 0.2
_TINY = 1e-9

_UNITS: tuple[str, ...] = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
)
_UNITS += ("fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# In the order in which they are looked for: a larger word later in the list loses to a smaller one anywhere in the text.
_WORDS = {word: float(value) for value, word in enumerate(_UNITS) if value} | {word: 10.0 * value for value, word in enumerate(_TENS, 2)}
_WORDS |= {"zero": 0.0, "a": 1.0, "an": 1.0}
_WORD_PATTERNS = tuple((re.compile(rf"\b{word}\b"), value) for word, value in _WORDS.items())
_DIGITS = re.compile(r"\d+(?:\.\d+)?")


@register("spacer_format")
@per_sample
def format_tags(completion: str, reference: Reference) -> float:
    """1 if the whole completion is a think block, optional white space and an answer block; tags inside them are not looked for."""
    return float(spans_think_answer(completion))


@register("spacer_multiple_choice")
@per_sample
def multiple_choice(completion: str, reference: Reference) -> float:
    """1 if the trimmed answer equals the option's letter."""
    answer = answer_of(completion)
    return float(bool(answer) and answer == str(needed(reference, "answer")).strip())


@register("spacer_numerical")
@per_sample
def numerical(completion: str, reference: Reference, *, lenient: bool = True) -> float:
    """Mean relative accuracy, ``≤``, θ = 0.50, 0.55 .. 0.95, relative to ``|y|``.

    The published code divides by y: a true 0 earns nothing there, and below 0 everything is right. Its questions ask for neither.

    Args:
        completion: What the model said.
        reference: ``answer``, a number.
        lenient: Read the number as published: number words before digits, "a" and "an" as 1, no sign. False: the first decimal number.
    """
    answer = answer_of(completion)
    number = _lenient_number(answer) if lenient else number_in(answer)
    return 0.0 if number is None else float(mean_relative_accuracy(number, float(needed(reference, "answer"))))


@register("spacer_ocr")
@per_sample
def ocr(completion: str, reference: Reference) -> float:
    """``max(0, 1 − WER)``."""
    return float(max(0.0, 1.0 - word_error_rate([answer_of(completion)], [str(needed(reference, "answer"))])[0]))


@register("spacer_free_form")
@per_sample
def free_form(completion: str, reference: Reference, *, stem: Stemmer | None = None) -> float:
    """Mean of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L.

    Args:
        completion: What the model said.
        reference: ``answer``.
        stem: Published with Porter's, e.g. ``nltk.stem.PorterStemmer().stem``.
    """
    said, true = [answer_of(completion)], [str(needed(reference, "answer"))]
    return float(np.mean([rouge_n(said, true, 1, stem=stem), rouge_n(said, true, 2, stem=stem), rouge_l(said, true, stem=stem)]))


@register("spacer_regression")
@per_sample
def regression(completion: str, reference: Reference) -> float:
    """``1 − min(1, (|ŷ − y| + 1e-9) / (|y| + 1e-9))``; the answer must be a number and nothing else, commas for thousands allowed."""
    try:
        number = float(answer_of(completion).replace(",", ""))
    except ValueError:
        return 0.0
    true = float(needed(reference, "answer"))
    # NaN must earn nothing: min and max of Python let it through as a perfect answer.
    return 1.0 - min(1.0, (abs(number - true) + _TINY) / (abs(true) + _TINY)) if np.isfinite(number) else 0.0


_TASKS: dict[str, Callable[..., Floats]] = {
    "multiple choice": multiple_choice,
    "numerical": numerical,
    "ocr": ocr,
    "free-form": free_form,
    "regression": regression,
}


@register("spacer_task")
@per_sample
def task(completion: str, reference: Reference) -> float:
    """The reward of the reference's ``task``, in [0, 1]."""
    name = str(needed(reference, "task")).lower()
    if name not in _TASKS:
        raise Refused(Status.BAD_REQUEST, f"SpaceR has no task {name!r}; it has {', '.join(_TASKS)}")
    return float(_TASKS[name]([completion], [reference])[0])


@register("spacer_task_and_map")
@per_sample
def task_and_map(completion: str, reference: Reference) -> float:
    """Published sum of task and map, in [0, 2].

    The map counts only with its tags, and only beside a right choice or a number with MRA > 0.5; then it is added, and if it is worth
    nothing the task earns nothing either.
    """
    earned = float(task([completion], [reference])[0])
    gate = {"multiple choice": earned == 1.0, "numerical": earned > 0.5}.get(str(reference["task"]).lower(), False)
    if not gate or "<map>" not in completion or "</map>" not in completion:
        return earned
    score = _published_map(map_in(completion) or {}, needed(reference, "map"))
    return earned + score if score > 0 else 0.0


@register("spacer_map_published")
@per_sample
def map_published(completion: str, reference: Reference) -> float:
    """The map's score alone, ``Σ_k n_k/Σn · Σ(1 − d/(10√2)) / max(n_k, m_k)``; 0 without a map.

    As published, coordinates are cut to whole cells, and what is no pair of numbers is not counted.
    """
    found = map_in(completion)
    return 0.0 if found is None else _published_map(found, needed(reference, "map"))


@register("spacer_map")
@per_sample
def map_plain(completion: str, reference: Reference) -> float:
    """The map's score without loopholes: ``Σ(1 − d/(10√2)) / Σ_k max(n_k, m_k)``; 0 without a map, and whatever the answer is worth."""
    found = map_in(completion)
    return 0.0 if found is None else map_score(found, _lowered(needed(reference, "map")), GRID_CELLS).score


@register("spacer_length")
def length(
    completions: Sequence[str],
    references: Sequence[Reference],
    *,
    count_tokens: Callable[[str], int],
    group_size: int = 8,
    shortest: int = 320,
    longest: int = 512,
) -> Floats:
    """+0.2 for a completion of 320 to 512 tokens (360 in the paper) whose task earned > 0.1, if another of its group did as well.

    Args:
        completions: Groups of answers to one question, one after another.
        references: As for `task_and_map`, whose reward decides.
        count_tokens: Length of a completion in the model's tokens.
        group_size: G.
        shortest: Lower limit, inclusive.
        longest: Upper limit, inclusive.
    """
    if group_size < 1 or len(completions) % group_size:
        raise ValueError(f"{len(completions)} completions do not divide into groups of {group_size}")
    right = (task_and_map(completions, references) > 0.1).reshape(-1, group_size)
    counted = (right & (right.sum(-1, keepdims=True) > 1)).ravel()
    fits = np.array([bool(c) and shortest <= count_tokens(text) <= longest for c, text in zip(counted, completions, strict=True)], bool)
    return np.where(counted & fits, LENGTH_BONUS, 0.0)


def _published_map(found: Mapping[str, Sequence[Sequence[float]]], true: Mapping[str, Sequence[Sequence[float]]]) -> float:
    whole = {category: [[math.trunc(value) for value in cell] for cell in cells if len(cell) == 2] for category, cells in found.items()}
    return map_score(whole, _lowered(true), GRID_CELLS).published


def _lowered(cells: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Sequence[Sequence[float]]]:
    return {category.strip().lower(): values for category, values in cells.items()}


def _lenient_number(text: str) -> float | None:
    lowered = text.lower()
    for pattern, value in _WORD_PATTERNS:
        if pattern.search(lowered):
            return value
    found = _DIGITS.search(lowered)
    return float(found.group()) if found else None
