"""Draws a floor plan with MuJoCo from the robot's head: colour, exact metric depth and instance ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.sim.appearance import PLAIN, Surface, textures
from roboref_node.sim.meshes import catalogue
from roboref_node.sim.scene import ObjectSpec
from roboref_node.sim_g1.floor_plan import TABLE_TOP_M, Block, FloorPlan, Kind

_NEAR_M, _FAR_M = 0.05, 12.0
_EXTENT_M = 1.0
_TILE_M = 0.6
_SAMPLES = 4
_OFFSCREEN = mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value


@dataclass(frozen=True, eq=False)
class HeadImage:
    """One picture.

    Args:
        rgb: uint8 (H, W, 3).
        depth_m: Along the optical axis, float32 (H, W); NaN where nothing was hit.
        instance: int16 (H, W): index into ``plan.objects``, -1 elsewhere.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    instance: NDArray[np.int16]


class PlanRenderer:
    """Renders one plan. Owns a GL context: use it in the thread that made it, and close it.

    Args:
        plan: The flat; nothing in it moves.
        camera: Intrinsics, without distortion.
    """

    def __init__(self, plan: FloorPlan, camera: CameraModel) -> None:
        self.camera = camera
        self.model = _build(plan, camera)
        self.data = mujoco.MjData(self.model)
        self._object_of_geom = np.full(self.model.ngeom, -1, np.int16)
        for index in range(len(plan.objects)):
            self._object_of_geom[self.model.geom(f"object/{index}").id] = index
        self._context = mujoco.GLContext(camera.width, camera.height)
        self._context.make_current()
        self._mjr = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(_OFFSCREEN, self._mjr)
        self._mjr.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(self.model, maxgeom=self.model.ngeom + 16)
        self._option = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self._rect = mujoco.MjrRect(0, 0, camera.width, camera.height)

    def close(self) -> None:
        """Free the GL context, in the thread that made it."""
        self._mjr.free()
        self._context.free()

    def render(self, world_from_optical: Transform) -> HeadImage:
        """What a camera at this pose sees."""
        model = self.model
        model.cam_pos[0] = world_from_optical.translation_m
        # MuJoCo's camera looks along -z with y up: half a turn about x from the optical frame.
        x, y, z, w = (Rotation.from_quat(world_from_optical.quaternion_xyzw) * Rotation.from_euler("x", np.pi)).as_quat()
        model.cam_quat[0] = (w, x, y, z)
        mujoco.mj_kinematics(model, self.data)
        mujoco.mj_camlight(model, self.data)
        mujoco.mjv_updateScene(model, self.data, self._option, None, self._view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene)
        self._context.make_current()
        flags = self._scene.flags
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
            flags[flag] = 0
        rgb, _ = self._draw(codes=False)
        code, buffer = self._draw(codes=True)
        # Reverse-z buffer b of an OpenGL frustum: z = near far / (near + b (far - near)).
        depth = np.divide(_NEAR_M * _FAR_M, _NEAR_M + buffer.astype(np.float64) * (_FAR_M - _NEAR_M))
        depth[buffer <= 0.0] = np.nan
        object_of_code = np.full(self._scene.ngeom + 1, -1, np.int16)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                object_of_code[geom.segid + 1] = self._object_of_geom[geom.objid]
        number = code[..., 0].astype(np.intp) + 256 * code[..., 1].astype(np.intp)
        return HeadImage(rgb, depth.astype(np.float32), object_of_code[number])

    def _draw(self, *, codes: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Colours, or the geoms' numbers without multisampling; and the depth buffer."""
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = codes
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        rgb = np.empty((self.camera.height, self.camera.width, 3), np.uint8)
        buffer = np.empty((self.camera.height, self.camera.width), np.float32)
        mujoco.mjr_readPixels(rgb, buffer, self._rect, self._mjr)
        return np.ascontiguousarray(rgb[::-1]), buffer[::-1]


def _build(plan: FloorPlan, camera: CameraModel) -> Any:
    """Compile the plan: geoms ``floor``, ``block/<i>``, ``object/<i>``, one camera."""
    spec = mujoco.MjSpec()
    spec.stat.extent, spec.stat.center = _EXTENT_M, (0.0, 0.0, 0.8)
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = camera.width, camera.height
    visual.quality.offsamples = _SAMPLES
    visual.map.znear, visual.map.zfar = _NEAR_M / _EXTENT_M, _FAR_M / _EXTENT_M
    look = plan.appearance
    visual.headlight.ambient, visual.headlight.diffuse = look.ambient, [look.headlight] * 3
    _add_materials(spec, [look.table, look.shelf, look.floor, look.wall])
    world, box = spec.worldbody, mujoco.mjtGeom.mjGEOM_BOX
    x, y = plan.half_size_m
    world.add_geom(name="floor", type=box, size=[x + 0.5, y + 0.5, 0.05], pos=[0, 0, -0.05], **_paint(look.floor))
    for index, block in enumerate(plan.blocks):
        _add_block(world, index, block, plan)
    for index, item in enumerate(plan.objects):
        _add_object(spec, index, item)
    for index, light in enumerate(look.lights):
        name = f"light/{index}"
        world.add_light(
            name=name, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, dir=light.direction, diffuse=light.diffuse, castshadow=False
        )
    # Lengths in pixels: the sensor is the image, offsets lead from the principal point to its exact centre.
    world.add_camera(
        name="head", pos=[0, 0, 1], sensor_size=[camera.width, camera.height], resolution=[camera.width, camera.height],
        focal_pixel=[camera.fx, camera.fy],
        principal_pixel=[(camera.width - 1) / 2 - camera.cx, (camera.height - 1) / 2 - camera.cy],
    )  # fmt: skip
    return spec.compile()


def _paint(surface: Surface) -> dict[str, Any]:
    return {"material": surface.texture, "rgba": [*surface.tint, 1.0]}


def _add_materials(spec: Any, surfaces: list[Surface]) -> None:
    """Only the textures in use: loading all of them costs more than the rest of the flat."""
    for name in {surface.texture for surface in surfaces} | {PLAIN}:
        material = spec.add_material(name=name, specular=0.1, shininess=0.1, texuniform=True, texrepeat=[1 / _TILE_M] * 2)
        if name != PLAIN:
            image = textures()[name]
            texture = spec.add_texture(
                name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=image.shape[1], height=image.shape[0], nchannel=3
            )
            texture.data = image.tobytes()
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_block(world: Any, index: int, block: Block, plan: FloorPlan) -> None:
    region, look, box = block.region, plan.appearance, mujoco.mjtGeom.mjGEOM_BOX
    x, y, top = region.top_center_m
    half = 0.5 * np.asarray(region.size_m)
    turn = [np.cos(region.yaw_rad / 2), 0.0, 0.0, np.sin(region.yaw_rad / 2)]
    if block.kind is not Kind.TABLE:
        paint = _paint(look.wall if block.kind is Kind.WALL else look.shelf)
        world.add_geom(name=f"block/{index}", type=box, size=half, pos=[x, y, top - half[2]], quat=turn, **paint)
        return
    thick = TABLE_TOP_M / 2
    world.add_geom(
        name=f"block/{index}", type=box, size=[half[0], half[1], thick], pos=[x, y, top - thick], quat=turn, **_paint(look.table)
    )
    leg = (top - TABLE_TOP_M) / 2
    world.add_geom(
        name=f"leg/{index}", type=box, size=[0.4 * half[0], 0.3 * half[1], leg], pos=[x, y, leg], quat=turn, **_paint(look.table)
    )


def _add_object(spec: Any, index: int, item: ObjectSpec) -> None:
    name = f"object/{index}"
    spec.add_material(name=name, rgba=[*item.rgb, 1.0], specular=0.25, shininess=0.3)
    body = spec.worldbody.add_body(pos=item.position_m, quat=[np.cos(item.yaw_rad / 2), 0.0, 0.0, np.sin(item.yaw_rad / 2)])
    half = 0.5 * np.asarray(item.extent_m)
    middle = [0.0, 0.0, half[2]]
    mesh = catalogue()[item.variant].mesh
    geom = mujoco.mjtGeom
    if mesh is not None:
        shell = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        spec.add_mesh(name=name, uservert=mesh.vertices_m.ravel(), userface=mesh.faces.ravel(), inertia=shell)
        body.add_geom(name=name, type=geom.mjGEOM_MESH, meshname=name, material=name)
    elif item.shape == "box":
        body.add_geom(name=name, type=geom.mjGEOM_BOX, size=half, pos=middle, material=name)
    elif item.shape == "cylinder":
        body.add_geom(name=name, type=geom.mjGEOM_CYLINDER, size=[half[0], half[2], 0.0], pos=middle, material=name)
    else:
        body.add_geom(name=name, type=geom.mjGEOM_SPHERE, size=[half[0], 0.0, 0.0], pos=middle, material=name)
