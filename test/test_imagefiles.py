"""Image files of every kind that a user may have: read rightly, or refused with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from roboref_node.geometry import CameraModel, save_camera
from roboref_node.imagefiles import load_depth, load_frame, pose_from_mapping
from roboref_node.rgbd import decode_color
from roboref_node.status import Refused

WIDTH, HEIGHT = 64, 48
GRADIENT = np.dstack([np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)), *[np.full((HEIGHT, WIDTH), 200, np.uint8)] * 2])
METRES = np.linspace(0.5, 1.5, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
MILLIMETRES = np.rint(1e3 * METRES).astype(np.uint16)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], NDArray[np.uint8]]:
    """The colour of a frame whose picture is a file in `tmp_path`."""
    np.save(tmp_path / "depth.npy", METRES)
    save_camera(CameraModel(60.0, 60.0, 31.5, 23.5, WIDTH, HEIGHT), tmp_path / "camera.yaml")
    return lambda name: load_frame(tmp_path / name, tmp_path / "depth.npy", tmp_path / "camera.yaml").rgb


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "ä b.png"])
def test_pictures_are_read(name: str, read: Callable[[str], NDArray[np.uint8]], tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / name)
    np.testing.assert_array_equal(read(name), GRADIENT)


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


def test_a_picture_that_a_viewer_would_turn_is_refused(read: Callable[[str], NDArray[np.uint8]], tmp_path: Path) -> None:
    """Turned by half a circle it has the right size, and every answer about it would be lifted from the wrong depth."""
    Image.fromarray(GRADIENT).save(tmp_path / "upright.png", exif=with_orientation(1))
    np.testing.assert_array_equal(read("upright.png"), GRADIENT)
    for name, value in (("turned.png", 3), ("turned.jpg", 3), ("mirrored.jpg", 2), ("portrait.jpg", 6)):
        Image.fromarray(GRADIENT).save(tmp_path / name, exif=with_orientation(value))
        with pytest.raises(Refused, match=f"EXIF orientation {value}"):
            read(name)


@pytest.mark.parametrize("name", ["depth.png", "depth.tiff"])
def test_depth_is_no_picture(name: str, read: Callable[[str], NDArray[np.uint8]], tmp_path: Path) -> None:
    """OpenCV makes a nearly black one of it, in which nothing is found."""
    Image.fromarray(MILLIMETRES).save(tmp_path / name)
    with pytest.raises(Refused, match="are the two exchanged"):
        read(name)


@pytest.mark.parametrize("quaternion", [[0.0, 0.0, 45.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.9]])
def test_a_quaternion_that_is_none_is_no_pose(quaternion: list[float]) -> None:
    with pytest.raises(Refused, match="unit quaternion, this one has length"):
        pose_from_mapping({"position_m": [0, 0, 1], "quaternion_xyzw": quaternion}, "pose.yaml")
    assert pose_from_mapping({"position_m": [0, 0, 1], "quaternion_xyzw": [0.7, 0, 0, 0.7]}, "pose.yaml").translation_m[2] == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_picture_that_ends_early_is_refused(name: str, read: Callable[[str], NDArray[np.uint8]], tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    read(name)
    (tmp_path / name).write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(Refused, match="is damaged|cannot be decoded"):
        read(name)


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">f4", "<u2", ">u2"])
@pytest.mark.parametrize("name", ["depth.npy", "DEPTH.NPY"])
def test_depth_arrays_of_either_byte_order_are_read(kind: str, name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        np.save(file, np.asfortranarray((MILLIMETRES if kind.endswith("u2") else METRES).astype(kind)))
    np.testing.assert_allclose(load_depth(tmp_path / name), METRES, atol=6e-4)


def test_what_is_no_depth_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    np.savez(tmp_path / "depth.npz", METRES)
    np.save(tmp_path / "stack.npy", METRES[..., None])
    np.save(tmp_path / "objects.npy", METRES.astype(object))
    np.save(tmp_path / "int32.npy", MILLIMETRES.astype(np.int32))
    Image.fromarray(GRADIENT[..., 0]).save(tmp_path / "eight.png")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("depth.npz", "cannot be decoded; it must be a 16-bit PNG"), ("stack.npy", r"one channel: .*; its shape is \(48, 64, 1\)"),
        ("objects.npy", "Object arrays cannot be loaded"), ("int32.npy", "holds int32"), ("eight.png", "holds uint8"),
        ("folder", "is no file"), ("absent.png", "does not exist"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=words):
            load_depth(tmp_path / name)


def test_a_compressed_message_is_never_turned() -> None:
    file = io.BytesIO()
    Image.fromarray(GRADIENT).save(file, "PNG", exif=with_orientation(3))
    message: Any = SimpleNamespace(format="png", data=file.getvalue(), header=None)
    np.testing.assert_array_equal(decode_color(message), GRADIENT)
