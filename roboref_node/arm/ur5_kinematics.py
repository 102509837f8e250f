"""All joint angles of a UR5 that put its flange at a pose, in closed form: up to eight postures per pose.

A path needs all postures, not one: which of them is free of collisions along the whole straight part is only known afterwards.
`goals.ik_ur5` answers the simpler question whether there is one at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform

FloatArray = NDArray[np.float64]

D1_M, A2_M, A3_M, D4_M, D5_M, D6_M = 0.089159, -0.425, -0.39225, 0.10915, 0.09465, 0.0823
"""Denavit-Hartenberg lengths; the URDF's are the same."""
_SINGULAR = 1e-7


def base_from_flange(joints_rad: FloatArray) -> Transform:
    """Pose of tool0 in base_link for six angles."""
    rotation, position = np.diag([-1.0, -1.0, 1.0]), np.zeros(3)
    lengths = ((D1_M, 0.0, 1.0), (0.0, A2_M, 0.0), (0.0, A3_M, 0.0), (D4_M, 0.0, 1.0), (D5_M, 0.0, -1.0), (D6_M, 0.0, 0.0))
    for angle, (along, out, twist) in zip(joints_rad, lengths, strict=True):
        c, s = np.cos(angle), np.sin(angle)
        # Rz(angle) Tz(along) Tx(out) Rx(twist * 90 degrees)
        position = position + rotation @ [c * out, s * out, along]
        rotation = rotation @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        if twist:
            rotation = rotation @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -twist], [0.0, twist, 0.0]])
    return Transform.from_rotation(rotation, position)


def postures(base_from_flange: Transform) -> FloatArray:
    """Every solution for a pose of tool0 in base_link, angles in (-pi, pi], shape (N, 6) with N up to 8, 0 when out of reach."""
    # The DH frames start at the controller's "base", half a turn about z from base_link.
    rotation = base_from_flange.rotation * np.array([[-1.0], [-1.0], [1.0]])
    position = base_from_flange.translation_m * np.array([-1.0, -1.0, 1.0])
    found: list[list[float]] = []
    wrist = position - D6_M * rotation[:, 2]
    radius = float(np.hypot(wrist[0], wrist[1]))
    if radius < D4_M:
        return np.empty((0, 6))
    bearing, aside = np.arctan2(wrist[1], wrist[0]), np.arcsin(D4_M / radius)
    for pan in (bearing + aside, bearing + np.pi - aside):
        s1, c1 = np.sin(pan), np.cos(pan)
        side = np.array([s1, -c1, 0.0])
        c5 = (position @ side - D4_M) / D6_M
        if abs(c5) > 1.0 + 1e-9:
            continue
        turn = float(np.arccos(np.clip(c5, -1.0, 1.0)))
        for wrist_2 in (turn, -turn):
            s5 = np.sin(wrist_2)
            row = side @ rotation
            wrist_3 = float(np.arctan2(-row[1] / s5, row[0] / s5)) if abs(s5) > _SINGULAR else 0.0
            found += _planar(rotation, position, float(pan), wrist_2, wrist_3)
    turned = np.array(found).reshape(-1, 6)
    return np.asarray(-((-turned + np.pi) % (2.0 * np.pi) - np.pi), dtype=np.float64)


def _planar(rotation: FloatArray, position: FloatArray, pan: float, wrist_2: float, wrist_3: float) -> list[list[float]]:
    """The two elbow postures once the angles that leave the arm's plane are known."""
    c1, s1 = np.cos(pan), np.sin(pan)
    # Frame 1 of the DH chain: z across the arm's plane.
    one_from_base = np.array([[c1, s1, 0.0], [0.0, 0.0, 1.0], [s1, -c1, 0.0]])
    c5, s5, c6, s6 = np.cos(wrist_2), np.sin(wrist_2), np.cos(wrist_3), np.sin(wrist_3)
    four_from_five = np.array([[c5, 0.0, -s5], [s5, 0.0, c5], [0.0, -1.0, 0.0]])
    five_from_six = np.array([[c6, -s6, 0.0], [s6, c6, 0.0], [0.0, 0.0, 1.0]])
    one_from_six = one_from_base @ rotation
    one_from_four = one_from_six @ (four_from_five @ five_from_six).T
    # Back along the chain: frame 6 lies D6 along z6, frame 5 lies D5 along z4, frame 4 lies D4 across the plane.
    here = one_from_base @ (position - [0.0, 0.0, D1_M]) - D6_M * one_from_six[:, 2] - D5_M * one_from_four[:, 2]
    x, y = float(here[0]), float(here[1])
    bend = float(np.arctan2(one_from_four[1, 0], one_from_four[0, 0]))
    c3 = (x * x + y * y - A2_M**2 - A3_M**2) / (2.0 * A2_M * A3_M)
    if abs(c3) > 1.0 + 1e-9:
        return []
    out = []
    fold = float(np.arccos(np.clip(c3, -1.0, 1.0)))
    for elbow in (fold, -fold):
        lift = float(np.arctan2(y, x) - np.arctan2(A3_M * np.sin(elbow), A2_M + A3_M * np.cos(elbow)))
        out.append([pan, lift, elbow, bend - lift - elbow, wrist_2, wrist_3])
    return out


def nearest_turns(joints_rad: FloatArray, reference_rad: Sequence[float] | FloatArray, limits_rad: FloatArray) -> FloatArray | None:
    """The same posture with each joint turned by whole turns so that it is nearest to a reference within its limits.

    Args:
        joints_rad: Shape (6,).
        reference_rad: Shape (6,).
        limits_rad: Lowest and highest angle per joint, shape (6, 2).

    Returns:
        Shape (6,), or None when a joint has no such angle.
    """
    options = joints_rad[:, None] + 2.0 * np.pi * np.arange(-2, 3)
    allowed = (options >= limits_rad[:, :1]) & (options <= limits_rad[:, 1:])
    if not allowed.any(axis=1).all():
        return None
    apart = np.where(allowed, np.abs(options - np.asarray(reference_rad)[:, None]), np.inf)
    return np.asarray(options[np.arange(6), apart.argmin(axis=1)], dtype=np.float64)
