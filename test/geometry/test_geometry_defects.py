"""One test per geometric defect that was found in comparable packages; each fails on code that has the defect."""

import numpy as np
import pytest

from roboref_node.evaluation.analytic_scene import Box, Floor, cast_scene, look_at
from roboref_node.frame import Frame
from roboref_node.geometry import CameraModel, DistortionModel, Transform, check_depth_plausible, decode_depth, lift
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.planes import fit_plane_ransac
from roboref_node.geometry.segment import segment_object
from roboref_node.status import Refused, Status

CAMERA = CameraModel(560, 560, 319.5, 239.5, 640, 480)
RGB = np.zeros((480, 640, 3), np.uint8)


def test_metres_are_not_divided_as_if_they_were_millimetres() -> None:
    data = np.full((480, 640), 0.8, dtype="<f4").tobytes()
    depth = decode_depth(data, encoding="32FC1", width=640, height=480, step=2560, is_bigendian=False)
    assert lift(Frame(RGB, depth, CAMERA), (320.0, 240.0)).position_m[2] == pytest.approx(0.8, abs=1e-5)
    # A driver that divided already is noticed, not believed.
    with pytest.raises(Refused) as refused:
        check_depth_plausible(depth / np.float32(1000.0), 0.2, 6.0, "32FC1")
    assert refused.value.status is Status.UNITS_IMPLAUSIBLE


def test_a_zero_in_a_float_image_is_not_a_point_at_the_camera() -> None:
    data = np.zeros((480, 640), dtype="<f4").tobytes()
    depth = decode_depth(data, encoding="32FC1", width=640, height=480, step=2560, is_bigendian=False)
    with pytest.raises(Refused) as refused:
        lift(Frame(RGB, depth, CAMERA), (320.0, 240.0))
    assert refused.value.status is Status.NO_DEPTH


@pytest.mark.parametrize(
    "camera",
    [
        CameraModel(560, 560, 319.5, 239.5, 640, 480, DistortionModel.PLUMB_BOB, (-0.25, 0.08, 0.001, 0.0, 0.0)),
        CameraModel(420, 420, 319.5, 239.5, 640, 480, DistortionModel.EQUIDISTANT, (-0.02, 0.003, -0.002, 0.0003)),
    ],
    ids=["plumb_bob", "equidistant"],
)
def test_distortion_is_not_ignored(camera: CameraModel) -> None:
    pose = look_at([0.0, 0.0, 0.8], [0.45, 0.0, 0.0])
    truth = cast_scene([Floor()], camera, pose)
    point = pose.apply(lift(Frame(RGB, truth.depth_m, camera), (560.0, 420.0)).position_m)
    assert point[2] == pytest.approx(0.0, abs=5e-4)
    plain = CameraModel(camera.fx, camera.fy, camera.cx, camera.cy, 640, 480)
    ignored = pose.apply(plain.unproject((560.0, 420.0), float(truth.depth_m[420, 560])))
    assert np.linalg.norm(ignored - point) > 0.02, "the lens of this test matters"


def test_a_resized_image_scales_each_axis_by_its_own_factor() -> None:
    resized = CAMERA.scaled(320, 480)
    point = np.array([0.1, -0.12, 0.9])
    u, v = CAMERA.project(point)
    assert resized.project(point) == pytest.approx([(u + 0.5) / 2 - 0.5, v])


