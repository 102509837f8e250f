"""The simulated G1: its body is the URDF's, its map is what a survey would see, its walk keeps off everything."""

from __future__ import annotations

import numpy as np
import pytest

from roboref_node.geometry.transform import Transform
from roboref_node.goals.occupancy import OccupancyMap
from roboref_node.goals.profile import load_profile
from roboref_node.goals.standoff import reach_to_spare_m
from roboref_node.sim.frames import CAMERA_FROM_OPTICAL
from roboref_node.sim_g1.body import BODY_RADIUS_M, CAMERA_LINK, MAX_LEAN_RAD, PELVIS_HEIGHT_M, hand_angles, pelvis_from, shoulder_m
from roboref_node.sim_g1.floor_plan import Kind, sample_plan
from roboref_node.sim_g1.route import find_route
from roboref_node.sim_g1.survey import survey
from roboref_node.sim_g1.world import ARRIVAL_M, CAMERA, MAP_FRAME, OPTICAL_FRAME, SimulatedG1, Walk

G1 = load_profile("g1")
assert G1.view is not None and G1.reach is not None and G1.standoff is not None


@pytest.fixture(scope="module")
def world():
    with SimulatedG1(2) as made:
        assert made.start_facing(0, np.random.default_rng([2, 0, 0x66]))
        yield made


def test_the_profile_has_the_figures_of_the_urdf() -> None:
    camera = pelvis_from(CAMERA_LINK)
    axis = (camera @ CAMERA_FROM_OPTICAL).rotation[:, 2]
    view = G1.view
    assert view.forward_m == pytest.approx(camera.translation_m[0], abs=0.002)
    assert view.height_m == pytest.approx(camera.translation_m[2] + PELVIS_HEIGHT_M, abs=0.002)
    assert view.pitch_down_rad == pytest.approx(float(np.arcsin(-axis[2])), abs=0.002)
    assert view.vertical_fov_rad == pytest.approx(2 * np.arctan(CAMERA.height / 2 / CAMERA.fy), abs=0.02)
    assert view.horizontal_fov_rad == pytest.approx(2 * np.arctan(CAMERA.width / 2 / CAMERA.fx), abs=0.02)
    np.testing.assert_allclose(G1.reach.shoulder_m, shoulder_m(MAX_LEAN_RAD), atol=0.002)


@pytest.mark.parametrize("height_m", [0.75, 0.9])
def test_the_shell_of_the_profile_is_what_the_arm_reaches(height_m: float) -> None:
    """Straight ahead: inside the shell inverse kinematics finds a posture, 3 cm outside it finds none."""
    distances = np.arange(0.2, 0.8, 0.01)
    spare = reach_to_spare_m(distances, height_m, G1.reach)
    farthest = float(distances[spare >= 0.0].max())
    posture = hand_angles([farthest, 0.0, height_m - PELVIS_HEIGHT_M])
    assert posture is not None and posture["waist_pitch_joint"] <= MAX_LEAN_RAD
    palm = pelvis_from("left_rubber_hand", posture) if "left_elbow_joint" in posture else pelvis_from("right_rubber_hand", posture)
    np.testing.assert_allclose(palm.apply([0.09, 0.0, 0.0]), [farthest, 0.0, height_m - PELVIS_HEIGHT_M], atol=0.006)
    assert hand_angles([farthest + 0.03, 0.0, height_m - PELVIS_HEIGHT_M], tries=2) is None


@pytest.mark.parametrize("seed", range(4))
def test_flats_are_furnished_and_nothing_overlaps(seed: int) -> None:
    plan = sample_plan(seed)
    assert plan == sample_plan(seed)
    assert sum(block.kind is Kind.TABLE for block in plan.blocks) >= 2
    pairs = [item.pair for item in plan.objects]
    assert len(pairs) == len(set(pairs)) >= 2
    for item in plan.objects:
        table = plan.blocks[int(item.support.split(":")[1])]
        assert table.kind is Kind.TABLE
        assert item.position_m[2] == table.region.top_center_m[2]
        assert float(table.distance_m(np.array(item.position_m[:2]))) <= -item.radius_m
    standing = [block for block in plan.blocks if block.kind is not Kind.WALL]
    for index, block in enumerate(standing):
        middle = np.array(block.region.top_center_m[:2])
        assert all(float(other.distance_m(middle)) > 0.0 for other in standing[:index])


