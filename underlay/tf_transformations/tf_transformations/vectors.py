"""Lengths and directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def vector_norm(data: ArrayLike, axis: int | None = None) -> float | NDArray[np.float64]:
    """Euclidean length of a vector, or of the vectors along an axis."""
    values = np.asarray(data, dtype=np.float64)
    if values.ndim == 1:
        return float(np.linalg.norm(values))
    return np.atleast_1d(np.sqrt(np.sum(values * values, axis=axis)))


def unit_vector(data: ArrayLike, axis: int | None = None) -> NDArray[np.float64]:
    """The vector, or the vectors along an axis, with length 1; without an axis an array of vectors counts as one vector."""
    values = np.asarray(data, dtype=np.float64)
    return values / np.sqrt(np.sum(values * values, axis=axis, keepdims=True))
