"""Objects at a point, on registered and unregistered depth, with exact instance masks as truth."""

import struct
from pathlib import Path

import numpy as np
import pytest

from roboref_node.evaluation.analytic_scene import Ball, Box, Cylinder, Floor, Solid, Truth, Wall, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry import CameraModel, DistortionModel, Transform, lift
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.lift import SurfacePoint, lift_many
from roboref_node.geometry.segment import ObjectSegment, segment_object
from roboref_node.status import Refused, Status

CAMERA = CameraModel(560, 560, 319.5, 239.5, 640, 480)
POSE = look_at([-0.15, 0.05, 0.55], [0.42, 0.0, 0.03])
UP = POSE.inverse().rotate([0.0, 0.0, 1.0])
NOISE = DepthNoise()


def scene(*solids: Solid) -> Truth:
    return cast_scene([Floor(), Wall(1.6), *solids], CAMERA, POSE)


def frame_of(truth: Truth, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    depth = truth.depth_m + rng.normal(size=truth.depth_m.shape) * NOISE.sigma_m(truth.depth_m)
    return Frame(np.full((480, 640, 3), 128, np.uint8), depth.astype(np.float32), truth.camera)


def inside(mask: np.ndarray) -> tuple[float, float]:
    """The pixel of a mask nearest to its middle."""
    pixels = np.argwhere(mask)
    v, u = pixels[np.linalg.norm(pixels - pixels.mean(axis=0), axis=1).argmin()]
    return float(u), float(v)


def segment(frame: Frame, uv: tuple[float, float], up: np.ndarray | None = UP) -> ObjectSegment:
    return segment_object(frame, lift(frame, uv), up_optical=up)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("up", [UP, None], ids=["vertical known", "vertical unknown"])
@pytest.mark.parametrize(
    "solid",
    [
        Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5),
        Box((0.4, 0.0, 0.0), (0.15, 0.10, 0.02), 0.2),
        Cylinder((0.42, 0.0, 0.0), 0.04, 0.11),
        Ball((0.4, -0.05, 0.04), 0.04),
    ],
    ids=["box", "flat box", "can", "ball"],
)
def test_an_object_with_all_its_faces(solid: Solid, up: np.ndarray | None) -> None:
    truth = scene(solid)
    mask = truth.index == 2
    found = segment(frame_of(truth), inside(mask), up)
    assert iou(found.mask, mask) > 0.9
    assert found.support is not None and np.degrees(np.arccos(found.support.normal @ UP)) < 1.0
    height = {Box: lambda s: s.size_m[2], Cylinder: lambda s: s.height_m, Ball: lambda s: 2 * s.radius_m}[type(solid)](solid)
    assert found.height_m == pytest.approx(height, abs=0.006)
    assert np.abs(found.support.signed_distance(POSE.inverse().apply([0.4, 0.3, 0.0]))) < 0.003


def test_the_oriented_box_has_the_size_and_yaw_of_the_object() -> None:
    # Rotating a size vector turns a box into a sliver (a peer did); size and rotation are separate here.
    solid = Box((0.4, 0.05, 0.0), (0.16, 0.08, 0.05), np.pi / 4)
    truth = scene(solid)
    box = segment(frame_of(truth), inside(truth.index == 2)).box
    assert box is not None
    assert box.size_m == pytest.approx([0.16, 0.08, 0.05], abs=0.012)
    long_axis = POSE.rotate(box.rotation[:, 0])
    assert abs(long_axis @ [np.cos(np.pi / 4), np.sin(np.pi / 4), 0]) > np.cos(np.radians(6))
    assert np.allclose(box.rotation.T @ box.rotation, np.eye(3), atol=1e-9) and np.linalg.det(box.rotation) > 0
    assert POSE.apply(box.center_m) == pytest.approx([0.4, 0.05, 0.025], abs=0.01)


def test_stacked_and_touching_objects_stay_apart() -> None:
    solids = (
        Box((0.42, 0.0, 0.0), (0.14, 0.14, 0.06), 0.3),
        Cylinder((0.42, 0.0, 0.06), 0.035, 0.07),
        Box((0.42, 0.15, 0.0), (0.12, 0.12, 0.12), 0.3),
    )
    truth = scene(*solids)
    frame = frame_of(truth)
    for index in (2, 3, 4):
        mask = truth.index == index
        assert iou(segment(frame, inside(mask)).mask, mask) > 0.8, index


