"""Faults inside the images: encodings, byte order, rows, length, compression, units, and depth that knows nothing."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from fault_camera import BOX_COLUMNS, BOX_PX, BOX_ROWS, HEIGHT, TABLE_M, WIDTH, pictures
from fault_table import HARMLESS, fault
from faults_of_the_camera import changed
from sensor_msgs.msg import CompressedImage, Image

ENCODING_GROUP, DEPTH_GROUP, COMPRESSED_GROUP = "Encodings and bytes", "Depth values", "Compressed transports"

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


def with_depth(change):
    """For `FaultyCamera.spoil`: the depth image after `change` of its array of millimetres (uint16, H x W)."""

    def spoil(message):
        depth_mm = pictures()[1]
        changed_mm = change(depth_mm)
        message.data = (depth_mm if changed_mm is None else changed_mm).tobytes()
        return message

    return spoil


def in_metres(change):
    """For `FaultyCamera.spoil`: a 32FC1 image after `change` of its array of metres."""

    def spoil(message):
        metres = pictures()[1].astype(np.float32) / 1000
        metres = np.asarray(change(metres), np.float32)
        return changed(encoding="32FC1", step=4 * WIDTH, data=metres.tobytes())(message)

    return spoil


# ---- encodings and bytes ---------------------------------------------------------------------------------------------------------


def _colour_in(encoding):
    def inject(bench):
        bench.camera.spoil["color"] = as_encoding(encoding)
        return bench.ask

    return inject


def _depth_in(encoding):
    def inject(bench):
        bench.camera.spoil["depth"] = as_encoding(encoding)

    return inject


for family, encodings in {
    "of 16 bits": ["rgb16", "bgr16", "rgba16", "bgra16"],
    "of a Bayer pattern": [name for name in BYTES if name.startswith("bayer")],
    "in YUV": ["yuv422", "yuv422_yuy2", "uyvy", "yuyv", "nv21", "nv24"],
    "that is depth": ["16UC1", "mono16", "32FC1"],
    "in a generic encoding": sorted(name for name in BYTES if name[0].isdigit() and name not in COLOUR | DEPTH),
}.items():
    # One row for a family in the node; every member is tried in test_faults_encodings.
    fault(
        ENCODING_GROUP, f"colour-{encodings[0].lower()}",
        what=f"A colour image {family}", injection=f"encoding {encodings[0]} (tested alike: {', '.join(encodings[1:])})",
        status="BAD_REQUEST", sentence=rf"colour images with encoding '{encodings[0]}' are not understood; publish one of rgb8",
    )(_colour_in(encodings[0]))  # fmt: skip

for family, encodings in {
    "that is colour": sorted(name for name in BYTES if not name[0].isdigit() and name != "mono16"),
    "of 64-bit floats": ["64FC1"],
    "of another generic encoding": sorted(name for name in BYTES if name[0].isdigit() and name not in DEPTH | {"64FC1"}),
}.items():
    fault(
        ENCODING_GROUP, f"depth-{encodings[0].lower()}",
        what=f"A depth image {family}",
        injection=f"encoding {encodings[0]}" + (f" (tested alike: {', '.join(encodings[1:])})" if encodings[1:] else ""),
        status="BAD_REQUEST", sentence=rf"the depth encoding '{encodings[0]}' is not supported; known: 16UC1, mono16, 32FC1",
    )(_depth_in(encodings[0]))  # fmt: skip


@fault(
    ENCODING_GROUP, "depth-32fc1",
    what="Depth as floats", injection="32FC1 in metres",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: the unit is read from the encoding",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = in_metres(lambda metres: metres)


@fault(
    ENCODING_GROUP, "depth-big-endian",
    what="Depth of the other byte order", injection="big-endian 16UC1, is_bigendian set",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: is_bigendian is read",
)  # fmt: skip
def _(bench):
    def swap(message):
        return changed(is_bigendian=1, data=pictures()[1].astype(">u2").tobytes())(message)

    bench.camera.spoil["depth"] = swap


@fault(
    ENCODING_GROUP, "depth-byte-order-lie",
    what="The driver lies about the byte order", injection="little-endian 16UC1 with is_bigendian set: 0.8 m reads as 8.2 m",
    status="DEPTH_EDGE", sentence=r"uncertain by \d+\.\d mm \(limit pipeline\.max_sigma_m = 30 mm\)",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = changed(is_bigendian=1)


@fault(
    ENCODING_GROUP, "rows-padded",
    what="Rows with padding", injection="both images with 24 bytes of padding in each row",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: step is read",
)  # fmt: skip
def _(bench):
    def pad(message):
        rows = np.frombuffer(bytes(message.data), np.uint8).reshape(HEIGHT, -1)
        message.data = np.pad(rows, ((0, 0), (0, 24)), constant_values=77).tobytes()
        message.step += 24
        return message

    bench.camera.spoil |= {"color": pad, "depth": pad}
    return bench.ask


@fault(
    ENCODING_GROUP, "colour-truncated",
    what="A truncated colour image", injection="the last 1000 bytes are missing",
    status="BAD_REQUEST", sentence=r"colour image is truncated: 56600 bytes instead of 57600",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color"] = changed(data=lambda data: bytes(data)[:-1000])
    return bench.ask


@fault(
    ENCODING_GROUP, "depth-truncated",
    what="A truncated depth image", injection="the last 1000 bytes are missing",
    status="BAD_REQUEST", sentence=r"depth image is truncated: 37400 bytes, 38400 are needed for 160x120 at step 320",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = changed(data=lambda data: bytes(data)[:-1000])


@fault(
    ENCODING_GROUP, "depth-empty",
    what="A depth image without data", injection="data is empty",
    status="BAD_REQUEST", sentence=r"depth image is truncated: 0 bytes, 38400 are needed",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = changed(data=b"")


@fault(
    ENCODING_GROUP, "step-too-small",
    what="A step that is smaller than a row", injection="step of depth is 300 bytes",
    status="BAD_REQUEST", sentence=r"a row of 160 16UC1 pixels has 320 bytes, but the message's step is 300",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = changed(step=300)


@fault(
    ENCODING_GROUP, "size-zero",
    what="Images of no size", injection="width and height of colour are 0",
    status="NO_CAMERA", sentence=r"for 160x120 images, the image has 0x0",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["color"] = changed(width=0, height=0)


# ---- depth values ----------------------------------------------------------------------------------------------------------------


@fault(
    DEPTH_GROUP, "depth-millimetres-as-metres",
    what="Units swapped", injection="32FC1 that holds millimetres",
    status="UNITS_IMPLAUSIBLE",
    sentence=r"median depth of 800 m lies outside the range depth.near_m = 0.1 .. depth.far_m = 10 m: .*millimetres was read as metres",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = in_metres(lambda metres: 1000 * metres)


@fault(
    DEPTH_GROUP, "depth-metres-as-millimetres",
    what="Units swapped the other way", injection="16UC1 that holds metres",
    status="UNITS_IMPLAUSIBLE", sentence=r"median depth of 0.001 m lies outside .*depth.near_m = 0.1.*metres was read as millimetres",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = with_depth(lambda depth_mm: np.ones_like(depth_mm))


for name, what, value in (("zero", "all invalid", 0), ("saturated", "saturated", 65535)):

    def _constant(value=value):
        def inject(bench):
            bench.camera.spoil["depth"] = with_depth(lambda depth_mm: np.full_like(depth_mm, value))

        return inject

    fault(
        DEPTH_GROUP, f"depth-{name}",
        what=f"Depth {what}", injection=f"16UC1 with {value} everywhere",
        status="NO_DEPTH", sentence="the whole depth image is unknown",
    )(_constant())  # fmt: skip

for name, value in (("nan", np.nan), ("inf", np.inf), ("negative", -1.0), ("denormal", 1e-42)):

    def _float(value=value):
        def inject(bench):
            bench.camera.spoil["depth"] = in_metres(lambda metres: np.full_like(metres, value))

        return inject

    fault(
        DEPTH_GROUP, f"depth-{name}",
        what=f"Depth all {name}", injection=f"32FC1 with {value:g} everywhere",
        status="UNITS_IMPLAUSIBLE" if name == "denormal" else "NO_DEPTH",
        sentence=r"median depth of 1\.0\d*e-42 m" if name == "denormal" else "the whole depth image is unknown",
    )(_float())  # fmt: skip


@fault(
    DEPTH_GROUP, "depth-hole",
    what="No depth at the object", injection="0 on the object and 20 px around it",
    status="NO_DEPTH", sentence=r"no pixel within \d+ px has \(pipeline\.lift\.max_hole_px = 2\.5\)",
)  # fmt: skip
def _(bench):
    def hole(depth_mm):
        depth_mm[BOX_ROWS.start - 20 : BOX_ROWS.stop + 20, BOX_COLUMNS.start - 20 : BOX_COLUMNS.stop + 20] = 0

    bench.camera.spoil["depth"] = with_depth(hole)


@fault(
    DEPTH_GROUP, "depth-noise",
    what="Depth is noise", injection="16UC1 with uniform noise from 0.3 to 3 m",
    status="DEPTH_EDGE", sentence=r"surfaces at \d\.\d+ m and \d\.\d+ m compete",
)  # fmt: skip
def _(bench):
    rng = np.random.default_rng(0)
    bench.camera.spoil["depth"] = with_depth(lambda depth_mm: rng.integers(300, 3000, depth_mm.shape).astype(np.uint16))


@fault(
    DEPTH_GROUP, "pixel-on-an-edge",
    what="A point on an edge", injection="a pixel on the border of box and table",
    status="DEPTH_EDGE", sentence=r"surfaces at \d\.\d+ m and \d\.\d+ m compete|edge",
)  # fmt: skip
def _(bench):
    def tall(depth_mm):
        depth_mm[BOX_ROWS, BOX_COLUMNS] = 500

    bench.camera.spoil["depth"] = with_depth(tall)
    return lambda: bench.look((BOX_COLUMNS.start - 0.5, BOX_PX[1]))


for name, pixel, number in (
    ("outside", (float(WIDTH + 40), 10.0), r"200"), ("negative", (-3.0, 10.0), r"-3"), ("nan", (float("nan"), 10.0), "nan"),
    ("inf", (float("inf"), 10.0), "inf"), ("huge", (1e30, 1e30), r"lies outside the 160x120 image"),
):  # fmt: skip

    def _pixel(pixel=pixel):
        return lambda bench: lambda: bench.look(pixel)

    fault(
        DEPTH_GROUP, f"pixel-{name}",
        what=f"A pixel that is {name if name != 'outside' else 'outside of the image'}",
        injection=f"a goal with the pixel ({pixel[0]:g}, {pixel[1]:g})",
        status="OUT_OF_IMAGE", sentence=number,
    )(_pixel())  # fmt: skip


@fault(
    DEPTH_GROUP, "object-beyond-reach",
    what="Everything is too far away", injection=f"all of depth 2.5 m deeper than {TABLE_M:g} m",
    status="OUT_OF_WORKSPACE", sentence=r"-?\d\.\d+",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = with_depth(lambda depth_mm: depth_mm + np.uint16(2500))
    return lambda: bench.look(instruction="point at the red box")


# ---- compressed transports -------------------------------------------------------------------------------------------------------


def compressed_color(damage):
    """For `FaultyCamera.spoil`: the colour image as PNG, then damaged."""

    def spoil(message):
        rgb = np.frombuffer(bytes(message.data), np.uint8).reshape(HEIGHT, WIDTH, 3)
        data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
        return damage(CompressedImage(header=message.header, format="rgb8; png compressed bgr8", data=data))

    return spoil


def compressed_depth(damage):
    """For `FaultyCamera.spoil`: the depth image in the compressedDepth transport, then damaged."""

    def spoil(message: Image):
        depth_mm = np.frombuffer(bytes(message.data), np.uint16).reshape(HEIGHT, WIDTH)
        data = struct.pack("<iff", 0, 0.0, 0.0) + cv2.imencode(".png", depth_mm)[1].tobytes()
        return damage(CompressedImage(header=message.header, format="16UC1; compressedDepth png", data=data))

    return spoil


def _compressed(color=lambda message: message, depth=lambda message: message):
    def inject(bench):
        bench.camera.open(compressed=("color", "depth"))
        bench.camera.spoil |= {"color": compressed_color(color), "depth": compressed_depth(depth)}
        assert bench.reactivate(color_transport="compressed", depth_transport="compressed")
        return bench.ask

    return inject


def _raw_again(bench):
    assert bench.reactivate(color_transport="raw", depth_transport="raw")


for name, what, status, sentence, damage in (
    ("healthy", "Compressed transports", HARMLESS, "the red box: pixel", {}),
    ("colour-truncated", "A truncated compressed colour image", "BAD_REQUEST", r"compressed colour image .*, 20 bytes\) cannot be decoded",
     {"color": changed(data=lambda data: bytes(data)[:20])}),
    ("depth-damaged", "A damaged compressed depth image", "BAD_REQUEST", r"compressed depth image is damaged",
     {"depth": changed(data=lambda data: bytes(data)[:12] + b"\0" * 500)}),
    ("depth-short", "A compressed depth image of 7 bytes", "BAD_REQUEST", r"has 7 bytes, its header alone has 12",
     {"depth": changed(data=lambda data: bytes(data)[:7])}),
    ("depth-rvl", "An unknown codec of compressed depth", "BAD_REQUEST",
         r"codec 'rvl' is not supported; set the publisher's format parameter to png",
     {"depth": changed(format="16UC1; compressedDepth rvl")}),
):  # fmt: skip
    fault(
        COMPRESSED_GROUP, f"compressed-{name}",
        what=what, injection="color_transport and depth_transport compressed"
        + (", " + {"colour-truncated": "20 bytes of the PNG", "depth-damaged": "zeros after the header",
                   "depth-short": "7 bytes of the message",
                   "depth-rvl": "format '16UC1; compressedDepth rvl'"}[name] if damage else ""),
        status=status, sentence=sentence, mend=_raw_again,
        recovery="none needed" if not damage else "the next good image (here also: transports raw again)",
    )(_compressed(**damage))  # fmt: skip
