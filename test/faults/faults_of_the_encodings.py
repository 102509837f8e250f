"""Faults of the images' form: encodings, byte order, rows and length."""

from __future__ import annotations

import numpy as np
from fault_camera import HEIGHT, pictures
from fault_spoiling import changed, in_metres, spoils
from fault_table import HARMLESS, fault

GROUP = "Encodings and bytes"

CHANNELS = {"8U": 1, "8S": 1, "16U": 2, "16S": 2, "32S": 4, "32F": 4, "64F": 8}
"""Bytes of one channel of sensor_msgs' generic encodings."""
BYTES = {f"{kind}C{n}": size * n for kind, size in CHANNELS.items() for n in (1, 2, 3, 4)}
BYTES |= {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "rgb16": 6, "bgr16": 6, "rgba16": 8, "bgra16": 8, "mono8": 1, "mono16": 2}
BYTES |= {f"bayer_{order}8": 1 for order in ("rggb", "bggr", "gbrg", "grbg")}
BYTES |= {f"bayer_{order}16": 2 for order in ("rggb", "bggr", "gbrg", "grbg")}
BYTES |= {"yuv422": 2, "yuv422_yuy2": 2, "uyvy": 2, "yuyv": 2, "nv21": 2, "nv24": 3}
"""Bytes of a pixel of every encoding that sensor_msgs/image_encodings.hpp names."""

COLOUR = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "8UC3"}
DEPTH = {"16UC1", "mono16", "32FC1"}


def as_encoding(encoding):
    """For `FaultyCamera.spoil`: an image of the right length in that encoding."""

    def spoil(message):
        message.encoding, message.step = encoding, message.width * BYTES[encoding]
        message.data = bytes(message.step * message.height)
        return message

    return spoil


def padded(message):
    """For `FaultyCamera.spoil`: 24 bytes of padding in each row."""
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(HEIGHT, -1)
    message.data = np.pad(rows, ((0, 0), (0, 24)), constant_values=77).tobytes()
    message.step += 24
    return message


def cut_off(data):
    """All but the last 1000 bytes."""
    return bytes(data)[:-1000]


GENERIC = sorted(name for name in BYTES if name[0].isdigit())
FAMILIES = (
    ("color", "colour", COLOUR, r"colour images with encoding '{}' are not understood; publish one of rgb8", {
        "of 16 bits": ["rgb16", "bgr16", "rgba16", "bgra16"],
        "of a Bayer pattern": [name for name in BYTES if name.startswith("bayer")],
        "in YUV": ["yuv422", "yuv422_yuy2", "uyvy", "yuyv", "nv21", "nv24"],
        "that is depth": ["16UC1", "mono16", "32FC1"],
        "in a generic encoding": [name for name in GENERIC if name not in COLOUR | DEPTH],
    }),
    ("depth", "depth", DEPTH, r"the depth encoding '{}' is not supported; known: 16UC1, mono16, 32FC1", {
        "that is colour": sorted(name for name in BYTES if not name[0].isdigit() and name != "mono16"),
        "of 64-bit floats": ["64FC1"],
        "of another generic encoding": [name for name in GENERIC if name not in DEPTH | {"64FC1"}],
    }),
)  # fmt: skip
for name, word, known, sentence, families in FAMILIES:
    for family, (encoding, *others) in families.items():
        # One row for a family in the node; every member is tried in test_faults_encodings.
        assert not known & {encoding, *others}
        fault(
            GROUP, f"{word}-{encoding.lower()}", what=f"A {word} image {family}",
            injection=f"encoding {encoding}" + (f" (tested alike: {', '.join(others)})" if others else ""),
            status="BAD_REQUEST", sentence=sentence.format(encoding),
        )(spoils(by_model=name == "color", **{name: as_encoding(encoding)}))  # fmt: skip

for name, what, injection, recovery, by_model, spoil in (
    ("depth-32fc1", "Depth as floats", "32FC1 in metres", "none needed: the unit is read from the encoding", False,
     {"depth": in_metres(lambda metres: metres)}),
    ("depth-big-endian", "Depth of the other byte order", "big-endian 16UC1, is_bigendian set", "none needed: is_bigendian is read", False,
     {"depth": changed(is_bigendian=1, data=pictures()[1].astype(">u2").tobytes())}),
    ("rows-padded", "Rows with padding", "both images with 24 bytes of padding in each row", "none needed: step is read", True,
     {"color": padded, "depth": padded}),
):  # fmt: skip
    fault(GROUP, name, what=what, injection=injection, status=HARMLESS, sentence="the red box: pixel", recovery=recovery)(
        spoils(by_model, **spoil)
    )

for name, what, injection, status, sentence, by_model, spoil in (
    ("depth-byte-order-lie", "The driver lies about the byte order", "little-endian 16UC1 with is_bigendian set: 0.8 m reads as 8.2 m",
     "DEPTH_EDGE", r"uncertain by \d+\.\d mm \(limit pipeline\.max_sigma_m = 30 mm\)", False, {"depth": changed(is_bigendian=1)}),
    ("colour-truncated", "A truncated colour image", "the last 1000 bytes are missing",
     "BAD_REQUEST", r"colour image is truncated: 56600 bytes instead of 57600", True, {"color": changed(data=cut_off)}),
    ("depth-truncated", "A truncated depth image", "the last 1000 bytes are missing",
     "BAD_REQUEST", r"depth image is truncated: 37400 bytes, 38400 are needed for 160x120 at step 320", False,
     {"depth": changed(data=cut_off)}),
    ("depth-empty", "A depth image without data", "data is empty",
     "BAD_REQUEST", r"depth image is truncated: 0 bytes, 38400 are needed", False, {"depth": changed(data=b"")}),
    ("step-too-small", "A step that is smaller than a row", "step of depth is 300 bytes",
     "BAD_REQUEST", r"a row of 160 16UC1 pixels has 320 bytes, but the message's step is 300", False, {"depth": changed(step=300)}),
    ("size-zero", "Images of no size", "width and height of colour are 0",
     "NO_CAMERA", r"for 160x120 images, the image has 0x0", False, {"color": changed(width=0, height=0)}),
):  # fmt: skip
    fault(GROUP, name, what=what, injection=injection, status=status, sentence=sentence)(spoils(by_model, **spoil))
