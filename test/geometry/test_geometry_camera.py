"""Camera models against OpenCV and against themselves."""

import json
import warnings

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roboref_node.geometry import CameraModel, DistortionModel, load_camera, save_camera
from roboref_node.status import Refused, Status

M = DistortionModel
small = st.floats(-0.002, 0.002)


@st.composite
def cameras(draw: st.DrawFn) -> CameraModel:
    model = draw(st.sampled_from(list(M)))
    fx = draw(st.floats(250, 900))
    radial = [draw(st.floats(-0.45, 0.4)), draw(st.floats(-0.3, 0.3))]
    tangential = [draw(small), draw(small)]
    coefficients: tuple[float, ...] = ()
    if model is M.PLUMB_BOB:
        coefficients = (*radial, *tangential, draw(st.floats(-0.1, 0.1)))
    elif model is M.RATIONAL_POLYNOMIAL:
        coefficients = (*radial, *tangential, draw(st.floats(-0.1, 0.1)), *(draw(st.floats(-0.4, 0.4)) for _ in range(3)))
    elif model is M.THIN_PRISM:
        coefficients = (*radial, *tangential, *([0.01] * 4), *(draw(small) for _ in range(4)))
        if draw(st.booleans()):
            coefficients = (*coefficients, draw(st.floats(-0.05, 0.05)), draw(st.floats(-0.05, 0.05)))
    elif model is M.EQUIDISTANT:
        coefficients = tuple(draw(st.floats(-0.05, 0.05)) for _ in range(4))
    return CameraModel(
        fx, fx * draw(st.floats(0.95, 1.05)), draw(st.floats(280, 360)), draw(st.floats(210, 270)), 640, 480, model, coefficients
    )


def grid(step: int = 20) -> np.ndarray:
    v, u = np.mgrid[0:480:step, 0:640:step]
    return np.stack([u, v], axis=-1).astype(float)


@settings(max_examples=60, deadline=None)
@given(cameras(), st.floats(0.2, 5.0))
def test_project_undoes_unproject_over_the_whole_valid_domain(camera: CameraModel, depth: float) -> None:
    uv = grid()
    xyz = camera.unproject(uv, np.full(uv.shape[:-1], depth))
    valid = np.isfinite(xyz[..., 0])
    assert valid[12, 16], "the image centre is always valid"
    assert np.array_equal(valid, camera.contains(uv))
    assert np.abs(camera.project(xyz[valid]) - uv[valid]).max() < 1e-6
    assert np.allclose(xyz[valid][:, 2], depth)


@pytest.mark.parametrize("exponent", [-6, -24, -48, -79, -90, -200, -300])
@pytest.mark.parametrize("place", [1, 4, 5, 6, 7])
def test_a_coefficient_that_is_nothing_changes_nothing(place: int, exponent: int) -> None:
    coefficients = [0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    coefficients[place] += 10.0**exponent
    camera = CameraModel(600, 600, 320, 240, 640, 480, M.RATIONAL_POLYNOMIAL, tuple(coefficients))
    assert camera.contains(grid()).all()


@settings(max_examples=60, deadline=None)
@given(cameras())
def test_projection_agrees_with_opencv(camera: CameraModel) -> None:
    rays = camera.rays(grid())
    rays = rays[np.isfinite(rays[..., 0])] * 1.7
    zero = np.zeros(3)
    if camera.distortion_model is M.EQUIDISTANT:
        theirs = cv2.fisheye.projectPoints(rays[:, None], zero, zero, camera.matrix, np.array(camera.coefficients))[0]
    else:
        theirs = cv2.projectPoints(rays[:, None], zero, zero, camera.matrix, np.array(camera.coefficients or [0.0] * 5))[0]
    assert np.abs(theirs[:, 0] - camera.project(rays)).max() < 1e-6


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        (M.PLUMB_BOB, (-0.12, 0.05, 0.001, -0.0007, 0.0)),
        (M.RATIONAL_POLYNOMIAL, (0.5, -2.6, 0.0007, -0.0002, 1.5, 0.38, -2.4, 1.43)),
        (M.EQUIDISTANT, (-0.02, 0.003, -0.002, 0.0003)),
    ],
)
def test_rays_agree_with_opencv_undistortion(model: DistortionModel, coefficients: tuple[float, ...]) -> None:
    camera = CameraModel(600, 610, 318, 242, 640, 480, model, coefficients)
    uv = grid(40).reshape(-1, 1, 2)
    if model is M.EQUIDISTANT:
        theirs = cv2.fisheye.undistortPoints(uv, camera.matrix, np.array(coefficients))
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-12)
        theirs = cv2.undistortPointsIter(uv, camera.matrix, np.array(coefficients), None, None, criteria)
    assert np.abs(theirs[:, 0] - camera.rays(uv[:, 0])[:, :2]).max() < 1e-8


