"""Rotations and rigid transforms (the part of the genuine package that roboref uses): quaternions are x, y, z, w, matrices 4x4."""

from .matrices import (
    compose_matrix,
    concatenate_matrices,
    decompose_matrix,
    euler_from_matrix,
    euler_matrix,
    identity_matrix,
    inverse_matrix,
    is_same_transform,
    rotation_from_matrix,
    rotation_matrix,
    translation_from_matrix,
    translation_matrix,
)
from .quaternions import (
    euler_from_quaternion,
    quaternion_about_axis,
    quaternion_conjugate,
    quaternion_from_euler,
    quaternion_from_matrix,
    quaternion_inverse,
    quaternion_matrix,
    quaternion_multiply,
    quaternion_slerp,
)
from .vectors import unit_vector, vector_norm

__all__ = [
    "compose_matrix",
    "concatenate_matrices",
    "decompose_matrix",
    "euler_from_matrix",
    "euler_from_quaternion",
    "euler_matrix",
    "identity_matrix",
    "inverse_matrix",
    "is_same_transform",
    "quaternion_about_axis",
    "quaternion_conjugate",
    "quaternion_from_euler",
    "quaternion_from_matrix",
    "quaternion_inverse",
    "quaternion_matrix",
    "quaternion_multiply",
    "quaternion_slerp",
    "rotation_from_matrix",
    "rotation_matrix",
    "translation_from_matrix",
    "translation_matrix",
    "unit_vector",
    "vector_norm",
]