def test_a_camera_mounted_on_its_side_sees_the_same_point() -> None:
    # Handled by the transform; exchanging cx and cy forgets the height of the image.
    target = np.array([0.45, 0.06, 0.0])
    upright = look_at([0.0, 0.1, 0.6], [0.45, 0.0, 0.0])
    rolled = upright @ Transform.from_rotation([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.zeros(3))
    camera = CameraModel(560, 540, 300.0, 250.0, 640, 480)
    for pose in (upright, rolled):
        truth = cast_scene([Floor()], camera, pose)
        uv = camera.project(pose.inverse().apply(target))
        assert pose.apply(lift(Frame(RGB, truth.depth_m, camera), uv).position_m) == pytest.approx(target, abs=1e-4)


def test_depth_keeps_its_precision_beyond_a_metre() -> None:
    # Half floats step by a millimetre past one metre, by two past two.
    data = np.full((480, 640), 2345, dtype="<u2").tobytes()
    depth = decode_depth(data, encoding="16UC1", width=640, height=480, step=1280, is_bigendian=False)
    assert lift(Frame(RGB, depth, CAMERA), (320.0, 240.0)).position_m[2] == pytest.approx(2.345, abs=1e-6)


def test_one_bad_pixel_does_not_decide() -> None:
    noise = DepthNoise()
    pose = look_at([0.0, 0.0, 0.6], [0.45, 0.0, 0.0])
    truth = cast_scene([Floor()], CAMERA, pose)
    single, lifted = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        depth = (truth.depth_m + rng.normal(size=truth.depth_m.shape) * noise.sigma_m(truth.depth_m)).astype(np.float32)
        exact = float(truth.depth_m[250, 330])
        single.append(abs(float(depth[250, 330]) - exact))
        lifted.append(abs(lift(Frame(RGB, depth, CAMERA), (330.0, 250.0)).position_m[2] - exact))
    assert np.mean(lifted) < 0.25 * np.mean(single)


def test_a_box_turned_by_45_degrees_keeps_its_size() -> None:
    pose = look_at([-0.15, 0.0, 0.55], [0.42, 0.0, 0.0])
    truth = cast_scene([Floor(), Box((0.42, 0.0, 0.0), (0.12, 0.12, 0.03), np.pi / 4)], CAMERA, pose)
    frame = Frame(RGB, truth.depth_m, CAMERA)
    surface = lift(frame, CAMERA.project(pose.inverse().apply([0.42, 0.0, 0.03])))
    box = segment_object(frame, surface, up_optical=pose.inverse().rotate([0.0, 0.0, 1.0])).box
    assert box is not None and box.size_m == pytest.approx([0.12, 0.12, 0.03], abs=0.008)
    world = pose.rotate(box.rotation.T).T
    assert np.allclose(world.T @ world, np.eye(3), atol=1e-9)


def test_a_mask_becomes_a_cloud() -> None:
    # A peer indexes the whole image with the mask's own pixels and raises.
    pose = look_at([-0.15, 0.0, 0.55], [0.42, 0.0, 0.0])
    truth = cast_scene([Floor(), Box((0.42, 0.0, 0.0), (0.12, 0.10, 0.05))], CAMERA, pose)
    mask = truth.index == 1

    class Source:
        def mask_at(self, frame: Frame, uv_px: tuple[float, float]) -> np.ndarray:
            return mask

    frame = Frame(RGB, truth.depth_m, CAMERA)
    surface = lift(frame, CAMERA.project(pose.inverse().apply([0.42, 0.0, 0.05])))
    cloud = segment_object(frame, surface, mask_source=Source()).cloud_m
    assert 0.9 * mask.sum() < len(cloud) <= mask.sum()
    heights = pose.apply(cloud)[:, 2]
    assert heights.min() > -0.003 and heights.max() < 0.053


def test_what_stands_for_unknown_in_an_array_is_unknown() -> None:
    """Zeros of a driver were points at the camera: they took part in the support and moved grasps by up to 2 cm."""
    pose = look_at([0.3, 0.0, 0.35], [0.5, 0.0, 0.0])
    depth = cast_scene([Floor(), Box((0.5, 0.0, 0.0), (0.05, 0.06, 0.12))], CAMERA, pose).depth_m
    depth[np.random.default_rng(0).random(depth.shape) < 0.3] = np.nan
    for unknown in (0.0, -1.0, np.inf, -np.inf):
        given = Frame(RGB, np.nan_to_num(depth, nan=unknown), CAMERA).depth_m
        assert np.array_equal(given, depth, equal_nan=True) and given.dtype == np.float32
    assert Frame(RGB, depth, CAMERA).depth_m is depth
    assert np.array_equal(Frame(RGB, depth.astype(">f8"), CAMERA).depth_m, depth, equal_nan=True)  # type: ignore[arg-type]


def test_readings_on_one_line_are_no_support() -> None:
    """What is seen through a slit: this ended as a defect."""
    line = np.column_stack([np.linspace(-0.3, 0.3, 300), np.full(300, 0.1), np.full(300, 0.8)])
    line += np.random.default_rng(0).normal(scale=1e-6, size=line.shape)
    with pytest.raises(Refused) as refused:
        fit_plane_ransac(line, 1e-3, np.random.default_rng(0))
    assert refused.value.status is Status.NO_DEPTH
