"""Measures of free text: word error rate and ROUGE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stemmer = Callable[[str], str]

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> Floats:
    """WER: Levenshtein distance in words over ``max(1, number of words of the reference)``; may exceed 1.

    Args:
        hypotheses: What was said, one text per sample; split at white space, case counts.
        references: What should have been said.

    Returns:
        (N,), at least 0.
    """
    return np.array([_word_errors(h.split(), r.split()) for h, r in zip(hypotheses, references, strict=True)], float)


def rouge_n(hypotheses: Sequence[str], references: Sequence[str], n: int = 1, *, stem: Stemmer | None = None) -> Floats:
    """ROUGE-N F1 (Lin 2004): shared n-grams, each as often as it occurs in both, over the n-grams of either text.

    Args:
        hypotheses: What was said.
        references: What should have been said.
        n: Words per gram.
        stem: Applied to words of more than three letters, e.g. ``nltk.stem.PorterStemmer().stem`` as in the package rouge-score.

    Returns:
        (N,) in [0, 1]; 0 when either text has no n-gram.
    """
    return np.array([_rouge_n(_words(h, stem), _words(r, stem), n) for h, r in zip(hypotheses, references, strict=True)], float)


def rouge_l(hypotheses: Sequence[str], references: Sequence[str], *, stem: Stemmer | None = None) -> Floats:
    """ROUGE-L F1 (Lin 2004): length of the longest common subsequence over the number of words of either text.

    Args:
        hypotheses: What was said.
        references: What should have been said.
        stem: See `rouge_n`.

    Returns:
        (N,) in [0, 1].
    """
    return np.array([_rouge_l(_words(h, stem), _words(r, stem)) for h, r in zip(hypotheses, references, strict=True)], float)


def _words(text: str, stem: Stemmer | None) -> list[str]:
    words = _NOT_A_WORD.sub(" ", text.lower()).split()
    return words if stem is None else [stem(word) if len(word) > 3 else word for word in words]


def _rouge_n(hypothesis: list[str], reference: list[str], n: int) -> float:
    a, b = (Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (hypothesis, reference))
    return _f1((a & b).total(), a.total(), b.total())


def _rouge_l(hypothesis: list[str], reference: list[str]) -> float:
    said, wanted = _numbered(hypothesis, reference)
    row = np.zeros(len(said) + 1, np.int64)
    for word in wanted:  # one row of the usual table at a time; what a cell takes from its left is a running maximum
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + (said == word)))
    return _f1(int(row[-1]), len(said), len(wanted))


def _word_errors(hypothesis: list[str], reference: list[str]) -> float:
    said, wanted = _numbered(hypothesis, reference)
    columns = np.arange(len(said) + 1)
    row = columns.copy()
    for count, word in enumerate(wanted, start=1):
        cells = np.concatenate([[count], np.minimum(row[1:] + 1, row[:-1] + (said != word))])
        row = np.minimum.accumulate(cells - columns) + columns  # insertions cost 1 per column
    return float(row[-1]) / max(1, len(wanted))


def _numbered(a: list[str], b: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    numbers = {word: number for number, word in enumerate({*a, *b})}
    return np.array([numbers[word] for word in a], np.int64), np.array([numbers[word] for word in b], np.int64)


def _f1(shared: int, a: int, b: int) -> float:
    return 2 * shared / (a + b) if a and b else 0.0