@pytest.mark.parametrize("seed", range(3))
def test_what_the_survey_calls_free_is_free(seed: int) -> None:
    plan = sample_plan(seed)
    grid = survey(plan)
    data = np.asarray(grid.data)
    rows, columns = np.nonzero(data == 0)
    centres = grid.origin.translation_m[:2] + (np.stack([columns, rows], axis=1) + 0.5) * grid.resolution_m
    assert plan.clearance_m(centres).min() >= 0.5 * grid.resolution_m
    assert (data < 0).any() and (data == 100).any()
    for block in plan.blocks:
        if block.kind is not Kind.WALL:
            column, row = grid.cells(np.array(block.region.top_center_m[:2]))[0]
            assert data[row, column] != 0


def test_the_route_keeps_off_and_there_is_none_into_a_closed_room() -> None:
    data = np.zeros((80, 120), np.int8)
    data[:, 58:60] = 100
    data[30:50, 58:60] = 0  # a door, 1 m wide
    grid = OccupancyMap(data, 0.05, Transform.identity())
    way = find_route(grid, (0.7, 0.5), (5.3, 3.5), 0.25)
    assert way is not None
    np.testing.assert_allclose(way[[0, -1]], [(0.7, 0.5), (5.3, 3.5)])
    assert grid.clearances(way).min() >= 0.25
    assert np.abs(way[np.argmin(np.abs(way[:, 0] - 2.95))][1] - 2.0) < 0.3, "through the middle of the door"
    data[30:50, 58:60] = -1  # nobody knows whether the door is open
    assert find_route(OccupancyMap(data, 0.05, Transform.identity()), (0.7, 0.5), (5.3, 3.5), 0.25) is None


def test_it_walks_to_its_goal_without_touching_anything(world: SimulatedG1) -> None:
    start = world.pose
    clearance = np.minimum(world.map.clearance_m, 1.0)
    rows, columns = np.nonzero(clearance >= 0.35)
    cells = world.map.origin.apply((np.stack([columns, rows, np.zeros_like(rows)], axis=1) + [0.5, 0.5, 0.0]) * world.map.resolution_m)
    rng, walked = np.random.default_rng(0), 0
    for x, y, _ in cells[rng.permutation(len(cells))[:8]]:
        if not world.go_to(x, y, 1.0):
            continue
        walked += 1
        assert world.walk_to_the_end() is Walk.ARRIVED and not world.touched
        assert np.hypot(world.pose[0] - x, world.pose[1] - y) <= ARRIVAL_M + 1e-9
        assert world.plan.clearance_m(np.array(world.pose[:2])) >= BODY_RADIUS_M - 1e-6
    assert walked >= 3
    world.place_robot(*start)
    assert world.go_to(cells[0][0], cells[0][1], 0.0) or world.walk is Walk.NO_WAY
    world.go_to(*start)
    world.step(0.01)
    world.stop()
    here = world.pose
    world.step(1.0)
    assert world.pose == here
    world.place_robot(*start)


def test_the_image_shows_what_the_frames_say(world: SimulatedG1) -> None:
    """Every pixel of an object, lifted with depth, intrinsics and the chain of frames, lies on that object."""
    by_child = {frame.child: frame for frame in world.frames()}
    pose, name = Transform.identity(), OPTICAL_FRAME
    while name != MAP_FRAME:
        pose, name = by_child[name].parent_from_child @ pose, by_child[name].parent
    np.testing.assert_allclose(pose.matrix, world.map_from_optical.matrix, atol=1e-9)
    image = world.truth()
    rows, columns = np.nonzero(image.instance == 0)
    assert len(rows) >= 60
    pick = np.random.default_rng(0).choice(len(rows), 25, replace=False)
    pixels = np.stack([columns, rows], axis=1)[pick].astype(float)
    points = pose.apply(world.camera.unproject(pixels, image.depth_m[rows[pick], columns[pick]].astype(float)))
    assert max(world.distance_m(0, point) for point in points) < 0.004
    noisy = world.render()
    both = np.isfinite(noisy.depth_m) & np.isfinite(image.depth_m)
    assert 0.0005 < float(np.median(np.abs(noisy.depth_m - image.depth_m)[both])) < 0.01
    np.testing.assert_array_equal(noisy.instance, image.instance)
