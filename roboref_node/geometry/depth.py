"""Depth images: message bytes to metres with the unknown marked, the sensor's noise, and the test for wrong units."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.parameters import check_settings, setting
from roboref_node.status import Refused, Status

DepthArray = NDArray[np.float32]
FloatArray = NDArray[np.float64]

_DTYPES: dict[str, np.dtype[Any]] = {"16UC1": np.dtype("u2"), "mono16": np.dtype("u2"), "32FC1": np.dtype("f4")}
MILLIMETRE_INVALID = (0, 65535)
"""Values of a 16-bit depth image that mean unknown: 0 by REP 118, 65535 because drivers saturate there."""


STEADY_SIGMAS = 4.0
"""Deviation from the median beyond which a pixel is taken to show something new, not noise."""


@dataclass(frozen=True)
class DepthNoise:
    """Standard deviation of a depth reading, ``base_m + quadratic_per_m * z^2``: the law of structured light and stereo.

    The defaults lie between a Kinect (Khoshelham and Elberink 2012: 1.4 mm at 1 m) and a RealSense D435 (about 2 mm at 1 m).

    """

    base_m: float = setting("Part that does not depend on the distance.", default=0.0005, unit="m", minimum=1e-6, maximum=0.1)
    quadratic_per_m: float = setting("Factor of the squared distance.", default=0.0015, unit="1/m", minimum=0.0, maximum=0.1)

    def __post_init__(self) -> None:
        check_settings(self)

    def sigma_m(self, z_m: ArrayLike) -> FloatArray:
        """Standard deviation in metres at depth z in metres, any shape."""
        z = np.asarray(z_m, dtype=np.float64)
        return self.base_m + self.quadratic_per_m * z * z


def decode_depth(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], *, encoding: str, width: int, height: int, step: int, is_bigendian: bool
) -> DepthArray:
    """Pixels of a sensor_msgs/Image depth message in metres.

    16UC1 and mono16 are millimetres with 0 and 65535 unknown; 32FC1 is metres with 0, negative, NaN and infinite unknown
    (REP 118 plus what drivers really send). Other encodings are refused, 64FC1 among them: no ROS driver emits it, and the
    peers' habit of guessing is what sends a gripper through a table.

    Args:
        data: Bytes of the message.
        encoding: Encoding of the message.
        width: Pixels in a row.
        height: Number of rows.
        step: Bytes from one row to the next; may exceed the width of a row.
        is_bigendian: Byte order of the message.

    Returns:
        float32 (height, width) in metres, NaN = unknown.

    Raises:
        Refused: BAD_REQUEST for an unknown encoding, an impossible size or step, or missing bytes.
    """
    kind = _DTYPES.get(encoding)
    if kind is None:
        raise Refused(Status.BAD_REQUEST, f"the depth encoding {encoding!r} is not supported; known: {', '.join(_DTYPES)}")
    if width <= 0 or height <= 0:
        raise Refused(Status.BAD_REQUEST, f"the depth image is {width}x{height}; both must be positive")
    row = width * kind.itemsize
    if step < row:
        raise Refused(Status.BAD_REQUEST, f"a row of {width} {encoding} pixels has {row} bytes, but the message's step is {step}")
    raw = np.frombuffer(data, dtype=np.uint8)
    needed = step * (height - 1) + row
    if raw.size < needed:
        raise Refused(
            Status.BAD_REQUEST, f"the depth image is truncated: {raw.size} bytes, {needed} are needed for {width}x{height} at step {step}"
        )
    rows = np.lib.stride_tricks.as_strided(raw, shape=(height, row), strides=(step, 1), writeable=False)
    pixels = np.ascontiguousarray(rows).view(kind.newbyteorder(">" if is_bigendian else "<"))
    return _millimetres(pixels) if kind.kind == "u" else _metres(pixels)


def decode_compressed_depth(data: bytes | bytearray | memoryview, format: str) -> DepthArray:
    """Pixels of a sensor_msgs/CompressedImage of the compressedDepth transport, in metres.

    The payload is a 12-byte header (int32 codec, float32 depthQuantA and B) and a PNG of 16 bits. 16UC1 holds millimetres;
    32FC1 holds quantised inverse depth, z = A / (value - B) with 0 unknown (compressed_depth_image_transport, codec.cpp).

    Args:
        data: Bytes of the message.
        format: Its format, for example ``16UC1; compressedDepth png``; older drivers write ``16UC1; compressedDepth``.

    Returns:
        float32 (height, width) in metres, NaN = unknown.

    Raises:
        Refused: BAD_REQUEST when the format is not a compressedDepth one, names a codec other than PNG, or the data is damaged.
    """
    import cv2

    encoding, _, transport = (part.strip() for part in format.partition(";"))
    if encoding not in _DTYPES or not transport.startswith("compressedDepth"):
        raise Refused(
            Status.BAD_REQUEST, f"the compressed depth format {format!r} is not supported; known: '16UC1; compressedDepth png' and 32FC1"
        )
    codec = transport.removeprefix("compressedDepth").strip() or "png"
    if codec != "png":
        raise Refused(
            Status.BAD_REQUEST, f"the compressedDepth codec {codec!r} is not supported; set the publisher's format parameter to png"
        )
    payload = bytes(data)
    if len(payload) <= 12:
        raise Refused(Status.BAD_REQUEST, f"the compressed depth image has {len(payload)} bytes, its header alone has 12")
    _, quant_a, quant_b = struct.unpack("<iff", payload[:12])
    pixels = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8, offset=12), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise Refused(Status.BAD_REQUEST, "the compressed depth image is damaged or is not a 16-bit PNG")
    if encoding != "32FC1":
        return _millimetres(np.asarray(pixels, dtype=np.uint16))
    if not (np.isfinite(quant_a) and np.isfinite(quant_b) and quant_a > 0):
        raise Refused(Status.BAD_REQUEST, f"the compressed depth header holds depthQuantA = {quant_a}, depthQuantB = {quant_b}")
    with np.errstate(divide="ignore"):
        metres = np.float32(quant_a) / (pixels.astype(np.float32) - np.float32(quant_b))
    metres[pixels == 0] = np.nan
    return _metres(metres)


def check_depth_plausible(depth_m: DepthArray, near_m: float, far_m: float, encoding: str) -> None:
    """Refuse an image whose depths only make sense in another unit.

    The median of a sample of known pixels is compared with the sensor's range, and with the range times or divided by 1000.

    Args:
        depth_m: Decoded depth in metres, NaN = unknown.
        near_m: Nearest depth the sensor reports, metres.
        far_m: Farthest depth the sensor reports, metres.
        encoding: Encoding of the message, for the sentence.

    Raises:
        Refused: UNITS_IMPLAUSIBLE naming the mistake, with ``median_m``; NO_DEPTH when no pixel is known.
    """
    sample = depth_m[:: max(1, depth_m.shape[0] // 60), :: max(1, depth_m.shape[1] // 80)]
    known = sample[np.isfinite(sample)]
    if known.size == 0:
        known = depth_m[np.isfinite(depth_m)]
    if known.size == 0:
        raise Refused(Status.NO_DEPTH, "the whole depth image is unknown: is the sensor covered, too close, or still starting?")
    median = float(np.median(known))
    if near_m <= median <= far_m:
        return
    limits = f"the range depth.near_m = {near_m:g} .. depth.far_m = {far_m:g} m"
    if near_m <= median * 1000 <= far_m:
        reason = (
            f"a {encoding} image that holds metres was read as millimetres"
            if encoding != "32FC1"
            else "metres were divided by 1000 on the way"
        )
    elif near_m <= median / 1000 <= far_m:
        reason = (
            f"a {encoding} image that holds millimetres was read as metres"
            if encoding == "32FC1"
            else "its unit is finer than a millimetre"
        )
    else:
        reason = "the unit is unknown"
    raise Refused(
        Status.UNITS_IMPLAUSIBLE,
        f"the median depth of {median:.4g} m lies outside {limits}: {reason}",
        median_m=median,
        near_m=near_m,
        far_m=far_m,
        encoding=encoding,
    )


def temporal_median(depths_m: Sequence[DepthArray]) -> DepthArray:
    """Median over the last frames of a still camera, each pixel over the frames that know it.

    Args:
        depths_m: Images of one size, float32 (H, W), NaN = unknown. A pixel unknown in more than half of them stays unknown:
            the rest are then mostly flying pixels.

    Raises:
        Refused: BAD_REQUEST when there is no image or the sizes differ.
    """
    if not depths_m or len({d.shape for d in depths_m}) != 1:
        raise Refused(Status.BAD_REQUEST, "the temporal median needs one or more depth images of one size")
    ordered = np.sort(np.stack(depths_m), axis=0)  # NaN sorts to the end.
    known = np.isfinite(ordered).sum(axis=0)
    lower, upper = np.maximum(known - 1, 0) // 2, known // 2
    pick = [np.take_along_axis(ordered, np.minimum(i, len(depths_m) - 1)[None], axis=0)[0] for i in (lower, upper)]
    median = (pick[0] + pick[1]) / 2
    return np.where(2 * known >= len(depths_m), median, np.nan).astype(np.float32)


def steady_depth(newest_m: DepthArray, earlier_m: Sequence[DepthArray], noise: DepthNoise) -> DepthArray:
    """Depth of a still camera with the noise of one frame averaged out, and nothing of the past where the scene has changed.

    Args:
        newest_m: The newest image, float32 (H, W), NaN = unknown.
        earlier_m: Images before it from the same camera pose, of the same size.
        noise: A pixel whose newest depth is more than `STEADY_SIGMAS` of this from the median keeps its newest depth.

    Raises:
        Refused: BAD_REQUEST when the sizes differ.
    """
    median = temporal_median([newest_m, *earlier_m])
    changed = np.abs(newest_m - median) > STEADY_SIGMAS * noise.sigma_m(newest_m)  # False where one of them is NaN
    return np.where(changed, newest_m, median).astype(np.float32)


def _millimetres(pixels: NDArray[np.uint16]) -> DepthArray:
    metres = pixels.astype(np.float32)
    metres *= np.float32(0.001)
    for value in MILLIMETRE_INVALID:
        metres[pixels == value] = np.nan
    return metres


def _metres(pixels: NDArray[np.float32]) -> DepthArray:
    metres = pixels.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres
