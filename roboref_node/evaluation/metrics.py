"""Measures of single answers: intervals, numbers, gates, hits, matches; and the uncertainty of their means.

Each is a pure function over arrays. What a model says may be NaN, infinite or huge: such an answer fails, it never becomes NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MRA_THRESHOLDS: tuple[float, ...] = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))


def temporal_iou(predicted_s: ArrayLike, true_s: ArrayLike) -> Floats:
    """IoU of two time windows, ``|L̂ ∩ L*| / |L̂ ∪ L*|`` (Scene-R1).

    Args:
        predicted_s: (..., 2) start and end in seconds; a window that ends before it starts is empty.
        true_s: The same.

    Returns:
        (...) in [0, 1]; 0 when the union is empty.
    """
    a, b = np.asarray(predicted_s, float), np.asarray(true_s, float)
    with np.errstate(all="ignore"):
        shared = np.clip(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0, None)
        union = np.clip(a[..., 1] - a[..., 0], 0, None) + np.clip(b[..., 1] - b[..., 0], 0, None) - shared
        valid = np.isfinite(a).all(-1) & np.isfinite(b).all(-1) & (union > 0)
        return np.asarray(np.nan_to_num(np.divide(shared, union, out=np.zeros(valid.shape), where=valid)))


def mean_relative_accuracy(
    predicted: ArrayLike, true: ArrayLike, *, inclusive: bool = True, thresholds: Sequence[float] = MRA_THRESHOLDS
) -> Floats:
    """Share of thresholds θ that a number satisfies, ``mean over θ of [|ŷ − y| / |y| ≤ 1 − θ]`` (VSI-Bench, SpaceR, 3D-RFT).

    Args:
        predicted: ŷ, any shape.
        true: y. Where it is 0, only a prediction of 0 is right.
        inclusive: ``≤`` as SpaceR has it; False for ``<`` as 3D-RFT has it.
        thresholds: θ.

    Returns:
        Broadcast shape, in [0, 1].
    """
    with np.errstate(all="ignore"):
        difference = relative_difference(predicted, true)[..., None]
        limits = 1.0 - np.asarray(thresholds, float)
        return np.asarray((difference <= limits if inclusive else difference < limits).mean(-1))


def relative_difference(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """``|ŷ − y| / |y|``; infinite where it is not defined, 0 where both are 0."""
    a, b = np.broadcast_arrays(np.asarray(predicted, float), np.asarray(true, float))
    with np.errstate(all="ignore"):
        ratio = np.abs(a - b) / np.abs(b)
    ratio = np.where((a == 0) & (b == 0), 0.0, ratio)
    return np.where(np.isfinite(a) & np.isfinite(b) & ~np.isnan(ratio), ratio, np.inf)


def within_l1(predicted_px: ArrayLike, true_px: ArrayLike, tolerance_px: ArrayLike = 50.0, *, inclusive: bool = True) -> Bools:
    """Gate ``|Δu| + |Δv| ≤ tolerance`` (RoboRefer's point reward; its process reward has ``<``).

    Args:
        predicted_px: (..., 2).
        true_px: (..., 2).
        tolerance_px: 50 in the paper.
        inclusive: ``≤`` or ``<``.
    """
    with np.errstate(all="ignore"):
        distance = np.abs(np.asarray(predicted_px, float) - np.asarray(true_px, float)).sum(-1)
        return np.asarray(distance <= tolerance_px if inclusive else distance < tolerance_px)


def within_angle(predicted: ArrayLike, true: ArrayLike, minimum_cosine: float = 0.8) -> Bools:
    """Gate ``cos(a, b) > minimum`` on directions (..., 3) of any length; a zero vector has none and fails (RoboRefer)."""
    a, b = np.asarray(predicted, float), np.asarray(true, float)
    with np.errstate(all="ignore"):
        length_a, length_b = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
        cosine = ((a / length_a[..., None]) * (b / length_b[..., None])).sum(-1)
        return np.asarray(cosine > minimum_cosine)


def within_relative(predicted: ArrayLike, true: ArrayLike, tolerance: float = 0.15) -> Bools:
    """Gate ``|ŷ − y| / |y| ≤ tolerance`` (RoboRefer's Size steps: ±15 %)."""
    # The last digits belong to the division: 1.15 is within 15 % of 1.
    return np.asarray(relative_difference(predicted, true) <= tolerance * (1 + 1e-9))


def mask_hit_rate(pixels: ArrayLike, mask: ArrayLike) -> float:
    """Share of points in a mask (RefSpatial-Bench, Where2Place).

    Args:
        pixels: (N, 2) whole columns and rows; those outside the image, or not finite, count as misses.
        mask: (H, W), true where an answer is right.

    Returns:
        In [0, 1]; 0 without points.
    """
    points, truth = np.asarray(pixels, float).reshape(-1, 2), np.asarray(mask, bool)
    if not len(points):
        return 0.0
    inside = (points >= 0).all(-1) & (points[:, 0] < truth.shape[1]) & (points[:, 1] < truth.shape[0])
    columns, rows = points[inside].astype(np.int64).T
    return float(truth[rows, columns].sum() / len(points))


def frame_score(predicted: ArrayLike, true: ArrayLike, scale: float = 5.0) -> Floats:
    """``max(0, 1 − |f̂ − f| / scale)`` on frame numbers (3D-RFT: scale 5)."""
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(predicted, float) - np.asarray(true, float))
    return np.asarray(np.clip(1.0 - np.where(np.isnan(error), np.inf, error) / scale, 0.0, None))


def collision_share(object_m: ArrayLike, waypoints_m: ArrayLike, scene_m: ArrayLike, voxel_m: float = 0.02) -> float:
    """Share of an object's points that touch the scene somewhere on a path (TraceSpatial-Bench: at most 20 % at 2 cm).

    Args:
        object_m: (N, 3) points of the moved object, at the first waypoint. Rows that are not finite are left out, here and below.
        waypoints_m: (T, 3) positions of the object's reference point; the object is moved without turning.
        scene_m: (M, 3) points of everything else.
        voxel_m: Edge of a voxel; a point collides where its voxel holds a scene point.

    Returns:
        In [0, 1]; 0 without object or path.
    """
    points, path, scene = (_finite_rows(values) for values in (object_m, waypoints_m, scene_m))
    occupied = np.unique(np.floor(scene / voxel_m).astype(np.int64), axis=0)
    if not len(points) or not len(path) or not len(occupied):
        return 0.0
    origin, extent = occupied.min(0), np.ptp(occupied, axis=0) + 1
    codes = np.ravel_multi_index(tuple((occupied - origin).T), tuple(extent))
    hit = np.zeros(len(points), bool)
    for step in path - path[0]:
        cells = np.floor((points + step) / voxel_m).astype(np.int64) - origin
        near = ((cells >= 0) & (cells < extent)).all(-1) & ~hit
        hit[near] = np.isin(np.ravel_multi_index(tuple(cells[near].T), tuple(extent)), codes)
    return float(hit.mean())


def _finite_rows(values: ArrayLike) -> Floats:
    rows = np.asarray(values, float).reshape(-1, 3)
    return np.asarray(rows[np.isfinite(rows).all(-1)])


def exact_match(predicted: Sequence[str], true: Sequence[str]) -> Bools:
    """EM: equal after trimming, lower-casing and joining white space."""
    return np.array([_normal(a) == _normal(b) for a, b in zip(predicted, true, strict=True)], bool)


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def exact_match_r(exact: ArrayLike, well_formed: ArrayLike) -> Floats:
    """EM-R of Scene-R1: +1 exact and well formed, −0.5 well formed but wrong, −1 badly formed."""
    return np.where(np.asarray(well_formed, bool), np.where(np.asarray(exact, bool), 1.0, -0.5), -1.0)


def bootstrap_interval(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    statistic: Callable[[Floats], Floats] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: (N,) one value per sample.
        groups: (N,) labels: whole groups are drawn, for samples that are not independent (questions on one scene). Mean only.
        confidence: Mass between the ends.
        resamples: Number of draws.
        seed: Of the draws; the same input gives the same interval.
        statistic: (B, N) to (B,), instead of the mean over the last axis.

    Returns:
        Lower and upper end; NaN, NaN without values.
    """
    data = np.asarray(values, float).ravel()
    if not len(data):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    if groups is None:
        sums, counts = data, np.ones(len(data))
    else:
        labels = np.unique(np.asarray(groups).ravel(), return_inverse=True)[1]
        sums, counts = np.bincount(labels, weights=data), np.bincount(labels).astype(float)
    draws: list[Floats] = []
    at_once = max(1, 4_000_000 // len(sums))
    for start in range(0, resamples, at_once):
        chosen = rng.integers(0, len(sums), (min(at_once, resamples - start), len(sums)))
        draws.append(sums[chosen].sum(-1) / counts[chosen].sum(-1) if statistic is None else statistic(data[chosen]))
    low, high = np.quantile(np.concatenate(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
