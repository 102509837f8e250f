"""Point clouds of every form: the same image files, or a refusal that says what is wrong with the cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roboref_node.commands.import_pcd import Cloud, read_cloud
from roboref_node.status import Refused

WIDTH, HEIGHT, FOCAL = 16, 12, 13.0
COLUMNS, ROWS = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
DEPTH = np.where(ROWS > 1, 1.0 + 0.01 * COLUMNS, np.nan)
XYZ = np.dstack([(COLUMNS - 7.5) * DEPTH / FOCAL, (ROWS - 5.5) * DEPTH / FOCAL, DEPTH]).reshape(-1, 3)
RGB = np.dstack([COLUMNS * 10, ROWS * 10, np.full_like(ROWS, 99)]).astype(np.uint8)
FIELDS = {"x": "<f4", "y": "<f4", "z": "<f4", "rgb": "<u4"}


def pcd(
    path: Path, xyz: NDArray[np.float64] = XYZ, *, fields: dict[str, str] = FIELDS, data: str = "binary", size: str = f"{WIDTH} {HEIGHT}"
) -> Path:
    """Write a cloud whose fields have these names, order and types."""
    packed = RGB.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values = dict(zip("xyz", xyz.T, strict=True))
    cloud = np.zeros(len(xyz), [*fields.items()])
    for name in fields:
        cloud[name] = values[name] if name in values else packed[: len(xyz)]
    kinds = [np.dtype(kind) for kind in fields.values()]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "# written by a test",
        "VERSION 0.7",
        f"FIELDS {' '.join(fields)}",
        f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}",
        f"TYPE {' '.join(kind.kind.upper() for kind in kinds)}",
        f"COUNT {' '.join('1' for _ in kinds)}",
        f"WIDTH {size.split()[0]}",
        f"HEIGHT {size.split()[1]}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(xyz)}",
        f"DATA {data}",
    ]
    body = cloud.tobytes() if data == "binary" else "\n".join(" ".join(str(value) for value in point) for point in cloud).encode()
    path.write_bytes("\n".join([*header, ""]).encode() + body)
    return path


def read(path: Path, width: int = WIDTH) -> Cloud:
    return read_cloud(path, width=width, focal=FOCAL)


@pytest.mark.parametrize("size", [f"{WIDTH} {HEIGHT}", f"{WIDTH * HEIGHT} 1"])
@pytest.mark.parametrize("data", ["binary", "ascii"])
@pytest.mark.parametrize(
    "fields",
    [FIELDS, {"rgba": "<u4", "z": "<f4", "y": "<f4", "x": "<f4"}, {"x": "<f8", "y": "<f8", "z": "<f8", "rgb": "<u4"}],
    ids=["float", "other order", "double"],
)
def test_every_form_gives_the_same_images(fields: dict[str, str], data: str, size: str, tmp_path: Path) -> None:
    cloud = read(pcd(tmp_path / "cloud.pcd", fields=fields, data=data, size=size))
    np.testing.assert_allclose(cloud.depth_m, DEPTH, rtol=1e-6)
    np.testing.assert_array_equal(cloud.rgb[2:], RGB[2:])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: pcd(path, 1000 * XYZ), "are 1075 m away in the median.*a PCD file holds metres"),
        (lambda path: pcd(path, XYZ[:, [2, 0, 1]]), "not in the optical frame"),
        (lambda path: pcd(path, XYZ[::-1]), "the cloud is not organised"),
        (lambda path: pcd(path, np.full_like(XYZ, np.nan)), "no point of .* is in front of the camera"),
        (lambda path: pcd(path, fields={"x": "<f4", "y": "<f4", "z": "<f4"}), "has no colour: the field rgb or rgba"),
        (lambda path: pcd(path, size="wide 12"), "WIDTH or HEIGHT that is no whole number"),
        (lambda path: path.write_bytes(b"hello"), "is no PCD file with x y z, or not a whole one"),
        (lambda path: path.write_bytes(pcd(path).read_bytes()[:-100]), "is no PCD file with x y z, or not a whole one"),
        (lambda path: path.mkdir(), "is no file"),
    ],
)
def test_a_cloud_that_cannot_be_used_is_refused_with_the_reason(write: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    write(tmp_path / "cloud.pcd")
    with pytest.raises(Refused, match=words):
        read(tmp_path / "cloud.pcd")
