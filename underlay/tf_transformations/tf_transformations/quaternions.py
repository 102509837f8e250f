"""Quaternions in ROS order, x, y, z, w (transforms3d, which does the work, has w first)."""

from __future__ import annotations

import math

import numpy as np
import transforms3d
from numpy.typing import ArrayLike, NDArray

from .matrices import Matrix, euler_from_matrix

Quaternion = tuple[float, float, float, float]
_ALIGNED = 4.0 * np.finfo(float).eps


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: str = "sxyz") -> Quaternion:
    """The quaternion of three angles about a sequence of axes (roll, pitch, yaw by default)."""
    return _w_last(transforms3d.euler.euler2quat(ai, aj, ak, axes=axes))


def euler_from_quaternion(quaternion: ArrayLike, axes: str = "sxyz") -> tuple[float, float, float]:
    """The three angles of a quaternion about a sequence of axes (roll, pitch, yaw by default)."""
    return euler_from_matrix(quaternion_matrix(quaternion), axes)


def quaternion_about_axis(angle: float, axis: ArrayLike) -> Quaternion:
    """The quaternion of a rotation about an axis (3,), which need not have length 1."""
    return _w_last(transforms3d.quaternions.axangle2quat(axis, angle))


def quaternion_matrix(quaternion: ArrayLike) -> Matrix:
    """The rotation as a 4x4 matrix; the quaternion need not have length 1."""
    matrix = np.eye(4)
    matrix[:3, :3] = transforms3d.quaternions.quat2mat(_w_first(quaternion))
    return matrix


def quaternion_from_matrix(matrix: ArrayLike) -> Quaternion:
    """The unit quaternion of a 4x4 matrix, whose scale and shear are ignored."""
    return _w_last(transforms3d.quaternions.mat2quat(transforms3d.affines.decompose(np.asarray(matrix))[1]))


def quaternion_multiply(quaternion1: ArrayLike, quaternion0: ArrayLike) -> Quaternion:
    """The product: rotates by `quaternion0` first, then by `quaternion1`."""
    return _w_last(transforms3d.quaternions.qmult(_w_first(quaternion1), _w_first(quaternion0)))


def quaternion_conjugate(quaternion: ArrayLike) -> NDArray[np.float64]:
    """The quaternion with its vector part turned round."""
    x, y, z, w = np.asarray(quaternion, dtype=np.float64)
    return np.array((-x, -y, -z, w))


def quaternion_inverse(quaternion: ArrayLike) -> NDArray[np.float64]:
    """The quaternion whose product with this one is the identity."""
    return quaternion_conjugate(quaternion) / np.dot(quaternion, quaternion)


def quaternion_slerp(quat0: ArrayLike, quat1: ArrayLike, fraction: float, spin: int = 0, shortestpath: bool = True) -> NDArray[np.float64]:
    """Spherical linear interpolation: fraction 0 is `quat0`, 1 is `quat1` (both made unit).

    Args:
        quat0: Start.
        quat1: End.
        fraction: How far, from 0 to 1.
        spin: Half turns to add on the way.
        shortestpath: Take the end's other sign when that is nearer.
    """
    start, end = (np.asarray(quaternion, dtype=np.float64)[:4] / np.linalg.norm(quaternion) for quaternion in (quat0, quat1))
    if fraction in (0.0, 1.0):
        return end if fraction else start
    cosine = float(np.dot(start, end))
    if abs(abs(cosine) - 1.0) < _ALIGNED:
        return start
    if shortestpath and cosine < 0.0:
        cosine, end = -cosine, -end
    angle = math.acos(cosine) + spin * math.pi
    if abs(angle) < _ALIGNED:
        return start
    return (math.sin((1.0 - fraction) * angle) * start + math.sin(fraction * angle) * end) / math.sin(angle)


def _w_first(quaternion: ArrayLike) -> Quaternion:
    x, y, z, w = np.asarray(quaternion, dtype=np.float64)
    return w, x, y, z


def _w_last(quaternion: ArrayLike) -> Quaternion:
    w, x, y, z = np.asarray(quaternion, dtype=np.float64)
    return x, y, z, w
