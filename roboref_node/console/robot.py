"""The UR5 as the page shows it: a mesh for each link, and where they are for given joint angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import JOINT_NAMES, PALM_SIZE_M, arm_chain, arm_frames

_GREY, _DARK = (160, 163, 170, 255), (60, 60, 64, 255)


def link_meshes() -> dict[str, Any]:
    """A trimesh for each link that has one, in the link's frame, and one for the gripper's body.

    Raises:
        FileNotFoundError: The robot's description is not installed.
    """
    import trimesh

    meshes: dict[str, Any] = {}
    for joint in arm_chain():
        if joint.mesh is not None:
            mesh = trimesh.load_mesh(joint.mesh)
            mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=_GREY)
            meshes[joint.child] = mesh
    palm = trimesh.creation.box((*PALM_SIZE_M, 0.1))
    palm.apply_translation((0.0, 0.0, 0.05))
    palm.visual = trimesh.visual.ColorVisuals(palm, face_colors=_DARK)
    meshes["tool0"] = palm
    return meshes


def link_poses(names: Sequence[str], positions_rad: Sequence[float]) -> dict[str, Transform] | None:
    """base_from_link of every link, or None when a joint is missing.

    Args:
        names: Of the joints, in the order of `positions_rad`.
        positions_rad: Their angles.
    """
    angles: Mapping[str, float] = dict(zip(names, positions_rad, strict=False))
    if not set(JOINT_NAMES) <= set(angles):
        return None
    poses: dict[str, Transform] = {}
    for parent, child, parent_from_child in arm_frames([angles[name] for name in JOINT_NAMES]):
        poses[child] = poses[parent] @ parent_from_child if parent in poses else parent_from_child
    return poses
