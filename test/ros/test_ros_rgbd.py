"""From a pair of messages to a frame: registered or not is decided by the messages, and nothing that does not fit gets through."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")
from sensor_msgs.msg import Image

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.geometry.transform import Transform
from roboref_node.rgbd import DepthTrust, RgbdPair, build_frame
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.status import Refused, Status

COLOR_CAMERA = CameraModel(60.0, 60.0, 31.5, 23.5, 64, 48)
DEPTH_CAMERA = CameraModel(40.0, 40.0, 19.5, 14.5, 40, 30)
SHIFT = Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.015, 0.0, 0.0]))
TRUST = DepthTrust(near_m=0.1, far_m=10.0, aligned=False, rectified=False)


def no_extrinsics(target, source, stamp_ns):
    raise AssertionError("a registered depth image needs no extrinsics")


def frame_of(
    depth=None,
    *,
    color_frame="color",
    depth_camera=COLOR_CAMERA,
    depth_frame="color",
    trust=TRUST,
    find=no_extrinsics,
    color_camera=COLOR_CAMERA,
    infos=(True, True),
):
    rgb = np.zeros((48, 64, 3), np.uint8)
    if depth is None:
        depth = depth_message(np.full((depth_camera.height, depth_camera.width), 800, np.uint16), stamp_ns=6, frame_id=depth_frame)
    pair = RgbdPair(color_message(rgb, stamp_ns=5, frame_id=color_frame), depth)
    color_info = info_from_camera(color_camera, stamp_ns=5, frame_id="color")
    depth_info = info_from_camera(depth_camera, stamp_ns=5, frame_id=depth_frame) if infos[1] else None
    return build_frame(pair, color_info, depth_info, trust, find)


def test_depth_in_the_colour_frame_is_registered():
    frame = frame_of()
    assert frame.is_registered and (frame.stamp_ns, frame.frame_id) == (5, "color")
    np.testing.assert_allclose(frame.depth_m, 0.8)
    assert frame_of(infos=(True, False)).is_registered  # many drivers publish no info for aligned depth


def test_another_frame_is_registered_only_where_declared():
    aligned = DepthTrust(0.1, 10.0, aligned=True, rectified=False)
    assert frame_of(depth_frame="depth", trust=aligned).is_registered
    asked = []
    frame = frame_of(depth_frame="depth", find=lambda *names: asked.append(names) or SHIFT)
    assert not frame.is_registered and frame.color_from_depth is SHIFT
    assert asked == [("color", "depth", 6)]  # at the stamp of the depth image


def test_a_slash_before_a_frame_does_not_count():
    """Of drivers and data sets of ROS 1, such as TUM's: tf2 drops it from transforms, and refuses to look up a name that has it."""
    assert frame_of(color_frame="/color").frame_id == "color"
    assert frame_of(color_frame="/color", depth_frame="color").is_registered
    asked = []
    frame_of(color_frame="/color", depth_frame="/depth", find=lambda *names: asked.append(names) or SHIFT)
    assert asked == [("color", "depth", 6)]


def test_other_intrinsics_are_never_registered_even_where_declared():
    aligned = DepthTrust(0.1, 10.0, aligned=True, rectified=False)
    frame = frame_of(depth_camera=DEPTH_CAMERA, depth_frame="depth", trust=aligned, find=lambda *_: SHIFT)
    assert not frame.is_registered and frame.depth_camera == DEPTH_CAMERA
    same_place = frame_of(depth_camera=DEPTH_CAMERA)  # the same frame at another size: extrinsics are the identity
    assert not same_place.is_registered and np.allclose(same_place.color_from_depth.matrix, np.eye(4))


def with_lens(model, *coefficients):
    return replace(COLOR_CAMERA, distortion_model=model, coefficients=coefficients)


BARREL = with_lens(DistortionModel.PLUMB_BOB, -0.3, 0.1, 0.0, 0.0, 0.0)
FISHEYE = with_lens(DistortionModel.EQUIDISTANT, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("color", "depth"),
    [
        (BARREL, COLOR_CAMERA),
        (COLOR_CAMERA, BARREL),
        (BARREL, with_lens(DistortionModel.PLUMB_BOB, -0.3, 0.1, 0.0, 1e-3, 0.0)),
        (FISHEYE, COLOR_CAMERA),  # with all its coefficients zero a fisheye still bends rays
    ],
)
def test_depth_with_another_lens_is_never_registered(color, depth):
    aligned = DepthTrust(0.1, 10.0, aligned=True, rectified=False)
    frame = frame_of(color_camera=color, depth_camera=depth, trust=aligned)
    assert not frame.is_registered and frame.depth_camera == depth
    assert np.allclose(frame.color_from_depth.matrix, np.eye(4))


@pytest.mark.parametrize(
    ("color", "depth"),
    [
        (BARREL, BARREL),
        (BARREL, with_lens(DistortionModel.PLUMB_BOB, *np.float32([-0.3, 0.1, 0.0, 0.0]))),
        (BARREL, with_lens(DistortionModel.RATIONAL_POLYNOMIAL, -0.3, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
        (COLOR_CAMERA, with_lens(DistortionModel.PLUMB_BOB, 1e-9, 0.0, 0.0, 0.0, 0.0)),
        (FISHEYE, FISHEYE),
    ],
)
def test_one_lens_may_be_written_in_several_ways(color, depth):
    assert frame_of(color_camera=color, depth_camera=depth).is_registered


def test_a_calibration_of_another_size_or_none_at_all_is_no_camera():
    with pytest.raises(Refused, match="40x30.*64x48") as caught:
        frame_of(color_camera=DEPTH_CAMERA)
    assert caught.value.status is Status.NO_CAMERA
    with pytest.raises(Refused, match="no depth camera info"):
        frame_of(depth_frame="depth", infos=(True, False))


def test_missing_extrinsics_are_passed_on():
    def missing(target, source, stamp_ns):
        raise Refused(Status.TF_UNAVAILABLE, f"{target} {source}")

    with pytest.raises(Refused, match="color depth"):
        frame_of(depth_frame="depth", find=missing)


@pytest.mark.parametrize(("encoding", "value", "kind"), [("32FC1", 800.0, np.float32), ("16UC1", 8, np.uint16)])
def test_depth_of_another_unit_is_refused_when_it_is_looked_at(encoding, value, kind):
    data = np.full((48, 64), value, kind)
    depth = Image(encoding=encoding, width=64, height=48, step=64 * data.itemsize, data=data.tobytes())
    depth.header.frame_id = "color"
    frame = frame_of(depth=depth)
    with pytest.raises(Refused) as caught:
        _ = frame.depth_m
    assert caught.value.status is Status.UNITS_IMPLAUSIBLE
