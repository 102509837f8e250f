"""A point over free air is never silently the wall behind."""

import numpy as np
import pytest

from roboref_node.evaluation.analytic_scene import Cylinder, Floor, Wall, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry import CameraModel
from roboref_node.geometry.free_air import FreeAirSettings, PointKind, classify_point
from roboref_node.status import Refused, Status

CAMERA = CameraModel(560, 560, 319.5, 239.5, 640, 480)
POSE = look_at([-0.2, 0.0, 0.22], [0.5, 0.0, 0.15])
UP = POSE.inverse().rotate([0.0, 0.0, 1.0])
MUG = Cylinder((0.5, 0.0, 0.0), 0.04, 0.10)


def frame(wall_m: float) -> Frame:
    truth = cast_scene([Floor(), Wall(wall_m), MUG], CAMERA, POSE)
    return Frame(np.zeros((480, 640, 3), np.uint8), truth.depth_m, CAMERA)


def pixel(world: list[float]) -> np.ndarray:
    return CAMERA.project(POSE.inverse().apply(world))


def test_above_the_mug_with_the_room_behind_is_above_the_mug() -> None:
    found = classify_point(frame(3.0), pixel([0.5, 0.0, 0.2]), UP)
    assert found.kind is PointKind.SUPPORT_BELOW and found.below is not None and found.position_m is not None
    assert POSE.apply(found.position_m) == pytest.approx([0.5, 0.0, 0.2], abs=0.05)
    assert POSE.apply(found.below.position_m)[2] == pytest.approx(0.1, abs=0.03)


def test_above_the_mug_with_a_wall_in_reach_is_undecidable() -> None:
    found = classify_point(frame(1.0), pixel([0.5, 0.0, 0.2]), UP)
    assert found.kind is PointKind.UNDECIDABLE and found.position_m is None
    assert found.surface is not None and found.below is not None and "may mean" in found.sentence


def test_the_wall_beside_the_mug_is_the_wall() -> None:
    found = classify_point(frame(1.0), pixel([1.0, 0.35, 0.3]), UP)
    assert found.kind is PointKind.SURFACE and found.position_m is not None
    assert POSE.apply(found.position_m)[0] == pytest.approx(1.0, abs=0.003)


def test_mug_and_table_are_surfaces() -> None:
    for world in ([0.46, 0.0, 0.05], [0.4, 0.2, 0.0], [0.75, 0.2, 0.0]):
        found = classify_point(frame(3.0), pixel(world), UP)
        assert found.kind is PointKind.SURFACE and found.position_m is not None
        assert POSE.apply(found.position_m) == pytest.approx(world, abs=0.005)


def test_the_empty_room_is_undecidable_and_the_reach_is_a_setting() -> None:
    assert classify_point(frame(3.0), pixel([0.5, 0.3, 0.3]), UP).kind is PointKind.UNDECIDABLE
    far = FreeAirSettings(reach_m=4.0)
    assert classify_point(frame(3.0), pixel([3.0, 0.9, 0.6]), UP, settings=far).kind is PointKind.SURFACE
    with pytest.raises(Refused) as refused:
        classify_point(frame(3.0), (-5.0, 0.0), UP)
    assert refused.value.status is Status.OUT_OF_IMAGE
