"""cv_bridge as roboref uses it. What only the underlay promises is marked; the rest also holds for the genuine package."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

if importlib.util.find_spec("cv_bridge") is None:
    pytest.skip("neither a ROS distribution nor the underlay is sourced", allow_module_level=True)

import cv_bridge
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

OURS = "underlay" in Path(cv_bridge.__file__).resolve().parts
ours_only = pytest.mark.skipif(not OURS, reason="a promise of the underlay that the genuine package does not give")
# The genuine package calls ndarray.newbyteorder, which NumPy 2 removed.
swaps_bytes = pytest.mark.skipif(not OURS and int(np.__version__.split(".")[0]) > 1, reason="the genuine package needs NumPy 1 for this")

DEPTHS = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
GENERIC = {f"{name}C{channels}": (dtype, channels) for name, dtype in DEPTHS.items() for channels in (1, 2, 3, 4)}
NAMED = {
    **{f"{name}8": ("u1", channels) for name, channels in (("mono", 1), ("rgb", 3), ("bgr", 3), ("rgba", 4), ("bgra", 4))},
    **{f"{name}16": ("u2", channels) for name, channels in (("mono", 1), ("rgb", 3), ("bgr", 3), ("rgba", 4), ("bgra", 4))},
    **{f"bayer_{pattern}{bits}": (f"u{bits // 8}", 1) for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)},
    "yuv422": ("u1", 2),
}
ALL = GENERIC | NAMED

bridge = CvBridge()


def picture(dtype, channels, height=5, width=7, seed=0):
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def message_of(array, encoding, *, padding=0, big=sys.byteorder == "big"):
    """A message made byte by byte, not by the bridge."""
    message = Image(encoding=encoding, height=array.shape[0], width=array.shape[1], is_bigendian=int(big))
    rows = array.astype(array.dtype.newbyteorder(">" if big else "<")).reshape(array.shape[0], -1)
    data = b"".join(row.tobytes() + b"\xab" * padding for row in rows)
    message.step = len(data) // array.shape[0]
    message.data = data
    return message


@pytest.mark.parametrize("encoding", ALL)
class TestEveryEncoding:
    def test_to_a_message_and_back(self, encoding):
        original = picture(*ALL[encoding])
        header = Header(frame_id="camera")
        message = bridge.cv2_to_imgmsg(original, encoding, header)
        assert (message.height, message.width, message.encoding, message.header.frame_id) == (5, 7, encoding, "camera")
        assert message.step == original.nbytes // 5 and bytes(message.data) == original.tobytes()
        back = bridge.imgmsg_to_cv2(message)
        assert back.dtype == original.dtype and back.dtype.isnative
        np.testing.assert_array_equal(back, original)

    def test_padding_at_the_end_of_rows(self, encoding):
        original = picture(*ALL[encoding])
        # The genuine package can skip whole pixels only.
        message = message_of(original, encoding, padding=3 * original.nbytes // original.shape[0] // original.shape[1])
        np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message), original)

    @swaps_bytes
    def test_the_other_byte_order(self, encoding):
        original = picture(*ALL[encoding])
        for big in (False, True):
            back = bridge.imgmsg_to_cv2(message_of(original, encoding, big=big))
            assert back.dtype == original.dtype and back.dtype.isnative
            np.testing.assert_array_equal(back, original)


def test_passthrough_names_the_type():
    for encoding, (dtype, channels) in GENERIC.items():
        assert bridge.cv2_to_imgmsg(picture(dtype, channels)).encoding == encoding
        assert bridge.encoding_to_dtype_with_channels(encoding) == (np.dtype(dtype).name, channels)
        assert bridge.dtype_with_channels_to_cvtype2(np.dtype(dtype), channels) == encoding


def test_big_endian_array_says_so():
    original = picture("u2", 1)
    message = bridge.cv2_to_imgmsg(original.astype(">u2"), "16UC1")
    assert message.is_bigendian
    assert bytes(message.data) == original.astype(">u2").tobytes()


def test_a_part_of_an_array():
    original = picture("u1", 3, 20, 30)[3:15:2, 4:20]
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(original, "bgr8"), "bgr8"), original)


@ours_only
def test_padding_that_is_no_whole_number_of_pixels():
    original = picture("u2", 3)
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message_of(original, "rgb16", padding=5)), original)


class TestConversion:
    @pytest.mark.parametrize("source", ["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "mono16", "rgb16", "bgr16", "rgba16", "bgra16"])
    @pytest.mark.parametrize("target", ["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "mono16", "rgb16", "bgr16", "rgba16", "bgra16"])
    def test_between_colours(self, source, target):
        original = picture(*NAMED[source])
        result = bridge.imgmsg_to_cv2(message_of(original, source), target)
        dtype, channels = NAMED[target]
        assert result.dtype == np.dtype(dtype) and result.shape == ((5, 7) if channels == 1 else (5, 7, channels))
        # Channel by channel, in fractions of the full range.
        full = {1: 255.0, 2: 65535.0}
        values = original.reshape(5, 7, -1) / full[original.itemsize]
        names = source.rstrip("0123456789")
        if names == "mono":
            red = green = blue = values[..., 0]
        else:
            red, green, blue = (values[..., names.index(letter)] for letter in "rgb")
        alpha = values[..., 3] if names.endswith("a") else np.ones((5, 7))
        grey = values[..., 0] if names == "mono" else 0.299 * red + 0.587 * green + 0.114 * blue
        parts = {"r": red, "g": green, "b": blue, "a": alpha}
        wanted = target.rstrip("0123456789")
        expected = grey[..., None] if wanted == "mono" else np.stack([parts[letter] for letter in wanted], axis=-1)
        # Steps of the coarser depth: one for rounding, two for OpenCV's fixed-point weights of grey.
        step = 1.0 / min(full[original.itemsize], full[result.itemsize])
        np.testing.assert_allclose(
            result.reshape(5, 7, -1) / full[result.itemsize], expected, atol=(2.1 if wanted == "mono" else 1.1) * step
        )

    def test_the_same_encoding_gives_a_copy(self):
        message = message_of(picture("u1", 3), "rgb8")
        result = bridge.imgmsg_to_cv2(message, "rgb8")
        before = bytes(message.data)
        result[:] = 0
        assert bytes(message.data) == before

    def test_plain_numbers_are_cast(self):
        depth = np.array([[0, 1, 65535]], dtype=np.uint16)
        np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message_of(depth, "16UC1"), "32FC1"), np.float32([[0, 1, 65535]]))
        metres = np.array([[-3.0, 0.5, 1.5, 1.4, 70000.0]], dtype=np.float32)
        result = bridge.imgmsg_to_cv2(message_of(metres, "32FC1"), "16UC1")
        assert result.dtype == np.uint16
        np.testing.assert_array_equal(result, [[0, 0, 2, 1, 65535]])

    def test_colour_as_plain_numbers_of_the_same_shape(self):
        original = picture("u1", 3)
        np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message_of(original, "rgb8"), "8UC3"), original)
        np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message_of(picture("u2", 1), "mono16"), "16UC1"), picture("u2", 1))

    @pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
    def test_bayer_patterns(self, pattern):
        # One colour everywhere: whatever the interpolation, that colour comes out.
        red, green, blue = 200, 120, 40
        cell = np.array([{"r": red, "g": green, "b": blue}[letter] for letter in pattern], dtype=np.uint8).reshape(2, 2)
        mosaic = np.tile(cell, (8, 8))
        result = bridge.imgmsg_to_cv2(message_of(mosaic, f"bayer_{pattern}8"), "rgb8")
        np.testing.assert_array_equal(result[2:-2, 2:-2], np.full((12, 12, 3), (red, green, blue)))

    def test_yuv422(self):
        grey = np.zeros((4, 6, 2), dtype=np.uint8)
        grey[..., 0], grey[..., 1] = 128, 126  # no colour; luma 126 of 16..235
        result = bridge.imgmsg_to_cv2(message_of(grey, "yuv422"), "rgb8")
        assert result.shape == (4, 6, 3)
        np.testing.assert_allclose(result, 128, atol=1)

    @pytest.mark.parametrize(
        ("source", "target"),
        [("8UC3", "rgb8"), ("32FC1", "mono8"), ("16UC1", "mono16"), ("rgb8", "8UC1"), ("8UC3", "8UC1"), ("rgb8", "bayer_rggb8")],
    )
    def test_conversions_that_make_no_sense(self, source, target):
        with pytest.raises(CvBridgeError):
            bridge.imgmsg_to_cv2(message_of(picture(*ALL[source]), source), target)


class TestRefusals:
    @pytest.mark.parametrize("encoding", ["", "rgb", "RGB8", "8UC", "8UC0", "8UC513", "8UC99999999999999", "24UC1", "rgb8; jpeg"])
    def test_unknown_encoding(self, encoding):
        with pytest.raises(CvBridgeError, match="Unrecognized image encoding"):
            bridge.imgmsg_to_cv2(message_of(picture("u1", 3), encoding))

    def test_array_of_another_type_than_the_encoding(self):
        with pytest.raises(CvBridgeError, match="encoding specified as rgb8, but image has incompatible type 16UC1"):
            bridge.cv2_to_imgmsg(picture("u2", 1), "rgb8")

    def test_no_array(self):
        with pytest.raises(TypeError, match="not a numpy array"):
            bridge.cv2_to_imgmsg([[1, 2]], "mono8")
        with pytest.raises(TypeError, match="not a numpy array"):
            bridge.cv2_to_compressed_imgmsg([[1, 2]])

    def test_truncated_data(self):
        message = message_of(picture("u1", 3), "rgb8")
        message.data = bytes(message.data)[:-4]
        with pytest.raises(TypeError):  # CvBridgeError is one
            bridge.imgmsg_to_cv2(message)

    @ours_only
    def test_step_too_small_names_the_numbers(self):
        message = message_of(picture("u1", 3), "rgb8")
        message.step = 20
        with pytest.raises(CvBridgeError, match="step is 20, 7 pixels of rgb8 need 21 bytes"):
            bridge.imgmsg_to_cv2(message)

    @ours_only
    @pytest.mark.parametrize("dtype", ["f2", "u4", "i8", "?"])
    def test_numbers_that_images_do_not_have(self, dtype):
        with pytest.raises(CvBridgeError, match="have no image encoding"):
            bridge.cv2_to_imgmsg(np.zeros((2, 2), dtype=dtype))

    @ours_only
    @pytest.mark.parametrize("data", [b"", b"no image at all"])
    def test_compressed_rubbish(self, data):
        with pytest.raises(CvBridgeError, match="cannot be decoded"):
            bridge.compressed_imgmsg_to_cv2(CompressedImage(format="jpeg", data=data))

    @ours_only
    def test_unknown_format(self):
        with pytest.raises(CvBridgeError, match="cannot be written as nonsense"):
            bridge.cv2_to_compressed_imgmsg(picture("u1", 3), "nonsense")


class TestCompressed:
    @pytest.mark.parametrize(("dtype", "channels"), [("u1", 1), ("u1", 3), ("u1", 4), ("u2", 1), ("u2", 3)])
    def test_png_loses_nothing(self, dtype, channels):
        original = picture(dtype, channels)
        message = bridge.cv2_to_compressed_imgmsg(original, "png")
        assert message.format == "png"
        np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), original)

    def test_jpeg_is_the_default_and_close(self):
        gradient = np.dstack(np.meshgrid(np.arange(64), np.arange(48))).astype(np.uint8)
        original = np.ascontiguousarray(np.concatenate([gradient, 2 * gradient[..., :1]], axis=-1))
        message = bridge.cv2_to_compressed_imgmsg(original)
        assert message.format == "jpg"
        decoded = bridge.compressed_imgmsg_to_cv2(message)
        assert np.abs(decoded.astype(int) - original).mean() < 3
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR), decoded)

    def test_channel_order(self):
        bgr = picture("u1", 3)
        message = bridge.cv2_to_compressed_imgmsg(bgr, "png")
        np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message, "rgb8"), bgr[..., ::-1])

    @ours_only
    def test_grey_becomes_colour(self):
        grey = picture("u1", 1)
        message = bridge.cv2_to_compressed_imgmsg(grey, "png")
        np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message, "rgb8"), np.dstack([grey] * 3))
