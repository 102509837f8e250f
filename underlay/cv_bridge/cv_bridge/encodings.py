"""What the encodings of `sensor_msgs/image_encodings` mean, and conversion between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class CvBridgeError(TypeError):
    """An image cannot be converted; the text says why."""


@dataclass(frozen=True)
class Encoding:
    """Element type and channels of an encoding, and the colour space in OpenCV's words (None for plain numbers)."""

    dtype: np.dtype[Any]
    channels: int
    space: str | None


DEPTHS = {
    "8U": np.dtype(np.uint8),
    "8S": np.dtype(np.int8),
    "16U": np.dtype(np.uint16),
    "16S": np.dtype(np.int16),
    "32S": np.dtype(np.int32),
    "32F": np.dtype(np.float32),
    "64F": np.dtype(np.float64),
}
_MAX_CHANNELS = 512
"""CV_CN_MAX: OpenCV's arrays have no more."""
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?")
_SPACES = {"mono": ("GRAY", 1), "rgb": ("RGB", 3), "bgr": ("BGR", 3), "rgba": ("RGBA", 4), "bgra": ("BGRA", 4)}
# ROS names a Bayer pattern by its first two rows, OpenCV by the second row's second and third pixel.
_BAYER = {"bayer_rggb": "BayerBG", "bayer_bggr": "BayerRG", "bayer_gbrg": "BayerGR", "bayer_grbg": "BayerGB"}
_NAMED = {
    **{f"{name}{bits}": Encoding(DEPTHS[f"{bits}U"], channels, space) for name, (space, channels) in _SPACES.items() for bits in (8, 16)},
    **{f"{name}{bits}": Encoding(DEPTHS[f"{bits}U"], 1, space) for name, space in _BAYER.items() for bits in (8, 16)},
    **{name: Encoding(DEPTHS["8U"], 2, "YUV_UYVY") for name in ("yuv422", "uyvy")},
    **{name: Encoding(DEPTHS["8U"], 2, "YUV_YUY2") for name in ("yuv422_yuy2", "yuyv")},
}


def encoding_of(name: str) -> Encoding:
    """The meaning of an encoding's name.

    Raises:
        CvBridgeError: There is no such encoding.
    """
    if name in _NAMED:
        return _NAMED[name]
    match = _GENERIC.fullmatch(name)
    if match is None or (match[2] is not None and not 1 <= int(match[2]) <= _MAX_CHANNELS):
        raise CvBridgeError(f"Unrecognized image encoding [{name}]")
    return Encoding(DEPTHS[match[1]], int(match[2] or 1), None)


def convert(image: NDArray[Any], source_name: str, target_name: str) -> NDArray[Any]:
    """The image in another encoding, as a new array.

    Between colour spaces of 8 and 16 bits the range is scaled (255 is 65535); plain numbers are rounded and cut off, not scaled, unless
    the change is between 8 and 16 bits, as the genuine package does it.

    Raises:
        CvBridgeError: The conversion makes no sense (a colour from plain numbers) or does not exist.
    """
    if source_name == target_name:
        return image.copy()
    source, target = encoding_of(source_name), encoding_of(target_name)
    if source.space is None and target.space is not None:
        raise CvBridgeError(f"[{source_name}] is not a color format. but [{target_name}] is. The conversion does not make sense")
    if source.space is None or target.space is None:
        if source.channels != target.channels:
            raise CvBridgeError(f"[{source_name}] and [{target_name}] do not have the same number of channel")
    elif source.space != target.space:
        image = _convert_space(image, source, target, f"from [{source_name}] to [{target_name}]")
    return _convert_depth(image, target.dtype)


def _convert_space(image: NDArray[Any], source: Encoding, target: Encoding, what: str) -> NDArray[Any]:
    assert source.space is not None
    assert target.space is not None
    kind, _, layout = source.space.partition("_")
    code = getattr(cv2, f"COLOR_{kind}2{target.space}" + (f"_{layout}" if layout else ""), None)
    # OpenCV has more conversions than the encodings stand for: into Bayer patterns and YUV there is none here.
    if code is None or target.space not in {space for space, _ in _SPACES.values()}:
        raise CvBridgeError(f"Unsupported conversion {what}")
    try:
        return cv2.cvtColor(np.ascontiguousarray(image), code)
    except cv2.error as error:
        raise CvBridgeError(f"Unsupported conversion {what}: {error}") from error


def _convert_depth(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if image.dtype == dtype:
        return image.copy()
    if dtype.kind == "f":
        return image.astype(dtype)
    scale = {(1, 2): 257.0, (2, 1): 1.0 / 257.0}.get((image.dtype.itemsize, dtype.itemsize), 1.0)
    limits = np.iinfo(dtype)
    # Halves go to the even neighbour and what is no number to the smallest one, as OpenCV's saturate_cast does.
    values = np.nan_to_num(np.rint(image * np.float64(scale)), nan=float(limits.min), posinf=np.inf, neginf=-np.inf)
    return np.clip(values, limits.min, limits.max).astype(dtype)
