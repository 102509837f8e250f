"""Every formula of the metrics in closed form, and what it does with nothing, garbage, NaN and huge numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roboref_node.evaluation import boxes, matching, metrics, metrics_text

UNIT = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]  # centre, size, yaw


def test_iou_2d() -> None:
    assert boxes.iou_2d([0, 0, 2, 2], [1, 1, 3, 3]) == pytest.approx(1 / 7)
    others = [[0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 1, 2], [2, 2, 0, 0], [0, 0, np.nan, 2], [0, 0, np.inf, 2], [1, 1, 1, 1]]
    assert boxes.iou_2d([0, 0, 2, 2], others) == pytest.approx([1, 0, 0.5, 0, 0, 0, 0])
    assert boxes.iou_2d(np.zeros((0, 1, 4)), np.zeros((1, 3, 4))).shape == (0, 3)
    assert boxes.iou_2d([-1e200, -1e200, 1e200, 1e200], [0, 0, 1, 1]) == 0.0


def test_iou_aabb_3d() -> None:
    assert boxes.iou_aabb_3d([0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3]) == pytest.approx(1 / 15)
    centred = boxes.aabb_from_centre_size([1, 1, 1, 2, 2, 2])
    assert centred.tolist() == [0, 0, 0, 2, 2, 2]
    assert boxes.iou_aabb_3d(centred, [0, 0, 0, 2, 2, 2]) == 1.0


def test_iou_yaw_3d_in_closed_form() -> None:
    octagon = 2 * (math.sqrt(2) - 1)  # two unit squares at 45 degrees share a regular octagon
    others = [
        UNIT,
        [0, 0, 0, 1, 1, 1, math.pi / 4],
        [0, 0, 0.5, 1, 1, 1, math.pi / 2],
        [0.5, 0, 0, 1, 1, 1, 0],
        [1, 0, 0, 1, 1, 1, 0],
        [5, 5, 5, 1, 1, 1, 0.3],
        [0, 0, 0, 0.5, 0.5, 0.5, 1.1],
        [0, 0, 0, 1, 1, -1, 0],
        [0, 0, 0, np.nan, 1, 1, 0],
        [0, 0, 0, 2, 1, 1, math.pi],
    ]
    expected = [1, octagon / (2 - octagon), 1 / 3, 1 / 3, 0, 0, 0.125, 0, 0, 0.5]
    assert boxes.iou_yaw_3d(UNIT, others) == pytest.approx(expected, abs=1e-9)


POSITIVE = st.floats(0.1, 3.0)
OFFSET = st.floats(-1.5, 1.5)
ANGLE = st.floats(-7.0, 7.0)


@settings(max_examples=60, deadline=None)
@given(st.tuples(OFFSET, OFFSET, OFFSET, POSITIVE, POSITIVE, POSITIVE, ANGLE), st.tuples(POSITIVE, POSITIVE, POSITIVE, ANGLE))
def test_yaw_and_general_iou_agree_and_are_symmetric(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    a, b = np.array(first), np.array([0.0, 0.0, 0.0, *second])
    turned = [(box[:3], box[3:6], Rotation.from_euler("z", box[6]).as_matrix()) for box in (a, b)]
    yaw = float(boxes.iou_yaw_3d(a, b))
    assert yaw == pytest.approx(float(boxes.iou_yaw_3d(b, a)), abs=1e-7)
    assert yaw == pytest.approx(float(boxes.iou_oriented_3d(*turned)), abs=1e-6)
    tilt = Rotation.from_rotvec([0.4, -0.9, 0.2]).as_matrix()
    moved = [(tilt @ c + [1.0, 2.0, 3.0], s, tilt @ r) for c, s, r in turned]
    assert float(boxes.iou_oriented_3d(*moved)) == pytest.approx(yaw, abs=1e-6)


def test_general_iou_by_sampling_and_degenerate() -> None:
    rng = np.random.default_rng(0)
    turn = Rotation.from_rotvec([0.7, 0.4, -0.5]).as_matrix()
    points = rng.uniform(-1.5, 1.5, (400_000, 3))
    in_a = (np.abs(points) <= 0.5).all(-1)
    in_b = (np.abs((points - 0.2) @ turn) <= [0.6, 0.4, 0.5]).all(-1)
    expected = (in_a & in_b).sum() / (in_a | in_b).sum()
    b = (np.full(3, 0.2), np.array([1.2, 0.8, 1.0]), turn)
    a = (np.zeros(3), np.ones(3), np.eye(3))
    assert float(boxes.iou_oriented_3d(a, b)) == pytest.approx(expected, abs=0.01)
    assert boxes.iou_oriented_3d(a, (np.array([[1.0, 0, 0], [9, 9, 9], [np.nan, 0, 0]]), np.ones(3), np.eye(3))).tolist() == [0, 0, 0]
    assert boxes.iou_oriented_3d(a, (np.zeros(3), np.array([1.0, 1.0, 0.0]), np.eye(3))) == 0.0


def test_temporal_iou() -> None:
    windows = [[0, 10], [5, 15], [10, 20], [8, 2], [np.nan, 3], [-1e308, 1e308]]
    assert metrics.temporal_iou(windows, [0, 10]) == pytest.approx([1, 1 / 3, 0, 0, 0, 0])
    assert metrics.temporal_iou([3, 3], [3, 3]) == 0.0


def test_mean_relative_accuracy() -> None:
    assert metrics.mean_relative_accuracy([10, 12.4, 9.999, 15.01, 0, np.nan, np.inf], 10) == pytest.approx([1, 0.6, 1, 0, 0, 0, 0])
    assert metrics.mean_relative_accuracy(1.5, 1.0) == pytest.approx(0.1)
    assert metrics.mean_relative_accuracy(1.5, 1.0, inclusive=False) == 0.0
    assert metrics.mean_relative_accuracy([0.0, 0.1], 0.0).tolist() == [1.0, 0.0]
    assert metrics.mean_relative_accuracy(-10, -10.0) == 1.0
    assert metrics.mean_relative_accuracy(10, -10.0) == 0.0


def test_gates() -> None:
    points = [[100, 100], [130, 120], [131, 120], [np.nan, 100], [1e308, -1e308]]
    assert metrics.within_l1(points, [100, 100]).tolist() == [True, True, False, False, False]
    assert metrics.within_l1(points, [100, 100], inclusive=False).tolist() == [True, False, False, False, False]
    directions = [[2, 0, 0], [0.8, 0.6, 0], [0.81, 0.5, 0], [0, 0, 0], [np.nan, 0, 0], [-1, 0, 0]]
    assert metrics.within_angle(directions, [1, 0, 0]).tolist() == [True, False, True, False, False, False]
    assert metrics.within_relative([1.15, 0.85, 1.151, 0.0, np.nan, np.inf], 1.0).tolist() == [True, True, False, False, False, False]


def test_mask_hit_rate() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    assert metrics.mask_hit_rate([[2, 1], [2, 1], [0, 0], [-1, 0]], mask) == 0.5
    assert metrics.mask_hit_rate([[6, 1], [np.nan, 1], [1e300, 1]], mask) == 0.0
    assert metrics.mask_hit_rate([], mask) == 0.0


def test_frame_score() -> None:
    assert metrics.frame_score([7, 8, 2, 20, np.nan], 7) == pytest.approx([1, 0.8, 0, 0, 0])


def test_collision_share() -> None:
    wall = [[0.5, y, z] for y in (0.01, 0.03) for z in (0.01, 0.03)]
    load = [[0.01, 0.01, 0.01], [0.01, 0.03, 0.01], [0.01, 0.21, 0.01], [0.01, 0.41, 0.01]]
    path = [[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.75, 0, 0]]
    assert metrics.collision_share(load, path, wall) == 0.5
    assert metrics.collision_share(load, path[:2], wall) == 0.0
    assert metrics.collision_share([], path, wall) == metrics.collision_share(load, path, []) == 0.0
    assert metrics.collision_share([[np.nan, 0, 0]], path, wall) == 0.0


def test_exact_match() -> None:
    exact = metrics.exact_match([" The  Red cup", "cup", ""], ["the red cup", "bowl", ""])
    assert exact.tolist() == [True, False, True]
    assert metrics.exact_match_r([True, False, True, False], [True, True, False, False]).tolist() == [1.0, -0.5, -1.0, -1.0]


def test_bootstrap_interval_covers_and_widens_with_groups() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(40):
        low, high = metrics.bootstrap_interval(rng.random(200) < 0.7, resamples=400, seed=seed)
        covered += low <= 0.7 <= high
    assert covered >= 33
    values = np.repeat(rng.random(20) < 0.5, 10)
    low, high = metrics.bootstrap_interval(values)
    wide_low, wide_high = metrics.bootstrap_interval(values, groups=np.repeat(np.arange(20), 10))
    assert (wide_high - wide_low) > 2 * (high - low)
    assert metrics.bootstrap_interval([1.0, 1.0]) == (1.0, 1.0)
    assert all(math.isnan(end) for end in metrics.bootstrap_interval([]))
    low, high = metrics.bootstrap_interval(values.astype(float), statistic=lambda draws: draws.max(-1))
    assert (low, high) == (1.0, 1.0)


def test_f1_with_hungarian_matching() -> None:
    greedy_trap = [[0.6, 0.55], [0.55, 0.0]]  # taking 0.6 first would leave the second prediction alone
    counts = matching.detect(greedy_trap, 0.25)
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (2, 0, 0)
    counts = matching.detect([[0.9, 0.0, 0.0], [0.8, 0.0, 0.1]], 0.25)
    assert (counts.precision, counts.recall, counts.f1) == (0.5, pytest.approx(1 / 3), 0.4)
    assert matching.detect(np.zeros((0, 3)), 0.25).f1 == 0.0
    assert matching.detect(np.zeros((3, 0)), 0.25).f1 == 0.0
    assert matching.detect(np.zeros((0, 0)), 0.25).f1 == 1.0
    assert matching.detect([[np.nan]], 0.25).f1 == 0.0


def test_map_score_and_its_loophole() -> None:
    truth = {"chair": [[2, 3], [5, 3]], "sofa": [[8, 1]]}
    assert matching.map_score(truth, truth) == matching.MapScore(1.0, 1.0, 1.0)
    shifted = matching.map_score({"chair": [[2, 4]]}, {"chair": [[2, 3], [5, 3]]})
    gain = 1 - 1 / (10 * math.sqrt(2))
    assert (shifted.published, shifted.recall) == (pytest.approx(gain / 2), pytest.approx(gain / 2))
    invented = matching.map_score({**truth, "piano": [[0, 0]] * 3}, truth)
    assert invented.published == 1.0 and invented.score == 0.5 and invented.recall == 1.0
    weighted = matching.map_score({"sofa": [[8, 1]]}, truth)
    assert weighted.published == pytest.approx(1 / 3)
    broken = matching.map_score({"sofa": [[8, 1], [np.nan, 1], [1, 2, 3]]}, {"sofa": [[8, 1]]})
    assert broken.published == pytest.approx(1 / 3)
    assert matching.map_score({}, {}).score == 1.0 and matching.map_score({"a": [[1, 1]]}, {}).score == 0.0
    nearest_first = matching.map_score({"a": [[0, 0], [0, 4]]}, {"a": [[0, 3], [0, 9]]})  # pairs 4-3, then 0-9
    assert nearest_first.score == pytest.approx(1 - (1 + 9) / 2 / (10 * math.sqrt(2)))


def test_word_error_rate() -> None:
    said = ["pick the red cup", "pick red cup now", "", "a b c d", "x"]
    true = ["pick the red cup", "pick the red cup", "pick up", "", "y"]
    assert metrics_text.word_error_rate(said, true).tolist() == [0.0, 0.5, 1.0, 4.0, 1.0]
    assert metrics_text.word_error_rate(["w " * 20_000], ["a b c"]).tolist() == [pytest.approx(20_000 / 3)]


def test_rouge() -> None:
    said, true = ["the cat sat on the mat"], ["the cat is on the mat"]
    assert metrics_text.rouge_n(said, true, 1).tolist() == pytest.approx([5 / 6])
    assert metrics_text.rouge_n(said, true, 2).tolist() == pytest.approx([3 / 5])
    assert metrics_text.rouge_l(said, true).tolist() == pytest.approx([5 / 6])
    assert metrics_text.rouge_n(["", "..."], ["a", "a"], 1).tolist() == [0.0, 0.0]
    assert metrics_text.rouge_l(["cups"], ["cup"], stem=lambda word: word.rstrip("s")).tolist() == [1.0]
    assert metrics_text.rouge_l(["d c b a"], ["a b c d"]).tolist() == [0.25]


def test_word_measures_against_the_plain_recurrences() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        a, b = (list(rng.choice(list("xyz"), rng.integers(0, 9))) for _ in range(2))
        edit = np.zeros((len(b) + 1, len(a) + 1))
        common = np.zeros_like(edit)
        edit[0], edit[:, 0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
        for i, right in enumerate(b, 1):
            for j, left in enumerate(a, 1):
                edit[i, j] = min(edit[i - 1, j] + 1, edit[i, j - 1] + 1, edit[i - 1, j - 1] + (left != right))
                common[i, j] = common[i - 1, j - 1] + 1 if left == right else max(common[i - 1, j], common[i, j - 1])
        assert metrics_text.word_error_rate([" ".join(a)], [" ".join(b)])[0] == edit[-1, -1] / max(1, len(b))
        expected = 2 * common[-1, -1] / (len(a) + len(b)) if a and b else 0.0
        assert metrics_text.rouge_l([" ".join(a)], [" ".join(b)])[0] == pytest.approx(expected)
