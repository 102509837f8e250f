"""A robot cell: one scene with its UR5, an RGB-D camera with noise, frames, and the truth behind them.

Time is simulated: it moves with `SimulatedCell.step` only, and an image depends on the seed, the steps and the
commands, nothing else. Physics begins with the first use of `SimulatedCell.arm`; before that, and when nothing moves, nothing is redrawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import GRIPPER_MAX_OPENING_M, HOME_RAD, JOINT_NAMES, arm_chain
from roboref_node.sim.controller import ArmController
from roboref_node.sim.frames import FrameTransform, cell_frames
from roboref_node.sim.noise import DepthNoiseSettings, add_depth_noise
from roboref_node.sim.physics import TIMESTEP_S
from roboref_node.sim.render import Rendered, SceneRenderer
from roboref_node.sim.scene import Pair, SceneSettings, SceneSpec, sample_scene
from roboref_node.sim.truth import CellTruth, distance_to_object_m, object_at_point
from roboref_node.sim.world import CellWorld

STILL_M, STILL_RAD = 2e-4, 2e-3
"""Objects that moved less than this look as before."""
_SHADOW_MODES = ("auto", "on", "off")


class SimulatedCell:
    """The simulated robot cell. Deterministic: same arguments and same calls, same images.

    The GL context belongs to the thread of the first `render` or `truth` call; everything else may be called from that thread too.

    Args:
        seed: Scene and noise.
        width, height: Image size in pixels.
        camera: Intrinsics to use; drawn from the seed when None.
        excluded_pairs, required_pair: As for `sample_scene`.
        settings: Scene ranges. An arm is always added.
        noise: Depth noise; None gives perfect depth.
        shadows: ``on``, ``off``, or ``auto``: not in images taken while something moves, which takes half the time.
        spec: This scene instead of one drawn from the seed.
        renderer: One of the same size to share between cells, in its thread; the cell then does not close it.

    Raises:
        ValueError: `shadows` is none of the three, or `sample_scene` refuses its arguments.
    """

    def __init__(
        self,
        seed: int,
        width: int = 640,
        height: int = 480,
        *,
        camera: CameraModel | None = None,
        excluded_pairs: frozenset[Pair] = frozenset(),
        required_pair: Pair | None = None,
        settings: SceneSettings | None = None,
        noise: DepthNoiseSettings | None = DepthNoiseSettings(),  # noqa: B008  frozen
        shadows: str = "auto",
        spec: SceneSpec | None = None,
        renderer: SceneRenderer | None = None,
    ) -> None:
        if shadows not in _SHADOW_MODES:
            raise ValueError(f"shadows is {shadows!r}; it must be one of {_SHADOW_MODES}")
        if spec is None:
            settings = dataclasses.replace(settings or SceneSettings(), arm_probability=1.0)
            spec = sample_scene(seed, camera=camera, excluded_pairs=excluded_pairs, required_pair=required_pair, settings=settings)
        self.seed, self.width, self.height = seed, width, height
        self.spec = spec
        self.camera = spec.camera.scaled(width, height)
        self._noise, self._shadows = noise, shadows
        self._poses = [item.pose for item in spec.objects]
        self._joints_rad = tuple(spec.arm_joints_rad or HOME_RAD)
        self._opening_m = spec.gripper_opening_m
        self._stamp_ns = 0
        self._step_index = 0
        self._moved = False
        self._moved_before = False
        self._arm: ArmController | None = None
        self._physics_s = 0.0
        self._awake = False
        self._renderer = renderer
        self._owns_renderer = renderer is None
        self._clean: Rendered | None = None
        self._clean_has_shadows = False

    def close(self) -> None:
        """Free the GL context, in the thread that made it."""
        if self._renderer is not None and self._owns_renderer:
            self._renderer.close()
        self._renderer = None

    def __enter__(self) -> SimulatedCell:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def renderer(self) -> SceneRenderer | None:
        """What draws the images; None before the first one."""
        return self._renderer

    @property
    def stamp_ns(self) -> int:
        """Simulated time in nanoseconds since the start."""
        return self._stamp_ns

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The arm's joints, base to wrist."""
        return JOINT_NAMES

    @property
    def joint_positions_rad(self) -> tuple[float, ...]:
        """Angles in the order of `joint_names`."""
        return self._joints_rad

    @property
    def gripper_opening_m(self) -> float:
        """Distance between the fingers."""
        return self._opening_m

    @property
    def arm(self) -> ArmController:
        """The arm's own stack. Its first use starts the physics, from where everything is; `step` then moves it."""
        if self._arm is None:
            self._arm = ArmController(CellWorld(self.spec, self._poses, self._joints_rad, self._opening_m))
        return self._arm

    @property
    def held(self) -> int | None:
        """Index of the object that hangs in the air between the fingers, or None."""
        return None if self._arm is None else self._arm.world.hanging()

    @property
    def removed(self) -> frozenset[int]:
        """Objects that were taken away by `remove_object`."""
        return frozenset() if self._arm is None else self._arm.world.gone

    @property
    def object_poses(self) -> tuple[Transform, ...]:
        """world_from_object of every object, now."""
        return tuple(self._poses)

    @property
    def base_from_optical(self) -> Transform:
        """Where the camera is: base_link (= world) from the colour optical frame."""
        return self.spec.world_from_optical

    def frames(self) -> tuple[FrameTransform, ...]:
        """The whole frame tree: world → base_link → ... → tool0, and world → camera_link → camera_color_optical_frame."""
        return cell_frames(self.spec.world_from_optical, self._joints_rad)

    def step(self, dt_s: float) -> None:
        """Let simulated time pass.

        Raises:
            ValueError: `dt_s` is not positive.
        """
        if not dt_s > 0:
            raise ValueError(f"dt_s is {dt_s}; time only moves forward")
        self._stamp_ns += round(dt_s * 1e9)
        self._step_index += 1
        self._moved_before, self._moved = self._moved, False
        if self._arm is not None:
            self._physics_s += dt_s
            self._run_physics(self._arm)

    def move_object(self, index: int, world_from_object: Transform) -> None:
        """Put an object somewhere else; its frame stands on its base, z up.

        Raises:
            IndexError: There is no such object.
        """
        if not 0 <= index < len(self._poses):
            raise IndexError(f"object {index} of {len(self._poses)}")
        self._poses[index] = world_from_object
        if self._arm is not None:
            self._arm.world.place_object(index, world_from_object)
            self._awake = True
        self._touch()

    def remove_object(self, index: int) -> None:
        """Take an object out of the cell, until it is put somewhere again.

        Raises:
            IndexError: There is no such object.
        """
        if not 0 <= index < len(self._poses):
            raise IndexError(f"object {index} of {len(self._poses)}")
        self.arm.world.remove_object(index)
        self._poses[index] = self.arm.world.object_pose(index)
        self._touch()

    def reset_objects(self) -> None:
        """Put every object back where the scene had it, also what was taken away or is held."""
        for index, item in enumerate(self.spec.objects):
            self.move_object(index, item.pose)

    def push_object(self, index: int, distance_m: float) -> None:
        """Set an object aside to the nearest free place on the table that is so far away, or a little farther.

        Raises:
            IndexError: There is no such object.
        """
        pose, radius = self._poses[index], self.spec.objects[index].radius_m
        others = [(p.translation_m, o.radius_m) for i, (p, o) in enumerate(zip(self._poses, self.spec.objects, strict=True)) if i != index]
        for distance in distance_m + np.arange(0.0, 0.4, 0.02):
            for bearing in np.arange(0.0, 2.0 * np.pi, np.pi / 8):
                x, y = pose.translation_m[:2] + distance * np.array([np.cos(bearing), np.sin(bearing)])
                on_table = self.spec.table.distance_to_edge_m(x, y) < -radius and np.hypot(x, y) > 0.2
                clear = self.spec.shelf is None or self.spec.shelf.distance_to_edge_m(x, y) > radius
                if on_table and clear and all(np.hypot(*(p[:2] - (x, y))) > radius + r + 0.01 for p, r in others):
                    yaw = 2.0 * float(np.arctan2(pose.quaternion_xyzw[2], pose.quaternion_xyzw[3]))
                    upright = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
                    self.move_object(index, Transform(upright, np.array([x, y, 0.001])))
                    return

    def set_arm(self, joints_rad: Sequence[float]) -> None:
        """Set the six joint angles.

        Raises:
            ValueError: Not six finite numbers, or one is outside its joint's limits.
        """
        angles = tuple(float(q) for q in joints_rad)
        if len(angles) != len(JOINT_NAMES):
            raise ValueError(f"{len(angles)} joint angles; the arm has {len(JOINT_NAMES)}")
        for joint, angle in zip(arm_chain(), angles, strict=False):
            if not joint.limits_rad[0] <= angle <= joint.limits_rad[1]:
                raise ValueError(f"{joint.name} = {angle:.3f} rad is outside {joint.limits_rad}")
        if angles != self._joints_rad:
            self._joints_rad = angles
            if self._arm is not None:
                self._arm.world.set_arm(angles)
            self._touch()

    def set_gripper(self, opening_m: float) -> None:
        """Set the distance between the fingers.

        Raises:
            ValueError: Outside 0 .. GRIPPER_MAX_OPENING_M.
        """
        if not 0.0 <= opening_m <= GRIPPER_MAX_OPENING_M:
            raise ValueError(f"opening_m is {opening_m}; the gripper opens 0 .. {GRIPPER_MAX_OPENING_M}")
        if opening_m != self._opening_m:
            self._opening_m = opening_m
            if self._arm is not None:
                self._arm.world.set_opening(opening_m)
            self._touch()

    def render(self) -> Rendered:
        """What the camera sees now: colour, depth with noise (NaN holes) registered to it, and the true instance ids.

        A still scene is drawn once; then only the noise is new, so two calls within one step give the same image.
        """
        clean = self._draw()
        if self._noise is None:
            return clean
        rng = np.random.default_rng([self.seed, self._step_index, 0xDE9])
        return dataclasses.replace(clean, depth_m=add_depth_noise(clean.depth_m, rng, self._noise))

    def truth(self) -> CellTruth:
        """The true state behind the current image."""
        clean = self._draw()
        return CellTruth(self.spec, self.object_poses, clean.depth_m, clean.instance)

    def surface_point(self, u_px: float, v_px: float) -> NDArray[np.float64]:
        """True world point, shape (3,), that the pixel nearest to (u, v) shows.

        Raises:
            ValueError: The pixel is outside the image or shows nothing.
        """
        u, v = round(u_px), round(v_px)
        if not (0 <= u < self.width and 0 <= v < self.height):
            raise ValueError(f"pixel ({u_px}, {v_px}) is outside the {self.width}x{self.height} image")
        depth = float(self._draw().depth_m[v, u])
        if not np.isfinite(depth):
            raise ValueError(f"pixel ({u_px}, {v_px}) shows nothing")
        return self.spec.world_from_optical.apply(self.camera.unproject(np.array([float(u), float(v)]), np.array(depth)))

    def object_at_point(self, world_point_m: ArrayLike, tolerance_m: float = 0.01) -> int | None:
        """Index of the object on which a world point lies, the nearest within the tolerance, or None."""
        return object_at_point(self.spec.objects, self._poses, world_point_m, tolerance_m)

    def hit(self, index: int, world_point_m: ArrayLike, tolerance_m: float = 0.01) -> bool:
        """True when a world point lies on this object and on no other one more closely."""
        return self.object_at_point(world_point_m, tolerance_m) == index

    def distance_m(self, index: int, world_point_m: ArrayLike) -> float:
        """Distance of a world point to an object; 0 inside its material."""
        return distance_to_object_m(self.spec.objects[index], self._poses[index], world_point_m)

    def _run_physics(self, arm: ArmController) -> None:
        """Let the physics catch up with the time, and take over what moved."""
        steps, self._physics_s = int(self._physics_s / TIMESTEP_S + 1e-6), self._physics_s % TIMESTEP_S
        if not (arm.busy or self._awake):
            return
        for _ in range(steps):
            arm.step()
        world = arm.world
        self._awake = not world.at_rest()
        for index, before in enumerate(self._poses):
            now = world.object_pose(index)
            turned = 2.0 * np.arccos(min(1.0, abs(float(before.quaternion_xyzw @ now.quaternion_xyzw))))
            if index not in world.gone and (np.linalg.norm(now.translation_m - before.translation_m) > STILL_M or turned > STILL_RAD):
                self._poses[index] = now
                self._touch()
        joints, opening = world.joints_rad, world.opening_m
        if float(np.abs(joints - self._joints_rad).max()) > 1e-5 or abs(opening - self._opening_m) > 1e-5:
            self._joints_rad, self._opening_m = tuple(float(q) for q in joints), opening
            self._touch()

    def _touch(self) -> None:
        self._moved = True
        self._clean = None

    def _draw(self) -> Rendered:
        shadows = self.spec.appearance.shadows and (
            self._shadows == "on" or (self._shadows == "auto" and not (self._moved or self._moved_before))
        )
        if self._clean is None or self._clean_has_shadows != shadows:
            if self._renderer is None:
                self._renderer = SceneRenderer(self.width, self.height, max_objects=max(len(self.spec.objects), 1))
            look = dataclasses.replace(self.spec.appearance, shadows=shadows)
            self._clean = self._renderer.render(
                dataclasses.replace(self.spec, appearance=look),
                object_poses=self._poses,
                arm_joints_rad=self._joints_rad,
                gripper_opening_m=self._opening_m,
            )
            self._clean = dataclasses.replace(self._clean, spec=self.spec)
            self._clean_has_shadows = shadows
        return self._clean