def test_a_stacked_object_stands_on_the_one_below() -> None:
    truth = scene(Box((0.42, 0.0, 0.0), (0.2, 0.2, 0.06), 0.3), Cylinder((0.42, 0.0, 0.06), 0.035, 0.07))
    found = segment(frame_of(truth), inside(truth.index == 3))
    assert found.height_m == pytest.approx(0.07, abs=0.008)


def test_an_object_partly_behind_another_is_not_merged_with_it() -> None:
    truth = scene(Box((0.34, 0.0, 0.0), (0.05, 0.10, 0.08)), Box((0.46, 0.04, 0.0), (0.05, 0.14, 0.12)))
    frame = frame_of(truth)
    for index in (2, 3):
        mask = truth.index == index
        assert iou(segment(frame, inside(mask)).mask, mask) > 0.85, index


def test_the_bare_table_holds_no_object() -> None:
    truth = scene(Box((0.42, 0.15, 0.0), (0.1, 0.1, 0.1)))
    frame = frame_of(truth)
    with pytest.raises(Refused) as refused:
        segment(frame, tuple(CAMERA.project(POSE.inverse().apply([0.4, -0.15, 0.0]))))
    assert refused.value.status is Status.NOT_FOUND


def test_flying_pixels_do_not_stretch_the_box() -> None:
    truth = scene(Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5))
    frame = frame_of(truth)
    depth = frame.depth_m.copy()
    mask = truth.index == 2
    rows, columns = np.nonzero(mask[1:] & ~mask[:-1])
    depth[rows, columns] = (depth[rows + 1, columns] + depth[np.maximum(rows - 2, 0), columns]) / 2
    box = segment(Frame(frame.rgb, depth, CAMERA), inside(mask)).box
    assert box is not None and max(box.size_m) < 0.15


def test_a_mask_source_replaces_the_geometry() -> None:
    truth = scene(Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5))
    frame = frame_of(truth)
    mask = truth.index == 2

    class Oracle:
        def mask_at(self, frame: Frame, uv_px: tuple[float, float]) -> np.ndarray:
            assert mask[round(uv_px[1]), round(uv_px[0])]
            return mask

    found = segment_object(frame, lift(frame, inside(mask)), up_optical=UP, mask_source=Oracle())
    assert np.array_equal(found.mask, mask) and found.height_m == pytest.approx(0.10, abs=0.005)


COLOR = CameraModel(900, 905, 640, 355, 1280, 720, DistortionModel.PLUMB_BOB, (0.08, -0.15, 0.0005, -0.0003, 0.05))
DEPTH = CameraModel(420, 421, 318, 243, 640, 480)
COLOR_FROM_DEPTH = Transform(np.array([0.005, -0.01, 0.0025, 1.0]), np.array([0.055, 0.002, -0.004]))


def unregistered(*solids: Solid) -> tuple[Frame, Truth]:
    truth = cast_scene([Floor(), *solids], COLOR, POSE)
    seen = cast_scene([Floor(), *solids], DEPTH, POSE @ COLOR_FROM_DEPTH)
    depth = seen.depth_m + np.random.default_rng(0).normal(size=seen.depth_m.shape) * NOISE.sigma_m(seen.depth_m)
    rgb = np.zeros((720, 1280, 3), np.uint8)
    return Frame(rgb, depth.astype(np.float32), COLOR, depth_camera=DEPTH, color_from_depth=COLOR_FROM_DEPTH), truth


