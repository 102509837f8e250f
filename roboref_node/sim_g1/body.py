"""The Unitree G1 from the URDF of the example-robot-data package: where its camera sits, and what its hands can reach.

Frames: ``pelvis`` is x forward, z up. The legs are not simulated; the pelvis stands `PELVIS_HEIGHT_M` over the floor.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import ur5_urdf

FloatArray = NDArray[np.float64]

PELVIS = "pelvis"
CAMERA_LINK = "d435_link"
SIDES = ("left", "right")
PELVIS_HEIGHT_M = 0.792
"""Legs straight: the soles are this far below the pelvis in the URDF."""
BODY_RADIUS_M = 0.25
"""Half the diagonal of the standing robot seen from above, 0.45 x 0.20 m by its maker."""
GRASP_POINT_M = (0.09, 0.0, 0.0)
"""Middle of the palm in the frame of a rubber hand, whose mesh is 0.13 m long."""
MAX_LEAN_RAD = 0.4
"""How far the torso leans forward to reach; the joint ``waist_pitch_joint`` goes to 0.52."""

_URDF = Path("g1_description/urdf/g1_29dof_rev_1_0.urdf")
_WAIST_PITCH = "waist_pitch_joint"
_SOLVED_M = 0.005


@dataclass(frozen=True, eq=False)
class BodyJoint:
    """One joint of the URDF.

    Args:
        name, parent, child: Joint and link names.
        parent_from_child: Pose of the child at angle 0.
        axis: Unit axis in the child's frame; None for a fixed joint.
        limits_rad: Lowest and highest angle.
    """

    name: str
    parent: str
    child: str
    parent_from_child: Transform
    axis: tuple[float, float, float] | None
    limits_rad: tuple[float, float]

    def at(self, angle_rad: float) -> Transform:
        """parent_from_child at a joint angle."""
        if self.axis is None:
            return self.parent_from_child
        return self.parent_from_child @ Transform(Rotation.from_rotvec(angle_rad * np.array(self.axis)).as_quat(), np.zeros(3))


@cache
def g1_urdf() -> Path:
    """Path of the G1's URDF, beside the UR5's.

    Raises:
        FileNotFoundError: The installed example-robot-data has no G1.
    """
    path = ur5_urdf().parents[2] / _URDF
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the G1 comes with example-robot-data 6.0 and later (pip install -U example-robot-data)"
        )
    return path


@cache
def chain(link: str) -> tuple[BodyJoint, ...]:
    """The joints from the pelvis to a link, in order.

    Raises:
        ValueError: The URDF has no such link below the pelvis.
    """
    by_child = {joint.child: joint for joint in _joints()}
    found: list[BodyJoint] = []
    while link != PELVIS:
        if link not in by_child:
            raise ValueError(f"{g1_urdf().name} has no link {link!r} below the pelvis")
        found.append(by_child[link])
        link = found[-1].parent
    return tuple(reversed(found))


def pelvis_from(link: str, angles_rad: Mapping[str, float] | None = None) -> Transform:
    """Forward kinematics: pose of a link in the pelvis; joints that are not named stand at 0."""
    pose = Transform.identity()
    for joint in chain(link):
        pose = pose @ joint.at((angles_rad or {}).get(joint.name, 0.0))
    return pose


def shoulder_m(lean_rad: float = 0.0) -> FloatArray:
    """The left shoulder over the floor under the pelvis, shape (3,), with the torso leaned forward."""
    position = pelvis_from("left_shoulder_pitch_link", {_WAIST_PITCH: lean_rad}).translation_m
    return np.asarray(position + [0.0, 0.0, PELVIS_HEIGHT_M])


def hand_angles(point_m: ArrayLike, *, max_lean_rad: float = MAX_LEAN_RAD, tries: int = 6) -> dict[str, float] | None:
    """Joint angles that bring the palm of either hand to a point: waist pitch and the seven joints of the arm, within their limits.

    Position only, and without a check for collisions: a point without a solution cannot be reached, one with a solution
    probably can.

    Args:
        point_m: In the pelvis frame, shape (3,).
        max_lean_rad: How far the torso may lean forward.
        tries: Starting configurations for each arm.

    Returns:
        Angles by joint name, or None when neither arm comes within 5 mm.
    """
    point = np.asarray(point_m, dtype=np.float64)
    for side in SIDES if point[1] >= 0.0 else SIDES[::-1]:
        joints = _reaching(side)
        low = np.array([0.0 if joint.name == _WAIST_PITCH else joint.limits_rad[0] for joint in joints])
        # The solver wants an interval even for a torso that stays upright.
        high = np.array([max(max_lean_rad, 1e-6) if joint.name == _WAIST_PITCH else joint.limits_rad[1] for joint in joints])
        rng = np.random.default_rng(0)
        for _ in range(tries):
            start = rng.uniform(0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high)
            solution = least_squares(
                lambda q, s=side: _palm(s, q)[0] - point, start, jac=lambda q, s=side: _palm(s, q)[1], bounds=(low, high), max_nfev=60
            )
            if np.linalg.norm(solution.fun) <= _SOLVED_M:
                return {joint.name: float(angle) for joint, angle in zip(joints, solution.x, strict=True)}
    return None


def _palm(side: str, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Position of the palm in the pelvis and its Jacobian (3, 8); plain matrices, because the solver asks hundreds of times."""
    rotation, position = np.eye(3), np.zeros(3)
    axes, origins = [], []
    for turn, offset, axis in _arm_matrices(side):
        position = position + rotation @ offset
        rotation = rotation @ turn
        if axis is not None:
            axes.append(rotation @ axis)
            origins.append(position)
            rotation = rotation @ _about(axis, angles[len(axes) - 1])
    palm = position + rotation @ np.array(GRASP_POINT_M)
    return palm, np.cross(np.array(axes), palm - np.array(origins)).T


