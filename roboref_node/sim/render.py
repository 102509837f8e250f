"""Draws `SceneSpec`s with MuJoCo: colour, exact metric depth and instance ids from one compiled model.

The model holds a fixed number of object slots. A new scene only rewrites fields (poses, shapes, colours, lights, camera): a new
model or GL context per scene costs a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.sim.appearance import PLAIN, Appearance, Surface, textures
from roboref_node.sim.arm import ARM_GROUP, GRIPPER_MAX_OPENING_M, JOINT_NAMES
from roboref_node.sim.meshes import PRIMITIVES, catalogue
from roboref_node.sim.scene import SceneSpec
from roboref_node.sim.stage import FAR_M, LIGHTS, NEAR_M, build_model

_HIDDEN_GROUP = 5


@dataclass(frozen=True, eq=False)
class Rendered:
    """One picture of a scene.

    Args:
        rgb: uint8 (H, W, 3).
        depth_m: Exact metric depth along the optical axis, float32 (H, W); NaN where nothing was hit.
        instance: int16 (H, W): index into ``spec.objects``, -1 elsewhere.
        spec: The scene.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    instance: NDArray[np.int16]
    spec: SceneSpec


class SceneRenderer:
    """Renders scenes at one image size. Owns a GL context: use it in the thread that made it, one per process, and close it.

    Args:
        width, height: Image size in pixels; a scene's camera is scaled to it.
        arm: Load the UR5 (needed to draw scenes that have one; costs nothing for those without).
        max_objects: Object slots.
        shadows: False switches shadows off for all scenes (three times faster at 640x480); True leaves it to each scene.
        shadow_px: Side of the shadow map. Larger is finer and slower.
        samples: Multisampling of the colour image.

    Raises:
        FileNotFoundError: `arm` is set and the UR5 model is not installed.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        arm: bool = True,
        max_objects: int = 12,
        shadows: bool = True,
        shadow_px: int = 1024,
        samples: int = 4,
    ) -> None:
        self.width, self.height, self.max_objects, self.shadows = width, height, max_objects, shadows
        self._has_arm = arm
        self.model = build_model(width, height, arm, max_objects, shadow_px, samples)
        self.data = mujoco.MjData(self.model)
        self._name_ids()
        self._context = mujoco.GLContext(width, height)
        self._context.make_current()
        self._mjr = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self._mjr.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(self.model, maxgeom=200)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self._camera.fixedcamid = 0
        self._rect = mujoco.MjrRect(0, 0, width, height)

    def close(self) -> None:
        """Free the GL context. The renderer is unusable afterwards."""
        self._mjr.free()
        self._context.free()

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def render(
        self,
        spec: SceneSpec,
        *,
        object_poses: Sequence[Transform] | None = None,
        arm_joints_rad: Sequence[float] | None = None,
        gripper_opening_m: float | None = None,
    ) -> Rendered:
        """Draw a scene, or the same scene with its objects and arm somewhere else.

        Args:
            spec: The scene.
            object_poses: world_from_object of every object (frame on the base, z up) instead of the scene's own.
            arm_joints_rad: Six joint angles in the order of `JOINT_NAMES` instead of the scene's own.
            gripper_opening_m: Distance between the fingers instead of the scene's own.

        Raises:
            ValueError: More objects than slots, or an arm in the scene and none in the renderer.
        """
        self.set_scene(
            spec, object_poses=object_poses, arm_joints_rad=arm_joints_rad, gripper_opening_m=gripper_opening_m
        )  # fmt: skip
        mujoco.mjv_updateScene(
            self.model, self.data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )  # fmt: skip
        self._context.make_current()
        return Rendered(self._draw_rgb(spec.appearance.shadows and self.shadows), *self._draw_depth_and_ids(), spec)

    def set_scene(
        self,
        spec: SceneSpec,
        *,
        object_poses: Sequence[Transform] | None = None,
        arm_joints_rad: Sequence[float] | None = None,
        gripper_opening_m: float | None = None,
    ) -> None:
        """Write a scene into the model and run the kinematics, without drawing. Arguments as for `render`."""
        if len(spec.objects) > self.max_objects:
            raise ValueError(f"the scene has {len(spec.objects)} objects, the renderer {self.max_objects} slots (max_objects)")
        joints = spec.arm_joints_rad if arm_joints_rad is None else tuple(arm_joints_rad)
        if joints is not None and not self._has_arm:
            raise ValueError("the scene has an arm; make the renderer with arm=True")
        self._set_objects(spec, [o.pose for o in spec.objects] if object_poses is None else object_poses)
        self._set_furniture(spec)
        self._set_lights(spec.appearance)
        self._set_camera(spec)
        if joints is not None:
            opening = spec.gripper_opening_m if gripper_opening_m is None else gripper_opening_m
            self.data.qpos[self._arm_qpos] = joints
            self.data.qpos[self._finger_qpos] = np.clip(opening, 0.0, GRIPPER_MAX_OPENING_M) / 2
        self._option.geomgroup[ARM_GROUP] = joints is not None
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _name_ids(self) -> None:
        model = self.model
        self._slots = np.array([model.geom(f"slot/{i}").id for i in range(self.max_objects)])
        self._slot_materials = np.array([model.material(f"slot/{i}").id for i in range(self.max_objects)])
        self._object_of_geom = np.full(model.ngeom + 1, -1, dtype=np.int16)
        self._object_of_geom[self._slots] = np.arange(self.max_objects)
        self._materials = {name: model.material(name).id for name in (PLAIN, *textures())}
        self._table, self._shelf = model.geom("table").id, model.geom("shelf").id
        self._floor = model.geom("floor").id
        self._walls = [model.geom(f"wall/{i}").id for i in range(4)]
        self._mesh_of_variant = {v.index: model.mesh(f"variant/{v.index}").id for v in catalogue() if v.mesh is not None}
        self._mesh_half = {i: _mesh_half_size(model, mesh) for i, mesh in self._mesh_of_variant.items()}
        if self._has_arm:
            self._arm_qpos = np.array([model.joint(name).qposadr[0] for name in JOINT_NAMES])
            self._finger_qpos = np.array([model.joint(f"{side}_finger_joint").qposadr[0] for side in ("left", "right")])

    def _set_objects(self, spec: SceneSpec, poses: Sequence[Transform]) -> None:
        model = self.model
        model.geom_group[self._slots] = _HIDDEN_GROUP
        for index, (item, pose) in enumerate(zip(spec.objects, poses, strict=True)):
            geom = self._slots[index]
            model.geom_group[geom] = 0
            model.mat_rgba[self._slot_materials[index], :3] = item.rgb
            extent = np.array(item.extent_m)
            if item.shape in PRIMITIVES:
                kind, size = _primitive(item.shape, extent)
                model.geom_type[geom], model.geom_size[geom], model.geom_dataid[geom] = kind, size, -1
                offset, turn, half = np.array([0.0, 0.0, extent[2] / 2]), np.array([1.0, 0.0, 0.0, 0.0]), extent / 2
            else:
                mesh = self._mesh_of_variant[item.variant]
                # MuJoCo stores a mesh centred and turned to its principal axes; mesh_pos and mesh_quat undo that.
                offset, turn, half = model.mesh_pos[mesh], model.mesh_quat[mesh], self._mesh_half[item.variant]
                model.geom_type[geom], model.geom_dataid[geom] = mujoco.mjtGeom.mjGEOM_MESH, mesh
                model.geom_size[geom] = half
            model.geom_pos[geom] = pose.apply(offset)
            xyzw = pose.quaternion_xyzw
            mujoco.mju_mulQuat(model.geom_quat[geom], xyzw[[3, 0, 1, 2]], turn)
            model.geom_rbound[geom] = np.linalg.norm(half)
            model.geom_aabb[geom] = (0.0, 0.0, 0.0, *half)

    def _set_furniture(self, spec: SceneSpec) -> None:
        look, model = spec.appearance, self.model
        self._set_surface(self._table, look.table)
        self._set_surface(self._shelf, look.shelf)
        self._set_surface(self._floor, look.floor)
        for wall in self._walls:
            self._set_surface(wall, look.wall)
        for geom, region in ((self._table, spec.table), (self._shelf, spec.shelf)):
            model.geom_group[geom] = _HIDDEN_GROUP if region is None else 0
            if region is None:
                continue
            half = np.array(region.size_m) / 2
            x, y, z = region.top_center_m
            model.geom_pos[geom] = (x, y, z - half[2])
            model.geom_quat[geom] = (np.cos(region.yaw_rad / 2), 0.0, 0.0, np.sin(region.yaw_rad / 2))
            model.geom_size[geom] = half
            model.geom_rbound[geom] = np.linalg.norm(half)
            model.geom_aabb[geom] = (0.0, 0.0, 0.0, *half)

    def _set_surface(self, geom: int, surface: Surface) -> None:
        self.model.geom_matid[geom] = self._materials[surface.texture]
        self.model.geom_rgba[geom, :3] = surface.tint

    def _set_lights(self, look: Appearance) -> None:
        model = self.model
        model.vis.headlight.ambient[:] = look.ambient
        model.vis.headlight.diffuse[:] = look.headlight
        model.light_active[:] = 0
        for i, light in enumerate(look.lights[:LIGHTS]):
            spot = light.spot_position_m is not None
            model.light_active[i] = 1
            model.light_type[i] = mujoco.mjtLightType.mjLIGHT_SPOT if spot else mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
            model.light_dir[i] = light.direction
            # A directional light's position only centres its shadow map.
            model.light_pos[i] = light.spot_position_m if spot else np.array([0.5, 0.0, 0.1]) - 2.0 * np.array(light.direction)
            model.light_diffuse[i] = light.diffuse
            model.light_specular[i] = np.array(light.diffuse) * 0.5
            model.light_castshadow[i] = look.shadows

    def _set_camera(self, spec: SceneSpec) -> None:
        model, pose = self.model, spec.world_from_optical
        camera = spec.camera
        if (camera.width, camera.height) != (self.width, self.height):
            camera = camera.scaled(self.width, self.height)
        model.cam_pos[0] = pose.translation_m
        # MuJoCo's camera looks along -z with y up: half a turn about x from the optical frame.
        x, y, z, w = (Rotation.from_quat(pose.quaternion_xyzw) * Rotation.from_euler("x", np.pi)).as_quat()
        model.cam_quat[0] = (w, x, y, z)
        # Lengths in pixels: the sensor is the image, offsets lead from the principal point to its exact centre.
        model.cam_sensorsize[0] = (self.width, self.height)
        model.cam_intrinsic[0] = (
            camera.fx, camera.fy, (self.width - 1) / 2 - camera.cx, (self.height - 1) / 2 - camera.cy,
        )  # fmt: skip

    def _draw_rgb(self, shadows: bool) -> NDArray[np.uint8]:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = 0
        flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        rgb = np.empty((self.height, self.width, 3), np.uint8)
        mujoco.mjr_readPixels(rgb, None, self._rect, self._mjr)
        return np.ascontiguousarray(rgb[::-1])

    def _draw_depth_and_ids(self) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Both from one pass without multisampling, so that they are those of the pixel's centre ray."""
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = 1
        flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        code = np.empty((self.height, self.width, 3), np.uint8)
        buffer = np.empty((self.height, self.width), np.float32)
        mujoco.mjr_readPixels(code, buffer, self._rect, self._mjr)
        # Reverse-z buffer b of an OpenGL frustum: z = near far / (near + b (far - near)).
        depth = np.divide(NEAR_M * FAR_M, NEAR_M + buffer[::-1].astype(np.float64) * (FAR_M - NEAR_M))
        depth[buffer[::-1] <= 0.0] = np.nan
        object_of_code = np.full(self._scene.ngeom + 1, -1, np.int16)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                object_of_code[geom.segid + 1] = self._object_of_geom[geom.objid]
        # Colours carry segid + 1 little-endian; a scene has fewer than 255 geoms, so the first byte is all of it.
        return depth.astype(np.float32), object_of_code[code[::-1, :, 0]]


def _primitive(shape: str, extent_m: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    if shape == "box":
        return int(mujoco.mjtGeom.mjGEOM_BOX), extent_m / 2
    if shape == "cylinder":
        return int(mujoco.mjtGeom.mjGEOM_CYLINDER), np.array([extent_m[0] / 2, extent_m[2] / 2, 0.0])
    return int(mujoco.mjtGeom.mjGEOM_SPHERE), np.array([extent_m[0] / 2, 0.0, 0.0])


def _mesh_half_size(model: Any, mesh: int) -> NDArray[np.float64]:
    start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    return np.asarray(np.abs(model.mesh_vert[start : start + count]).max(axis=0), dtype=np.float64)