def test_unregistered_depth_is_found_where_the_colour_camera_looks() -> None:
    frame, truth = unregistered(Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5), Cylinder((0.45, -0.12, 0.0), 0.04, 0.1))
    rng = np.random.default_rng(1)
    uv = np.column_stack([rng.uniform(250, 1050, 60), rng.uniform(150, 600, 60)]).round()
    results = lift_many(frame, uv, search=False)
    errors = [
        abs(r.position_m[2] - truth.depth_m[int(v), int(u)]) for (u, v), r in zip(uv, results, strict=True) if not isinstance(r, Refused)
    ]
    assert len(errors) > 50
    assert np.median(errors) < 0.002 and np.quantile(errors, 0.95) < 0.008
    # Taking the depth of the same pixel instead would be off by centimetres.
    ignorant = [abs(frame.depth_m[int(v * 480 / 720), int(u / 2)] - truth.depth_m[int(v), int(u)]) for u, v in uv]
    assert np.median(ignorant) > 0.01


def test_the_nearer_surface_wins_where_both_project() -> None:
    # The depth camera sees floor beside the post that the colour camera cannot see through it.
    frame, truth = unregistered(Box((0.3, 0.0, 0.0), (0.03, 0.05, 0.25)))
    mask = truth.index == 1
    point = lift(frame, inside(mask))
    u, v = inside(mask)
    assert point.position_m[2] == pytest.approx(float(truth.depth_m[int(v), int(u)]), abs=0.004)


@pytest.mark.parametrize("row", [300.0, 360.0, 394.0])
def test_beside_a_post_no_pixel_is_the_post(row: float) -> None:
    """One pixel of this depth camera is 2.4 of colour, and on one side of the post it is blind."""
    color, depth = CameraModel(900, 900, 639.5, 359.5, 1280, 720), CameraModel(380, 380, 319.5, 239.5, 640, 480)
    turned = Transform(np.array([0.0088, 0.0174, 0.0045, 1.0]), np.array([0.015, 0.001, 0.0]))
    pose = look_at([0.0, 0.0, 0.5], [1.0, 0.0, 0.5])
    solids = [Wall(1.0), Box((0.7, 0.0, 0.2), (0.015, 0.03, 0.6))]
    frame = Frame(
        np.zeros((720, 1280, 3), np.uint8),
        cast_scene(solids, depth, pose @ turned).depth_m,
        color,
        depth_camera=depth,
        color_from_depth=turned,
    )
    column = np.arange(600.0, 680.0, 0.25)
    uv = np.column_stack([column, np.full(len(column), row)])
    results = lift_many(frame, uv, search=False)
    # The post from 620.0 to 659.2: its front face is 0.6925 m away.
    truth = np.where(np.abs(column - 639.5) <= 900 * 0.015 / 0.6925, 0.6925, 1.0)
    errors = [abs(r.position_m[2] - z) for r, z in zip(results, truth, strict=True) if isinstance(r, SurfacePoint)]
    assert len(errors) > 0.8 * len(column) and max(errors) < 0.02
    refused = next(r for r, c in zip(lift_many(frame, uv), column, strict=True) if isinstance(r, Refused) and c > 610)
    u, v = refused.details["nearest_px"]
    assert np.hypot(u - refused.details["pixel"][0], v - row) < 8


def test_unregistered_depth_segments_in_the_colour_image() -> None:
    frame, truth = unregistered(Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5))
    mask = truth.index == 1
    found = segment(frame, inside(mask))
    assert iou(found.mask, mask) > 0.9
    assert found.height_m == pytest.approx(0.10, abs=0.006)


def test_a_ray_that_misses_the_depth_image_is_refused() -> None:
    frame, _ = unregistered()
    narrow = Frame(
        frame.rgb,
        frame.depth_m[200:280, 280:360].copy(),
        COLOR,
        depth_camera=DEPTH.cropped(280, 200, 80, 80),
        color_from_depth=COLOR_FROM_DEPTH,
    )
    with pytest.raises(Refused) as refused:
        lift(narrow, (60.0, 60.0))
    assert refused.value.status is Status.NO_DEPTH