def test_pixels_beyond_the_fold_of_the_lens_have_no_ray() -> None:
    # r (1 - 0.9 r^2 + 0.2 r^4) stops growing at r = 0.665, where it reaches 0.426: 192 px at f = 450.
    camera = CameraModel(450, 450, 320, 240, 640, 480, M.PLUMB_BOB, (-0.9, 0.2, 0.0, 0.0, 0.0))
    assert camera.contains((320.0 + 188.0, 240.0))
    assert not camera.contains((320.0 + 196.0, 240.0))
    assert np.isnan(camera.rays((600.0, 240.0))).all()
    assert np.isnan(camera.project((0.7, 0.0, 1.0))).all(), "a point beyond the fold would land on the wrong pixel"
    assert np.isfinite(camera.project((0.6, 0.0, 1.0))).all()


def test_points_behind_the_camera_have_no_pixel() -> None:
    camera = CameraModel(500, 500, 320, 240, 640, 480)
    assert np.isnan(camera.project([[0.1, 0.1, -1.0], [0.0, 0.0, 0.0]])).all()


def test_scaling_keeps_rays_and_uses_each_axis_own_factor() -> None:
    camera = CameraModel(500, 480, 310, 250, 640, 480)
    half = camera.scaled(320, 480)
    assert (half.fx, half.fy, half.cy) == (250, 480, 250)
    # The pixel corner, not its centre, is the fixed point of resizing.
    assert np.allclose(half.rays((99.75, 30.0)), camera.rays((200.0, 30.0)))


def info(**changes: object) -> CameraModel:
    fields: dict[str, object] = {
        "width": 640,
        "height": 480,
        "K": [500.0, 0, 320, 0, 505.0, 240, 0, 0, 1],
        "D": [0.1, -0.05, 0.001, 0.0, 0.01],
        "distortion_model": "plumb_bob",
        "P": [480.0, 0, 318, 0, 0, 480, 241, 0, 0, 0, 1, 0],
        "R": np.eye(3).ravel().tolist(),
        "rectified": False,
    }
    return CameraModel.from_camera_info(**{**fields, **changes})  # type: ignore[arg-type]


def test_rectified_topics_use_p_and_raw_topics_k_and_d() -> None:
    raw, rectified = info(), info(rectified=True)
    assert (raw.fx, raw.distortion_model, len(raw.coefficients)) == (500.0, M.PLUMB_BOB, 5)
    assert (rectified.fx, rectified.cx, rectified.distortion_model) == (480.0, 318.0, M.NONE)
    assert info(rectified=True, P=[0.0] * 12, D=[0.0] * 5).fx == 500.0, "an undistorted camera without P is its own rectified one"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.integers(0, 80), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 3]))
def test_region_and_binning_see_the_same_rays(x: int, y: int, bx: int, by: int) -> None:
    full = info()
    part = info(roi=(x, y, 400, 300, False), binning_x=bx, binning_y=by)
    assert (part.width, part.height) == (400 // bx, 300 // by)
    # The centre of a binned pixel is the mean of the pixels it was made of.
    binned = np.array([7.0, 11.0])
    members = [[x + 7 * bx + i, y + 11 * by + j] for i in range(bx) for j in range(by)]
    assert np.allclose(part.rays(binned), full.rays(np.mean(members, axis=0)), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K": [0.0] * 9}, "not calibrated"),
        ({"K": [-500.0, 0, 320, 0, 505, 240, 0, 0, 1]}, "positive"),
        ({"K": [500.0, 0, 320]}, "3 numbers"),
        ({"K": [float("nan"), 0, 320, 0, 505, 240, 0, 0, 1]}, "not finite"),
        ({"width": 0}, "size"),
        ({"D": [0.1, 0.2, 0.3]}, "coefficients"),
        ({"D": [0.1] * 8}, "coefficients"),
        ({"distortion_model": "wide_eye"}, "not supported"),
        ({"roi": (600, 0, 200, 100, False)}, "does not fit"),
        ({"binning_x": 1000}, "binning"),
        ({"rectified": True, "P": [480.0, 0, 318, -24.0, 0, 480, 241, 0, 0, 0, 1, 0]}, "stereo"),
        ({"rectified": True, "P": [0.0] * 12}, "rectified"),
        ({"rectified": True, "R": [1.0, 2, 3, 4, 5, 6, 7, 8, 9]}, "rotation"),
    ],
)
def test_wrong_camera_infos_are_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        info(**changes)
    assert refused.value.status is Status.BAD_REQUEST


