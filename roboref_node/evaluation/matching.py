"""Sets against sets: F1 with an optimal assignment, and the greedy score of object maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Detection:
    """Counts of one comparison; precision and recall apart, because tuning on rewards moves mostly precision.

    Args:
        true_positives: Predictions with a partner.
        false_positives: Predictions without.
        false_negatives: True objects without.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Share of the predictions that have a partner; 1 when nothing was predicted."""
        predicted = self.true_positives + self.false_positives
        return self.true_positives / predicted if predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the true objects that have a partner; 1 when there are none."""
        true = self.true_positives + self.false_negatives
        return self.true_positives / true if true else 1.0

    @property
    def f1(self) -> float:
        """``2 TP / (2 TP + FP + FN)``; 1 when there is nothing and nothing was predicted."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0


def match(scores: ArrayLike, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of the assignment with the largest sum of scores (Hungarian), of which those at `threshold` and above are kept.

    Args:
        scores: (N, M), e.g. IoU of prediction i and true object j; NaN counts as 0.
        threshold: Lowest score of a pair.

    Returns:
        Indices of predictions and of their partners.
    """
    values = np.nan_to_num(np.asarray(scores, float), nan=0.0, posinf=0.0, neginf=0.0)
    if values.ndim != 2 or not values.size:
        empty = np.zeros(0, np.int64)
        return empty, empty
    rows, columns = linear_sum_assignment(values, maximize=True)
    kept = values[rows, columns] >= threshold
    return rows[kept].astype(np.int64), columns[kept].astype(np.int64)


def detect(scores: ArrayLike, threshold: float) -> Detection:
    """F1 at τ with a Hungarian match (SpatialLM, EmbodiedScan detection in 3D-RFT).

    Args:
        scores: (N, M) of N predictions and M true objects; either may be 0, as in ``np.zeros((0, 3))``.
        threshold: τ, e.g. 0.25 on IoU.
    """
    values = np.asarray(scores, float)
    rows, _ = match(values, threshold)
    return Detection(len(rows), values.shape[0] - len(rows), values.shape[1] - len(rows))


@dataclass(frozen=True)
class MapScore:
    """Closeness of two object maps.

    Args:
        published: SpaceR's formula; objects of categories that the truth lacks cost nothing.
        score: The same without that loophole: every object of either map is in the denominator.
        recall: Closeness per true object, whatever else was predicted.
    """

    published: float
    score: float
    recall: float


def map_score(
    predicted: Mapping[str, Sequence[Sequence[float]]], true: Mapping[str, Sequence[Sequence[float]]], grid_cells: int = 10
) -> MapScore:
    """Greedy map score of SpaceR on an N × N grid.

    Within a category the nearest pairs are matched first; a pair at distance d is worth ``a = max(0, 1 − d / (N √2))``. With n_k true
    and m_k predicted objects of category k: ``published = Σ_k (n_k / Σ n) · Σ a / max(n_k, m_k)``,
    ``score = Σ_k Σ a / Σ_k max(n_k, m_k)``, ``recall = Σ_k Σ a / Σ n``. Two empty maps agree (1).

    Args:
        predicted: Category to cells (x, y). A cell that is not two finite numbers stays in the count and matches nothing.
        true: The same.
        grid_cells: N.
    """
    diagonal = grid_cells * np.sqrt(2.0)
    weighted = gained = 0.0
    true_count = either_count = 0
    for category in set(predicted) | set(true):
        cells, truth = predicted.get(category, ()), true.get(category, ())
        gain = _greedy_gain(_cells(cells), _cells(truth), diagonal)
        larger = max(len(cells), len(truth))
        weighted += len(truth) * gain / larger if larger else 0.0
        gained += gain
        true_count += len(truth)
        either_count += larger
    if not true_count:
        perfect = 1.0 if not either_count else 0.0
        return MapScore(perfect, perfect, 1.0)
    return MapScore(weighted / true_count, gained / either_count, gained / true_count)


def _cells(cells: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    rows = [tuple(map(float, cell)) for cell in cells if len(cell) == 2]
    values = np.array(rows, float).reshape(-1, 2)
    return np.asarray(values[np.isfinite(values).all(-1)])


def _greedy_gain(cells: NDArray[np.float64], truth: NDArray[np.float64], diagonal: float) -> float:
    if not len(cells) or not len(truth):
        return 0.0
    distances = np.hypot(*(cells[:, None] - truth[None]).transpose(2, 0, 1))
    free_cells, free_truth = np.ones(len(cells), bool), np.ones(len(truth), bool)
    gain = 0.0
    for flat in np.argsort(distances, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(truth))
        if free_cells[i] and free_truth[j]:
            free_cells[i] = free_truth[j] = False
            gain += max(0.0, 1.0 - float(distances[i, j]) / diagonal)
    return gain
