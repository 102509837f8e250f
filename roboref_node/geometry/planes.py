"""Planes: weighted least-squares fit, robust fit to a cloud, signed distance and intersection with rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Plane:
    """Points x with ``normal . x + offset_m = 0``; positive distance on the side the normal points to.

    Args:
        normal: Direction, shape (3,); normalised here together with the offset.
        offset_m: Metres once the normal has unit length.

    Raises:
        ValueError: The normal is shorter than 1e-9 or a number is not finite.
    """

    normal: FloatArray
    offset_m: float

    def __post_init__(self) -> None:
        normal = np.array(self.normal, dtype=np.float64).reshape(3)
        length = float(np.linalg.norm(normal))
        if not np.isfinite(length + self.offset_m) or length < 1e-9:
            raise ValueError(f"a plane needs a finite normal that is not zero, this one has length {length:.2g}")
        normal /= length
        normal.setflags(write=False)
        object.__setattr__(self, "normal", normal)
        object.__setattr__(self, "offset_m", float(self.offset_m) / length)

    @staticmethod
    def through(point_m: ArrayLike, normal: ArrayLike) -> Plane:
        """The plane through a point, shape (3,), with a normal of any length."""
        direction = np.asarray(normal, dtype=np.float64)
        return Plane(direction, -float(direction @ np.asarray(point_m, dtype=np.float64)))

    def signed_distance(self, points_m: ArrayLike) -> FloatArray:
        """Distance of points, shape (..., 3), in metres; negative behind the normal."""
        return np.asarray(points_m, dtype=np.float64) @ self.normal + self.offset_m

    def project(self, points_m: ArrayLike) -> FloatArray:
        """Foot points on the plane, shape (..., 3)."""
        points = np.asarray(points_m, dtype=np.float64)
        return points - self.signed_distance(points)[..., None] * self.normal

    def flipped(self) -> Plane:
        """The same plane with its normal turned round."""
        return Plane(-self.normal, -self.offset_m)

    def facing(self, point_m: ArrayLike) -> Plane:
        """The same plane with its normal on the side of a point, shape (3,)."""
        return self if float(self.signed_distance(point_m)) >= 0 else self.flipped()

    def depth_along(self, rays: ArrayLike) -> FloatArray:
        """Factor t >= 0 at which t times the ray, shape (..., 3), meets the plane; NaN when it does not."""
        slope = np.asarray(rays, dtype=np.float64) @ self.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -self.offset_m / slope
        return np.where((np.abs(slope) > 1e-9) & (t >= 0), t, np.nan)

    def transformed(self, target_from_source: Transform) -> Plane:
        """The plane in the target frame of a transform."""
        normal = target_from_source.rotate(self.normal)
        return Plane(normal, self.offset_m - float(normal @ target_from_source.translation_m))


def fit_plane(points_m: FloatArray, weights: FloatArray | None = None) -> tuple[Plane, float]:
    """Total least squares: the plane with the least weighted sum of squared distances, and their root mean square.

    Args:
        points_m: Shape (n, 3), n >= 3.
        weights: Shape (n,), inverse variances; None for equal ones.

    Raises:
        ValueError: Fewer than three points, or all on one line.
    """
    if len(points_m) < 3:
        raise ValueError(f"a plane needs three points, {len(points_m)} were given")
    w = np.ones(len(points_m)) if weights is None else weights
    centre = w @ points_m / w.sum()
    centred = points_m - centre
    values, vectors = np.linalg.eigh((centred * w[:, None]).T @ centred / w.sum())
    if values[1] < 1e-12 + 1e-9 * values[2]:
        raise ValueError("all points lie on one line")
    return Plane.through(centre, vectors[:, 0]), float(np.sqrt(max(values[0], 0.0)))


def fit_plane_ransac(
    points_m: FloatArray,
    distance_m: float,
    rng: np.random.Generator,
    *,
    iterations: int = 64,
    up: FloatArray | None = None,
    max_tilt_rad: float = 0.35,
) -> tuple[Plane, BoolArray]:
    """The plane with the most points within a distance, refined on them.

    All hypotheses are scored together on at most 600 random points.

    Args:
        points_m: Shape (n, 3).
        distance_m: Half thickness of the slab that counts as on the plane.
        rng: Source of the samples; the same generator state gives the same plane.
        iterations: Number of three-point hypotheses.
        up: Unit vector; hypotheses tilted from it by more than `max_tilt_rad` are dropped, and the normal points its way.
        max_tilt_rad: See `up`.

    Returns:
        The plane and the inlier mask, shape (n,).

    Raises:
        Refused: NO_DEPTH when there are fewer than three points, no hypothesis is allowed, or those on the best one lie on one line.
    """
    if len(points_m) < 3:
        raise Refused(Status.NO_DEPTH, f"a support plane needs three points, {len(points_m)} are known")
    triples = points_m[rng.integers(0, len(points_m), size=(iterations, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    allowed = lengths > 1e-9
    normals = normals / np.maximum(lengths, 1e-12)[:, None]
    if up is not None:
        allowed &= np.abs(normals @ up) > np.cos(max_tilt_rad)
    if not allowed.any():
        raise Refused(
            Status.NO_DEPTH, f"no plane within {np.degrees(max_tilt_rad):.0f} degrees of the vertical was found", max_tilt_rad=max_tilt_rad
        )
    normals, anchors = normals[allowed], triples[allowed, 0]
    offsets = -np.einsum("ij,ij->i", normals, anchors)
    sample = points_m if len(points_m) <= 600 else points_m[rng.integers(0, len(points_m), size=600)]
    # Truncated squared distance (MSAC) prefers the middle of a noisy slab to its edge.
    cost = np.minimum((sample @ normals.T + offsets) ** 2, distance_m**2).sum(axis=0)
    best = int(cost.argmin())
    plane = Plane(normals[best], float(offsets[best]))
    for _ in range(2):
        inliers = np.abs(plane.signed_distance(points_m)) < distance_m
        if inliers.sum() >= 3:
            try:
                plane, _ = fit_plane(points_m[inliers])
            except ValueError as error:
                raise Refused(Status.NO_DEPTH, f"a support plane needs more than a line: {error}") from error
    if up is not None and float(plane.normal @ up) < 0:
        plane = plane.flipped()
    return plane, np.asarray(np.abs(plane.signed_distance(points_m)) < distance_m)
