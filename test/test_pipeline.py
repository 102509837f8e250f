"""The pipeline on simulated frames with the pixel given: a goal that passed every check, or a status and a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roboref_node.evaluation.analytic_scene import Box, Floor, Wall, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Context, Pipeline, PipelineSettings, held_object
from roboref_node.pointing.pointer import PixelPoint, PointAnswer
from roboref_node.referral import Referral
from roboref_node.sim.cell import SimulatedCell
from roboref_node.status import Refused, Status
from roboref_node.synth.freespace import free_table, region_answer
from roboref_node.synth.view import SceneView
from roboref_node.task import Task, TaskKind, parse_instruction


@pytest.fixture(scope="module")
def cell() -> Any:
    with SimulatedCell(3) as cell:
        yield cell


@pytest.fixture(scope="module")
def frame(cell: SimulatedCell) -> Frame:
    rendered = cell.render()
    return Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=7)


@pytest.fixture(scope="module")
def view(cell: SimulatedCell) -> SceneView:
    rendered, truth = cell.render(), cell.truth()
    return SceneView(replace(rendered, depth_m=truth.depth_m, instance=truth.instance))


class FixedPointer:
    """A pointer that gives what the test tells it to; the interface is the real one."""

    name = "fixed"

    def __init__(self, *points: PixelPoint, refusal: Refused | None = None) -> None:
        self.points, self.refusal = points, refusal

    def point(self, frame: Frame, task: Task, *, canceled: Any = None) -> PointAnswer:
        if self.refusal is not None:
            raise self.refusal
        return PointAnswer(self.points, "fixed", provenance={"model": "fixed"})


def task(kind: TaskKind) -> Task:
    return Task(kind, "the thing", "take the thing")


def free_spot(view: SceneView) -> tuple[float, float]:
    """A pixel of free table within easy reach."""
    near = np.hypot(view.points_m[..., 0], view.points_m[..., 1]) < 0.6
    return region_answer(free_table(view) & near)


def graspable(view: SceneView) -> tuple[float, float]:
    item = next(o for o in view.present if o.shape in ("bottle", "cup", "box", "cylinder", "cone", "ball") and min(o.extent_m[:2]) < 0.07)
    return item.inner_uv


def test_a_pick_gives_a_goal_near_the_point(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    pixel = graspable(view)
    referral = Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.PICK), {"base_link": cell.base_from_optical}, pixel=pixel)
    assert referral.status is Status.OK, referral.sentence
    assert referral.goal is not None and referral.approach is not None and referral.grasps
    truth = cell.surface_point(*pixel)
    assert np.linalg.norm(np.asarray(referral.position_m) - truth) < 0.006
    assert np.linalg.norm(referral.goal.translation_m - truth) < 0.15
    assert 0 < referral.gripper_width_m <= 0.085
    assert referral.stamp_ns == 7
    assert referral.timings_ms["total"] > 0
    held = held_object(referral, {"base_link": cell.base_from_optical})
    assert held is not None and np.all(np.asarray(held.size_m) > 0)


def test_a_place_gives_a_goal_over_the_table(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    pixel = free_spot(view)
    referral = Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.PLACE), {"base_link": cell.base_from_optical}, pixel=pixel)
    assert referral.status is Status.OK, referral.sentence
    assert referral.goal is not None
    assert np.linalg.norm(referral.goal.translation_m[:2] - cell.surface_point(*pixel)[:2]) < 0.01
    assert 0 < referral.goal.translation_m[2] < 0.2


def test_the_goal_moves_with_the_base(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    """Turning the base by 0.3 rad about z turns position and covariance, and nothing else."""
    pixel = graspable(view)
    pipeline = Pipeline(None, load_profile("ur5"))
    turned_from_base = Transform([0.0, 0.0, np.sin(0.15), np.cos(0.15)], [0.0, 0.0, 0.0])
    here = pipeline.refer(frame, task(TaskKind.POINT), {"base_link": cell.base_from_optical}, pixel=pixel)
    there = pipeline.refer(frame, task(TaskKind.POINT), {"base_link": turned_from_base @ cell.base_from_optical}, pixel=pixel)
    assert here.ok and there.ok
    np.testing.assert_allclose(turned_from_base.apply(np.asarray(here.position_m)), np.asarray(there.position_m), atol=1e-9)
    mine = turned_from_base.rotate_covariance(np.reshape(here.position_covariance_m2, (3, 3)))
    np.testing.assert_allclose(mine, np.reshape(there.position_covariance_m2, (3, 3)), atol=1e-12)


def test_the_x_axis_of_a_point_is_level() -> None:
    camera = CameraModel(600, 600, 319.5, 239.5, 640, 480)
    pose = look_at([0.0, 0.0, 0.4], [0.5, 0.1, 0.2])
    depth = cast_scene([Floor(), Box((0.5, 0.1, 0.0), (0.2, 0.2, 0.5), 0.7)], camera, pose).depth_m
    frame = Frame(np.zeros((480, 640, 3), np.uint8), depth, camera)
    lean = Transform([0.0, -np.sin(0.15), 0.0, np.cos(0.15)], [0.0, 0.0, 0.0])
    u, v = camera.project(pose.inverse().apply([0.42, 0.09, 0.2]))
    referral = Pipeline(None, load_profile("ur5")).refer(
        frame, task(TaskKind.POINT), {"base_link": lean @ pose}, pixel=(float(u), float(v))
    )
    assert referral.goal is not None, referral.sentence
    x, _, z = referral.goal.rotation.T
    assert abs(z[2]) > 0.1 and x[2] == pytest.approx(0.0, abs=1e-9)


def test_every_refusal_is_a_referral(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    transforms = {"base_link": cell.base_from_optical}
    profile = load_profile("ur5")
    pixel = graspable(view)
    empty = replace(frame, depth_source=np.full((480, 640), np.nan, dtype=np.float32))
    broken = replace(frame, depth_source=np.zeros((10, 10), dtype=np.float32))

    def explode() -> Any:
        raise RuntimeError("planted")

    cases = [
        (Pipeline(None, profile).refer(frame, task(TaskKind.PICK), transforms), Status.MODEL_UNAVAILABLE),
        (Pipeline(None, profile).refer(frame, task(TaskKind.PICK), {}, pixel=pixel), Status.TF_UNAVAILABLE),
        (Pipeline(None, profile).refer(frame, task(TaskKind.PICK), transforms, pixel=(900.0, 20.0)), Status.OUT_OF_IMAGE),
        (Pipeline(None, profile).refer(frame, task(TaskKind.PICK), transforms, pixel=(float("nan"), 20.0)), Status.OUT_OF_IMAGE),
        (Pipeline(None, profile).refer(empty, task(TaskKind.PICK), transforms, pixel=pixel), Status.NO_DEPTH),
        (Pipeline(None, profile).refer(broken, task(TaskKind.PICK), transforms, pixel=pixel), Status.BAD_REQUEST),
        (
            Pipeline(None, profile).refer(replace(frame, depth_source=explode), task(TaskKind.PICK), transforms, pixel=pixel),
            Status.INTERNAL,
        ),
        (
            Pipeline(FixedPointer(refusal=Refused(Status.NOT_FOUND, "none")), profile).refer(frame, task(TaskKind.PICK), transforms),
            Status.NOT_FOUND,
        ),
        (Pipeline(None, profile).refer(frame, task(TaskKind.NAVIGATE), transforms, pixel=pixel), Status.BAD_REQUEST),
        (Pipeline(None, profile).refer(frame, task(TaskKind.POINT), transforms, pixel=pixel, canceled=lambda: True), Status.CANCELED),
    ]
    for referral, expected in cases:
        assert referral.status is expected, (expected, referral.status, referral.sentence)
        assert referral.sentence
        assert referral.goal is None and referral.approach is None and not referral.grasps
        referral.to_dict()


def test_points_far_apart_are_ambiguous(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    first, second = view.present[0], max(view.present[1:], key=lambda o: float(np.linalg.norm(o.centre_m - view.present[0].centre_m)))
    pointer = FixedPointer(PixelPoint(*first.inner_uv), PixelPoint(*second.inner_uv))
    referral = Pipeline(pointer, load_profile("ur5")).refer(frame, task(TaskKind.POINT), {"base_link": cell.base_from_optical})
    assert referral.status is Status.AMBIGUOUS
    assert "ambiguous_m" in referral.sentence


def test_a_models_point_on_an_edge_moves_and_says_so(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    """A given pixel on a silhouette is refused; a model's moves to the surface next to it, and the referral tells."""
    mask = view.rendered.instance == view.present[0].index
    transforms = {"base_link": cell.base_from_optical}
    moved = 0
    for v in range(0, 480, 3):
        columns = np.flatnonzero(mask[v])
        if not columns.size:
            continue
        pixel = (float(columns[0]), float(v))
        given = Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.POINT), transforms, pixel=pixel)
        if given.status is not Status.DEPTH_EDGE:
            continue
        pointed = Pipeline(FixedPointer(PixelPoint(*pixel)), load_profile("ur5")).refer(frame, task(TaskKind.POINT), transforms)
        if pointed.pixel is not None and "snapped_from_px" in pointed.details:
            moved += 1
            assert np.hypot(pointed.pixel.u_px - pixel[0], pointed.pixel.v_px - pixel[1]) <= PipelineSettings().snap_px
    assert moved > 0


