"""Depth messages to metres: encodings, row steps, byte orders, damage, units."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboref_node.geometry import DepthNoise, check_depth_plausible, decode_compressed_depth, decode_depth, steady_depth, temporal_median
from roboref_node.status import Refused, Status

MM = np.array([[0, 500, 65535], [1234, 65534, 1]], dtype=np.uint16)
METRES = np.array([[np.nan, 0.5, np.nan], [1.234, 65.534, 0.001]], dtype=np.float32)


def message(pixels: np.ndarray, big: bool, padding: int) -> tuple[bytes, int]:
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = [row.tobytes() + b"\xab" * padding for row in ordered]
    return b"".join(rows), len(rows[0])


@given(st.booleans(), st.integers(0, 9), st.sampled_from(["16UC1", "mono16"]))
def test_millimetres_of_any_step_and_byte_order(big: bool, padding: int, encoding: str) -> None:
    data, step = message(MM, big, padding)
    depth = decode_depth(data, encoding=encoding, width=3, height=2, step=step, is_bigendian=big)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, METRES, rtol=1e-6)


@given(st.booleans(), st.integers(0, 9))
def test_metres_of_any_step_and_byte_order(big: bool, padding: int) -> None:
    # depth_image_proc takes a float 0.0 for a valid depth; it is not.
    pixels = np.array([[0.0, 0.5, np.inf], [-1.0, np.nan, 2.25]], dtype=np.float32)
    data, step = message(pixels, big, padding)
    depth = decode_depth(data, encoding="32FC1", width=3, height=2, step=step, is_bigendian=big)
    np.testing.assert_allclose(depth, [[np.nan, 0.5, np.nan], [np.nan, np.nan, 2.25]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "64FC1"}, "64FC1"),
        ({"encoding": "rgb8"}, "rgb8"),
        ({"step": 5}, "step"),
        ({"height": 3}, "truncated"),
        ({"width": 0}, "positive"),
    ],
)
def test_impossible_messages_are_refused(changes: dict[str, object], words: str) -> None:
    fields: dict[str, object] = {"encoding": "16UC1", "width": 3, "height": 2, "step": 6, "is_bigendian": False}
    with pytest.raises(Refused, match=words) as refused:
        decode_depth(MM.tobytes(), **{**fields, **changes})  # type: ignore[arg-type]
    assert refused.value.status is Status.BAD_REQUEST


def compressed(pixels: np.ndarray, a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b) + cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize("transport", ["16UC1; compressedDepth", "16UC1; compressedDepth png", "mono16;compressedDepth png"])
def test_compressed_millimetres(transport: str) -> None:
    np.testing.assert_allclose(decode_compressed_depth(compressed(MM), transport), METRES, rtol=1e-6)


def test_compressed_metres_are_quantised_inverse_depth() -> None:
    # compressed_depth_image_transport: A = q (q + 1), B = 1 - A / max, value = A / z + B.
    quantum, largest = 100.0, 10.0
    a = quantum * (quantum + 1)
    b = 1.0 - a / largest
    z = np.array([[0.5, 1.0], [3.0, 9.0]])
    pixels = np.rint(a / z + b).astype(np.uint16)
    pixels[1, 1] = 0
    depth = decode_compressed_depth(compressed(pixels, a, b), "32FC1; compressedDepth png")
    np.testing.assert_allclose(depth[[0, 0, 1], [0, 1, 0]], z[[0, 0, 1], [0, 1, 0]], rtol=2e-3)
    assert np.isnan(depth[1, 1])


@pytest.mark.parametrize(
    ("data", "transport", "words"),
    [
        (compressed(MM), "jpeg", "not supported"),
        (compressed(MM), "16UC1; compressedDepth rvl", "rvl"),
        (b"short", "16UC1; compressedDepth png", "header"),
        (compressed(MM)[:40], "16UC1; compressedDepth png", "damaged"),
        (compressed(MM, 0.0, 0.0), "32FC1; compressedDepth png", "depthQuantA"),
    ],
)
def test_damaged_or_foreign_compressed_images_are_refused(data: bytes, transport: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        decode_compressed_depth(data, transport)


@pytest.mark.parametrize(
    ("depth", "encoding", "words"),
    [
        (0.0008, "16UC1", "metres was read as millimetres"),
        (850.0, "32FC1", "millimetres was read as metres"),
        (0.0008, "32FC1", "divided by 1000"),
        (13.0, "16UC1", "unit is unknown"),
    ],
)
def test_wrong_units_are_named(depth: float, encoding: str, words: str) -> None:
    image = np.full((480, 640), depth, dtype=np.float32)
    with pytest.raises(Refused, match=words) as refused:
        check_depth_plausible(image, 0.2, 6.0, encoding)
    assert refused.value.status is Status.UNITS_IMPLAUSIBLE
    assert refused.value.details["median_m"] == pytest.approx(depth)


def test_plausible_depth_passes_and_empty_depth_is_no_depth() -> None:
    image = np.full((480, 640), np.nan, dtype=np.float32)
    with pytest.raises(Refused) as refused:
        check_depth_plausible(image, 0.2, 6.0, "16UC1")
    assert refused.value.status is Status.NO_DEPTH
    image[100:200, 100:200] = 0.8
    check_depth_plausible(image, 0.2, 6.0, "16UC1")


def test_temporal_median_is_the_median_of_the_known() -> None:
    frames = [np.array([[z, a, b]], dtype=np.float32) for z, a, b in [(1.0, np.nan, np.nan), (1.2, 2.0, np.nan), (9.0, 2.2, 3.0)]]
    np.testing.assert_allclose(temporal_median(frames), [[1.2, 2.1, np.nan]], rtol=1e-6)
    with pytest.raises(Refused):
        temporal_median([])


def test_steady_depth_averages_noise_and_forgets_what_changed() -> None:
    rng = np.random.default_rng(1)
    noise = DepthNoise()
    truth = np.full((40, 40), 0.8)
    frames = [(truth + rng.normal(0.0, noise.sigma_m(0.8), truth.shape)).astype(np.float32) for _ in range(9)]
    frames[0][:10] = 0.6  # something has just been put there
    frames[0][30, 30] = np.nan  # and a hole of this instant
    steady = steady_depth(frames[0], frames[1:], noise)
    np.testing.assert_array_equal(steady[:10], frames[0][:10])
    assert np.std(steady[10:] - 0.8) < 0.5 * np.nanstd(frames[0][10:] - 0.8)
    assert steady[30, 30] == pytest.approx(0.8, abs=0.005)
