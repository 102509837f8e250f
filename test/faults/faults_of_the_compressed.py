"""Faults of the compressed transports: images that are cut off, damaged, or written by another codec."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from fault_camera import HEIGHT, WIDTH
from fault_spoiling import changed
from fault_table import HARMLESS, fault
from sensor_msgs.msg import CompressedImage, Image

GROUP = "Compressed transports"


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


def png_header(width, height, kind):
    """A PNG file that ends after its first line of zeros: `kind` 2 is RGB, 0 grey of 16 bits."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", width, height, 8 if kind == 2 else 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


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
    ("colour-huge", "A compressed colour image of 60 000 x 60 000 pixels", "BAD_REQUEST", r"compressed colour image .* cannot be decoded",
     {"color": changed(data=lambda data: png_header(60_000, 60_000, 2))}),
    ("depth-huge", "A compressed depth image of 60 000 x 60 000 pixels", "BAD_REQUEST", r"compressed depth image .* cannot be decoded",
     {"depth": changed(data=lambda data: bytes(data)[:12] + png_header(60_000, 60_000, 0))}),
    ("depth-damaged", "A damaged compressed depth image", "BAD_REQUEST", r"compressed depth image is damaged",
     {"depth": changed(data=lambda data: bytes(data)[:12] + b"\0" * 500)}),
    ("depth-short", "A compressed depth image of 7 bytes", "BAD_REQUEST", r"has 7 bytes, its header alone has 12",
     {"depth": changed(data=lambda data: bytes(data)[:7])}),
    ("depth-rvl", "An unknown codec of compressed depth", "BAD_REQUEST",
         r"codec 'rvl' is not supported; set the publisher's format parameter to png",
     {"depth": changed(format="16UC1; compressedDepth rvl")}),
):  # fmt: skip
    fault(
        GROUP, f"compressed-{name}",
        what=what, injection="color_transport and depth_transport compressed"
        + (", " + {"colour-truncated": "20 bytes of the PNG", "colour-huge": "a PNG whose header says so",
                   "depth-huge": "a PNG whose header says so", "depth-damaged": "zeros after the header",
                   "depth-short": "7 bytes of the message",
                   "depth-rvl": "format '16UC1; compressedDepth rvl'"}[name] if damage else ""),
        status=status, sentence=sentence, mend=_raw_again,
        recovery="none needed" if not damage else "the next good image (here also: transports raw again)",
    )(_compressed(**damage))  # fmt: skip