@given(cameras())
@settings(max_examples=30, deadline=None)
def test_camera_descriptions_survive_json(camera: CameraModel) -> None:
    assert CameraModel.from_dict(json.loads(json.dumps(camera.to_dict()))) == camera


@pytest.mark.parametrize("name", ["camera.yaml", "camera.json"])
def test_camera_files_are_read_back(name: str, tmp_path) -> None:
    camera = CameraModel(500, 505, 320, 240, 640, 480, M.EQUIDISTANT, (0.01, 0.0, 0.0, 0.0))
    save_camera(camera, tmp_path / name)
    assert load_camera(tmp_path / name) == camera


def test_files_of_camera_calibration_and_printed_camera_infos_are_read(tmp_path) -> None:
    calibration = {
        "image_width": 640,
        "image_height": 480,
        "camera_name": "head",
        "camera_matrix": {"rows": 3, "cols": 3, "data": [500.0, 0, 320, 0, 505.0, 240, 0, 0, 1]},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.05, 0.001, 0.0, 0.01]},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": np.eye(3).ravel().tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": [480.0, 0, 318, 0, 0, 480, 241, 0, 0, 0, 1, 0]},
    }
    (tmp_path / "calibration.yaml").write_text(yaml.safe_dump(calibration))
    assert load_camera(tmp_path / "calibration.yaml") == info()
    assert load_camera(tmp_path / "calibration.yaml", rectified=True) == info(rectified=True)
    echoed = "header:\n  frame_id: head\nheight: 480\nwidth: 640\ndistortion_model: plumb_bob\nd:\n- 0.1\n- -0.05\n- 0.001\n- 0.0\n- 0.01\n"
    echoed += (
        "k: [500.0, 0, 320, 0, 505.0, 240, 0, 0, 1]\nr: [1, 0, 0, 0, 1, 0, 0, 0, 1]\np: [480.0, 0, 318, 0, 0, 480, 241, 0, 0, 0, 1, 0]\n"
    )
    (tmp_path / "info.yaml").write_text(echoed + "binning_x: 0\nbinning_y: 0\nroi:\n  x_offset: 0\n  width: 0\n  height: 0\n---\n")
    assert load_camera(tmp_path / "info.yaml") == info()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "named values"),
        ("fx: 1\n", "'fy'"),
        ("fx: [", "neither"),
        ("fx: a\nfy: 1\ncx: 1\ncy: 1\nwidth: 1\nheight: 1\n", "wrong value"),
        ("fx: 1\nfy: 1\ncx: 0\ncy: 0\nwidth: 1\nheight: 1\nk1: 0.1\n", "unknown entry 'k1'"),
        ("fx: 1\nfy: 1\ncx: 0\ncy: 0\nwidth: .inf\nheight: 1\n", "width is inf, it must be a whole number"),
        ("fx: 1\nfy: 1\ncx: 0\ncy: 0\nwidth: 640.5\nheight: 1\n", "width is 640.5"),
        ("fx: 1\nfx: 2\nfy: 1\ncx: 0\ncy: 0\nwidth: 1\nheight: 1\n", "'fx' is given twice in line 2"),
        ("cam0: {intrinsics: [1, 1, 0, 0], resolution: [1, 1]}\n", "none of the known forms.*camera_matrix"),
        ("width: 1\nheight: 1\nk: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nroi: 5\n", "roi is 5, it must be a group"),
        ("image_width: 1\nimage_height: 1\ncamera_matrix: [1]\n", "camera_matrix is .*'data'"),
    ],
)
def test_wrong_camera_files_are_refused_with_the_reason(text: str, words: str, tmp_path) -> None:
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(Refused, match=words):
        load_camera(tmp_path / "camera.yaml")
    with pytest.raises(Refused, match="cannot be read"):
        load_camera(tmp_path / "absent.yaml")


def test_a_size_may_be_written_with_a_point(tmp_path) -> None:
    (tmp_path / "camera.yaml").write_text("fx: 600\nfy: 600\ncx: 320\ncy: 240\nwidth: 640.0\nheight: 480.0\n")
    camera = load_camera(tmp_path / "camera.yaml")
    assert (camera.width, camera.height) == (640, 480) and isinstance(camera.width, int)


def test_a_pixel_beyond_the_lens_is_refused_without_a_warning() -> None:
    camera = CameraModel(300, 300, 319.5, 239.5, 640, 480, DistortionModel.PLUMB_BOB, (-0.5, 0.1, 0.0, 0.0, 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(camera.rays([[0.0, 0.0]])).all()
        assert not camera.contains([0.0, 0.0])
