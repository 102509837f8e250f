"""4x4 matrices of rigid transforms. Euler angles are radians, by default about the fixed axes x, y, z (roll, pitch, yaw)."""

from __future__ import annotations

import numpy as np
import transforms3d
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]
_NO_SHIFT, _NO_TURN, _NO_ZOOM = (0.0, 0.0, 0.0), np.eye(3), (1.0, 1.0, 1.0)


def identity_matrix() -> Matrix:
    """The transform that changes nothing."""
    return np.eye(4)


def translation_matrix(direction: ArrayLike) -> Matrix:
    """The transform that shifts by (3,)."""
    return transforms3d.affines.compose(np.asarray(direction, dtype=np.float64), _NO_TURN, _NO_ZOOM)


def translation_from_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """The shift (3,) of a transform."""
    return np.array(np.asarray(matrix)[:3, 3], dtype=np.float64)


def rotation_matrix(angle: float, direction: ArrayLike, point: ArrayLike | None = None) -> Matrix:
    """The rotation about an axis (3,) through a point (3,), by default the origin."""
    return transforms3d.axangles.axangle2aff(direction, angle, point=point)


def rotation_from_matrix(matrix: ArrayLike) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Angle, axis and a point on the axis of a rotation."""
    direction, angle, point = transforms3d.axangles.aff2axangle(np.asarray(matrix))
    return angle, direction, point


def euler_matrix(ai: float, aj: float, ak: float, axes: str = "sxyz") -> Matrix:
    """The rotation by three angles about a sequence of axes."""
    return transforms3d.affines.compose(_NO_SHIFT, transforms3d.euler.euler2mat(ai, aj, ak, axes=axes), _NO_ZOOM)


def euler_from_matrix(matrix: ArrayLike, axes: str = "sxyz") -> tuple[float, float, float]:
    """The three angles of a rotation about a sequence of axes."""
    return transforms3d.euler.mat2euler(np.asarray(matrix), axes=axes)


def compose_matrix(
    scale: ArrayLike | None = None,
    shear: ArrayLike | None = None,
    angles: ArrayLike | None = None,
    translate: ArrayLike | None = None,
    perspective: None = None,
) -> Matrix:
    """Translation times rotation (angles about the fixed axes x, y, z) times scale times shear; what is None is left out.

    `perspective` is there so that `compose_matrix(*decompose_matrix(m))` gives m; as in the genuine package it has no effect.
    """
    return transforms3d.affines.compose(
        _NO_SHIFT if translate is None else np.asarray(translate, dtype=np.float64),
        _NO_TURN if angles is None else transforms3d.euler.euler2mat(*np.asarray(angles, dtype=np.float64)),
        _NO_ZOOM if scale is None else np.asarray(scale, dtype=np.float64),
        None if shear is None else np.asarray(shear, dtype=np.float64),
    )


def decompose_matrix(
    matrix: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float, float], NDArray[np.float64], None]:
    """Scale, shear, angles, translation and None: what `compose_matrix` takes."""
    shift, turn, zoom, shear = transforms3d.affines.decompose(np.asarray(matrix))
    return zoom, shear, transforms3d.euler.mat2euler(turn), shift, None


def inverse_matrix(matrix: ArrayLike) -> Matrix:
    """The inverse of a square matrix."""
    return np.linalg.inv(matrix)


def concatenate_matrices(*matrices: ArrayLike) -> Matrix:
    """The product of 4x4 matrices from left to right; of none the identity."""
    product = np.eye(4)
    for matrix in matrices:
        product = product @ np.asarray(matrix, dtype=np.float64)
    return product


def is_same_transform(matrix0: ArrayLike, matrix1: ArrayLike) -> bool:
    """Whether two matrices stand for the same transform: equal up to the scale of homogeneous coordinates."""
    first, second = np.asarray(matrix0, dtype=np.float64), np.asarray(matrix1, dtype=np.float64)
    return bool(np.allclose(first / first[3, 3], second / second[3, 3]))
