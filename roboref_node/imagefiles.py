"""Frames from image files: a colour picture, a depth picture or array, and a camera file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from roboref_node.config import load_yaml
from roboref_node.frame import Frame
from roboref_node.geometry.camera_file import load_camera
from roboref_node.geometry.depth import check_depth_plausible
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

NEAR_M, FAR_M = 0.1, 20.0
"""Plausible distances in depth files of which nothing is said."""

_QUATERNION_SLACK = 0.05
"""Of its length: what two digits after the point leave, [0.7, 0, 0, 0.7], and angles in degrees do not."""


def load_frame(
    rgb: Path,
    depth: Path,
    camera: Path,
    *,
    depth_camera: Path | None = None,
    color_from_depth: Path | None = None,
    near_m: float = NEAR_M,
    far_m: float = FAR_M,
) -> Frame:
    """Read one frame.

    Args:
        rgb: Any 8-bit picture OpenCV reads.
        depth: 16-bit PNG in millimetres, or NPY: floating point in metres, uint16 in millimetres.
        camera: See `geometry.camera_file.load_camera`.
        depth_camera: Camera of a depth image that is not registered to the colour image.
        color_from_depth: YAML with ``position_m`` and ``quaternion_xyzw`` of the depth camera in the colour camera's frame.
        near_m: Nearest plausible distance.
        far_m: Farthest plausible distance.

    Raises:
        Refused: BAD_REQUEST naming the file and what is wrong; UNITS_IMPLAUSIBLE when the depth is in another unit.
    """
    model = load_camera(camera)
    picture = _load_color(rgb)
    _check_size(picture, model.width, model.height, rgb, camera)
    depth_m = load_depth(depth)
    check_depth_plausible(depth_m, near_m, far_m, "32FC1" if depth.suffix.lower() == ".npy" else "16UC1")
    other = None if depth_camera is None else load_camera(depth_camera)
    extrinsics = None if color_from_depth is None else load_pose(color_from_depth)
    if (other is None) != (extrinsics is None):
        raise Refused(Status.BAD_REQUEST, "unregistered depth needs both --depth-camera and --color-from-depth")
    owner = model if other is None else other
    _check_size(depth_m, owner.width, owner.height, depth, camera if depth_camera is None else depth_camera)
    return Frame(picture, depth_m, model, depth_camera=other, color_from_depth=extrinsics)


def _load_color(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise Refused(Status.BAD_REQUEST, f"the colour image {path} {_absent(path)}")
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise Refused(Status.BAD_REQUEST, f"the colour image {path} cannot be decoded")
    _check_picture(path)
    return np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8)


def _check_picture(path: Path) -> None:
    """What OpenCV passes over.

    It fills the end of a truncated JPEG with grey, turns or ignores what EXIF wants turned, and makes a dark picture of depth.
    """
    try:
        with Image.open(path) as image:
            mode, orientation = image.mode, image.getexif().get(ExifTags.Base.Orientation, 1)
            image.load()
    except UnidentifiedImageError:
        return  # a format that only OpenCV reads
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"the colour image {path} is damaged: {error}") from None
    if mode.startswith(("I", "F")):
        raise Refused(
            Status.BAD_REQUEST, f"the colour image {path} has one channel of more than 8 bits, as depth has: are the two exchanged?"
        )
    if orientation not in (0, 1):
        raise Refused(
            Status.BAD_REQUEST,
            f"the colour image {path} is marked as turned (EXIF orientation {orientation}), the depth image and the camera file are not: "
            "save it as the camera took it, without the mark",
        )


def _absent(path: Path) -> str:
    return "is no file" if path.exists() else "does not exist"


def load_depth(path: Path) -> NDArray[np.float32]:
    """Depth in metres, NaN = unknown; the unit follows from the number type.

    Raises:
        Refused: BAD_REQUEST naming the file and what is wrong.
    """
    if not path.is_file():
        raise Refused(Status.BAD_REQUEST, f"the depth image {path} {_absent(path)}")
    try:
        image: Any = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, EOFError) as error:
        raise Refused(Status.BAD_REQUEST, f"the depth array {path} cannot be read: {error}") from None
    forms = "a 16-bit PNG in millimetres or an NPY in metres"
    if image is None:
        raise Refused(Status.BAD_REQUEST, f"the depth image {path} cannot be decoded; it must be {forms}")
    if image.ndim != 2:
        raise Refused(Status.BAD_REQUEST, f"the depth image {path} must be one channel: {forms}; its shape is {image.shape}")
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        known = (image > 0) & (image < 65535)
        return np.where(known, image.astype(np.float32) * np.float32(1e-3), np.float32(np.nan)).astype(np.float32)
    if np.issubdtype(image.dtype, np.floating):
        with np.errstate(over="ignore"):  # becomes infinite, which is unknown
            depth = image.astype(np.float32)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan)).astype(np.float32)
    raise Refused(
        Status.BAD_REQUEST, f"the depth image {path} holds {image.dtype}; use uint16 (millimetres) or floating point (metres, NPY)"
    )


def load_pose(path: Path) -> Transform:
    """A pose from a YAML file with ``position_m`` and ``quaternion_xyzw``.

    Raises:
        Refused: BAD_REQUEST naming the file and what is wrong.
    """
    return pose_from_mapping(load_yaml(path), str(path))


def pose_from_mapping(data: Mapping[str, Any], where: str) -> Transform:
    """See `load_pose`; `where` names the source in errors."""
    try:
        length = float(np.linalg.norm(np.asarray(data["quaternion_xyzw"], dtype=np.float64)))
        if abs(length - 1.0) > _QUATERNION_SLACK:
            raise ValueError(f"a rotation needs a unit quaternion, this one has length {length:.3g}")
        return Transform(np.asarray(data["quaternion_xyzw"], dtype=np.float64), np.asarray(data["position_m"], dtype=np.float64))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"{where} needs position_m: [x, y, z] and quaternion_xyzw: [x, y, z, w] ({error})") from None


def _check_size(image: NDArray[Any], width: int, height: int, file: Path, camera: Path) -> None:
    if image.shape[:2] != (height, width):
        raise Refused(Status.BAD_REQUEST, f"{file} is {image.shape[1]}x{image.shape[0]}, the camera file {camera} is for {width}x{height}")
