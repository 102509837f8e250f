"""A picture that tells a person what the robot is about to do: the point, the object, the grasp and the sentence."""

from __future__ import annotations

import textwrap
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
        if referral.pixel is not None and referral.pixel.is_finite:
            _draw_point(picture, referral)
    _draw_lines(picture, [(f"{r.task.kind.value}: {r.task.expression or r.task.instruction}", r) for r in referrals])
    return picture


def _color(referral: Referral) -> tuple[int, int, int]:
    return _GOOD if referral.status is Status.OK else _BAD


def _draw_point(picture: NDArray[np.uint8], referral: Referral) -> None:
    assert referral.pixel is not None
    height, width = picture.shape[:2]
    if not (-0.5 <= referral.pixel.u_px <= width - 0.5 and -0.5 <= referral.pixel.v_px <= height - 0.5):
        return  # a given pixel may be anywhere, farther than OpenCV counts too
    center = (round(referral.pixel.u_px), round(referral.pixel.v_px))
    size = max(6, width // 64)
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


def draw_explanation(frame: Frame, referrals: Sequence[Referral], *, goal_from_optical: Transform) -> NDArray[np.uint8]:
    """The overlay with everything behind it: the surface that was fitted, its normal, the 95 % region of the point, the gripper.

    Args:
        frame: What was looked at.
        referrals: The answers of one instruction, goals in the frame that `goal_from_optical` leads to.
        goal_from_optical: Camera pose.
    """
    return _with_sentences(draw_image(frame, referrals, goal_from_optical=goal_from_optical), referrals)


def draw_image(frame: Frame, referrals: Sequence[Referral], *, goal_from_optical: Transform | None) -> NDArray[np.uint8]:
    """`draw_explanation` without the sentences, and without what needs the camera's pose when that is not known."""
    picture = draw_overlay(frame, referrals, goal_from_optical=goal_from_optical)
    for referral in referrals:
        if referral.surface is not None:
            _draw_region(picture, referral)
            _draw_normal(picture, frame, referral)
            _draw_uncertainty(picture, frame, referral)
        if goal_from_optical is None:
            continue
        for grasp in reversed(referral.grasps[:5]):
            pose = goal_from_optical.inverse() @ grasp.pose
            _draw_gripper(picture, frame, pose, grasp.width_m, best=grasp is referral.grasps[0])
    return picture


def _draw_region(picture: NDArray[np.uint8], referral: Referral) -> None:
    surface = referral.surface
    if surface is None or surface.region is None:
        return
    rows, columns = np.nonzero(surface.region)
    rows, columns = rows + surface.region_origin_uv[1], columns + surface.region_origin_uv[0]
    inside = (rows >= 0) & (rows < picture.shape[0]) & (columns >= 0) & (columns < picture.shape[1])
    tint = np.array([255, 220, 0])
    picture[rows[inside], columns[inside]] = (0.6 * picture[rows[inside], columns[inside]] + 0.4 * tint).astype(np.uint8)


def _draw_normal(picture: NDArray[np.uint8], frame: Frame, referral: Referral) -> None:
    assert referral.surface is not None
    start = referral.surface.position_m
    ends = frame.camera.project(np.stack([start, start + _AXIS_M * referral.surface.normal]))
    if np.isfinite(ends).all():
        (u0, v0), (u1, v1) = np.round(ends).astype(int)
        cv2.arrowedLine(picture, (int(u0), int(v0)), (int(u1), int(v1)), (255, 220, 0), 2, cv2.LINE_AA, tipLength=0.25)


def _draw_uncertainty(picture: NDArray[np.uint8], frame: Frame, referral: Referral) -> None:
    """Outline of the 95 % ellipsoid (chi-square with 3 degrees of freedom: 7.81) as the camera sees it."""
    assert referral.surface is not None
    values, vectors = np.linalg.eigh(referral.surface.covariance_m2)
    axes = vectors * np.sqrt(7.81 * np.maximum(values, 0.0))
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 36), np.linspace(-1, 1, 15))
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=-1).reshape(-1, 3)
    pixels = frame.camera.project(referral.surface.position_m + sphere @ axes.T)
    pixels = pixels[np.isfinite(pixels).all(axis=-1)]
    if len(pixels) > 2:
        hull = cv2.convexHull(np.round(pixels).astype(np.int32))
        cv2.polylines(picture, [hull], True, (255, 0, 255), 1, cv2.LINE_AA)


def _draw_gripper(picture: NDArray[np.uint8], frame: Frame, optical_from_tool: Transform, width_m: float, *, best: bool) -> None:
    half, finger, palm = 0.5 * width_m, 0.045, 0.08
    tool = np.array([[-half, 0, 0], [-half, 0, -finger], [half, 0, -finger], [half, 0, 0], [0, 0, -finger], [0, 0, -palm]])
    pixels = frame.camera.project(optical_from_tool.apply(tool))
    if not (np.isfinite(pixels).all() and (np.abs(pixels) < 4 * max(picture.shape)).all()):
        return
    points = np.round(pixels).astype(np.int32)
    color, thickness = (_GOOD, 2) if best else ((150, 150, 150), 1)
    cv2.polylines(picture, [points[:4].reshape(-1, 1, 2), points[4:].reshape(-1, 1, 2)], False, color, thickness, cv2.LINE_AA)


def _with_sentences(picture: NDArray[np.uint8], referrals: Sequence[Referral]) -> NDArray[np.uint8]:
    width = max(40, picture.shape[1] // 7)
    lines = [line for r in referrals for line in textwrap.wrap(f"{r.status.value}: {r.sentence}", width)]
    strip = np.full((16 * len(lines) + 8, picture.shape[1], 3), 24, dtype=np.uint8)
    for row, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()
        cv2.putText(strip, text, (6, 16 * row + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])
