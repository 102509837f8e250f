"""Inverse kinematics of the UR5: solutions are real, unreachable is refused, and base_link is not the controller's base."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic_objects import box, camera_pose, look

from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import plan_grasps
from roboref_node.goals.ik_ur5 import Ur5Reachability
from roboref_node.goals.profile import load_profile
from roboref_node.goals.reach import ReachSphere
from roboref_node.status import Refused, Status

UR5 = load_profile("ur5")


def down(x: float, y: float, z: float, yaw: float = 0.0) -> Transform:
    return Transform.from_rotation(Rotation.from_euler("z", yaw).as_matrix() @ np.diag([1.0, -1.0, -1.0]), [x, y, z])


def test_solutions_put_the_tool_where_it_was_asked() -> None:
    solver, rng, found = Ur5Reachability(UR5), np.random.default_rng(0), 0
    for _ in range(60):
        pose = down(rng.uniform(0.25, 0.6), rng.uniform(-0.35, 0.35), rng.uniform(0.01, 0.3), rng.uniform(-np.pi, np.pi))
        joints = solver.solve(pose)
        if joints is not None:
            found += 1
            assert np.allclose(solver.forward(joints).matrix, pose.matrix, atol=1e-4)
            assert np.all(np.abs(joints) <= 2 * np.pi) and abs(joints[2]) <= np.pi
    assert found >= 57


def test_poses_of_random_joints_are_mostly_found_again() -> None:
    solver, rng = Ur5Reachability(UR5), np.random.default_rng(1)
    found = sum(
        solver.solve(
            solver.forward([rng.uniform(-1, 1), rng.uniform(-2.2, -0.8), rng.uniform(0.8, 2.2), rng.uniform(-2.5, -0.5), -1.57, 0.3])
        )
        is not None
        for _ in range(40)
    )
    assert found >= 38


def test_the_sphere_is_necessary() -> None:
    """Where the sphere says no, the solver finds nothing either (or the shell's own margin would hide solutions)."""
    solver, sphere = Ur5Reachability(UR5), ReachSphere(UR5)
    out_of_sphere = [down(x, y, 0.05) for x in (0.9, 1.0, 1.2) for y in (-0.3, 0.0, 0.3)]
    assert np.all(sphere.margins(out_of_sphere) < 0)
    assert np.all(solver.margins(out_of_sphere[3:]) < 0)


def test_ahead_of_base_link_is_ahead_of_the_robot() -> None:
    """The controller's base is turned by 180 degrees: the same numbers there lie behind the robot."""
    solver = Ur5Reachability(UR5)
    stretched = solver.forward([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).translation_m
    assert stretched[0] > 0.8
    with pytest.raises(Refused) as caught:
        Ur5Reachability(dataclasses.replace(UR5, base_frame="base", goal_frame="base"))
    assert caught.value.status is Status.BAD_REQUEST and "180" in caught.value.sentence


def test_grasps_are_filtered_by_the_solver() -> None:
    solver = Ur5Reachability(UR5)
    seen = look(box((0.05, 0.08, 0.06)), (0.5, 0.1, 0.0))
    ranked = plan_grasps(seen.segment, seen.surface, seen.base_from_optical, UR5, reachability=solver)
    assert np.all(solver.margins([pose for c in ranked for pose in (c.pose, c.pregrasp)]) > 0)
    assert all(a.score >= b.score for a, b in pairwise(ranked))
    loose = dataclasses.replace(UR5, reach=dataclasses.replace(UR5.reach, max_m=3.0))
    far = look(box((0.05, 0.08, 0.06)), (1.2, 0.1, 0.0), base_from_optical=camera_pose(look_at_m=(1.2, 0.1, 0.0)))
    with pytest.raises(Refused, match="joint angles") as caught:
        plan_grasps(far.segment, far.surface, far.base_from_optical, loose, reachability=solver)
    assert caught.value.status is Status.UNREACHABLE
