"""What the arm of a cell would touch somewhere else: the true shapes of the scene, asked without moving anything."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.sim.world import CellWorld, name_of

FloatArray = NDArray[np.float64]

_MOVER, _OBSTACLE = 1, 2
_WRIST = ("ur5/wrist_1_link", "ur5/wrist_2_link", "ur5/wrist_3_link", "gripper/neck", "gripper/palm", "finger/left", "finger/right")
_BODY = ("ur5/base_link", "ur5/shoulder_link", "ur5/upper_arm_link", "ur5/forearm_link")
_FINGERS = ("finger/left", "finger/right")
TOUCH_M = 0.001
"""Contacts less deep than this are a matter of the meshes' corners."""


class CellObstacles:
    """Implements `arm.paths.Obstacles` for the state that a world has when this is made.

    Args:
        world: The cell.
        opening_m: How far the gripper is open on the way.
        target: Index of the object that the fingers are allowed to meet near the goal.
        held: Index of the object in the gripper: it moves with the tool.
    """

    def __init__(self, world: CellWorld, opening_m: float, *, target: int | None = None, held: int | None = None) -> None:
        self._model = copy.copy(world.model)
        self._model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self._model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MULTICCD)
        self._data = mujoco.MjData(self._model)
        self._world = world
        self._data.qpos[:] = world.data.qpos
        self._data.qpos[world.finger_qpos] = 0.5 * opening_m
        self._target = None if target is None else f"object/{target}"
        self._held = None if held is None else f"object/{held}"
        self._names = [name_of(self._model, geom, links=True) for geom in range(self._model.ngeom)]
        self._tool_from_held: Transform | None = None
        self._held_qpos = 0
        if held is not None:
            self._held_qpos = int(world.object_qpos[held])
            self._tool_from_held = self._flange().inverse() @ world.object_pose(held)
        self._sort_out()

    def touched(self, joints_rad: FloatArray, *, margin_m: float, near_goal: bool) -> str | None:
        """See `arm.paths.Obstacles`."""
        data, model = self._data, self._model
        data.qpos[self._world.arm_qpos] = joints_rad
        mujoco.mj_kinematics(model, data)
        if self._tool_from_held is not None:
            pose = self._flange() @ self._tool_from_held
            x, y, z, w = pose.quaternion_xyzw
            data.qpos[self._held_qpos : self._held_qpos + 7] = (*pose.translation_m, w, x, y, z)
            mujoco.mj_kinematics(model, data)
        model.geom_margin[self._movers] = margin_m
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        for contact in data.contact:
            if contact.dist > (margin_m if margin_m > 0.0 else -TOUCH_M):
                continue
            pair = {self._names[contact.geom[0]], self._names[contact.geom[1]]}
            if self._allowed(pair, near_goal):
                continue
            name = next((n for n in sorted(pair) if n not in (*_BODY, *_WRIST, self._held)), "itself")
            return self._spoken(name)
        return None

    def _allowed(self, pair: set[str], near_goal: bool) -> bool:
        if self._held in pair:
            # What is held stands on something at the start and at the end, and in the gripper all the time.
            return near_goal or bool(pair & {*_WRIST})
        if near_goal and self._target in pair:
            return bool(pair & {*_FINGERS})
        if pair <= {*_BODY, *_WRIST}:
            # Neighbours in the chain always meet; the wrist against the body is what can go wrong.
            return not (pair & {"ur5/base_link", "ur5/shoulder_link", "ur5/upper_arm_link"} and pair & {*_WRIST[2:]}) and not (
                pair & {"ur5/forearm_link"} and pair & {*_WRIST[3:]}
            )
        return False

    def _spoken(self, name: str) -> str:
        if not name.startswith("object/"):
            return f"the {name}" if name != "itself" else name
        item = self._world.spec.objects[int(name.removeprefix("object/"))]
        return f"the {item.colour} {item.shape}"

    def _flange(self) -> Transform:
        body = self._data.body("tool0")
        if not np.any(body.xquat):
            mujoco.mj_kinematics(self._model, self._data)
        w, x, y, z = body.xquat
        return Transform(np.array([x, y, z, w]), np.array(body.xpos))

    def _sort_out(self) -> None:
        """The arm and what it holds move; everything else only stands there, and what stands there meets nothing."""
        model = self._model
        movers = [g for g, name in enumerate(self._names) if name in (*_BODY, *_WRIST) or name == self._held]
        model.geom_contype[:] = np.where(model.geom_contype > 0, _OBSTACLE, 0)
        model.geom_conaffinity[:] = np.where(model.geom_contype > 0, _MOVER, 0)
        model.geom_contype[movers] = _MOVER
        model.geom_conaffinity[movers] = [
            _OBSTACLE
            | (_MOVER if self._names[g] in ("ur5/base_link", "ur5/shoulder_link", "ur5/upper_arm_link", "ur5/forearm_link") else 0)
            for g in movers
        ]
        self._movers = np.array(movers)
        for body in range(model.nbody):
            start, count = int(model.body_geomadr[body]), int(model.body_geomnum[body])
            geoms = slice(start, start + count) if count else slice(0, 0)
            model.body_contype[body] = np.bitwise_or.reduce(model.geom_contype[geoms], initial=0)
            model.body_conaffinity[body] = np.bitwise_or.reduce(model.geom_conaffinity[geoms], initial=0)
