"""Free places: on the right side, on the platform, clear of everything, seen by the camera."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from synthetic_depth import CAMERA, Block, render
from synthetic_objects import camera_pose

from roboref_node.geometry.segment import OrientedBox
from roboref_node.geometry.transform import Transform
from roboref_node.goals.freespace import Direction, FreeSpace, FreeSpaceSettings, in_footprint, sample_free_space
from roboref_node.status import Refused, Status

POSE = camera_pose((-0.2, 0.0, 1.0), (0.5, 0.0, 0.0))
SMALL = FreeSpaceSettings(min_area_m2=0.004, min_visible_area=0.3)
"""The recipe is made for rooms; on a table the areas are smaller."""


def standing(base: tuple[float, float, float], size: tuple[float, float, float], yaw: float = 0.0) -> OrientedBox:
    return OrientedBox(np.add(base, [0, 0, 0.5 * size[2]]), Rotation.from_euler("z", yaw).as_matrix(), np.array(size))


TABLE = standing((0.5, 0.0, -0.05), (1.0, 1.2, 0.05))
TARGET = standing((0.5, 0.0, 0.0), (0.08, 0.08, 0.10))


def blocks(*boxes: OrientedBox) -> tuple[Block, ...]:
    return tuple(
        Block(
            (float(b.center_m[0]), float(b.center_m[1]), float(b.center_m[2] - b.size_m[2] / 2)),
            tuple(float(x) for x in b.size_m),
            float(np.arctan2(b.rotation[1, 0], b.rotation[0, 0])),
        )
        for b in boxes
    )


def find(
    direction: Direction, *others: OrientedBox, target: OrientedBox = TARGET, second: OrientedBox | None = None, **changes: object
) -> FreeSpace:
    shown = [target, *others] + ([second] if second is not None else [])
    depth = render(POSE, blocks(*shown)).depth_m
    chosen = dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    return sample_free_space(direction, target, [TABLE], list(others), CAMERA, POSE, depth, second=second, settings=chosen)


# The camera looks along x of the world: its right is -y, away is +x.
@pytest.mark.parametrize(
    ("direction", "heading"), [(Direction.LEFT, (0, 1)), (Direction.RIGHT, (0, -1)), (Direction.FRONT, (-1, 0)), (Direction.BEHIND, (1, 0))]
)
def test_the_four_sides_are_the_viewers(direction: Direction, heading: tuple[float, float]) -> None:
    space = find(direction)
    way = space.points_m[:, :2] - TARGET.center_m[:2]
    cosine = way @ heading / np.linalg.norm(way, axis=1)
    assert np.all(cosine >= np.cos(np.pi / 4) - 1e-6)
    u, v = space.target_uv - CAMERA.project(POSE.inverse().apply(TARGET.center_m))
    seen_as = {Direction.LEFT: -u, Direction.RIGHT: u, Direction.FRONT: v, Direction.BEHIND: -v}[direction]
    assert seen_as > 0
    assert np.allclose(space.points_m[:, 2], 0.0)
    assert np.allclose(CAMERA.project(POSE.inverse().apply(space.points_m)), space.pixels_uv)


@given(seed=st.integers(0, 2**31), direction=st.sampled_from([Direction.LEFT, Direction.RIGHT, Direction.FRONT, Direction.BEHIND]))
@settings(max_examples=15, deadline=None)
def test_places_are_on_the_platform_and_clear_of_everything(seed: int, direction: Direction) -> None:
    rng = np.random.default_rng(seed)
    others = [
        standing((*rng.uniform([0.2, -0.4], [0.9, 0.4]), 0.0), tuple(rng.uniform([0.03, 0.03, 0.03], [0.1, 0.1, 0.15])), rng.uniform(0, 3))
        for _ in range(4)
    ]
    try:
        space = find(direction, *others, clearance_m=0.01)
    except Refused as reason:
        assert reason.status is Status.OCCUPIED
        return
    assert np.all(in_footprint(TABLE, space.points_m[:, :2]))
    for other in (TARGET, *(o for o in others if np.prod(o.size_m) <= SMALL.obstacle_volume_ratio * np.prod(TARGET.size_m))):
        assert not np.any(in_footprint(other, space.points_m[:, :2], 0.0099))
    assert np.all(CAMERA.contains(space.pixels_uv))
    assert any(np.array_equal(space.target_m, p) for p in space.points_m)


def test_what_is_hidden_is_not_offered() -> None:
    """A tall box hides the table behind it."""
    tall = standing((0.5, 0.0, 0.0), (0.1, 0.5, 0.4))
    with pytest.raises(Refused, match="min_visible_sector") as caught:
        find(Direction.BEHIND, target=tall)
    assert caught.value.status is Status.OCCUPIED
    assert find(Direction.FRONT, target=tall).visible > 0.5


def test_a_full_side_is_occupied() -> None:
    row = [standing((x, 0.2, 0.0), (0.11, 0.3, 0.1)) for x in (0.3, 0.41, 0.52, 0.63, 0.74)]
    with pytest.raises(Refused) as caught:
        find(Direction.LEFT, *row, obstacle_volume_ratio=10.0, min_area_m2=0.03)
    assert caught.value.status is Status.OCCUPIED and "min_area_m2" in caught.value.sentence
    assert find(Direction.RIGHT, *row)


def test_above_is_on_top_and_below_is_on_the_platform_under_it() -> None:
    book = standing((0.5, 0.0, 0.0), (0.2, 0.2, 0.05))
    top = find(Direction.ABOVE, target=book)
    assert np.allclose(top.points_m[:, 2], 0.05)
    assert np.all(np.abs(top.points_m[:, :2] - [0.5, 0.0]) <= 0.08 + 1e-9)
    assert top.area_m2 == pytest.approx(0.16**2)
    shelf_object = standing((0.5, 0.0, 0.3), (0.2, 0.2, 0.05))
    free_table = render(POSE, ()).depth_m
    under = sample_free_space(Direction.BELOW, shelf_object, [TABLE], [], CAMERA, POSE, free_table, settings=SMALL)
    assert np.allclose(under.points_m[:, 2], 0.0)
    with pytest.raises(Refused) as caught:
        sample_free_space(Direction.BELOW, book, [standing((2, 0, -0.1), (0.1, 0.1, 0.1))], [], CAMERA, POSE, free_table, settings=SMALL)
    assert caught.value.status is Status.NOT_FOUND


def test_between_lies_in_the_hull_and_on_neither() -> None:
    left, right = standing((0.5, 0.2, 0.0), (0.08, 0.08, 0.05)), standing((0.5, -0.2, 0.0), (0.08, 0.08, 0.05))
    space = find(Direction.BETWEEN, target=left, second=right)
    assert np.all(np.abs(space.points_m[:, 1]) <= 0.16 + 1e-9) and np.all(np.abs(space.points_m[:, 0] - 0.5) <= 0.04 + 1e-9)
    assert space.area_m2 == pytest.approx(0.32 * 0.08, rel=0.03)
    assert np.linalg.norm(space.target_m[:2] - [0.5, 0.0]) < 0.03
    with pytest.raises(Refused) as caught:
        find(Direction.BETWEEN, standing((0.5, 0.0, 0.0), (0.2, 0.3, 0.1)), target=left, second=right, obstacle_volume_ratio=100.0)
    assert caught.value.status is Status.OCCUPIED
    with pytest.raises(Refused) as caught:
        find(Direction.BETWEEN)
    assert caught.value.status is Status.BAD_REQUEST


def test_nothing_that_carries_the_target() -> None:
    with pytest.raises(Refused) as caught:
        find(Direction.LEFT, target=standing((0.5, 0.0, 0.3), (0.05, 0.05, 0.05)))
    assert caught.value.status is Status.NOT_FOUND


@given(yaw=st.floats(-np.pi, np.pi), x=st.floats(-2, 2), y=st.floats(-2, 2))
@settings(max_examples=10, deadline=None)
def test_places_move_with_the_world(yaw: float, x: float, y: float) -> None:
    move = Transform.from_rotation(Rotation.from_euler("z", yaw).as_matrix(), [x, y, 0.0])
    other = standing((0.55, 0.15, 0.0), (0.06, 0.1, 0.1), 0.4)
    depth = render(POSE, blocks(TARGET, other)).depth_m

    def moved(box: OrientedBox) -> OrientedBox:
        return OrientedBox(move.apply(box.center_m), move.rotation @ box.rotation, box.size_m)

    still = sample_free_space(Direction.LEFT, TARGET, [TABLE], [other], CAMERA, POSE, depth, settings=SMALL)
    after = sample_free_space(Direction.LEFT, moved(TARGET), [moved(TABLE)], [moved(other)], CAMERA, move @ POSE, depth, settings=SMALL)
    assert after.visible == pytest.approx(still.visible, abs=0.01)
    assert np.linalg.norm(move.apply(still.target_m) - after.target_m) < 0.02


def test_broken_settings() -> None:
    for change in ({"start_m": 0.5}, {"grid": 1}, {"support_cover": 1.5}, {"shrink": 0.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            FreeSpaceSettings(**change)  # type: ignore[arg-type]
