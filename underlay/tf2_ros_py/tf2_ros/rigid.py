"""Rigid transforms as plain floats: a translation in metres and a unit quaternion in the order x, y, z, w."""

from __future__ import annotations

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
NO_MOTION: tuple[Vector, Quaternion] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def compose(a_from_b: tuple[Vector, Quaternion], b_from_c: tuple[Vector, Quaternion]) -> tuple[Vector, Quaternion]:
    """`a_from_c`."""
    (ax, ay, az), (x, y, z, w) = a_from_b
    (bx, by, bz), (u, v, s, r) = b_from_c
    # q * p * q^-1 of a unit quaternion: p + 2 w (q x p) + 2 q x (q x p)
    cx, cy, cz = 2.0 * (y * bz - z * by), 2.0 * (z * bx - x * bz), 2.0 * (x * by - y * bx)
    return (
        (ax + bx + w * cx + y * cz - z * cy, ay + by + w * cy + z * cx - x * cz, az + bz + w * cz + x * cy - y * cx),
        (
            w * u + x * r + y * s - z * v,
            w * v - x * s + y * r + z * u,
            w * s + x * v - y * u + z * r,
            w * r - x * u - y * v - z * s,
        ),
    )


def invert(a_from_b: tuple[Vector, Quaternion]) -> tuple[Vector, Quaternion]:
    """`b_from_a`."""
    (px, py, pz), (x, y, z, w) = a_from_b
    inverse = (-x, -y, -z, w)
    translation, _ = compose(((0.0, 0.0, 0.0), inverse), ((-px, -py, -pz), NO_MOTION[1]))
    return translation, inverse
