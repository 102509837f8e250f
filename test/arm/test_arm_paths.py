import numpy as np
import pytest

from roboref_node.arm import Motion, MotionKind, Outcome
from roboref_node.arm.paths import Blocked, Path, PathPlanner
from roboref_node.arm.tracks import Speeds, Track
from roboref_node.geometry.transform import Transform

LIMITS = np.array([[-2 * np.pi, 2 * np.pi]] * 2 + [[-np.pi, np.pi]] + [[-2 * np.pi, 2 * np.pi]] * 3)
HOME = np.array([0.0, -2.2, 2.2, -1.5708, -1.5708, 0.0])
TIP = Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.163]))
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


class Wall:
    """Obstacles over the joints: the arm must not pass with its first joint between two angles unless the elbow is folded."""

    def __init__(self, low=9.0, high=9.0):
        self.low, self.high = low, high
        self.asked = 0

    def touched(self, joints_rad, *, margin_m, near_goal):
        self.asked += 1
        return "the wall" if self.low < joints_rad[0] < self.high and joints_rad[2] < 2.4 else None


def planner(obstacles, **changes):
    return PathPlanner(LIMITS, TIP, HOME, obstacles, **changes)


def test_the_straight_part_is_straight():
    plan = planner(Wall())
    start, end = Transform(DOWN, np.array([0.5, 0.1, 0.2])), Transform(DOWN, np.array([0.5, 0.1, 0.08]))
    _, (line,) = plan.reach(HOME, [start, end], named=["start", "end"])
    tips = np.array([plan.tool_at(q).translation_m for q in line.waypoints_rad])
    np.testing.assert_allclose(tips[:, :2], [[0.5, 0.1]] * len(tips), atol=1e-6)
    np.testing.assert_allclose(tips[[0, -1], 2], [0.2, 0.08], atol=1e-6)
    assert np.abs(np.diff(line.waypoints_rad, axis=0)).max() < 0.2


def test_out_of_reach_names_the_place():
    far = Transform(DOWN, np.array([1.4, 0.0, 0.2]))
    with pytest.raises(Blocked, match=r"1\.400") as blocked:
        planner(Wall()).reach(HOME, [far, far], named=["the approach pose", "the goal"])
    assert blocked.value.outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("x", [1e5, 1e9, 1e300])
def test_a_goal_that_is_no_place_is_refused_before_the_line_to_it_is_laid_out(x):
    """A goal at 1e9 m asked for 745 GB, which ended the simulated cell; one at 1e5 m held it for minutes."""
    near, far = Transform(DOWN, np.array([0.5, 0.1, 0.2])), Transform(DOWN, np.array([x, 0.1, 0.08]))
    with pytest.raises(Blocked, match="put the tool at the goal") as blocked, np.errstate(all="ignore"):
        planner(Wall()).reach(HOME, [near, far], named=["the approach pose", "the goal"])
    assert blocked.value.outcome is Outcome.UNREACHABLE


def test_a_wall_is_gone_around_and_one_without_a_gap_is_a_collision():
    start, end = HOME + [-0.6, 0, 0, 0, 0, 0], HOME + [0.6, 0, 0, 0, 0, 0]
    wall = Wall(-0.2, 0.2)
    way = planner(wall, seed=3).free_path(start, end)
    points = np.concatenate([path.waypoints_rad for path in way])
    np.testing.assert_allclose(points[[0, -1]], [start, end])
    wall = Wall(-0.12, 0.12)  # between two checked configurations a path may cut a corner by their distance
    for path in way:
        for share in np.linspace(0, 1, 30):
            first, last = path.waypoints_rad
            joints = first + share * (last - first)
            assert wall.touched(joints, margin_m=0, near_goal=False) is None or joints[2] > 2.3
    wall.touched = lambda joints_rad, **_: "the wall" if -0.2 < joints_rad[0] < 0.2 else None
    with pytest.raises(Blocked) as blocked:
        planner(wall).free_path(start, end)
    assert blocked.value.outcome is Outcome.COLLISION


def test_planning_can_be_canceled():
    pose = Transform(DOWN, np.array([0.5, 0.1, 0.2]))
    with pytest.raises(Blocked) as blocked:
        planner(Wall(), canceled=lambda: True).reach(HOME, [pose, pose], named=["a", "b"])
    assert blocked.value.outcome is Outcome.CANCELED


def run(track, dt=0.002, brake_at=None):
    positions, speeds = [], []
    while not track.finished:
        if brake_at is not None and len(positions) == brake_at:
            track.brake()
        q, v = track.advance(dt)
        positions.append(q)
        speeds.append(v)
        assert len(positions) < 20_000
    return np.array(positions), np.array(speeds)


def test_a_track_keeps_its_limits_and_ends_at_its_end():
    path = Path(np.stack([HOME, HOME + [1.5, 0.3, 0, 0, 0, -0.4]]), False)
    positions, speeds = run(Track(path, Speeds()))
    np.testing.assert_allclose(positions[-1], path.waypoints_rad[-1], atol=1e-9)
    assert np.abs(speeds).max() <= 1.6 + 1e-9
    assert np.abs(np.diff(speeds, axis=0)).max() <= 0.002 * 4.0 + 0.05  # the last step settles


@pytest.mark.parametrize("brake_at", [0, 50, 200, 400])
def test_braking_takes_less_than_a_tenth_of_a_second_and_stays_on_the_path(brake_at):
    path = Path(np.stack([HOME, HOME + [2.0, 0, 0, 0, 0, 0]]), False)
    positions, speeds = run(Track(path, Speeds()), brake_at=brake_at)
    assert (len(positions) - brake_at) * 0.002 <= 0.1
    np.testing.assert_allclose(positions[:, 1:], np.tile(HOME[1:], (len(positions), 1)), atol=1e-9)
    assert np.abs(speeds[-1]).max() < 0.05


def test_motions_without_poses_or_with_an_impossible_width_are_refused():
    with pytest.raises(ValueError, match="needs approach and goal"):
        Motion(MotionKind.PICK)
    pose = Transform.identity()
    with pytest.raises(ValueError, match="width_m is -1"):
        Motion(MotionKind.PICK, pose, pose, -1.0)
    assert Motion(MotionKind.HOME).goal is None
