"""What a stereo depth camera does to a perfect depth image: noise growing with range, quantisation, holes and flying pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.depth import DepthNoise


@dataclass(frozen=True)
class DepthNoiseSettings:
    """Parameters of `add_depth_noise`; the defaults resemble a RealSense D435 at 848x480.

    Args:
        noise: Standard deviation against range: 0.8 mm at 0.5 m, 1.7 mm at 1 m.
        quantum_m: Step of the readings; 0.001 is what 16UC1 can carry.
        edge_jump: A step between neighbours larger than this fraction of the range is an edge.
        edge_hole_probability: Chance that a pixel beside an edge has no reading.
        flying_probability: Chance that it has a reading between the two surfaces instead.
        dropouts: Mean number of holes away from edges.
        dropout_radius_px: Largest radius of such a hole, at 640 pixels of width.
        range_m: Readings outside this interval do not exist.
    """

    noise: DepthNoise = field(default_factory=lambda: DepthNoise(base_m=0.0005, quadratic_per_m=0.0012))
    quantum_m: float = 0.001
    edge_jump: float = 0.025
    edge_hole_probability: float = 0.55
    flying_probability: float = 0.06
    dropouts: float = 3.0
    dropout_radius_px: float = 4.0
    range_m: tuple[float, float] = (0.25, 6.0)

    def __post_init__(self) -> None:
        if not 0 <= self.edge_hole_probability + self.flying_probability <= 1:
            raise ValueError("edge_hole_probability and flying_probability must not be negative and sum to at most 1")
        if not 0 < self.range_m[0] < self.range_m[1]:
            raise ValueError(f"range_m is {self.range_m}; it must be (low, high) with 0 < low < high")


def add_depth_noise(
    depth_m: NDArray[np.float32], rng: np.random.Generator, settings: DepthNoiseSettings | None = None
) -> NDArray[np.float32]:
    """A noisy copy of a depth image.

    Args:
        depth_m: Perfect depth along the optical axis, float32 (H, W), NaN where unknown.
        rng: Source of randomness; the same state gives the same image.
        settings: Parameters; the defaults when None.

    Returns:
        float32 (H, W), a multiple of `quantum_m`, NaN where there is no reading.
    """
    settings = settings or DepthNoiseSettings()
    height, width = depth_m.shape
    known = np.nan_to_num(depth_m, nan=0.0)
    window = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(known, window), cv2.dilate(known, window)
    # Relative to the range, because the step between pixels on one slanted surface grows with it.
    edge = (far - near) > settings.edge_jump * far
    noise = settings.noise
    sigma = np.float32(noise.base_m) + np.float32(noise.quadratic_per_m) * known * known
    noisy = known + sigma * rng.standard_normal(depth_m.shape, dtype=np.float32)
    v, u = np.nonzero(edge)
    draw = rng.random(len(v), dtype=np.float32)
    flying = (draw >= settings.edge_hole_probability) & (draw < settings.edge_hole_probability + settings.flying_probability)
    fv, fu = v[flying], u[flying]
    between = rng.random(len(fv), dtype=np.float32)
    noisy[fv, fu] = near[fv, fu] + between * (far[fv, fu] - near[fv, fu])
    hole = draw < settings.edge_hole_probability
    noisy[v[hole], u[hole]] = 0.0
    for _ in range(int(rng.poisson(settings.dropouts))):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        radius = rng.uniform(0.5, settings.dropout_radius_px, 2) * width / 640.0
        axes = (max(int(radius[0]), 1), max(int(radius[1]), 1))
        cv2.ellipse(noisy, center, axes, float(rng.uniform(0, 180)), 0, 360, 0.0, -1)
    if settings.quantum_m > 0:
        quantum = np.float32(settings.quantum_m)
        noisy = np.rint(noisy / quantum, out=noisy) * quantum
    noisy[(known <= 0.0) | (noisy < settings.range_m[0]) | (noisy > settings.range_m[1])] = np.nan
    return noisy
