"""Rigid transforms: unit quaternion in ROS order plus translation, broadcast over points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]

LEVEL_SIN = 0.17
"""Sine of the slope, about 10 degrees, below which noise decides to which side a surface slopes."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Rigid motion ``target_from_source``: ``p_target = R p_source + t``.

    Name variables after it (``base_from_optical``), so that a wrong composition reads wrong.

    Args:
        quaternion_xyzw: Unit quaternion in ROS order, shape (4,). Normalised here.
        translation_m: Metres, shape (3,).

    Raises:
        ValueError: A value is not finite or the quaternion is shorter than 1e-6.
    """

    quaternion_xyzw: FloatArray
    translation_m: FloatArray

    def __post_init__(self) -> None:
        quaternion = np.array(self.quaternion_xyzw, dtype=np.float64).reshape(4)
        translation = np.array(self.translation_m, dtype=np.float64).reshape(3)
        norm = float(np.linalg.norm(quaternion))
        if not (np.isfinite(norm) and np.all(np.isfinite(translation))):
            raise ValueError("a transform needs finite numbers")
        if norm < 1e-6:
            raise ValueError(f"a rotation needs a unit quaternion, this one has length {norm:.2g}")
        quaternion /= norm
        quaternion.setflags(write=False)
        translation.setflags(write=False)
        object.__setattr__(self, "quaternion_xyzw", quaternion)
        object.__setattr__(self, "translation_m", translation)

    @staticmethod
    def identity() -> Transform:
        """The transform that changes nothing."""
        return Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> Transform:
        """Build from a homogeneous 4x4 matrix, or from a 3x3 rotation (no translation).

        Raises:
            ValueError: The rotation block is not orthonormal with determinant +1 (tolerance 1e-4).
        """
        m = np.asarray(matrix, dtype=np.float64)
        rotation = m[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise ValueError("the 3x3 block is not a rotation matrix")
        translation = m[:3, 3] if m.shape == (4, 4) else np.zeros(3)
        return Transform(Rotation.from_matrix(rotation).as_quat(), translation)

    @staticmethod
    def from_rotation(rotation: ArrayLike, translation_m: ArrayLike) -> Transform:
        """Build from a 3x3 rotation matrix and a translation in metres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(rotation)
        matrix[:3, 3] = np.asarray(translation_m)
        return Transform.from_matrix(matrix)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Transform:
        """Inverse of `to_dict`."""
        return Transform(np.asarray(data["quaternion_xyzw"]), np.asarray(data["position_m"]))

    def to_dict(self) -> dict[str, list[float]]:
        """JSON form: ``{"position_m": [x, y, z], "quaternion_xyzw": [x, y, z, w]}``."""
        return {"position_m": self.translation_m.tolist(), "quaternion_xyzw": self.quaternion_xyzw.tolist()}

    @property
    def rotation(self) -> FloatArray:
        """Rotation matrix, shape (3, 3)."""
        return np.asarray(Rotation.from_quat(self.quaternion_xyzw).as_matrix(), dtype=np.float64)

    @property
    def matrix(self) -> FloatArray:
        """Homogeneous matrix, shape (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation_m
        return matrix

    def apply(self, points_m: ArrayLike) -> FloatArray:
        """Move points, shape (..., 3), from the source into the target frame."""
        return np.asarray(points_m, dtype=np.float64) @ self.rotation.T + self.translation_m

    def rotate(self, vectors: ArrayLike) -> FloatArray:
        """Turn direction vectors, shape (..., 3), without translating them."""
        return np.asarray(vectors, dtype=np.float64) @ self.rotation.T

    def rotate_covariance(self, covariance: ArrayLike) -> FloatArray:
        """Turn a covariance, shape (3, 3): ``R C R^T``."""
        rotation = self.rotation
        return np.asarray(rotation @ np.asarray(covariance, dtype=np.float64) @ rotation.T, dtype=np.float64)

    def inverse(self) -> Transform:
        """The transform back: ``source_from_target``."""
        rotation = Rotation.from_quat(self.quaternion_xyzw).inv()
        # Not rotation.apply: scipy refuses read-only arrays there.
        return Transform(rotation.as_quat(), -(rotation.as_matrix() @ self.translation_m))

    def __matmul__(self, other: Transform) -> Transform:
        """Compose: ``a_from_c = a_from_b @ b_from_c``."""
        mine = Rotation.from_quat(self.quaternion_xyzw)
        theirs = Rotation.from_quat(other.quaternion_xyzw)
        return Transform((mine * theirs).as_quat(), self.apply(other.translation_m))


def surface_axes(normal: ArrayLike) -> FloatArray:
    """Axes of a frame on a surface: z along its normal, x level, y up its slope.

    A surface that is nearly level has no sure slope: there x is the frame's own x, laid onto it.

    Args:
        normal: Unit vector, shape (3,), in a frame whose z points upwards.

    Returns:
        Rotation with the axes as its columns, shape (3, 3).
    """
    z = np.asarray(normal, dtype=np.float64)
    sloping = float(np.hypot(z[0], z[1])) > LEVEL_SIN
    y = np.cross(z, np.cross([0.0, 0.0, 1.0], z)) if sloping else np.cross(z, [1.0, 0.0, 0.0])
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], axis=1)
