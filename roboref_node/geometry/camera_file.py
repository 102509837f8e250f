"""Camera files: this project's own form, the ROS camera_calibration YAML, and a printed CameraInfo message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from roboref_node.geometry.camera import CameraModel
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
        data = json.loads(text) if file.suffix == ".json" else next(iter(yaml.safe_load_all(text)), None)
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise Refused(Status.BAD_REQUEST, f"the camera file {file} is neither YAML nor JSON: {str(error).splitlines()[0]}") from None
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
        return CameraModel.from_dict(data)
    if "camera_matrix" in data:
        return CameraModel.from_camera_info(
            width=int(data["image_width"]),
            height=int(data["image_height"]),
            K=data["camera_matrix"]["data"],
            D=data.get("distortion_coefficients", {"data": []})["data"],
            distortion_model=str(data.get("distortion_model", "plumb_bob")),
            P=data.get("projection_matrix", {"data": [0.0] * 12})["data"],
            R=data.get("rectification_matrix", {"data": []})["data"],
            rectified=rectified,
        )
    lower = {str(key).lower(): value for key, value in data.items()}
    region = lower.get("roi") or {}
    return CameraModel.from_camera_info(
        width=int(lower["width"]),
        height=int(lower["height"]),
        K=lower["k"],
        D=lower.get("d") or [],
        distortion_model=str(lower.get("distortion_model", "")),
        P=lower.get("p") or [0.0] * 12,
        R=lower.get("r") or [],
        binning_x=int(lower.get("binning_x", 0)),
        binning_y=int(lower.get("binning_y", 0)),
        roi=(
            int(region.get("x_offset", 0)),
            int(region.get("y_offset", 0)),
            int(region.get("width", 0)),
            int(region.get("height", 0)),
            bool(region.get("do_rectify", False)),
        ),
        rectified=rectified,
    )


def save_camera(camera: CameraModel, path: str | Path) -> None:
    """Write the camera file that `load_camera` reads, JSON or YAML by the suffix."""
    file = Path(path)
    text = json.dumps(camera.to_dict(), indent=2) + "\n" if file.suffix == ".json" else yaml.safe_dump(camera.to_dict(), sort_keys=False)
    file.write_text(text, encoding="utf-8")