def test_a_sentence_of_two_tasks_carries_the_held_object(cell: SimulatedCell, frame: Frame, view: SceneView) -> None:
    class Sequence(FixedPointer):
        def point(self, frame: Frame, task: Task, *, canceled: Any = None) -> PointAnswer:
            uv = graspable(view) if task.kind is TaskKind.PICK else free_spot(view)
            return PointAnswer((PixelPoint(*uv),), "fixed")

    tasks = parse_instruction("pick up the thing and put it behind the bowl")
    pipeline = Pipeline(Sequence(), load_profile("ur5"))
    alone = pipeline.refer(frame, tasks[1], {"base_link": cell.base_from_optical})
    pick, place = pipeline.refer_all(frame, tasks, {"base_link": cell.base_from_optical})
    assert pick.ok and place.ok and alone.ok
    assert pick.segment is not None and pick.segment.box is not None
    assert place.goal is not None and alone.goal is not None
    assert abs(place.goal.translation_m[2] - alone.goal.translation_m[2]) > 1e-4


def test_settings_are_validated() -> None:
    with pytest.raises(ValueError, match="snap_px"):
        PipelineSettings(snap_px=-1.0)


def test_one_noise_model_serves_lift_and_segment() -> None:
    noise = DepthNoise(base_m=0.002, quadratic_per_m=0.004)
    settings = PipelineSettings(noise=noise)
    assert settings.lift.noise == settings.segment.noise == noise


