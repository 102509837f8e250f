"""Paths in time: a speed that respects limits at both ends, and that can be braked at any moment without leaving the path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from roboref_node.arm.paths import Path

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Speeds:
    """Limits of a track. Along free paths for the fastest joint (rad/s, rad/s2), along straight ones for the tool (m/s, m/s2).

    Braking on request is harder than slowing down at the end of a path.
    """

    joint: float = 1.6
    joint_acceleration: float = 4.0
    joint_braking: float = 20.0
    tool: float = 0.22
    tool_acceleration: float = 0.8
    tool_braking: float = 4.0


class Track:
    """One path being followed: rest to rest, advanced step by step.

    Args:
        path: Waypoints.
        speeds: Limits.
        length_m: Length of the tool's line for a straight path.
    """

    def __init__(self, path: Path, speeds: Speeds, length_m: float = 0.0) -> None:
        points = path.waypoints_rad
        steps = np.abs(np.diff(points, axis=0)).max(axis=1)
        travel = float(steps.sum())
        self._straight = path.straight and length_m > 1e-6
        self._length = length_m if self._straight else travel
        limits = (speeds.tool, speeds.tool_acceleration, speeds.tool_braking)
        joint = (speeds.joint, speeds.joint_acceleration, speeds.joint_braking)
        self._limits = limits if self._straight else joint
        if self._straight:
            # A line near a singular posture turns joints fast: slow it down as a whole.
            fastest = float(steps.max()) / (self._length / len(steps))
            self._limits = (min(self._limits[0], speeds.joint / max(fastest, 1e-9)), *self._limits[1:])
            knots = np.linspace(0.0, self._length, len(points))
        else:
            knots = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-9))])
            self._length = float(knots[-1])
        self._spline = (
            CubicSpline(knots, points, bc_type="natural") if len(points) > 2 else CubicSpline(knots, points, bc_type="not-a-knot")
        )
        self._at, self._speed, self._braking = 0.0, 0.0, False

    @property
    def progress(self) -> float:
        """Share of the path that is behind, 0 to 1."""
        return self._at / self._length if self._length > 0.0 else 1.0

    @property
    def finished(self) -> bool:
        """Whether the end is reached, or the track stands after braking."""
        return self._at >= self._length or (self._braking and self._speed <= 0.0)

    def brake(self) -> None:
        """From now on slow down to a stand on the path."""
        self._braking = True

    def advance(self, dt_s: float) -> tuple[FloatArray, FloatArray]:
        """Angles and speeds (rad, rad/s) one time step later, each of shape (6,)."""
        top, acceleration, braking = self._limits
        if self._braking:
            self._speed = max(0.0, self._speed - braking * dt_s)
        else:
            left = max(self._length - self._at, 0.0)
            wanted = min(top, float(np.sqrt(2.0 * acceleration * left)))
            self._speed = min(wanted, self._speed + acceleration * dt_s)
        self._at += self._speed * dt_s
        if not self._braking and self._length - self._at < 1e-4:
            self._at, self._speed = self._length, 0.0
        return np.asarray(self._spline(self._at)), np.asarray(self._spline(self._at, 1)) * self._speed
