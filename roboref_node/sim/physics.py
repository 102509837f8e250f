"""The cell as bodies with mass: the UR5 with motors, a gripper with limited force and friction, and objects that can be pushed and fall.

Its own MuJoCo model beside the renderer's: the renderer draws one mesh per object, contacts need convex pieces. Poses go from here
to the renderer, never back, so that a cell in which nothing moves looks as if there were no physics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import JOINT_NAMES, add_ur5
from roboref_node.sim.meshes import catalogue
from roboref_node.sim.scene import BoxRegion, SceneSpec
from roboref_node.sim.solids import mass_kg, pieces

FloatArray = NDArray[np.float64]

TIMESTEP_S = 0.002
NOSLIP_ITERATIONS = 20
GRIP_FORCE_N = 60.0
"""Of each finger; a Robotiq 2F-85 presses with 20 to 235 N."""
FINGER_FRICTION = 1.0
"""Rubber pads on smooth objects."""
OBJECT_FRICTION = 0.5
SLIPPERY = 0.0005
_FLOOR_Z_M = -0.75
_LINK_MASS_KG = {"base_link": 4.0, "shoulder_link": 3.7, "upper_arm_link": 8.393, "forearm_link": 2.275,
                 "wrist_1_link": 1.219, "wrist_2_link": 1.219, "wrist_3_link": 0.1879}  # fmt: skip
_STIFFNESS = (12000.0, 12000.0, 8000.0, 3000.0, 3000.0, 2000.0)
_DAMPING = (600.0, 600.0, 400.0, 80.0, 80.0, 50.0)
_TORQUE_NM = (150.0, 150.0, 150.0, 28.0, 28.0, 28.0)
"""The UR5's greatest torques."""
_FINGER_STIFFNESS, _FINGER_DAMPING = 6000.0, 120.0
_CONTACT = {"solref": [0.004, 1.0], "solimp": [0.95, 0.99, 0.001, 0.5, 2.0]}
FINGERS = ("left", "right")


def build_physics(spec: SceneSpec) -> Any:
    """Compile the model of a scene: the URDF's joints, bodies ``object/<i>``, geoms ``table``, ``shelf``, ``ur5/<link>``, ``gripper/*``."""
    model = mujoco.MjSpec()
    model.compiler.degree = False
    option = model.option
    option.timestep = TIMESTEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 20.0
    option.iterations = 20
    # Regularised friction creeps: a plate held by its rim would slide out within seconds, which no rubber pad lets it do.
    option.noslip_iterations = NOSLIP_ITERATIONS
    option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    for name in ("arm", "arm_joint", "gripper", "gripper_finger"):
        model.add_material(name=name)
    add_ur5(model, mujoco)
    _weigh(model)
    _add_motors(model)
    _add_furniture(model, spec)
    for index, item in enumerate(spec.objects):
        _add_object(model, index, item.variant, item.shape, item.extent_m, item.pose)
    return model.compile()


def motor_lag_s() -> FloatArray:
    """Damping over stiffness of the six arm motors: by so much of its speed a motor lags behind what it is told, shape (6,)."""
    return np.array(_DAMPING, dtype=np.float64) / np.array(_STIFFNESS, dtype=np.float64)


def _weigh(model: Any) -> None:
    """Masses, weight compensation (the controller of a UR5 has it) and contact properties of arm and gripper."""
    for geom in model.geoms:
        link = geom.name.removeprefix("ur5/")
        geom.mass = _LINK_MASS_KG.get(link, 0.3)
        geom.solref, geom.solimp = _CONTACT["solref"], _CONTACT["solimp"]
        # The arm does not meet itself here; the planner checks that.
        geom.contype, geom.conaffinity = 1, 2
        if geom.name in ("gripper/left", "gripper/right"):
            geom.mass = 0.05
            geom.friction, geom.condim, geom.priority = [FINGER_FRICTION, 0.02, 0.0005], 4, 1
    for body in model.bodies:
        body.gravcomp = 1.0 if body.name else 0.0


def _add_motors(model: Any) -> None:
    for name, stiffness, damping, torque in zip(JOINT_NAMES, _STIFFNESS, _DAMPING, _TORQUE_NM, strict=True):
        model.joint(name).armature = 0.2
        _add_servo(model, name, stiffness, damping, torque)
    for side in FINGERS:
        model.joint(f"{side}_finger_joint").armature = 0.2
        _add_servo(model, f"{side}_finger_joint", _FINGER_STIFFNESS, _FINGER_DAMPING, GRIP_FORCE_N)
    # Both fingers hang on one drive: an object off the middle is moved there, not squeezed past.
    coupling = model.add_equality(name="fingers", type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT)
    coupling.name1, coupling.name2 = "left_finger_joint", "right_finger_joint"
    coupling.data[:5] = (0.0, 1.0, 0.0, 0.0, 0.0)
    coupling.solref = [0.01, 1.0]


def _add_servo(model: Any, joint: str, stiffness: float, damping: float, force: float) -> None:
    servo = model.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.gaintype, servo.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
    servo.gainprm[0] = stiffness
    servo.biasprm[:3] = (0.0, -stiffness, -damping)
    servo.forcelimited, servo.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, [-force, force]


def _add_furniture(model: Any, spec: SceneSpec) -> None:
    for name, region in (("table", spec.table), ("shelf", spec.shelf)):
        if region is not None:
            _add_block(model, name, region)
    floor = model.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[3, 3, 0.1], pos=[0.5, 0, _FLOOR_Z_M])
    floor.contype, floor.conaffinity = 2, 3


def _add_block(model: Any, name: str, region: BoxRegion) -> None:
    half = np.array(region.size_m) / 2
    x, y, z = region.top_center_m
    model.worldbody.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=[x, y, z - half[2]],
        quat=[np.cos(region.yaw_rad / 2), 0, 0, np.sin(region.yaw_rad / 2)], contype=2, conaffinity=3,
        friction=[OBJECT_FRICTION, 0.005, 0.0005], **_CONTACT,
    )  # fmt: skip


def _add_object(model: Any, index: int, variant: int, shape: str, extent_m: Sequence[float], pose: Transform) -> None:
    x, y, z, w = pose.quaternion_xyzw
    body = model.worldbody.add_body(name=f"object/{index}", pos=pose.translation_m, quat=[w, x, y, z])
    body.add_freejoint(name=f"object/{index}")
    half = np.array(extent_m) / 2
    # Balls would roll away on the slightest touch without resistance to rolling.
    roll = 0.002 if shape == "ball" else 0.0005
    common = {"friction": [OBJECT_FRICTION, 0.005, roll], "condim": 6 if shape == "ball" else 4, "contype": 2, "conaffinity": 3, **_CONTACT}
    geoms = []
    if shape == "box":
        geoms.append(body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=[0, 0, half[2]], **common))
    elif shape == "cylinder":
        geoms.append(body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[half[0], half[2], 0], pos=[0, 0, half[2]], **common))
    elif shape == "ball":
        geoms.append(body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[half[0], 0, 0], pos=[0, 0, half[2]], **common))
    for number, piece in enumerate(pieces(variant)):
        name = f"piece/{variant}/{number}"
        if model.mesh(name) is None:
            model.add_mesh(name=name, uservert=piece.corners_m.ravel())
        for turn in piece.turns_rad:
            quat = [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]
            geoms.append(body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, quat=quat, **common))
    for geom in geoms:
        geom.mass = mass_kg(catalogue()[variant]) / len(geoms)