@pytest.mark.parametrize("wall_m, expected", [(3.0, Status.OK), (1.0, Status.AMBIGUOUS)])
def test_a_place_in_the_air_is_never_the_wall_behind(wall_m: float, expected: Status) -> None:
    camera = CameraModel(560, 560, 319.5, 239.5, 640, 480)
    pose = look_at([-0.2, 0.0, 0.5], [0.5, 0.0, 0.15])
    table = Box((0.5, 0.0, 0.0), (0.3, 0.3, 0.1))
    depth = cast_scene([Floor(), Wall(wall_m), table], camera, pose).depth_m
    u, v = camera.project(pose.inverse().apply([0.5, 0.0, 0.32]))
    frame = Frame(np.zeros((480, 640, 3), np.uint8), depth, camera)
    answer = Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.PLACE), {"base_link": pose}, pixel=(float(u), float(v)))
    assert answer.status is expected, answer.sentence
    if expected is Status.OK:
        assert answer.position_m is not None and answer.position_m[2] == pytest.approx(0.1, abs=0.01)
        assert "above a surface" in answer.details["free_air"]
    else:
        assert answer.goal is None and "pipeline.free_air.gap_m" in answer.sentence


def test_a_table_within_the_arms_reach_is_no_background_however_far_the_camera() -> None:
    camera = CameraModel(560, 560, 319.5, 239.5, 640, 480)
    pose = look_at([-0.8, 0.0, 0.8], [0.6, 0.0, 0.0])
    depth = cast_scene([Floor(), Box((0.45, 0.0, 0.0), (0.08, 0.08, 0.08))], camera, pose).depth_m
    frame = Frame(np.zeros((480, 640, 3), np.uint8), depth, camera)

    def placed_at(x_m: float) -> Referral:
        u, v = (float(x) for x in camera.project(pose.inverse().apply([x_m, 0.0, 0.0])))
        assert depth[round(v), round(u)] > PipelineSettings().free_air.reach_m
        return Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.PLACE), {"base_link": pose}, pixel=(u, v))

    behind_the_box = placed_at(0.68)
    assert behind_the_box.status is Status.OK and behind_the_box.position_m is not None, behind_the_box.sentence
    assert behind_the_box.position_m == pytest.approx((0.68, 0.0, 0.0), abs=0.004)
    assert placed_at(2.5).goal is None


def test_a_models_place_beside_an_obstacle_moves_to_where_the_object_fits_and_a_given_pixel_does_not() -> None:
    camera = CameraModel(560, 560, 319.5, 239.5, 640, 480)
    pose = look_at([-0.1, 0.0, 0.6], [0.5, 0.0, 0.0])
    depth = cast_scene([Floor(), Box((0.5, 0.0, 0.0), (0.1, 0.1, 0.1))], camera, pose).depth_m
    frame = Frame(np.zeros((480, 640, 3), np.uint8), depth, camera)
    u, v = (float(x) for x in camera.project(pose.inverse().apply([0.5, 0.08, 0.0])))
    held = Context(held=HeldObject(np.array([0.06, 0.06, 0.05]), 0.02))
    pointer = FixedPointer(PixelPoint(u, v))
    moved = Pipeline(pointer, load_profile("ur5")).refer(frame, task(TaskKind.PLACE), {"base_link": pose}, context=held)
    assert moved.status is Status.OK and moved.goal is not None, moved.sentence
    assert 0.01 <= moved.details["place_moved_m"] <= 0.1 and "pipeline.place_search_m" in moved.sentence
    assert moved.position_m is not None and moved.position_m[1] - 0.05 > 0.0424 and abs(moved.position_m[2]) < 0.003
    never = Pipeline(pointer, load_profile("ur5"), PipelineSettings(place_search_m=0.0))
    assert never.refer(frame, task(TaskKind.PLACE), {"base_link": pose}, context=held).status is Status.OCCUPIED
    given = Pipeline(None, load_profile("ur5")).refer(frame, task(TaskKind.PLACE), {"base_link": pose}, pixel=(u, v), context=held)
    assert given.status is Status.OCCUPIED and given.goal is None
