"""The physics of a cell, stepped: where arm, fingers and objects are, what touches what, and what hangs in the gripper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import GRIPPER_MAX_OPENING_M, JOINT_NAMES
from roboref_node.sim.physics import FINGER_FRICTION, FINGERS, SLIPPERY, build_physics, motor_lag_s
from roboref_node.sim.scene import SceneSpec

FloatArray = NDArray[np.float64]

AT_REST = (0.005, 0.05)
"""An object slower than this (m/s, rad/s) stands still."""
_GONE_M = (0.0, 0.0, -50.0)
WAKING_SPEED = 1e-3


@dataclass(frozen=True)
class Touch:
    """One pair of things in contact: their names and the force that presses them together, newtons.

    Names are ``object/<i>``, ``finger/left``, ``finger/right``, ``arm`` (with the gripper's body), ``table``, ``shelf``, ``floor``.
    """

    first: str
    second: str
    force_n: float

    def other(self, name: str) -> str | None:
        """The partner of `name`; None when `name` is not part of this touch."""
        return self.second if self.first == name else self.first if self.second == name else None


class CellWorld:
    """The bodies of a scene. Time moves by `step` only; the same calls give the same states.

    Args:
        spec: The scene.
        poses: world_from_object now.
        joints_rad: The arm now.
        opening_m: The gripper now.
    """

    def __init__(self, spec: SceneSpec, poses: Sequence[Transform], joints_rad: Sequence[float], opening_m: float) -> None:
        self.spec = spec
        self.model = build_physics(spec)
        self.data = mujoco.MjData(self.model)
        self.count = len(spec.objects)
        self._gone: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}  # what each object collided with before
        model = self.model
        self.arm_qpos = np.array([model.joint(name).qposadr[0] for name in JOINT_NAMES])
        self._arm_dof = np.array([model.joint(name).dofadr[0] for name in JOINT_NAMES])
        self.finger_qpos = np.array([model.joint(f"{side}_finger_joint").qposadr[0] for side in FINGERS])
        self._finger_dof = np.array([model.joint(f"{side}_finger_joint").dofadr[0] for side in FINGERS])
        self.object_qpos = np.array([model.joint(f"object/{i}").qposadr[0] for i in range(self.count)], dtype=np.intp)
        self._object_dof = np.array([model.joint(f"object/{i}").dofadr[0] for i in range(self.count)], dtype=np.intp)
        self._finger_geoms = [model.geom(f"gripper/{side}").id for side in FINGERS]
        self._names = [name_of(model, geom) for geom in range(model.ngeom)]
        self._lag_s = motor_lag_s()
        for index, pose in enumerate(poses):
            self.place_object(index, pose)
        self.set_arm(joints_rad)
        self.set_opening(opening_m)
        # Everything stands at its start: resting objects may sleep, which is most of the time that physics would take.
        self.model.opt.enableflags |= _SLEEP

    @property
    def joints_rad(self) -> FloatArray:
        """The arm's angles now, shape (6,)."""
        return np.array(self.data.qpos[self.arm_qpos])

    @property
    def joint_speeds(self) -> FloatArray:
        """The arm's speeds now in rad/s, shape (6,)."""
        return np.array(self.data.qvel[self._arm_dof])

    @property
    def opening_m(self) -> float:
        """Distance between the fingers now."""
        return float(np.clip(self.data.qpos[self.finger_qpos].sum(), 0.0, GRIPPER_MAX_OPENING_M))

    @property
    def opening_speed(self) -> float:
        """How fast the fingers part, m/s; negative while closing."""
        return float(self.data.qvel[self._finger_dof].sum())

    def object_pose(self, index: int) -> Transform:
        """world_from_object now; the frame stands on the object's base."""
        start = self.object_qpos[index]
        x, y, z, qw, qx, qy, qz = (float(v) for v in self.data.qpos[start : start + 7])
        return Transform(np.array([qx, qy, qz, qw]), np.array([x, y, z]))

    @property
    def gone(self) -> frozenset[int]:
        """Indices of the objects that were removed."""
        return frozenset(self._gone)

    def at_rest(self) -> bool:
        """Whether no object moves."""
        for index in range(self.count):
            speed = self.data.qvel[self._object_dof[index] : self._object_dof[index] + 6]
            if index not in self._gone and (np.linalg.norm(speed[:3]) > AT_REST[0] or np.linalg.norm(speed[3:]) > AT_REST[1]):
                return False
        return True

    def command_arm(self, joints_rad: FloatArray, speeds: FloatArray) -> None:
        """Set what the arm's motors follow: angles, and the speeds (rad/s) at which these change."""
        self.data.ctrl[:6] = joints_rad + self._lag_s[:6] * speeds

    def command_fingers(self, opening_m: float) -> None:
        """Set the opening that the fingers are driven to, with limited force."""
        self.data.ctrl[6:8] = 0.5 * opening_m

    def step(self) -> None:
        """Let `TIMESTEP_S` pass."""
        mujoco.mj_step(self.model, self.data)

    def set_arm(self, joints_rad: Sequence[float] | FloatArray) -> None:
        """Put the arm somewhere at once, at rest."""
        self.data.qpos[self.arm_qpos], self.data.qvel[self._arm_dof] = joints_rad, 0.0
        self.command_arm(np.asarray(joints_rad, dtype=np.float64), np.zeros(6))
        self._refresh()

    def set_opening(self, opening_m: float) -> None:
        """Put the fingers somewhere at once, at rest."""
        self.data.qpos[self.finger_qpos], self.data.qvel[self._finger_dof] = 0.5 * opening_m, 0.0
        self.command_fingers(opening_m)
        self._refresh()

    def place_object(self, index: int, world_from_object: Transform) -> None:
        """Put an object somewhere at once, at rest, also one that was removed."""
        if index in self._gone:
            body, geoms = self._body_of(index)
            self.model.geom_contype[geoms], self.model.geom_conaffinity[geoms] = self._gone.pop(index)
            self.model.body_gravcomp[body] = 0.0
        x, y, z, w = world_from_object.quaternion_xyzw
        start, dof = self.object_qpos[index], self._object_dof[index]
        self.data.qpos[start : start + 7] = (*world_from_object.translation_m, w, x, y, z)
        self.data.qvel[dof : dof + 6] = 0.0
        # MuJoCo lets a body that sleeps sleep on wherever it is put, and the fingers then go through it; what moves is awake.
        self.data.qvel[dof + 2] = -WAKING_SPEED
        self._refresh()

    def remove_object(self, index: int) -> None:
        """Take an object out of the cell, until it is placed again."""
        self.place_object(index, Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array(_GONE_M)))
        body, geoms = self._body_of(index)
        self._gone[index] = self.model.geom_contype[geoms].copy(), self.model.geom_conaffinity[geoms].copy()
        self.model.geom_contype[geoms] = 0
        self.model.geom_conaffinity[geoms] = 0
        self.model.body_gravcomp[body] = 1.0

    def _body_of(self, index: int) -> tuple[int, slice]:
        """The body of an object, and its geoms."""
        body = self.model.body(f"object/{index}").id
        start = int(self.model.body_geomadr[body])
        return body, slice(start, start + int(self.model.body_geomnum[body]))

    def set_slippery(self, slippery: bool) -> None:
        """Give the fingers no friction, or their own again."""
        self.model.geom_friction[self._finger_geoms, 0] = SLIPPERY if slippery else FINGER_FRICTION
        self._refresh()

    def touches(self) -> list[Touch]:
        """Everything that touches now, one entry per pair of things."""
        total: dict[tuple[str, str], float] = {}
        force = np.zeros(6)
        for number in range(self.data.ncon):
            contact = self.data.contact[number]
            if contact.efc_address < 0:
                continue
            first, second = sorted((self._names[contact.geom[0]], self._names[contact.geom[1]]))
            mujoco.mj_contactForce(self.model, self.data, number, force)
            total[first, second] = total.get((first, second), 0.0) + float(force[0])
        return [Touch(first, second, value) for (first, second), value in total.items()]

    def held(self, touches: Sequence[Touch] | None = None) -> int | None:
        """Index of the object that both fingers touch, or None."""
        touches = self.touches() if touches is None else touches
        sides = [{t.other(f"finger/{side}") for t in touches} - {None} for side in FINGERS]
        both = sorted(name for name in sides[0] & sides[1] if name is not None and name.startswith("object/"))
        return int(both[0].removeprefix("object/")) if both else None

    def hanging(self) -> int | None:
        """Index of the object that hangs in the air between the fingers: both touch it and nothing but the gripper does."""
        touches = self.touches()
        index = self.held(touches)
        if index is None:
            return None
        others = {t.other(f"object/{index}") for t in touches} - {None, "finger/left", "finger/right", "arm"}
        return None if others else index

    def _refresh(self) -> None:
        """Positions were written by hand, which MuJoCo's sleeping bodies do not notice: from now on nothing sleeps."""
        self.model.opt.enableflags &= ~_SLEEP
        state = np.array(self.data.qpos), np.array(self.data.qvel), np.array(self.data.ctrl), float(self.data.time)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:], self.data.ctrl[:], self.data.time = state
        mujoco.mj_forward(self.model, self.data)


_SLEEP = int(mujoco.mjtEnableBit.mjENBL_SLEEP)


def name_of(model: Any, geom: int, *, links: bool = False) -> str:
    """What a geom belongs to, in the names of `Touch`; with `links` the arm's parts keep their own names."""
    name, body = str(model.geom(geom).name), str(model.body(model.geom_bodyid[geom]).name)
    if name in ("gripper/left", "gripper/right"):
        return name.replace("gripper", "finger")
    if body.startswith("object/"):
        return body
    return name if links or name in ("table", "shelf", "floor") else "arm"
