"""How exact a lifted point is: covariances from the noise of depth, pixel and transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]


def pixel_covariances(
    camera: CameraModel, triple_rays: FloatArray, depth: FloatArray, gradient: FloatArray, variance_w: FloatArray, pixel_sigma_px: float
) -> FloatArray:
    """Depth noise along the ray plus pixel noise along the tangent plane: moving the pixel slides the point on the surface."""
    rays = triple_rays[:, 0]
    along = rays * (depth * depth * np.sqrt(variance_w))[:, None]
    total = along[:, :, None] * along[:, None, :]
    if pixel_sigma_px > 0:
        if triple_rays.shape[1] == 1:
            turn = np.zeros((len(rays), 3, 2))
            turn[:, 0, 0], turn[:, 1, 1] = 1.0 / camera.fx, 1.0 / camera.fy
        else:
            turn = np.nan_to_num((triple_rays[:, 1:] - rays[:, None]) / 0.25).transpose(0, 2, 1)
        # d(r / (g . r)) = z (dr - r z (g . dr)).
        slide = depth[:, None, None] * (turn - rays[:, :, None] * (depth[:, None] * (gradient[:, None] @ turn)[:, 0])[:, None])
        slide *= pixel_sigma_px
        total = total + slide @ slide.transpose(0, 2, 1)
    return np.asarray(total)


def covariance_in_target(
    target_from_source: Transform, point_m: ArrayLike, covariance_m2: ArrayLike, *, rotation_sigma_rad: float, translation_sigma_m: float
) -> FloatArray:
    """Covariance of a point after an uncertain transform.

    Rotation errors act about the source frame's origin (the camera), so a far point moves more:
    C = R C R^T + s_t^2 I + s_r^2 (|q|^2 I - q q^T) with q = R p.

    Args:
        target_from_source: The transform.
        point_m: The point in the source frame, shape (3,).
        covariance_m2: Its covariance in the source frame, shape (3, 3).
        rotation_sigma_rad: Standard deviation of the rotation about each axis.
        translation_sigma_m: Standard deviation of the translation along each axis.

    Returns:
        Covariance in the target frame, shape (3, 3).
    """
    arm = target_from_source.rotate(point_m)
    lever = float(arm @ arm) * np.eye(3) - np.outer(arm, arm)
    turned = target_from_source.rotate_covariance(covariance_m2)
    return np.asarray(turned + translation_sigma_m**2 * np.eye(3) + rotation_sigma_rad**2 * lever)
