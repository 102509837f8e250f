"""Image messages to arrays: encodings, padding, byte order, truncation."""

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from roboref_node.geometry.camera import CameraModel, DistortionModel
from roboref_node.rgbd import camera_from_info, decode_color, decode_depth_image, stamp_ns
from roboref_node.ros.camera_info import info_from_camera
from roboref_node.ros.image import color_message, depth_message
from roboref_node.status import Refused, Status

RGB = np.random.default_rng(1).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def message(array: np.ndarray, encoding: str, padding: int = 0) -> Image:
    rows = array.reshape(array.shape[0], -1)
    padded = np.pad(rows.view(np.uint8), ((0, 0), (0, padding)))
    return Image(encoding=encoding, height=array.shape[0], width=array.shape[1], step=padded.shape[1], data=padded.tobytes())


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, np.full((6, 8), 9, np.uint8)])),
        ("bgra8", np.dstack([RGB[..., ::-1], np.full((6, 8), 9, np.uint8)])),
    ],
)
def test_colour_encodings_give_rgb(encoding, stored, padding):
    decoded = decode_color(message(np.ascontiguousarray(stored), encoding, padding))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, RGB)


def test_grey_becomes_three_equal_channels():
    grey = RGB[..., :1].copy()
    np.testing.assert_array_equal(decode_color(message(grey, "mono8")), np.repeat(grey, 3, axis=2))


def test_the_last_row_may_lack_its_padding():
    image = message(RGB, "rgb8", padding=5)
    image.data = bytes(image.data)[:-5]
    np.testing.assert_array_equal(decode_color(image), RGB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "yuv422"}, "yuv422"),
        ({"encoding": "16UC1"}, "16UC1"),
        ({"encoding": ""}, "encoding ''"),
        ({"step": 3}, "step is 3"),
        ({"height": 60}, "truncated"),
        ({"width": 0}, "0x6"),
    ],
)
def test_what_cannot_be_colour_is_named(change, words):
    image = message(RGB, "rgb8")
    for key, value in change.items():
        setattr(image, key, value)
    with pytest.raises(Refused, match="(?s).*") as caught:
        decode_color(image)
    assert caught.value.status is Status.BAD_REQUEST and words in caught.value.sentence


def test_compressed_colour():
    flat = np.full((32, 48, 3), (200, 30, 90), np.uint8)
    for extension, tolerance in ((".png", 0), (".jpg", 3)):
        data = cv2.imencode(extension, flat[..., ::-1])[1].tobytes()
        decoded = decode_color(CompressedImage(format=extension[1:], data=data))
        assert np.abs(decoded.astype(int) - flat).max() <= tolerance
    for data in (b"", b"not an image"):
        with pytest.raises(Refused, match="cannot be decoded"):
            decode_color(CompressedImage(format="jpeg", data=data))


@pytest.mark.parametrize(
    ("name", "words"),
    [("bayer_rggb8; jpeg compressed ", "mosaic"), ("bayer_gbrg16; png compressed", "mosaic"), ("16UC1; png compressed ", "a depth image")],
)
def test_what_is_no_colour_before_its_compression_is_none_afterwards(name, words):
    """The mosaic of a Bayer sensor decoded to a grey picture: the model was asked for a red cup in it."""
    data = cv2.imencode(".png", np.ascontiguousarray(RGB[..., 0]))[1].tobytes()
    with pytest.raises(Refused, match=words) as caught:
        decode_color(CompressedImage(format=name, data=data))
    assert caught.value.status is Status.BAD_REQUEST and name in caught.value.sentence
    for colour in ("mono8; png compressed ", "bayer_rggb8; png compressed bgr8", "yuv422_yuy2; png compressed bgr8", "png"):
        assert decode_color(CompressedImage(format=colour, data=data)).shape == RGB.shape


def test_depth_of_either_byte_order_and_unit_is_metres():
    millimetres = np.array([[0, 500], [1250, 65535]], np.uint16)
    expected = np.array([[np.nan, 0.5], [1.25, np.nan]], np.float32)
    np.testing.assert_allclose(decode_depth_image(depth_message(millimetres, stamp_ns=0, frame_id="d")), expected)
    big = message(millimetres.astype(">u2"), "16UC1")
    big.is_bigendian = 1
    np.testing.assert_allclose(decode_depth_image(big), expected)
    metres = message(np.array([[np.nan, 0.5], [1.25, np.inf]], np.float32), "32FC1")
    np.testing.assert_allclose(decode_depth_image(metres), expected)
    with pytest.raises(Refused, match="rgb8"):
        decode_depth_image(message(RGB, "rgb8"))


def test_messages_carry_stamp_and_frame():
    image = color_message(RGB, stamp_ns=12_000_000_034, frame_id="optical")
    assert (stamp_ns(image), image.header.frame_id, image.step) == (12_000_000_034, "optical", 24)
    np.testing.assert_array_equal(decode_color(image), RGB)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        (DistortionModel.NONE, ()),
        (DistortionModel.PLUMB_BOB, (0.1, -0.05, 1e-3, 2e-3, 0.01)),
        (DistortionModel.EQUIDISTANT, (0.1, 0.01, 0.0, 0.0)),
    ],
)
def test_camera_info_round_trip(model, coefficients):
    camera = CameraModel(500.0, 505.0, 319.5, 239.5, 640, 480, model, coefficients)
    back = camera_from_info(info_from_camera(camera, stamp_ns=5, frame_id="optical"), rectified=False)
    grid = np.stack(np.meshgrid([40.0, 320.0, 600.0], [30.0, 240.0, 440.0]), axis=-1)
    np.testing.assert_allclose(back.rays(grid), camera.rays(grid), atol=1e-9)


def test_an_uncalibrated_camera_is_refused():
    with pytest.raises(Refused) as caught:
        camera_from_info(CameraInfo(width=640, height=480), rectified=False)
    assert caught.value.status is Status.BAD_REQUEST