def _about(axis: FloatArray, angle: float) -> FloatArray:
    """Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross)


@cache
def _reaching(side: str) -> tuple[BodyJoint, ...]:
    """The joints that reach, from the pelvis outwards; the waist's yaw and roll stay at 0."""
    return tuple(
        joint
        for joint in chain(f"{side}_rubber_hand")
        if joint.axis is not None and joint.name not in ("waist_yaw_joint", "waist_roll_joint")
    )


@cache
def _arm_matrices(side: str) -> tuple[tuple[FloatArray, FloatArray, FloatArray | None], ...]:
    """Rotation and offset of each joint of the chain, and its axis where it reaches."""
    reaching = {joint.name for joint in _reaching(side)}
    return tuple(
        (joint.parent_from_child.rotation, joint.parent_from_child.translation_m, np.array(joint.axis) if joint.name in reaching else None)
        for joint in chain(f"{side}_rubber_hand")
    )


@cache
def _joints() -> tuple[BodyJoint, ...]:
    found = []
    for joint in ET.parse(g1_urdf()).getroot().findall("joint"):
        origin, axis, limit = joint.find("origin"), joint.find("axis"), joint.find("limit")
        xyz, rpy = ("0 0 0", "0 0 0") if origin is None else (origin.get("xyz", "0 0 0"), origin.get("rpy", "0 0 0"))
        pose = Transform(Rotation.from_euler("xyz", _numbers(rpy)).as_quat(), np.array(_numbers(xyz)))
        turns = joint.get("type") == "revolute" and axis is not None and limit is not None
        x, y, z = _numbers(axis.get("xyz", "1 0 0")) if turns and axis is not None else (1.0, 0.0, 0.0)
        limits = (float(limit.get("lower", 0.0)), float(limit.get("upper", 0.0))) if turns and limit is not None else (0.0, 0.0)
        parent, child = (str(element.get("link")) for element in (joint.find("parent"), joint.find("child")) if element is not None)
        found.append(BodyJoint(str(joint.get("name")), parent, child, pose, (x, y, z) if turns else None, limits))
    return tuple(found)


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split()]
