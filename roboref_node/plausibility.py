"""Numbers that no camera and no transform has: refused at the pipeline's edge, before they overflow somewhere inside."""

from __future__ import annotations

import numpy as np

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

_FARTHEST_M = 1e8
"""UTM coordinates reach 1e7 m. Beyond this a transform is nonsense, and rounding nears the size of errors that count."""

_FOCAL = (0.01, 1000.0)
"""Focal lengths as a share of the width: from 179 degrees of view to a twentieth of one. Normalised intrinsics lie below."""

_CENTRE = 1000.0
"""Farthest principal point as a share of the width: a small region of a shifted lens has it outside of the image, but not there."""


def check_cameras(frame: Frame) -> None:
    """Whether the calibrations can be those of these images.

    Raises:
        Refused: BAD_REQUEST with the numbers that cannot be; TF_UNAVAILABLE when the depth camera is too far away.
    """
    _check_camera(frame.camera, "colour")
    if frame.depth_camera is not None:
        _check_camera(frame.depth_camera, "depth")
    if frame.color_from_depth is not None:
        check_transform(frame.color_from_depth, "the depth camera", frame.frame_id)


def _check_camera(camera: CameraModel, name: str) -> None:
    fit = all(_FOCAL[0] <= f / camera.width <= _FOCAL[1] for f in (camera.fx, camera.fy))
    if not fit:
        raise Refused(
            Status.BAD_REQUEST,
            f"focal lengths of fx = {camera.fx:g}, fy = {camera.fy:g} px are not those of {camera.width}x{camera.height} images, "
            f"which have {_FOCAL[0]:g} to {_FOCAL[1]:g} times the width: the {name} camera's info is of something else",
        )
    if max(abs(camera.cx), abs(camera.cy)) > _CENTRE * camera.width:
        raise Refused(
            Status.BAD_REQUEST,
            f"a principal point of cx = {camera.cx:g}, cy = {camera.cy:g} px is more than {_CENTRE:g} widths away from "
            f"{camera.width}x{camera.height} images: the {name} camera's info is of something else",
        )


def check_transform(found: Transform, source: str, target: str) -> None:
    """Whether a transform ends on earth.

    Raises:
        Refused: TF_UNAVAILABLE with its length.
    """
    away_m = float(np.abs(found.translation_m).max())
    if away_m > _FARTHEST_M:
        sentence = f"the transform from {source} to {target} is {away_m:.3g} m long, more than {_FARTHEST_M:g} m: a broadcaster is wrong"
        raise Refused(Status.TF_UNAVAILABLE, sentence)
