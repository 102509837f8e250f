"""The UR5 with a two-finger gripper, read from the URDF of the example-robot-data package: frames, and MuJoCo bodies."""

from __future__ import annotations

import os
import site
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform

JOINT_NAMES = ("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint")
HOME_RAD = (0.0, -2.2, 2.2, -1.5708, -1.5708, 0.0)
"""Folded back over the base, tool pointing down."""

# The gripper of config/ur5.yaml.
GRIPPER_TIP_M = 0.163
"""Distance along z of tool0 from the flange to the point between the finger tips."""
GRIPPER_MAX_OPENING_M = 0.085
FINGER_SIZE_M = (0.014, 0.022, 0.045)
PALM_SIZE_M = (0.15, 0.075)
ARM_GROUP = 1

_URDF = Path("example-robot-data/robots/ur_description/urdf/ur5_robot.urdf")
_BLUE_CAPS = ("shoulder_link", "wrist_1_link", "wrist_2_link", "wrist_3_link")


@dataclass(frozen=True, eq=False)
class ArmJoint:
    """One joint of the chain from base_link to tool0.

    Args:
        name, parent, child: Joint and link names.
        parent_from_child: Pose of the child at joint angle 0.
        axis: Unit axis in the child's frame; None for a fixed joint.
        limits_rad: Lowest and highest angle.
        mesh: STL file of the child link, None where it has none.
    """

    name: str
    parent: str
    child: str
    parent_from_child: Transform
    axis: tuple[float, float, float] | None
    limits_rad: tuple[float, float]
    mesh: Path | None

    def at(self, angle_rad: float) -> Transform:
        """parent_from_child at a joint angle."""
        if self.axis is None:
            return self.parent_from_child
        return self.parent_from_child @ Transform(Rotation.from_rotvec(angle_rad * np.array(self.axis)).as_quat(), np.zeros(3))


@cache
def ur5_urdf() -> Path:
    """Path of the UR5's URDF.

    Looked for in this Python environment (wheel `example-robot-data`), then in every ament prefix (package
    `ros-<distro>-example-robot-data`).

    Raises:
        FileNotFoundError: Neither has it.
    """
    sites = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
    roots = [Path(s) / "cmeel.prefix/share" for s in sites]
    roots += [Path(p) / "share" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for root in roots:
        if (root / _URDF).is_file():
            return root / _URDF
    raise FileNotFoundError("the UR5 model is missing: pip install example-robot-data (or apt install ros-$ROS_DISTRO-example-robot-data)")


@cache
def arm_chain() -> tuple[ArmJoint, ...]:
    """The six moving joints in the order of `JOINT_NAMES`, then the fixed one to tool0.

    Links carry their collision meshes: MuJoCo reads no DAE, and these are light enough to draw fast.
    """
    root = ET.parse(ur5_urdf()).getroot()
    joints = {str(joint.get("name")): joint for joint in root.findall("joint") if joint.find("child") is not None}
    chain = []
    for name in (*JOINT_NAMES, "wrist_3_link-tool0_fixed_joint"):
        joint = joints[name]
        child = _attribute(joint, "child", "link")
        axis = limits = None
        if joint.get("type") == "revolute":
            x, y, z = _numbers(_attribute(joint, "axis", "xyz"))
            axis, limits = (x, y, z), (float(_attribute(joint, "limit", "lower")), float(_attribute(joint, "limit", "upper")))
        rotation = Rotation.from_euler("xyz", _numbers(_attribute(joint, "origin", "rpy")))
        pose = Transform(rotation.as_quat(), np.array(_numbers(_attribute(joint, "origin", "xyz"))))
        chain.append(ArmJoint(name, _attribute(joint, "parent", "link"), child, pose, axis, limits or (0.0, 0.0), _mesh(root, child)))
    return tuple(chain)


def arm_frames(joints_rad: Sequence[float]) -> list[tuple[str, str, Transform]]:
    """Forward kinematics as (parent, child, parent_from_child) along the chain, the last one ending in tool0."""
    angles = (*joints_rad, 0.0)
    return [(joint.parent, joint.child, joint.at(angle)) for joint, angle in zip(arm_chain(), angles, strict=True)]


def base_from_tool0(joints_rad: Sequence[float]) -> Transform:
    """Pose of the flange in base_link."""
    pose = Transform.identity()
    for _, _, step in arm_frames(joints_rad):
        pose = pose @ step
    return pose


def add_ur5(spec: Any, mujoco: Any) -> None:
    """Add the arm to `spec` (an ``MjSpec``) with base_link at the world origin: bodies named like the URDF's links."""
    base_mesh = _mesh(ET.parse(ur5_urdf()).getroot(), "base_link")
    body = spec.worldbody.add_body(name="base_link")
    _add_mesh(spec, mujoco, body, "base_link", base_mesh)
    for joint in arm_chain():
        x, y, z, w = joint.parent_from_child.quaternion_xyzw
        body = body.add_body(name=joint.child, pos=joint.parent_from_child.translation_m, quat=[w, x, y, z])
        if joint.axis is not None:
            body.add_joint(name=joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=joint.axis, range=joint.limits_rad)
        _add_mesh(spec, mujoco, body, joint.child, joint.mesh)
    _add_gripper(body, mujoco)


def _add_mesh(spec: Any, mujoco: Any, body: Any, link: str, mesh: Path | None) -> None:
    if mesh is None:
        return
    spec.add_mesh(name=f"ur5/{link}", file=str(mesh), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    material = "arm_joint" if link in _BLUE_CAPS else "arm"
    body.add_geom(name=f"ur5/{link}", type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"ur5/{link}", group=ARM_GROUP, material=material)


def _add_gripper(tool0: Any, mujoco: Any) -> None:
    """Flange, palm and two parallel fingers that close along x of tool0; each finger's slide joint is half the opening."""
    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    palm_end = GRIPPER_TIP_M - FINGER_SIZE_M[2]
    neck, palm = 0.4 * palm_end, 0.6 * palm_end
    common = {"material": "gripper", "group": ARM_GROUP}
    tool0.add_geom(name="gripper/neck", type=cylinder, size=[0.034, neck / 2, 0], pos=[0, 0, neck / 2], **common)
    tool0.add_geom(
        name="gripper/palm", type=box, size=[PALM_SIZE_M[0] / 2, PALM_SIZE_M[1] / 2, palm / 2], pos=[0, 0, neck + palm / 2], **common
    )
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = tool0.add_body(name=f"{side}_finger", pos=[sign * FINGER_SIZE_M[0] / 2, 0, palm_end + FINGER_SIZE_M[2] / 2])
        slide, limits = mujoco.mjtJoint.mjJNT_SLIDE, [0, GRIPPER_MAX_OPENING_M / 2]
        finger.add_joint(name=f"{side}_finger_joint", type=slide, axis=[sign, 0, 0], range=limits)
        finger.add_geom(name=f"gripper/{side}", type=box, size=[s / 2 for s in FINGER_SIZE_M], material="gripper_finger", group=ARM_GROUP)


def _attribute(element: ET.Element, child: str, name: str) -> str:
    found = element.find(child)
    value = None if found is None else found.get(name)
    if value is None:
        raise ValueError(f"{ur5_urdf()}: joint {element.get('name')!r} has no <{child} {name}=...>")
    return value


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split()]


def _mesh(root: ET.Element, link: str) -> Path | None:
    mesh = root.find(f"link[@name='{link}']/collision/geometry/mesh")
    return None if mesh is None else ur5_urdf().parents[4] / str(mesh.get("filename")).removeprefix("package://")
