"""A picture that tells a person what the robot is about to do: the point, the object, the grasp and the sentence."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.referral import Referral
from roboref_node.status import Status

_GOOD, _BAD, _INK, _SHADE = (60, 220, 60), (235, 60, 50), (255, 255, 255), (0, 0, 0)
_AXES = ((230, 50, 50), (50, 200, 50), (70, 110, 255))
_AXIS_M = 0.05


def draw_overlay(frame: Frame, referrals: Sequence[Referral], *, goal_from_optical: Transform | None = None) -> NDArray[np.uint8]:
    """Colour image, uint8 (H, W, 3) RGB, with one line of text and one point per referral.

    Args:
        frame: What was looked at.
        referrals: The answers of one instruction.
        goal_from_optical: Draws the axes of each goal pose; left out without it.
    """
    picture = frame.rgb.copy()
    for referral in referrals:
        if referral.segment is not None and referral.segment.mask.shape == picture.shape[:2]:
            contours, _ = cv2.findContours(referral.segment.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(picture, contours, -1, _color(referral), 1, cv2.LINE_AA)
        if referral.goal is not None and goal_from_optical is not None:
            _draw_axes(picture, frame, goal_from_optical.inverse() @ referral.goal)
        if referral.pixel is not None and np.isfinite([referral.pixel.u_px, referral.pixel.v_px]).all():
            _draw_point(picture, referral)
    _draw_lines(picture, [(f"{r.task.kind.value}: {r.task.expression or r.task.instruction}", r) for r in referrals])
    return picture


def _color(referral: Referral) -> tuple[int, int, int]:
    return _GOOD if referral.status is Status.OK else _BAD


def _draw_point(picture: NDArray[np.uint8], referral: Referral) -> None:
    assert referral.pixel is not None
    center = (round(referral.pixel.u_px), round(referral.pixel.v_px))
    size = max(6, picture.shape[1] // 64)
    for color, thickness in ((_SHADE, 4), (_color(referral), 2)):
        cv2.circle(picture, center, size, color, thickness, cv2.LINE_AA)
        cv2.drawMarker(picture, center, color, cv2.MARKER_CROSS, size, thickness)


def _draw_axes(picture: NDArray[np.uint8], frame: Frame, optical_from_tool: Transform) -> None:
    ends_m = optical_from_tool.apply(np.vstack([np.zeros(3), _AXIS_M * np.eye(3)]))
    pixels = frame.camera.project(ends_m)
    if not (np.isfinite(pixels).all() and (np.abs(pixels) < 4 * max(picture.shape)).all()):
        return
    origin, *tips = [(int(u), int(v)) for u, v in np.round(pixels)]
    for tip, color in zip(tips, _AXES, strict=True):
        cv2.line(picture, origin, tip, color, 2, cv2.LINE_AA)


def _draw_lines(picture: NDArray[np.uint8], lines: Sequence[tuple[str, Referral]]) -> None:
    scale = picture.shape[1] / 1280
    step = max(12, round(32 * scale))
    for row, (question, referral) in enumerate(lines):
        text = f"{question} -> {referral.status.value}".encode("ascii", "replace").decode()  # OpenCV's font has ASCII only
        at = (step // 3, (row + 1) * step)
        for color, thickness in ((_SHADE, 3), (_INK if referral.ok else _BAD, 1)):
            cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, max(0.35, 0.8 * scale), color, thickness, cv2.LINE_AA)
