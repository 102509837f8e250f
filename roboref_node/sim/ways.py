"""Where the simulated arm goes for one motion: the way there, the straight part, the way out, the way home."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from roboref_node.arm.motion import Motion, Outcome
from roboref_node.arm.paths import Blocked, Obstacles, Path, PathPlanner
from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import GRIPPER_TIP_M, HOME_RAD, arm_chain

FloatArray = NDArray[np.float64]

STARTS_M = (0.0, 0.06, 0.12)
"""How far above the approach pose the straight part may start."""
SEARCHED_RESTS = 2
"""Resting postures for which a way is searched when none has a simple one."""
LIFT_M = 0.06
"""How far a side grasp is lifted before it is pulled back: on the table it would be dragged."""
FLANGE_FROM_TOOL = Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, GRIPPER_TIP_M]))


def planner_of(obstacles: Obstacles, canceled: Callable[[], bool] = bool, *, line_margin_m: float = 0.0) -> PathPlanner:
    """A planner for this arm among some obstacles; see `PathPlanner`."""
    limits = np.array([joint.limits_rad for joint in arm_chain()[:6]])
    return PathPlanner(limits, FLANGE_FROM_TOOL, np.array(HOME_RAD), obstacles, canceled=canceled, line_margin_m=line_margin_m)


def way_there(planner: PathPlanner, joints_rad: FloatArray, motion: Motion) -> tuple[list[Path], Path]:
    """Paths to the approach pose, and the straight one from there to the goal.

    Where the approach pose is too near to something for a free path, such as low over the table, it is reached straight from above.

    Raises:
        Blocked: There is no path.
    """
    assert motion.approach is not None and motion.goal is not None
    reason: Blocked | None = None
    for height in STARTS_M:
        above = [] if height == 0.0 else [_moved(motion.approach, np.array([0.0, 0.0, height]))]
        names = ["a pose above the approach pose"] * len(above) + ["the approach pose", "the goal"]
        try:
            free, straight = planner.reach(joints_rad, [*above, motion.approach, motion.goal], named=names)
        except Blocked as blocked:
            if blocked.outcome is Outcome.CANCELED:
                raise
            reason = reason or blocked
            continue
        return [*free, *straight[:-1]], straight[-1]
    assert reason is not None
    raise reason


def way_back(planner: PathPlanner, line: Path, motion: Motion) -> list[Path]:
    """From the grasp back to the approach pose; a side grasp goes up first, and stays that much higher."""
    assert motion.approach is not None and motion.goal is not None
    reverse = Path(line.waypoints_rad[::-1], True)
    direction = motion.approach.translation_m - motion.goal.translation_m
    if direction[2] > 0.7 * float(np.linalg.norm(direction)):
        return [reverse]
    lift = np.array([0.0, 0.0, LIFT_M])
    try:
        up = planner.straight(reverse.waypoints_rad[0], _moved(motion.goal, lift), near_goal=True, check=False)
        back = planner.straight(up.waypoints_rad[-1], _moved(motion.approach, lift), near_goal=True, check=False)
    except Blocked:
        return [reverse]
    return [up, back]


def clear_way(planner: PathPlanner, line: Path, motion: Motion) -> list[Path]:
    """Back to the approach pose; a horizontal gripper first leaves the object along its own axis."""
    assert motion.approach is not None and motion.goal is not None
    reverse = Path(line.waypoints_rad[::-1], True)
    axis = motion.goal.rotation[:, 2]
    if axis[2] < -0.7:
        return [reverse]
    away = -0.10 * axis
    try:
        out = planner.straight(reverse.waypoints_rad[0], _moved(motion.goal, away), near_goal=True, check=False)
        up = planner.straight(out.waypoints_rad[-1], _moved(motion.approach, away), near_goal=True, check=False)
    except Blocked:
        return [reverse]
    return [out, up]


def way_home(planner: PathPlanner, joints_rad: FloatArray, resting_rad: Sequence[Sequence[float]]) -> list[Path]:
    """To the first resting posture to which there is a way.

    Raises:
        Blocked: COLLISION or CANCELED.
    """
    reason: Blocked | None = None
    for search in (False, True):
        for posture in resting_rad[: SEARCHED_RESTS if search else None]:
            try:
                return planner.free_path(joints_rad, np.array(posture), search=search)
            except Blocked as blocked:
                if blocked.outcome is Outcome.CANCELED:
                    raise
                reason = reason or blocked
    assert reason is not None
    raise reason


def _moved(pose: Transform, offset_m: FloatArray) -> Transform:
    return Transform(pose.quaternion_xyzw, pose.translation_m + offset_m)
