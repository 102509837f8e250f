"""Rendered frames before and after something happened: what is concluded from them must be what happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.lift import lift
from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import plan_grasps
from roboref_node.goals.place import HeldObject
from roboref_node.goals.profile import load_profile
from roboref_node.pick_place import Look
from roboref_node.pick_place.hand import place_candidates
from roboref_node.pick_place.verification import placed, presence, sight
from roboref_node.referral import Referral
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.noise import DepthNoiseSettings
from roboref_node.sim.render import Rendered
from roboref_node.status import Refused, Status
from roboref_node.synth.view import SceneView
from roboref_node.task import Task, TaskKind

TOLERANCE_M, REACH_M = 0.012, 0.04
SEEDS = (3, 5)


def look_at(cell: SimulatedCell) -> Look:
    cell.step(0.1)
    image = cell.render()
    return Look(Frame(image.rgb, image.depth_m, cell.camera, stamp_ns=cell.stamp_ns), cell.base_from_optical)


@pytest.fixture(scope="module", params=SEEDS)
def cell(request: pytest.FixtureRequest) -> Any:
    with SimulatedCell(request.param, shadows="off") as cell:
        yield cell


def test_a_place_is_tried_turned_only_where_there_was_room_for_the_gripper() -> None:
    goal = Transform(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.07, 0.055]))
    approach = Transform(goal.quaternion_xyzw, goal.translation_m + [0.0, 0.0, 0.1])
    held = HeldObject(np.array([0.14, 0.14, 0.06]), 0.05, goal, goal.inverse().apply([0.5, 0.0, 0.0]), 0.07)
    place = Referral(Task(TaskKind.PLACE, "there", "put it there"), Status.OK, "", goal=goal, approach=approach)
    assert place_candidates(place, held) == ((goal, approach),)
    told = replace(place, details={"turns_rad": [np.pi / 2]})
    (_, first), (turned, before) = place_candidates(told, held)
    assert first is approach and turned.translation_m == pytest.approx([0.43, 0.0, 0.055])
    assert turned.apply(held.bottom_in_tool_m) == pytest.approx([0.5, 0.0, 0.0], abs=1e-9)  # type: ignore[arg-type]
    assert before.translation_m - turned.translation_m == pytest.approx([0.0, 0.0, 0.1])


def standing(cell: SimulatedCell) -> list[Any]:
    """Objects that are well seen, stand on the table and carry nothing."""
    truth, image = cell.truth(), cell.render()
    view = SceneView(Rendered(rgb=image.rgb, depth_m=truth.depth_m, instance=truth.instance, spec=truth.spec))
    found = [o for o in view.present if o.support == "table" and not view.supports_something(o.index) and o.pixels > 600]
    return [o for o in found if o.shape != "plate"][:3]


def moved(pose: Transform, *offset: float) -> Transform:
    return Transform(pose.quaternion_xyzw, pose.translation_m + np.array(offset))


def test_nothing_has_moved_and_everything_gone(cell: SimulatedCell) -> None:
    before = look_at(cell)
    for item in standing(cell):
        seen = sight(before, item.inner_uv, TOLERANCE_M)
        same = presence(seen.telling_m, look_at(cell), TOLERANCE_M)
        assert same.there_of_visible > 0.85 and same.visible > 0.8, (item, same)
        home = cell.object_poses[item.index]
        cell.move_object(item.index, moved(home, 0.0, 0.0, -5.0))
        away = presence(seen.telling_m, look_at(cell), TOLERANCE_M)
        cell.move_object(item.index, home)
        assert away.gone_of_visible > 0.85, (item, away)
        assert away.there + away.gone + away.hidden == pytest.approx(1.0)


def test_a_nudge_by_more_than_half_its_width_is_seen(cell: SimulatedCell) -> None:
    before = look_at(cell)
    for item in standing(cell):
        seen = sight(before, item.inner_uv, TOLERANCE_M)
        home = cell.object_poses[item.index]
        cell.move_object(item.index, moved(home, *(1.2 * item.radius_m * np.array([0.6, 0.8])), 0.0))
        nudged = presence(seen.telling_m, look_at(cell), TOLERANCE_M)
        cell.move_object(item.index, home)
        assert nudged.there_of_visible < 0.7, (item, nudged)


def test_a_camera_that_moves_between_the_frames_does_not_matter(cell: SimulatedCell) -> None:
    before = look_at(cell)
    look = look_at(cell)
    turn = Transform(np.array([0.02, -0.03, 0.05, 1.0]), np.array([0.05, 0.02, -0.03]))
    for item in standing(cell)[:2]:
        seen = sight(before, item.inner_uv, TOLERANCE_M)
        moved_points = (before.goal_from_optical @ turn @ before.goal_from_optical.inverse()).apply(seen.telling_m)
        pose = before.goal_from_optical @ turn @ before.goal_from_optical.inverse() @ look.goal_from_optical
        assert presence(moved_points, Look(look.frame, pose), TOLERANCE_M) == presence(seen.telling_m, look, TOLERANCE_M)


def test_what_stands_in_front_hides_and_proves_nothing(cell: SimulatedCell) -> None:
    before = look_at(cell)
    item = standing(cell)[0]
    seen = sight(before, item.inner_uv, TOLERANCE_M)
    wall = Frame(before.frame.rgb, np.full_like(before.frame.depth_m, 0.3), cell.camera)
    found = presence(seen.telling_m, Look(wall, before.goal_from_optical), TOLERANCE_M)
    assert found.hidden == 1.0 and found.visible == found.gone_of_visible == found.there_of_visible == 0.0
    nothing = Frame(before.frame.rgb, np.full_like(before.frame.depth_m, np.nan), cell.camera)
    assert presence(seen.telling_m, Look(nothing, before.goal_from_optical), TOLERANCE_M).hidden == 1.0


def test_a_placed_object_is_found_where_it_stands(cell: SimulatedCell) -> None:
    profile = load_profile("ur5")
    release_m = profile.place.release_height_m
    tested = 0
    for item in standing(cell):
        before = look_at(cell)
        try:
            seen = sight(before, item.inner_uv, TOLERANCE_M)
            grasp = plan_grasps(seen.segment, lift(before.frame, item.inner_uv), seen.goal_from_optical, profile)[0]
        except Refused:
            continue  # too wide for this gripper, or its middle is an edge
        held = HeldObject.of_grasp(seen.segment, grasp, seen.goal_from_optical)
        home = cell.object_poses[item.index]
        for offset in free_spots(cell, item.index):
            cell.move_object(item.index, moved(home, 0.0, 0.0, -5.0))
            empty = look_at(cell)  # the place before, the object not there yet
            cell.move_object(item.index, moved(home, *offset))
            after = look_at(cell)
            cell.move_object(item.index, home)
            goal = moved(grasp.pose, offset[0], offset[1], release_m)
            found = placed(empty, after, held, seen, goal, release_m, TOLERANCE_M, REACH_M)
            assert found.pixels > 0.1 * found.expected_pixels and found.offset_m < 0.02, (item, offset, found)
            assert found.height_m > 0.6 * held.size_m[2], (item, found)
            missing = placed(empty, empty, held, seen, goal, release_m, TOLERANCE_M, REACH_M)
            assert missing.pixels < 20 and np.isnan(missing.offset_m), (item, missing)
            wrong = moved(goal, 0.0, 0.055, 0.0)
            off = placed(empty, after, held, seen, wrong, release_m, TOLERANCE_M, REACH_M)
            assert not off.offset_m < REACH_M, (item, off)
            tested += 1
    assert tested >= 2


def free_spots(cell: SimulatedCell, index: int) -> list[tuple[float, float, float]]:
    """Offsets by which the object may be moved and still be seen, clear of all others."""
    spots = []
    own, others = cell.spec.objects[index], [o for i, o in enumerate(cell.spec.objects) if i != index]
    for offset in np.mgrid[-0.2:0.21:0.05, -0.2:0.21:0.05].reshape(2, -1).T:
        x, y = np.array(own.position_m[:2]) + offset
        if all(np.hypot(x - o.position_m[0], y - o.position_m[1]) > 0.12 + o.radius_m + own.radius_m for o in others):
            uv = cell.camera.project(cell.base_from_optical.inverse().apply(np.array([[x, y, 0.02]])))[0]
            if 60 < uv[0] < cell.width - 60 and 60 < uv[1] < cell.height - 60 and np.hypot(*offset) > 0.08:
                spots.append((float(offset[0]), float(offset[1]), 0.0))
    return spots[:: max(1, len(spots) - 1)]


def test_a_thin_plate_that_is_taken_away_has_gone() -> None:
    """What stood less high than the tolerance was never seen to leave: each pick of it ended as still_there, with it in the gripper."""
    tested = 0
    with SimulatedCell(2, shadows="off", noise=DepthNoiseSettings()) as cell:
        truth = cell.truth()
        for index, item in enumerate(cell.spec.objects):
            rows, columns = np.nonzero(truth.instance == index)
            if item.shape != "plate" or item.extent_m[2] > 0.016 or len(rows) < 600:
                continue
            nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
            seen = sight(look_at(cell), (float(columns[nearest]), float(rows[nearest])), TOLERANCE_M)
            same = presence(seen.telling_m, look_at(cell), seen.within_m)
            assert same.there_of_visible > 0.85, (item, same)
            home = cell.object_poses[index]
            cell.move_object(index, moved(home, 0.0, 0.0, -5.0))
            away = presence(seen.telling_m, look_at(cell), seen.within_m)
            cell.move_object(index, home)
            assert away.gone_of_visible > 0.85, (item, away)
            tested += 1
    assert tested
