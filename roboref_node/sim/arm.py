"""The UR5 with a two-finger gripper as MuJoCo bodies, read from the URDF of the example-robot-data package."""

from __future__ import annotations

import os
import site
import sys
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

JOINT_NAMES = ("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint")
LINK_NAMES = ("base_link", "shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link", "tool0")
HOME_RAD = (0.0, -2.2, 2.2, -1.5708, -1.5708, 0.0)
"""Folded back over the base, tool pointing down."""

GRIPPER_TCP_M = 0.130
"""Distance along z of tool0 from the flange to the point between the finger tips."""
GRIPPER_MAX_OPENING_M = 0.110
FINGER_SIZE_M = (0.012, 0.022, 0.055)
ARM_GROUP = 1

_URDF = Path("example-robot-data/robots/ur_description/urdf/ur5_robot.urdf")


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


def _numbers(text: str | None) -> np.ndarray:
    return np.array([float(v) for v in (text or "0 0 0").split()])


def _origin(element: ET.Element | None) -> tuple[list[float], list[float]]:
    """Position and quaternion (w, x, y, z: MuJoCo's order) of a URDF ``<origin>``."""
    if element is None:
        return [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    xyzw = Rotation.from_euler("xyz", _numbers(element.get("rpy"))).as_quat()
    return _numbers(element.get("xyz")).tolist(), [xyzw[3], xyzw[0], xyzw[1], xyzw[2]]


def add_ur5(spec: Any, mujoco: Any) -> None:
    """Add the arm to `spec` (an ``MjSpec``) with base_link at the world origin: bodies named like the URDF's links.

    The links carry the collision STL meshes of the URDF: MuJoCo reads no DAE, and they are light enough to render fast.
    """
    path = ur5_urdf()
    share = path.parents[4]
    root = ET.parse(path).getroot()
    links = {link.get("name"): link for link in root.findall("link")}
    by_parent: dict[str, list[ET.Element]] = {}
    for joint in root.findall("joint"):
        parent = joint.find("parent")
        if parent is not None:
            by_parent.setdefault(str(parent.get("link")), []).append(joint)

    def add_link(parent: Any, name: str, position: list[float], quaternion: list[float]) -> None:
        body = parent.add_body(name=name, pos=position, quat=quaternion)
        mesh = links[name].find("collision/geometry/mesh")
        if mesh is not None:
            file = share / str(mesh.get("filename")).removeprefix("package://")
            spec.add_mesh(name=f"ur5/{name}", file=str(file), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
            body.add_geom(
                name=f"ur5/{name}", type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"ur5/{name}", group=ARM_GROUP,
                material="arm_joint" if name in ("shoulder_link", "wrist_1_link", "wrist_2_link", "wrist_3_link") else "arm",
            )  # fmt: skip
        for joint in by_parent.get(name, []):
            child = str(joint.find("child").get("link"))  # type: ignore[union-attr]
            if child not in LINK_NAMES:
                continue
            position, quaternion = _origin(joint.find("origin"))
            add_link(body, child, position, quaternion)
            if joint.get("type") == "revolute":
                limit = joint.find("limit")
                spec.body(child).add_joint(
                    name=str(joint.get("name")), type=mujoco.mjtJoint.mjJNT_HINGE, axis=_numbers(joint.find("axis").get("xyz")),  # type: ignore[union-attr]
                    range=[float(limit.get("lower")), float(limit.get("upper"))],  # type: ignore[union-attr,arg-type]
                )  # fmt: skip

    add_link(spec.worldbody, "base_link", [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    _add_gripper(spec.body("tool0"), mujoco)


def _add_gripper(tool0: Any, mujoco: Any) -> None:
    """Palm and two parallel fingers that close along x of tool0; each finger's slide joint is half the opening."""
    box = mujoco.mjtGeom.mjGEOM_BOX
    palm_end = GRIPPER_TCP_M - FINGER_SIZE_M[2]
    half_width = GRIPPER_MAX_OPENING_M / 2 + FINGER_SIZE_M[0]
    tool0.add_geom(
        name="gripper/flange", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.034, palm_end / 4, 0], pos=[0, 0, palm_end / 4],
        material="gripper", group=ARM_GROUP,
    )  # fmt: skip
    tool0.add_geom(
        name="gripper/palm", type=box, size=[half_width, 0.022, palm_end / 4], pos=[0, 0, palm_end * 3 / 4],
        material="gripper", group=ARM_GROUP,
    )  # fmt: skip
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = tool0.add_body(name=f"{side}_finger", pos=[sign * FINGER_SIZE_M[0] / 2, 0, palm_end + FINGER_SIZE_M[2] / 2])
        finger.add_joint(
            name=f"{side}_finger_joint", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[sign, 0, 0], range=[0, GRIPPER_MAX_OPENING_M / 2],
        )  # fmt: skip
        finger.add_geom(
            name=f"gripper/{side}", type=box, size=[s / 2 for s in FINGER_SIZE_M], material="gripper_finger", group=ARM_GROUP,
        )  # fmt: skip
