"""Lens distortion on the normalised image plane: forward, inverse, and the range in which the inverse is unique.

Formulas of the Brown-Conrady family (plumb_bob, rational_polynomial, thin prism, tilt) and of the Kannala-Brandt fisheye
(equidistant) as stated in OpenCV's calib3d and fisheye documentation; coefficient order k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TABLE_SIZE = 2048
MAX_NEWTON_STEPS = 40
CONVERGED = 1e-13
"""Largest Newton residual on the normalised plane; times a focal length of 1000 px this is 1e-10 px."""
MIN_STRETCH = 1e-6
"""A lens that compresses the image more than this (determinant of the Jacobian) has reached its fold."""
MAX_FISHEYE_ANGLE = float(np.pi / 2 - 1e-3)
"""A ray at 90 degrees to the optical axis has no depth along it."""


@dataclass(frozen=True, eq=False)
class BrownDistortion:
    """Polynomial or rational radial, tangential, thin-prism and tilt distortion.

    Args:
        coefficients: 14 numbers in OpenCV order, missing ones zero.
        corner_radius: Largest distorted radius inside the image, on the normalised plane; bounds the search for the fold.
    """

    coefficients: tuple[float, ...]
    corner_radius: float

    def __post_init__(self) -> None:
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients[:8]
        object.__setattr__(self, "_tilt", _tilt_matrix(*self.coefficients[12:14]) if any(self.coefficients[12:14]) else None)
        object.__setattr__(self, "_radial", not any(self.coefficients[2:4]) and not any(self.coefficients[8:12]))
        numerator, denominator = Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])
        # d/dr [r N(s)/D(s)] with s = r^2 has the sign of (N + 2 s N') D - 2 s N D'.
        s = Polynomial([0.0, 1.0])
        slope = (numerator + 2 * s * numerator.deriv()) * denominator - 2 * s * numerator * denominator.deriv()
        limit = float(np.sqrt(min(_first_positive_root(slope), _first_positive_root(denominator))))
        reach = min(limit * (1 - 1e-9), self._radius_reaching(1.5 * self.corner_radius, limit))
        limit = self._first_fold(reach, limit)
        object.__setattr__(self, "limit", limit)
        radii = np.linspace(0.0, min(reach, limit), TABLE_SIZE)
        object.__setattr__(self, "_table", (self._radial_factor(radii * radii)[0] * radii, radii))

    limit: float = 0.0
    """Radius on the undistorted plane below which the distortion is one-to-one."""
    _table: tuple[FloatArray, FloatArray] = (np.zeros(1), np.zeros(1))
    _tilt: FloatArray | None = None
    _radial: bool = False

    def _radius_reaching(self, distorted: float, limit: float) -> float:
        radius = max(distorted, 1e-3)
        for _ in range(12):
            if radius >= limit or float(self._radial_factor(np.asarray(radius * radius))[0]) * radius >= distorted:
                break
            radius *= 1.5
        return radius

    def _first_fold(self, reach: float, limit: float) -> float:
        """Radius where the Jacobian's determinant first falls to `MIN_STRETCH` in any direction; `limit` when nowhere in `reach`."""
        angles = np.zeros(1) if self._radial else np.linspace(0, 2 * np.pi, 73)[:-1]
        radii = np.linspace(0.0, reach, TABLE_SIZE)
        x, y = np.cos(angles)[:, None] * radii, np.sin(angles)[:, None] * radii
        _, _, (a, b, c, d) = self._bend(x, y)
        folded = ((a * d - b * c) <= MIN_STRETCH).any(axis=0)
        if folded.any():
            return float(radii[max(int(folded.argmax()) - 1, 0)])
        # Beyond the image only a purely radial lens is known to keep its order.
        return limit if self._radial else float(reach)

    def _radial_factor(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Factor N/D and its derivative by s = r^2."""
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients[:8]
        numerator = 1 + s * (k1 + s * (k2 + s * k3))
        slope_n = k1 + s * (2 * k2 + s * (3 * k3))
        if not (k4 or k5 or k6):
            return numerator, slope_n
        denominator = 1 + s * (k4 + s * (k5 + s * k6))
        slope_d = k4 + s * (2 * k5 + s * (3 * k6))
        return numerator / denominator, (slope_n * denominator - numerator * slope_d) / (denominator * denominator)

    def _bend(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
        """Distorted point without tilt, and its Jacobian (dxd/dx, dxd/dy, dyd/dx, dyd/dy)."""
        s = x * x + y * y
        factor, slope = self._radial_factor(s)
        u, v = x * factor, y * factor
        cross = 2 * x * y * slope
        j = [factor + 2 * x * x * slope, cross, cross, factor + 2 * y * y * slope]
        if not self._radial:
            p1, p2 = self.coefficients[2:4]
            s1, s2, s3, s4 = self.coefficients[8:12]
            prism_x, prism_y = s1 + 2 * s2 * s, s3 + 2 * s4 * s
            u = u + 2 * p1 * x * y + p2 * (s + 2 * x * x) + s * (s1 + s2 * s)
            v = v + p1 * (s + 2 * y * y) + 2 * p2 * x * y + s * (s3 + s4 * s)
            j[0] = j[0] + 2 * p1 * y + 6 * p2 * x + 2 * x * prism_x
            j[1] = j[1] + 2 * p1 * x + 2 * p2 * y + 2 * y * prism_x
            j[2] = j[2] + 2 * p1 * x + 2 * p2 * y + 2 * x * prism_y
            j[3] = j[3] + 6 * p1 * y + 2 * p2 * x + 2 * y * prism_y
        return u, v, (j[0], j[1], j[2], j[3])

    def distort(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project rays (x, y, z) with z > 0 on the distorted plane; NaN beyond the fold."""
        x, y = x / z, y / z
        x = np.where(x * x + y * y <= self.limit * self.limit, x, np.nan)
        u, v, _ = self._bend(x, y)
        return (u, v) if self._tilt is None else _homography(self._tilt, u, v)

    def undistort(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rays (x, y, 1) of distorted points by Newton's method from a table of radii; NaN where there is none."""
        if self._tilt is not None:
            u, v = _homography(np.asarray(np.linalg.inv(self._tilt), dtype=np.float64), u, v)
        radius = np.sqrt(u * u + v * v)
        scale = np.interp(radius, *self._table) / np.maximum(radius, 1e-300)
        scale = np.where(radius > 1e-12, scale, 1.0)
        x, y = u * scale, v * scale
        for _ in range(MAX_NEWTON_STEPS):
            ud, vd, (a, b, c, d) = self._bend(x, y)
            eu, ev = u - ud, v - vd
            residual = np.maximum(np.abs(eu), np.abs(ev))
            if np.max(residual, where=residual == residual, initial=0.0) < CONVERGED:
                break
            det = a * d - b * c
            det = np.where(np.abs(det) < 1e-9, 1e-9, det)
            x, y = x + (d * eu - b * ev) / det, y + (a * ev - c * eu) / det
            if self.limit < 1e6:
                # A step across the fold would land on the wrong branch: stay inside.
                r = np.sqrt(x * x + y * y)
                shrink = np.where(r > self.limit, self.limit / np.maximum(r, 1e-300), 1.0)
                x, y = x * shrink, y * shrink
        good = (residual < 1e3 * CONVERGED) & (x * x + y * y <= self.limit * self.limit)
        return np.where(good, x, np.nan), np.where(good, y, np.nan)


@dataclass(frozen=True, eq=False)
class FisheyeDistortion:
    """Kannala-Brandt fisheye: the distorted radius is a polynomial of the angle to the optical axis.

    Args:
        coefficients: k1 k2 k3 k4.
    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        k1, k2, k3, k4 = self.coefficients
        # d/dt [t (1 + k1 t^2 + ...)] as a polynomial of t^2.
        slope = Polynomial([1.0, 3 * k1, 5 * k2, 7 * k3, 9 * k4])
        fold = float(np.sqrt(_first_positive_root(slope))) * (1 - 1e-6)
        object.__setattr__(self, "limit", min(fold, MAX_FISHEYE_ANGLE))
        angles = np.linspace(0.0, self.limit, TABLE_SIZE)
        object.__setattr__(self, "_table", (self._radius(angles)[0], angles))

    limit: float = 0.0
    """Angle to the optical axis in radians below which the distortion is one-to-one."""
    _table: tuple[FloatArray, FloatArray] = (np.zeros(1), np.zeros(1))

    def _radius(self, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        k1, k2, k3, k4 = self.coefficients
        s = angle * angle
        radius = angle * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
        return radius, 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * (9 * k4))))

    def distort(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project rays (x, y, z) with z > 0 on the distorted plane; NaN beyond the fold."""
        across = np.sqrt(x * x + y * y)
        angle = np.arctan2(across, z)
        angle = np.where(angle <= self.limit, angle, np.nan)
        scale = np.where(across > 1e-12 * z, self._radius(angle)[0] / np.maximum(across, 1e-300), 1.0 / z)
        return x * scale, y * scale

    def undistort(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rays (x, y, 1) of distorted points; NaN where there is none."""
        radius = np.sqrt(u * u + v * v)
        inside = radius <= self._table[0][-1] * (1 + 1e-12)
        angle = np.interp(radius, *self._table)
        for _ in range(MAX_NEWTON_STEPS):
            value, slope = self._radius(angle)
            error = radius - value
            if np.max(np.abs(error), where=inside, initial=0.0) < CONVERGED:
                break
            angle = np.clip(angle + error / np.maximum(slope, 1e-9), 0.0, self.limit)
        inside &= np.abs(error) < 1e3 * CONVERGED
        scale = np.where(radius > 1e-12, np.tan(angle) / np.maximum(radius, 1e-300), 1.0)
        scale = np.where(inside, scale, np.nan)
        return u * scale, v * scale


@lru_cache(maxsize=64)
def brown_distortion(coefficients: tuple[float, ...], corner_radius: float) -> BrownDistortion:
    """Cached `BrownDistortion`: its fold and table are searched once per camera."""
    return BrownDistortion(coefficients, corner_radius)


@lru_cache(maxsize=64)
def fisheye_distortion(coefficients: tuple[float, ...]) -> FisheyeDistortion:
    """Cached `FisheyeDistortion`: its fold and table are searched once per camera."""
    return FisheyeDistortion(coefficients)


def _first_positive_root(polynomial: Polynomial) -> float:
    # A leading coefficient that is nothing beside the others has its root beyond every image, and spoils the other roots on the way.
    roots = polynomial.trim(1e-24 * float(np.max(np.abs(polynomial.coef), initial=1e-100))).roots()
    real = roots.real[np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))]
    return float(np.min(real[real > 0], initial=np.inf))


def _tilt_matrix(tau_x: float, tau_y: float) -> FloatArray:
    """Perspective map of a tilted sensor (Scheimpflug), OpenCV calib3d."""
    cx, sx, cy, sy = np.cos(tau_x), np.sin(tau_x), np.cos(tau_y), np.sin(tau_y)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    turn = about_y @ about_x
    return np.asarray(np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn, dtype=np.float64)


def _homography(matrix: FloatArray, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    w = matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2]
    return (
        (matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]) / w,
        (matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]) / w,
    )
