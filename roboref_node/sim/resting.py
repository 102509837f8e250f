"""Where the arm rests: folded over its base and turned to where it hides least of the table from the camera, and hangs over least of it.

Whoever sets up a cell chooses such a posture by hand; here it follows from where the camera stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import GRIPPER_TIP_M, HOME_RAD, arm_frames
from roboref_node.sim.scene import SceneSettings, SceneSpec

FloatArray = NDArray[np.float64]

PANS_RAD = (0.0, 0.6, -0.6, 1.2, -1.2, 1.8, -1.8, 2.4, -2.4)
THICK_M = 0.09
"""Half of how thick the arm looks, its gripper included."""
HELD_REACH_M = 0.20
"""How far beside the arm what it holds may reach."""
HANGING_M = 0.10
"""How far what is held reaches below the finger tips."""
TURN_COST = 0.02
"""Share of the table that a turn by one radian is worth: turning away costs time."""
_GRID = (9, 15)


def resting_postures(spec: SceneSpec) -> tuple[tuple[float, ...], ...]:
    """Resting postures of a cell, rad, the best one first."""
    points = _table_points(spec)
    eye = spec.world_from_optical.translation_m
    parts = [_samples((pan, *HOME_RAD[1:])) for pan in PANS_RAD]
    cost = [_hidden(points, eye, s) + _covered(points, s) + TURN_COST * abs(pan) for pan, s in zip(PANS_RAD, parts, strict=True)]
    return tuple((PANS_RAD[i], *HOME_RAD[1:]) for i in np.argsort(cost, kind="stable"))


def _table_points(spec: SceneSpec) -> FloatArray:
    """Points on and over the table where objects stand, as far as the camera sees them, shape (N, 3)."""
    settings = SceneSettings()
    x, y, z = np.meshgrid(np.linspace(*settings.region_x_m, _GRID[0]), np.linspace(*settings.region_y_m, _GRID[1]), (0.0, 0.12))
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    optical = spec.world_from_optical.inverse().apply(points)
    ahead = optical[:, 2] > 0.05
    points, optical = points[ahead], optical[ahead]
    return np.asarray(points[spec.camera.on_image(spec.camera.project(optical))])


def _samples(joints_rad: tuple[float, ...]) -> FloatArray:
    """Points along the arm and what hangs in its gripper, shape (S, 3)."""
    corners, pose = [np.zeros(3)], Transform.identity()
    for _, _, step in arm_frames(joints_rad):
        pose = pose @ step
        corners.append(pose.translation_m)
    corners.append(pose.apply([0.0, 0.0, GRIPPER_TIP_M + HANGING_M]))
    steps = np.linspace(0.0, 1.0, 9)[:, None]
    return np.concatenate([first + steps * (second - first) for first, second in zip(corners, corners[1:], strict=False)])


def _hidden(points: FloatArray, eye: FloatArray, samples: FloatArray) -> float:
    """Share of the points whose line of sight passes the arm."""
    if len(points) == 0:
        return 0.0
    ray = points - eye
    share = (
        np.einsum("psj,pj->ps", np.broadcast_to(samples - eye, (len(ray), *samples.shape)), ray) / np.einsum("pj,pj->p", ray, ray)[:, None]
    )
    nearest = eye + np.clip(share, 0.0, 1.0)[:, :, None] * ray[:, None]
    return float(np.mean((np.linalg.norm(nearest - samples, axis=2) < THICK_M).any(axis=1)))


def _covered(points: FloatArray, samples: FloatArray) -> float:
    """Share of the points over or beside which the arm or what it holds hangs: nothing can be put there."""
    if len(points) == 0:
        return 0.0
    apart = np.linalg.norm(points[:, None, :2] - samples[:, :2], axis=2)
    return float(np.mean((apart < HELD_REACH_M).any(axis=1)))