def write_pcd(path: Path, truth: Truth) -> None:
    """An organised ASCII cloud, as a Kinect driver records it."""
    v, u = np.mgrid[0 : truth.camera.height, 0 : truth.camera.width]
    xyz = truth.camera.unproject(np.stack([u, v], axis=-1), truth.depth_m).reshape(-1, 3)
    colour = struct.unpack("<f", struct.pack("<I", (10 << 16) | (200 << 8) | 30))[0]
    header = "# .PCD v0.7\nVERSION 0.7\nFIELDS label x y z rgb\nSIZE 4 4 4 4 4\nTYPE U F F F F\nCOUNT 1 1 1 1 1\n"
    header += f"WIDTH {truth.camera.width}\nHEIGHT {truth.camera.height}\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(xyz)}\nDATA ascii\n"
    rows = [f"{label} {x:.5f} {y:.5f} {z:.5f} {colour:.9e}" for label, (x, y, z) in zip(truth.index.ravel() + 1, xyz, strict=True)]
    path.write_text(header + "\n".join(rows) + "\n")


def test_an_organised_cloud_becomes_images_and_a_bag(tmp_path: Path) -> None:
    import argparse

    import cv2
    from rosbags.highlevel import AnyReader

    from roboref_node import cli
    from roboref_node.commands import import_pcd
    from roboref_node.geometry import load_camera

    camera = CameraModel(100, 100, 59.5, 44.5, 120, 90)
    truth = cast_scene([Floor(), Box((0.4, 0.05, 0.0), (0.08, 0.12, 0.10), 0.5)], camera, POSE)
    write_pcd(tmp_path / "cloud.pcd", truth)
    parser = argparse.ArgumentParser()
    import_pcd.add_arguments(parser)
    out = tmp_path / "out"
    assert import_pcd.run(parser.parse_args([str(tmp_path / "cloud.pcd"), str(out), "--focal", "100", "--bag", "--frames", "3"])) == 0
    depth = cv2.imread(str(out / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(depth / 1000.0 - truth.depth_m)[np.isfinite(truth.depth_m)].max() < 0.0006
    assert np.array_equal(cv2.imread(str(out / "labels.png"), cv2.IMREAD_UNCHANGED), truth.index + 1)
    assert load_camera(out / "camera.yaml") == camera
    assert cv2.imread(str(out / "rgb.png"))[0, 0, ::-1].tolist() == [10, 200, 30]
    with AnyReader([out / "bag"]) as reader:
        topics = {c.topic: c.msgcount for c in reader.connections}
        assert topics.pop("/tf_static") == 1 and set(topics.values()) == {3} and len(topics) == 4
        connection = next(c for c in reader.connections if c.topic == "/tf_static")
        tf = next(reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages([connection])).transforms[0]
    turn, shift = tf.transform.rotation, tf.transform.translation
    base_from_optical = Transform(np.array([turn.x, turn.y, turn.z, turn.w]), np.array([shift.x, shift.y, shift.z]))
    assert base_from_optical.rotate(UP) == pytest.approx([0, 0, 1], abs=0.01)
    # A wrong focal length does not pass silently.
    assert cli.main(["import-pcd", str(tmp_path / "cloud.pcd"), str(tmp_path / "no"), "--focal", "525"]) == 2


@pytest.mark.parametrize("gap", [0.012, 0.015, 0.018])
@pytest.mark.parametrize("behind", [0.02, 0.04, 0.08])
def test_a_thing_seen_through_a_gap_is_not_what_stands_before_it(gap: float, behind: float) -> None:
    """A strip of a dozen pixels is all valley between the two steps at its sides; the boxes before it are nearer in the image."""
    camera = CameraModel(600, 600, 319.5, 239.5, 640, 480)
    pose = look_at([-0.15, 0.0, 0.3], [0.55, 0.0, 0.08])
    fronts = [Box((0.5, side * (0.03 + gap / 2), 0.0), (0.06, 0.06, 0.2)) for side in (1, -1)]
    truth = cast_scene([Floor(), *fronts, Box((0.545 + behind, 0.0, 0.0), (0.03, 0.05, 0.14))], camera, pose)
    strip = truth.index == 3
    frame = frame_of(truth)
    rows = np.flatnonzero(strip[:, 319])
    for row in rows[[len(rows) // 3, len(rows) // 2, 2 * len(rows) // 3]]:
        mask = segment(frame, (319.0, float(row)), pose.inverse().rotate([0.0, 0.0, 1.0])).mask
        assert mask[row, 319]
        assert (mask & strip).sum() > 0.85 * mask.sum() and (mask & strip).sum() > 0.75 * strip.sum()
