"""Arrays to image messages."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image


def color_message(rgb: NDArray[np.uint8], *, stamp_ns: int, frame_id: str) -> Image:
    """RGB array, uint8 (H, W, 3), as an ``rgb8`` message."""
    message = _message(rgb, "rgb8", stamp_ns, frame_id)
    message.is_bigendian = 0
    return message


def depth_message(depth_mm: NDArray[np.uint16], *, stamp_ns: int, frame_id: str) -> Image:
    """Depth in millimetres, uint16 (H, W), 0 = unknown, as a ``16UC1`` message in the byte order of this machine."""
    message = _message(np.asarray(depth_mm, dtype=np.uint16), "16UC1", stamp_ns, frame_id)
    message.is_bigendian = int(sys.byteorder == "big")
    return message


def _message(array: NDArray[np.uint8] | NDArray[np.uint16], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    message = Image(encoding=encoding)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(int(stamp_ns), 1_000_000_000)
    message.height, message.width = array.shape[:2]
    message.step = int(array.shape[1] * array.itemsize * (array.shape[2] if array.ndim == 3 else 1))
    message.data = array.tobytes()  # bytes are taken as they are; a list or array('B') costs 8 to 300 times as much
    return message
