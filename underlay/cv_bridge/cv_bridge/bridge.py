"""The conversions between messages and arrays."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from .encodings import DEPTHS, CvBridgeError, convert, encoding_of

_DEPTH_NAMES = {dtype.name: name for name, dtype in DEPTHS.items()}


class CvBridge:
    """Converts images. Arrays are (H, W) with one channel and (H, W, C) with more; colour conversions follow OpenCV.

    Stricter than the genuine package: whatever is wrong with a message is a `CvBridgeError` (a row step that is too small and a compressed
    image that cannot be decoded among it), and a compressed grey image converts from grey, not as if it were colour.
    """

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Name of the NumPy type and number of channels.

        Raises:
            CvBridgeError: There is no such encoding.
        """
        found = encoding_of(encoding)
        return found.dtype.name, found.channels

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype[Any], n_channels: int) -> str:
        """The encoding of plain numbers, such as 16UC1.

        Raises:
            CvBridgeError: Images have no such numbers.
        """
        if dtype.name not in _DEPTH_NAMES:
            raise CvBridgeError(f"arrays of {dtype.name} have no image encoding; there are {', '.join(_DEPTH_NAMES)}")
        return f"{_DEPTH_NAMES[dtype.name]}C{n_channels}"

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> NDArray[Any]:
        """The pixels of a message in the byte order of this machine; padding at the end of rows is left out.

        With `passthrough` the array may share the memory of the message.

        Raises:
            CvBridgeError: The encoding, the row step or the amount of data does not fit, or the conversion does not exist.
        """
        encoding = encoding_of(img_msg.encoding)
        height, width, step = int(img_msg.height), int(img_msg.width), int(img_msg.step)
        dtype = encoding.dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        pixel = dtype.itemsize * encoding.channels
        if step < width * pixel:
            raise CvBridgeError(f"Image is wrongly formed: step is {step}, {width} pixels of {img_msg.encoding} need {width * pixel} bytes")
        data = img_msg.data
        # The last row may come without its padding.
        needed = step * (height - 1) + width * pixel if height else 0
        if len(data) < needed:
            raise CvBridgeError(f"Image is wrongly formed: it has {len(data)} bytes, {height} rows of step {step} need {needed}")
        channels = () if encoding.channels == 1 else (encoding.channels,)
        shape, strides = (height, width, *channels), (step, pixel, dtype.itemsize)[: 2 + len(channels)]
        buffer = np.asarray(data, dtype=np.uint8) if isinstance(data, list) else data
        image = np.ndarray(shape, dtype, buffer, strides=strides) if height * width else np.empty(shape, dtype)
        image = np.ascontiguousarray(image).astype(encoding.dtype, copy=False)
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: NDArray[Any], encoding: str = "passthrough", header: Header | None = None) -> Image:
        """A message with these pixels; `passthrough` takes the encoding of plain numbers, such as 8UC3.

        Raises:
            TypeError: It is no array.
            CvBridgeError: The type and channels of the array are not those of the encoding.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        own = self.dtype_with_channels_to_cvtype2(cvim.dtype, 1 if cvim.ndim < 3 else cvim.shape[2])
        if encoding == "passthrough":
            encoding = own
        else:
            wanted = encoding_of(encoding)
            if self.dtype_with_channels_to_cvtype2(wanted.dtype, wanted.channels) != own:
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {own}")
        message = Image(encoding=encoding)
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        big = cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and sys.byteorder == "big")
        message.is_bigendian = int(big)
        message.step = cvim.dtype.itemsize * (cvim.size // cvim.shape[0] if cvim.shape[0] else 0)
        # One copy, straight from the array: `tobytes` first, or assigning bytes to the field, copies two or three times.
        message.data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8))
        return message

    def cv2_to_compressed_imgmsg(self, cvim: NDArray[Any], dst_format: str = "jpg") -> CompressedImage:
        """A compressed message of an image in OpenCV's channel order (BGR); the format is a file name's ending, such as png.

        Raises:
            TypeError: It is no array.
            CvBridgeError: OpenCV cannot write such an image in this format.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        try:
            written, data = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(f"an image of {cvim.dtype.name} {cvim.shape} cannot be written as {dst_format}: {error}") from error
        if not written:
            raise CvBridgeError(f"an image of {cvim.dtype.name} {cvim.shape} cannot be written as {dst_format}")
        message = CompressedImage(format=dst_format)
        message.data.frombytes(data)
        return message

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough") -> NDArray[Any]:
        """The pixels of a compressed message in OpenCV's channel order (BGR), or in the desired encoding.

        Raises:
            CvBridgeError: The data are not an image that OpenCV reads, or the conversion does not exist.
        """
        data = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(f"the compressed image (format {cmprs_img_msg.format!r}, {data.size} bytes) cannot be decoded")
        if desired_encoding == "passthrough":
            return image
        space = "mono" if image.ndim == 2 else {3: "bgr", 4: "bgra"}[image.shape[2]]
        return convert(image, f"{space}{8 * image.dtype.itemsize}", desired_encoding)
