import numpy as np
import pytest

from roboref_node.arm.ur5_kinematics import base_from_flange, nearest_turns, postures
from roboref_node.geometry.transform import Transform
from roboref_node.sim.arm import base_from_tool0

LIMITS = np.array([[-2 * np.pi, 2 * np.pi]] * 2 + [[-np.pi, np.pi]] + [[-2 * np.pi, 2 * np.pi]] * 3)


def test_the_closed_form_chain_is_the_urdfs():
    rng = np.random.default_rng(0)
    for joints in rng.uniform(-3, 3, (40, 6)):
        np.testing.assert_allclose(base_from_flange(joints).matrix, base_from_tool0(joints).matrix, atol=1e-6)


def test_every_posture_reaches_the_pose_and_the_original_is_among_them():
    rng = np.random.default_rng(1)
    for joints in rng.uniform(-np.pi, np.pi, (60, 6)):
        pose = base_from_flange(joints)
        found = postures(pose)
        assert 2 <= len(found) <= 8
        for posture in found:
            np.testing.assert_allclose(base_from_flange(posture).matrix, pose.matrix, atol=1e-6)
        apart = np.abs(np.angle(np.exp(1j * (found - joints)))).max(axis=1)
        assert apart.min() < 1e-5


def test_out_of_reach_has_no_posture():
    assert len(postures(Transform(np.array([0.0, 1.0, 0.0, 0.0]), np.array([1.2, 0.0, 0.2])))) == 0


def test_whole_turns_lead_to_the_nearest_angle_within_the_limits():
    turned = nearest_turns(np.array([3.0, -3.0, 1.0, 0.0, 0.0, 0.0]), np.array([-3.0, 3.0, 0.0, 6.0, 0.0, 0.0]), LIMITS)
    np.testing.assert_allclose(turned, [3.0 - 2 * np.pi, 2 * np.pi - 3.0, 1.0, 2 * np.pi, 0.0, 0.0])
    assert nearest_turns(np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), np.zeros(6), np.array([[0.0, 0.5]] * 6)) is None


def test_the_iterative_solver_agrees():
    pytest.importorskip("pinocchio", reason="needs pin")
    from roboref_node.goals.ik_ur5 import Ur5Reachability
    from roboref_node.goals.profile import load_profile

    solver = Ur5Reachability(load_profile("ur5"))
    down = np.array([1.0, 0.0, 0.0, 0.0])
    for x, y, z in ((0.4, 0.1, 0.1), (0.6, -0.3, 0.05), (0.5, 0.2, 0.3)):
        pose = Transform(down, np.array([x, y, z]))
        joints = solver.solve(pose)
        assert joints is not None
        flange = pose @ Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, -0.163]))
        apart = np.abs(np.angle(np.exp(1j * (postures(flange) - joints)))).max(axis=1)
        assert apart.min() < 1e-3
