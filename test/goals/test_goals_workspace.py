"""Workspace: fails closed, never clamps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.goals.workspace import Workspace
from roboref_node.goals.zones import Zone, ZoneType, points_in_polygon
from roboref_node.status import Refused, Status

BOX = Zone(type=ZoneType.KEEP_IN_BOX, frame="base", min_m=(0.2, -0.5, 0.0), max_m=(0.9, 0.5, 0.6))
HOLE = Zone(
    type=ZoneType.KEEP_OUT_PRISM,
    frame="table",
    polygon_m=(0.0, 0.0, 0.2, 0.0, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2, 0.0, 0.2),
    z_range_m=(0.0, 0.3),
)
coordinate = st.floats(-1.5, 1.5, allow_nan=False)


def status_of(workspace: Workspace, goal: object, transforms: dict[str, Transform]) -> Status:
    try:
        workspace.check(goal, transforms=transforms)  # type: ignore[arg-type]
    except Refused as refused:
        return refused.status
    return Status.OK


@given(point=st.tuples(coordinate, coordinate, coordinate))
@settings(deadline=None)
def test_only_points_inside_pass(point: tuple[float, float, float]) -> None:
    inside = all(low <= x <= high for low, x, high in zip(BOX.min_m, point, BOX.max_m, strict=True))
    expected = Status.OK if inside else Status.OUT_OF_WORKSPACE
    assert status_of(Workspace({"box": BOX}, "base"), point, {}) is expected


def test_a_low_goal_is_refused_not_raised() -> None:
    """A peer lifted goals below its minimum height silently; here the goal is refused with the distance."""
    goal = Transform(np.array([0, 0, 0, 1.0]), np.array([0.5, 0.0, -0.05]))
    with pytest.raises(Refused) as caught:
        Workspace.of(load_profile("ur5")).check(goal, transforms={})
    assert caught.value.status is Status.OUT_OF_WORKSPACE
    assert caught.value.details["outside_m"] == pytest.approx(0.04)
    assert goal.translation_m[2] == -0.05


def test_a_missing_transform_refuses() -> None:
    """A peer let goals pass when its check could not run."""
    workspace = Workspace({"box": BOX, "hole": HOLE}, "base")
    identity = Transform.identity()
    assert status_of(workspace, (0.5, 0.0, 0.1), {}) is Status.TF_UNAVAILABLE
    assert status_of(workspace, (0.5, 0.0, 0.1), {"table": identity}) is Status.TF_UNAVAILABLE
    assert status_of(workspace, (0.5, 0.0, 0.1), {"table": identity, "base": identity}) is Status.OK


@pytest.mark.parametrize("bad", [(np.nan, 0, 0), (np.inf, 0, 0), (0.5, 0.0), np.empty((0, 3))])
def test_broken_numbers_refuse(bad: object) -> None:
    assert status_of(Workspace({"box": BOX}, "base"), bad, {}) is Status.BAD_REQUEST


def test_no_keep_in_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="keep-in"):
        Workspace({"hole": HOLE}, "base")


@given(seed=st.integers(0, 2**31), point=st.tuples(st.floats(0.2, 0.9), st.floats(-0.5, 0.5), st.floats(0.0, 0.6)))
@settings(max_examples=60, deadline=None)
def test_zones_in_other_frames_move_with_them(seed: int, point: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    common_from_base = Transform(Rotation.random(rng=rng).as_quat(), rng.normal(size=3))
    table_from_base = Transform(Rotation.random(rng=rng).as_quat(), rng.normal(scale=0.2, size=3))
    transforms = {"base": common_from_base.inverse(), "table": table_from_base @ common_from_base.inverse()}
    expected = bool(HOLE.contains(table_from_base.apply(point)))
    status = status_of(Workspace({"box": BOX, "hole": HOLE}, "base"), point, transforms)
    assert (status is Status.OUT_OF_WORKSPACE) == expected


def test_motion_through_a_keep_out_zone_is_refused() -> None:
    wall = Zone(type=ZoneType.KEEP_OUT_BOX, frame="base", min_m=(0.5, -1.0, 0.0), max_m=(0.52, 1.0, 1.0))
    workspace = Workspace({"box": BOX, "wall": wall}, "base")
    left = Transform(np.array([0, 0, 0, 1.0]), np.array([0.4, 0.0, 0.3]))
    right = Transform(np.array([0, 0, 0, 1.0]), np.array([0.7, 0.0, 0.3]))
    assert status_of(workspace, left, {}) is Status.OK and status_of(workspace, right, {}) is Status.OK
    with pytest.raises(Refused, match="wall"):
        workspace.check_motion(left, right, transforms={})
    workspace.check_motion(left, left, transforms={})


@pytest.mark.parametrize(
    "pane",
    [
        Zone(type=ZoneType.KEEP_OUT_BOX, frame="pane", min_m=(-2.0, -2.0, -0.003), max_m=(2.0, 2.0, 0.003)),
        Zone(
            type=ZoneType.KEEP_OUT_PRISM,
            frame="pane",
            polygon_m=(-2.0, -0.002, 2.0, -0.002, 2.0, 0.002, -2.0, 0.002),
            z_range_m=(-2.0, 2.0),
        ),
    ],
)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_no_pane_is_too_thin_to_be_met(pane: Zone, seed: int) -> None:
    """A pane of glass of a few millimetres across a motion of centimetres, wherever it lies and however it is turned."""
    rng = np.random.default_rng(seed)
    pane_from_base = Transform(Rotation.random(rng=rng).as_quat(), rng.uniform(-0.1, 0.1, 3))
    room = Zone(type=ZoneType.KEEP_IN_BOX, frame="base", min_m=(-1.0, -1.0, -1.0), max_m=(1.0, 1.0, 1.0))
    workspace = Workspace({"room": room, "pane": pane}, "base")
    start, end = (Transform(np.array([0, 0, 0, 1.0]), rng.uniform(-0.5, 0.5, 3)) for _ in range(2))
    axis = 2 if pane.type.is_box else 1
    half = 0.003 if pane.type.is_box else 0.002
    here, there = pane_from_base.apply(np.stack([start.translation_m, end.translation_m]))[:, axis]
    met = min(here, there) <= half and max(here, there) >= -half
    transforms = {"base": Transform.identity(), "pane": pane_from_base}
    if met:
        with pytest.raises(Refused, match="pane"):
            workspace.check_motion(start, end, transforms=transforms)
    else:
        workspace.check_motion(start, end, transforms=transforms)


def test_motion_from_zone_to_zone_passes_where_they_touch_and_not_over_a_slit() -> None:
    low = Zone(type=ZoneType.KEEP_IN_BOX, frame="base", min_m=(0.0, 0.0, 0.0), max_m=(1.0, 1.0, 0.3))
    start, end = (Transform(np.array([0, 0, 0, 1.0]), np.array([0.5, 0.5, z])) for z in (0.55, 0.05))
    for gap, allowed in ((0.0, True), (0.004, False)):
        high = Zone(type=ZoneType.KEEP_IN_BOX, frame="base", min_m=(0.0, 0.0, 0.3 + gap), max_m=(1.0, 1.0, 0.6))
        workspace = Workspace({"low": low, "high": high}, "base")
        if allowed:
            workspace.check_motion(start, end, transforms={})
        else:
            with pytest.raises(Refused, match="outside"):
                workspace.check_motion(start, end, transforms={})


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 3, 0, 3, 1, 2, 1, 2, 0.5, 1, 0.5, 1, 1, 0, 1),  # a U, whose two tops lie on one line
        (0, 0, 1, 0, 1, 1, 2, 1, 2, 0, 3, 0, 3, 3, 2, 3, 2, 2, 1, 2, 1, 3, 0, 3),  # an H
        (0, 3, 1, 1, 3, 1, 1.5, -0.5, 2, -3, 0, -1, -2, -3, -1.5, -0.5, -3, 1, -1, 1),  # a star
    ],
)
def test_polygons_with_edges_on_one_line_are_simple(corners: tuple[float, ...]) -> None:
    for order in (1, -1):
        polygon = tuple(float(c) for c in np.reshape(corners, (-1, 2))[::order].ravel())
        zone = Zone(type=ZoneType.KEEP_IN_PRISM, frame="base", polygon_m=polygon, z_range_m=(0.0, 1.0))
        assert zone.contains((*np.reshape(corners, (-1, 2))[0], 0.5))


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 1, 1, 1, 0, 0, 1),  # a bow tie
        (0, 0, 2, 2, 2, 0, 0, 1),  # a bow tie with area
        (0, 0, 2, 0, 2, 1, 3, 1, 2, 1, 0, 1),  # a spike without width
        (0, 0, 2, 0, 1, 1, 2, 2, 0, 2, 1, 1),  # touches itself in a corner
        (0, 0, 4, 0, 4, 1, 3, 1, 3, 0, 1, 0, 1, 1, 0, 1),  # edges on one line that overlap
    ],
)
def test_polygons_that_cross_or_touch_themselves_are_refused(corners: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="crosses itself"):
        Zone(type=ZoneType.KEEP_IN_PRISM, frame="base", polygon_m=tuple(map(float, corners)), z_range_m=(0.0, 1.0))


def test_two_keep_in_zones_are_a_union() -> None:
    shelf = Zone(type=ZoneType.KEEP_IN_BOX, frame="base", min_m=(0.2, 0.5, 0.6), max_m=(0.9, 0.8, 1.2))
    workspace = Workspace({"box": BOX, "shelf": shelf}, "base")
    assert status_of(workspace, (0.5, 0.6, 0.9), {}) is Status.OK
    with pytest.raises(Refused) as caught:
        workspace.check((0.5, 0.9, 0.9), transforms={})
    assert caught.value.details["zone"] == "shelf" and caught.value.details["outside_m"] == pytest.approx(0.1)


def test_the_ur5_cell_holds_its_table_and_nothing_behind_or_below() -> None:
    workspace = Workspace.of(load_profile("ur5"))
    x, y, z = np.meshgrid([0.25, 0.8], [-0.4, 0.4], [0.0, 0.5])
    workspace.check(np.stack([x, y, z], axis=-1).reshape(-1, 3), transforms={})
    for point in [(-0.3, 0.0, 0.2), (0.0, 0.0, 0.2), (0.5, 0.0, -0.02), (0.5, 0.0, 1.2), (1.2, 0.0, 0.2)]:
        assert status_of(workspace, point, {}) is Status.OUT_OF_WORKSPACE


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_points_in_polygon_agrees_with_a_star_shape(seed: int) -> None:
    """A star-shaped polygon around the origin has a radius for every direction: an independent rule."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    if np.max(np.diff(np.append(angle, angle[0] + 2 * np.pi))) > np.pi * 0.9:
        return
    corners = rng.uniform(0.3, 1.0, 9)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = rng.uniform(-1, 1, (200, 2))
    k = (np.searchsorted(angle, np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)) - 1) % 9
    a, b = corners[k], corners[(k + 1) % 9]
    side = (b[:, 0] - a[:, 0]) * (points[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (points[:, 0] - a[:, 0])
    sure = np.abs(side) > 1e-6
    assert np.array_equal(points_in_polygon(points, corners)[sure], (side > 0)[sure])
    assert np.all(points_in_polygon((corners + np.roll(corners, -1, axis=0)) / 2, corners))
