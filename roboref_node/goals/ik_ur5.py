"""Inverse kinematics of the UR5 with Pinocchio: whether a tool pose can be reached, and with which joints.

Optional: needs ``pin`` and the URDF of the wheel ``example-robot-data``. Poses are given in the URDF's ``base_link``, x ahead of the
robot; the controller's "Base" (the URDF's ``base``) is turned against it by 180 degrees about z, and a pose given in that would be
mirrored to behind the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]

BASE_FRAME = "base_link"
FLANGE_FRAME = "tool0"
URDF = Path("share/example-robot-data/robots/ur_description/urdf/ur5_robot.urdf")

SEEDS = np.array(
    [
        [0.0, -1.6, 1.8, -1.8, -1.57, 0.0],  # Elbow up, gripper down: the branch for a table.
        [0.0, -1.0, 1.2, -1.8, -1.57, 1.57],
        [0.0, -2.2, 2.2, -1.6, -1.57, -1.57],
        [0.0, -1.3, 2.0, -0.7, -1.57, 0.0],  # Gripper ahead.
        [0.0, -0.5, -1.2, 0.2, 1.57, 0.0],
        [0.0, -1.6, 1.8, -1.8, 1.57, 3.0],
    ]
)
"""Joint angles that the search starts from, the first turned towards the target."""
MAX_ITERATIONS = 60
TOLERANCE = 1e-5
DAMPING = 1e-4
MAX_STEP_RAD = 0.5


def urdf_path() -> Path | None:
    """The UR5's URDF in the installed wheel; None when it or ``pin`` is not there."""
    if find_spec("pinocchio") is None:
        return None
    for root in (find_spec("cmeel"), find_spec("cmeel_pth"), find_spec("pinocchio")):
        for parent in Path(str(root.origin)).parents if root is not None and root.origin else ():
            for candidate in (parent / "cmeel.prefix" / URDF, parent / URDF):
                if candidate.is_file():
                    return candidate
    return None


@dataclass(frozen=True)
class Ur5Reachability:
    """Damped least squares from several seeds, within the joint limits. No collision check: that is the motion planner's business.

    Args:
        profile: The UR5's profile; its base frame must be the URDF's.

    Raises:
        Refused: BAD_REQUEST for another base frame; MODEL_UNAVAILABLE when ``pin`` or the URDF is not installed.
    """

    profile: RobotProfile

    def __post_init__(self) -> None:
        if self.profile.base_frame != BASE_FRAME:
            raise Refused(
                Status.BAD_REQUEST,
                f"the UR5's kinematics start at '{BASE_FRAME}', the profile's base_frame is '{self.profile.base_frame}'; the controller's "
                "'base' is turned by 180 degrees against it",
            )
        if self.profile.gripper is None:
            raise Refused(Status.BAD_REQUEST, f"robot '{self.profile.name}' has no gripper (profile.gripper)")
        if urdf_path() is None:
            raise Refused(Status.MODEL_UNAVAILABLE, "the UR5's kinematics need the packages 'pin' and 'example-robot-data'")

    @cached_property
    def _model(self) -> tuple[Any, Any, Any, int]:
        import pinocchio

        model = pinocchio.buildModelFromUrdf(str(urdf_path()))
        return pinocchio, model, model.createData(), int(model.getFrameId(FLANGE_FRAME))

    def forward(self, joints_rad: ArrayLike) -> Transform:
        """base_from_tool for six joint angles."""
        pinocchio, model, data, flange = self._model
        pinocchio.framesForwardKinematics(model, data, np.asarray(joints_rad, dtype=np.float64))
        placement = data.oMf[flange]
        return Transform.from_rotation(placement.rotation, placement.translation) @ self._flange_from_tool

    def solve(self, pose: Transform) -> FloatArray | None:
        """Six joint angles in radians that put the tool at a base_from_tool pose, or None when none was found."""
        pinocchio, model, data, flange = self._model
        wanted = pose @ self._flange_from_tool.inverse()
        target = pinocchio.SE3(wanted.rotation, np.array(wanted.translation_m))
        bearing = float(np.arctan2(pose.translation_m[1], pose.translation_m[0]))
        for seed in SEEDS:
            q = seed.copy()
            q[0] += bearing
            for _ in range(MAX_ITERATIONS):
                pinocchio.framesForwardKinematics(model, data, q)
                error = pinocchio.log6(data.oMf[flange].actInv(target)).vector
                if float(np.linalg.norm(error)) < TOLERANCE:
                    break
                jacobian = pinocchio.computeFrameJacobian(model, data, q, flange, pinocchio.ReferenceFrame.LOCAL)
                step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(6), error)
                q = q + step * min(1.0, MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-9))
            else:
                continue
            q = _within(q, np.asarray(model.lowerPositionLimit), np.asarray(model.upperPositionLimit))
            if q is not None:
                return np.asarray(q, dtype=np.float64)
        return None

    def margins(self, poses: Sequence[Transform]) -> FloatArray:
        """1 where there is a solution, -1 where none was found, shape (N,)."""
        return np.array([1.0 if self.solve(pose) is not None else -1.0 for pose in poses])

    def explain(self, pose: Transform) -> str:
        """That there is no solution, and where."""
        x, y, z = (float(value) for value in pose.translation_m)
        return f"the UR5 has no joint angles for the tool at ({x:.3f}, {y:.3f}, {z:.3f}) m with this direction"

    @property
    def _flange_from_tool(self) -> Transform:
        assert self.profile.gripper is not None
        return Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, self.profile.gripper.flange_to_tip_m]))


def _within(q: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray | None:
    """The same posture with every joint turned by whole turns to the middle of its limits; None when a limit is broken."""
    middle = 0.5 * (low + high)
    turned = q - 2.0 * np.pi * np.round((q - middle) / (2.0 * np.pi))
    return turned if np.all((turned >= low) & (turned <= high)) else None
