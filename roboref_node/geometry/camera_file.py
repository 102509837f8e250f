"""Camera files: this project's own form, the ROS camera_calibration YAML, and a printed CameraInfo message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from roboref_node.geometry.camera import CameraModel
from roboref_node.plain_yaml import parse_yaml
from roboref_node.status import Refused, Status

_OWN = ("fx", "fy", "cx", "cy", "width", "height", "distortion_model", "coefficients")


def load_camera(path: str | Path, *, rectified: bool = False) -> CameraModel:
    """Read a camera file, YAML or JSON.

    Three forms are told apart by their keys: ``fx fy cx cy width height [distortion_model coefficients]`` (what
    `CameraModel.to_dict` writes), the file of camera_calibration (``image_width camera_matrix distortion_coefficients
    projection_matrix``), and a CameraInfo as ``ros2 topic echo --once`` prints it (``width height k d p`` or ``K D P``).

    Args:
        path: File to read.
        rectified: Whether the image that goes with it is rectified; matters for the two forms that hold both K and P.

    Raises:
        Refused: BAD_REQUEST naming the file and what is wrong with it.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        # `ros2 topic echo` closes each message with a document separator.
        data = json.loads(text) if file.suffix == ".json" else parse_yaml(text, first=True)
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} is neither YAML nor JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} does not hold a list of named values")
    try:
        return _from_mapping(data, rectified)
    except KeyError as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} has no entry {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} has a wrong value: {error}") from None
    except Refused as error:
        raise Refused(error.status, f"{file}: {error.sentence}", **error.details) from None


def _from_mapping(data: Mapping[str, Any], rectified: bool) -> CameraModel:
    if "fx" in data:
        unknown = [str(key) for key in data if key not in _OWN]  # such as k1, whose lens would be left out unsaid
        if unknown:
            raise ValueError(f"unknown entry {unknown[0]!r}; known are {', '.join(_OWN)}; a lens goes into the last two")
        return CameraModel.from_dict({**data, **{side: _whole(data, side) for side in ("width", "height") if side in data}})
    if "camera_matrix" in data:
        return CameraModel.from_camera_info(
            width=_whole(data, "image_width"),
            height=_whole(data, "image_height"),
            K=_matrix(data, "camera_matrix"),
            D=_matrix(data, "distortion_coefficients", ()),
            distortion_model=str(data.get("distortion_model", "plumb_bob")),
            P=_matrix(data, "projection_matrix", (0.0,) * 12),
            R=_matrix(data, "rectification_matrix", ()),
            rectified=rectified,
        )
    lower = {str(key).lower(): value for key, value in data.items()}
    if "k" not in lower:
        sentence = "it is none of the known forms, which hold fx (ours), camera_matrix (camera_calibration) or k (a printed CameraInfo)"
        raise Refused(Status.BAD_REQUEST, sentence)
    region = lower.get("roi") or {}
    if not isinstance(region, Mapping):
        raise ValueError(f"roi is {region!r}, it must be a group of values")
    return CameraModel.from_camera_info(
        width=_whole(lower, "width"),
        height=_whole(lower, "height"),
        K=lower["k"],
        D=lower.get("d") or [],
        distortion_model=str(lower.get("distortion_model", "")),
        P=lower.get("p") or [0.0] * 12,
        R=lower.get("r") or [],
        binning_x=_whole(lower, "binning_x", 0),
        binning_y=_whole(lower, "binning_y", 0),
        roi=(
            _whole(region, "x_offset", 0),
            _whole(region, "y_offset", 0),
            _whole(region, "width", 0),
            _whole(region, "height", 0),
            bool(region.get("do_rectify", False)),
        ),
        rectified=rectified,
    )


def _whole(data: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = data[key] if default is None else data.get(key, default)
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise ValueError(f"{key} is {value!r}, it must be a whole number")
    return int(value)


def _matrix(data: Mapping[str, Any], key: str, default: Sequence[float] | None = None) -> Sequence[float]:
    """Numbers of a matrix as camera_calibration writes one: ``{rows, cols, data}``."""
    if default is not None and key not in data:
        return default
    if not isinstance(data[key], Mapping) or not isinstance(data[key].get("data"), list):
        raise ValueError(f"{key} is {data[key]!r}, it must be a group with the numbers in 'data'")
    numbers: list[float] = data[key]["data"]
    return numbers


def save_camera(camera: CameraModel, path: str | Path) -> None:
    """Write the camera file that `load_camera` reads, JSON or YAML by the suffix."""
    file = Path(path)
    text = json.dumps(camera.to_dict(), indent=2) + "\n" if file.suffix == ".json" else yaml.safe_dump(camera.to_dict(), sort_keys=False)
    file.write_text(text, encoding="utf-8")
