"""Image messages to arrays, strictly: encoding, step, byte order and length are read from the message and checked.

Messages are taken for what they hold, so that those of rclpy and those read from a bag without ROS go the same way.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.depth import decode_compressed_depth, decode_depth
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

ImageMessage: TypeAlias = "Image | CompressedImage"

# Channel order that makes RGB of each encoding; names of sensor_msgs/image_encodings.
_TO_RGB: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),  # OpenCV's default order, as cv_bridge treats it
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
_DEPTH = frozenset({"16UC1", "mono16", "32FC1"})
"""Encodings of depth, which no colour image has; a PNG of them decodes to a nearly black picture."""


def frame_name(message: ImageMessage | CameraInfo) -> str:
    """Frame in the header as TF knows it: without the slash that drivers and data sets of ROS 1 put before it."""
    return str(message.header.frame_id).removeprefix("/")


def stamp_ns(message: ImageMessage) -> int:
    """Exposure time in the header, in nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def decode_color(message: ImageMessage) -> NDArray[np.uint8]:
    """Colour image as uint8 (H, W, 3) in RGB order; a copy is made only when channels must be reordered.

    Raises:
        Refused: BAD_REQUEST naming the encoding that is not a colour encoding, or the number that does not fit.
    """
    if hasattr(message, "format"):
        return _decode_compressed_color(message)
    if message.encoding not in _TO_RGB:
        raise Refused(
            Status.BAD_REQUEST,
            f"colour images with encoding {message.encoding!r} are not understood; publish one of {', '.join(_TO_RGB)}",
            encoding=message.encoding,
        )
    channels, order = _TO_RGB[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1:
        raise Refused(Status.BAD_REQUEST, f"the colour image is {width}x{height} pixels", width=width, height=height)
    if step < width * channels:
        raise Refused(
            Status.BAD_REQUEST,
            f"the colour image's step is {step} bytes, {width} pixels of {message.encoding} need {width * channels}",
            step=step,
        )
    # The last row may come without padding.
    needed = step * (height - 1) + width * channels
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size < needed:
        raise Refused(
            Status.BAD_REQUEST, f"the colour image is truncated: {data.size} bytes instead of {needed}", size=int(data.size), needed=needed
        )
    pixels = np.lib.stride_tricks.as_strided(data, (height, width, channels), (step, channels, 1), writeable=False)
    if order == (0, 1, 2) and channels == 3:
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(pixels[..., list(order)])


def _decode_compressed_color(message: CompressedImage) -> NDArray[np.uint8]:
    # "bayer_rggb8; jpeg compressed ": the picture before it was compressed, the codec, and what it was converted to.
    original, _, transport = (part.strip() for part in message.format.partition(";"))
    if (original.startswith("bayer_") and transport.endswith("compressed")) or original in _DEPTH:
        what = "a depth image" if original in _DEPTH else "a raw sensor mosaic, which decodes to grey"
        raise Refused(
            Status.BAD_REQUEST,
            f"the compressed colour image has the format {message.format!r}: {what}; "
            "give the topic of a colour image, as image_proc makes it",
            format=message.format,
        )
    decoded = None
    with contextlib.suppress(cv2.error):  # raised for a header that names more pixels than OpenCV takes
        # As the sensor has it: an image that EXIF marks as turned belongs to depth and calibration unturned.
        how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(message.data, dtype=np.uint8), how) if len(message.data) else None
    if decoded is None:
        raise Refused(
            Status.BAD_REQUEST,
            f"the compressed colour image (format {message.format!r}, {len(message.data)} bytes) cannot be decoded; JPEG and PNG are",
            format=message.format,
        )
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def decode_depth_image(message: ImageMessage) -> NDArray[np.float32]:
    """Depth along the optical axis, float32 (H, W) in metres, NaN where unknown.

    Raises:
        Refused: BAD_REQUEST naming the encoding, step or length that does not fit.
    """
    if hasattr(message, "format"):
        try:
            return decode_compressed_depth(bytes(message.data), message.format)
        except cv2.error as error:  # raised for a header that names more pixels than OpenCV takes
            sentence = f"the compressed depth image ({len(message.data)} bytes) cannot be decoded: {str(error).strip().splitlines()[0]}"
            raise Refused(Status.BAD_REQUEST, sentence, format=message.format) from error
    return decode_depth(
        message.data,
        encoding=message.encoding,
        width=int(message.width),
        height=int(message.height),
        step=int(message.step),
        is_bigendian=bool(message.is_bigendian),
    )
