"""tf_transformations as roboref uses it, against scipy. The file also passes against the genuine package."""

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

if importlib.util.find_spec("tf_transformations") is None:
    pytest.skip("neither a ROS distribution nor the underlay is sourced", allow_module_level=True)

import tf_transformations as tft

angles = st.floats(-math.pi, math.pi)
seeds = st.integers(0, 2**32 - 1)
# scipy: lower case about fixed axes, upper case about moving ones.
AXES = {"sxyz": "xyz", "szyx": "zyx", "sxzy": "xzy", "szxz": "zxz", "rxyz": "XYZ", "rzyx": "ZYX", "rzxz": "ZXZ"}


def random_rotation(seed):
    return Rotation.random(rng=np.random.default_rng(seed))


def same_rotation(quaternion, expected):
    return (Rotation.from_quat(np.asarray(quaternion)) * expected.inv()).magnitude() < 1e-7


def test_order_is_xyzw():
    np.testing.assert_allclose(tft.quaternion_from_euler(0, 0, math.pi / 2), [0, 0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-15)
    np.testing.assert_allclose(tft.quaternion_about_axis(math.pi / 2, (0, 2, 0)), [0, math.sqrt(0.5), 0, math.sqrt(0.5)], atol=1e-15)


@pytest.mark.parametrize("axes", AXES)
@settings(max_examples=30, deadline=None)
@given(ai=angles, aj=angles, ak=angles)
def test_euler_angles_to_quaternion_and_matrix(axes, ai, aj, ak):
    expected = Rotation.from_euler(AXES[axes], [ai, aj, ak])
    assert same_rotation(tft.quaternion_from_euler(ai, aj, ak, axes), expected)
    matrix = tft.euler_matrix(ai, aj, ak, axes)
    np.testing.assert_allclose(matrix[:3, :3], expected.as_matrix(), atol=1e-9)
    np.testing.assert_array_equal(matrix[:, 3], [0, 0, 0, 1])


@pytest.mark.parametrize("axes", AXES)
@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_quaternion_and_matrix_to_euler_angles_and_back(axes, seed):
    rotation = random_rotation(seed)
    assert same_rotation(tft.quaternion_from_euler(*tft.euler_from_quaternion(rotation.as_quat(), axes), axes), rotation)
    matrix = tft.quaternion_matrix(rotation.as_quat())
    np.testing.assert_allclose(tft.euler_matrix(*tft.euler_from_matrix(matrix, axes), axes), matrix, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(seeds, seeds)
def test_quaternion_algebra(first_seed, second_seed):
    first, second = random_rotation(first_seed), random_rotation(second_seed)
    q, p = first.as_quat(), second.as_quat()
    assert same_rotation(tft.quaternion_multiply(q, p), first * second)  # p first, then q
    assert same_rotation(tft.quaternion_inverse(q), first.inv())
    np.testing.assert_allclose(tft.quaternion_multiply(3 * q, tft.quaternion_inverse(3 * q)), [0, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(tft.quaternion_conjugate(q), [-q[0], -q[1], -q[2], q[3]])
    matrix = tft.quaternion_matrix(q)
    np.testing.assert_allclose(matrix[:3, :3], first.as_matrix(), atol=1e-12)
    assert same_rotation(tft.quaternion_from_matrix(matrix), first)


@settings(max_examples=50, deadline=None)
@given(seeds, seeds, st.floats(0, 1), st.sampled_from([1.0, -1.0]))
def test_slerp_takes_the_shorter_way(first_seed, second_seed, fraction, sign):
    first, second = random_rotation(first_seed), random_rotation(second_seed)
    expected = Slerp([0, 1], Rotation.concatenate([first, second]))(fraction)
    assert same_rotation(tft.quaternion_slerp(first.as_quat(), sign * second.as_quat(), fraction), expected)


def test_slerp_between_equal_quaternions():
    q = random_rotation(4).as_quat()
    np.testing.assert_allclose(tft.quaternion_slerp(q, q, 0.3), q)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_matrices_of_rigid_transforms(seed):
    rng = np.random.default_rng(seed)
    shift, rotation = rng.uniform(-3, 3, 3), Rotation.random(rng=rng)
    matrix = tft.concatenate_matrices(tft.translation_matrix(shift), tft.quaternion_matrix(rotation.as_quat()))
    point = rng.uniform(-3, 3, 3)
    np.testing.assert_allclose(matrix @ [*point, 1], [*(rotation.apply(point) + shift), 1], atol=1e-9)
    np.testing.assert_allclose(tft.translation_from_matrix(matrix), shift, atol=1e-12)
    assert same_rotation(tft.quaternion_from_matrix(matrix), rotation)
    inverse = tft.inverse_matrix(matrix)
    np.testing.assert_allclose(inverse[:3, 3], -rotation.inv().apply(shift), atol=1e-9)
    assert tft.is_same_transform(tft.concatenate_matrices(matrix, inverse, 2 * np.eye(4)), tft.identity_matrix())
    assert not tft.is_same_transform(matrix, tft.concatenate_matrices(matrix, tft.translation_matrix((0, 0, 0.1))))


def test_concatenation_of_nothing_is_the_identity():
    np.testing.assert_array_equal(tft.concatenate_matrices(), np.eye(4))


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_composition_and_decomposition(seed):
    rng = np.random.default_rng(seed)
    scale, shear, turn, shift = rng.uniform(0.5, 2, 3), rng.uniform(-0.5, 0.5, 3), rng.uniform(-1.5, 1.5, 3), rng.uniform(-3, 3, 3)
    matrix = tft.compose_matrix(scale, shear, turn, shift)
    expected = tft.concatenate_matrices(
        tft.translation_matrix(shift),
        tft.euler_matrix(*turn),
        np.diag([*scale, 1]),
        [[1, shear[0], shear[1], 0], [0, 1, shear[2], 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    )
    np.testing.assert_allclose(matrix, expected, atol=1e-9)
    for part, original in zip(tft.decompose_matrix(matrix), (scale, shear, turn, shift), strict=False):
        np.testing.assert_allclose(part, original, atol=1e-7)
    np.testing.assert_allclose(tft.compose_matrix(*tft.decompose_matrix(matrix)), matrix, atol=1e-9)
    np.testing.assert_allclose(tft.compose_matrix(angles=turn), tft.euler_matrix(*turn), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_rotation_about_an_axis_through_a_point(seed):
    rng = np.random.default_rng(seed)
    angle, axis, point = rng.uniform(0.1, 3), rng.normal(size=3), rng.uniform(-2, 2, 3)
    matrix = tft.rotation_matrix(angle, axis, point)
    np.testing.assert_allclose(matrix @ [*point, 1], [*point, 1], atol=1e-9)
    np.testing.assert_allclose(matrix[:3, :3], Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix(), atol=1e-9)
    found_angle, found_axis, found_point = tft.rotation_from_matrix(matrix)
    np.testing.assert_allclose(tft.rotation_matrix(found_angle, found_axis, found_point[:3]), matrix, atol=1e-6)


def test_lengths_and_directions():
    assert tft.vector_norm([3.0, 4.0]) == 5.0
    np.testing.assert_allclose(tft.vector_norm([[3.0, 4.0], [6.0, 8.0]], axis=1), [5, 10])
    np.testing.assert_allclose(tft.unit_vector([3.0, 0.0, 4.0]), [0.6, 0, 0.8])
    np.testing.assert_allclose(tft.unit_vector([[3.0, 4.0], [0.0, 8.0]], axis=1), [[0.6, 0.8], [0, 1]])
