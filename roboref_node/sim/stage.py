"""The MuJoCo model behind `SceneRenderer`: object slots, table, shelf, room, lights, camera and all materials, compiled once."""

from __future__ import annotations

from typing import Any

import mujoco

from roboref_node.sim.appearance import PLAIN, textures
from roboref_node.sim.arm import add_ur5
from roboref_node.sim.meshes import catalogue

LIGHTS = 2
NEAR_M, FAR_M = 0.05, 8.0
_EXTENT_M = 1.0
_FLOOR_Z_M = -0.75
_ROOM_HALF_M = 2.4
_ROOM_CENTER = (0.5, 0.0)
_TEXTURE_TILE_M = 0.45


def build_model(width: int, height: int, arm: bool, max_objects: int, shadow_px: int, samples: int) -> Any:
    """Compile the model; geoms are named ``slot/<i>``, ``table``, ``shelf``, ``floor``, ``wall/<i>``, materials like the textures."""
    spec = mujoco.MjSpec()
    spec.stat.extent, spec.stat.center = _EXTENT_M, (0.5, 0.0, 0.0)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = shadow_px, samples
    spec.visual.map.znear, spec.visual.map.zfar = NEAR_M / _EXTENT_M, FAR_M / _EXTENT_M
    spec.visual.map.shadowclip, spec.visual.map.shadowscale = 1.1, 0.9
    _add_materials(spec, max_objects)
    for variant in catalogue():
        if variant.mesh is not None:
            spec.add_mesh(
                name=f"variant/{variant.index}", uservert=variant.mesh.vertices_m.ravel(), userface=variant.mesh.faces.ravel(),
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            )  # fmt: skip
    world = spec.worldbody
    box = mujoco.mjtGeom.mjGEOM_BOX
    # Off-centre on purpose: MuJoCo ignores a later geom_pos where the compiled one coincides with its body's frame.
    for name in (*(f"slot/{i}" for i in range(max_objects)), "table", "shelf"):
        material = name if name.startswith("slot") else PLAIN
        world.add_geom(
            name=name,
            type=box,
            size=[0.1, 0.1, 0.1],
            pos=[0.3, 0.2, 0.1],
            quat=[0.9, 0.1, 0.2, 0.3],
            material=material,
            contype=0,
            conaffinity=0,
        )
    cx, cy = _ROOM_CENTER
    half, top = _ROOM_HALF_M, 1.6
    world.add_geom(name="floor", type=box, size=[half, half, 0.05], pos=[cx, cy, _FLOOR_Z_M - 0.05], material=PLAIN)
    for i, (dx, dy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        size = [0.05 if dx else half, 0.05 if dy else half, (top - _FLOOR_Z_M) / 2]
        world.add_geom(name=f"wall/{i}", type=box, size=size, pos=[cx + dx * half, cy + dy * half, (top + _FLOOR_Z_M) / 2], material=PLAIN)
    for i in range(LIGHTS):
        world.add_light(name=f"light/{i}", pos=[0, 0, 2], dir=[0, 0, -1], cutoff=60, exponent=4)
    world.add_camera(name="camera", pos=[1, 0, 1], sensor_size=[width, height], focal_pixel=[width, width], resolution=[width, height])
    if arm:
        add_ur5(spec, mujoco)
    model = spec.compile()
    model.geom_sameframe[:] = 0
    return model


def _add_materials(spec: Any, max_objects: int) -> None:
    for i in range(max_objects):
        spec.add_material(name=f"slot/{i}", specular=0.25, shininess=0.3)
    spec.add_material(name=PLAIN, specular=0.1, shininess=0.1)
    spec.add_material(name="arm", rgba=[0.62, 0.64, 0.67, 1], specular=0.4, shininess=0.5)
    spec.add_material(name="arm_joint", rgba=[0.30, 0.42, 0.55, 1], specular=0.3, shininess=0.4)
    spec.add_material(name="gripper", rgba=[0.20, 0.20, 0.22, 1], specular=0.3, shininess=0.4)
    spec.add_material(name="gripper_finger", rgba=[0.35, 0.35, 0.37, 1], specular=0.3, shininess=0.4)
    for name, image in textures().items():
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=image.shape[1], height=image.shape[0], nchannel=3)
        texture.data = image.tobytes()
        material = spec.add_material(name=name, specular=0.1, shininess=0.1, texuniform=True, texrepeat=[1 / _TEXTURE_TILE_M] * 2)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
