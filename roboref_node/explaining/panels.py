"""The workspace from above and from the side, with zones, reach, point, goal and approach; and the numbers in words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.explaining.cases import Explanation
from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import RobotProfile
from roboref_node.level import LEVEL, in_frame
from roboref_node.referral import Referral
from roboref_node.status import Refused

Picture = NDArray[np.uint8]

_HASHES = ("model", "weights_sha256", "prompt_sha256", "settings_sha256")
_SIZE = 360
_PAPER, _GRID, _INK = (24, 24, 24), (60, 60, 60), (235, 235, 235)
_IN, _OUT, _REACH, _POINT, _GOAL, _CAMERA = (60, 180, 75), (230, 60, 50), (90, 90, 200), (255, 220, 0), (60, 220, 60), (180, 180, 180)
_STEP_PX = 3
"""Of the depth image, whose points are drawn as the background."""


class View:
    """Two axes of the goal frame on a square picture, metres to pixels.

    Args:
        axes: Horizontal and vertical axis, 0 to 2.
        low_m, high_m: Corners of what must be seen, shape (3,).
        title: Written into the corner.
    """

    def __init__(self, axes: tuple[int, int], low_m: NDArray[np.float64], high_m: NDArray[np.float64], title: str) -> None:
        self.picture = np.full((_SIZE, _SIZE, 3), _PAPER, dtype=np.uint8)
        self._axes = list(axes)
        low, high = low_m[self._axes], high_m[self._axes]
        self._scale = (_SIZE - 40) / float(max(high - low))
        self._middle = 0.5 * (low + high)
        span = float(max(high - low))
        step = 0.1 if span < 1.5 else max(0.5, 10.0 ** np.floor(np.log10(span / 10)))
        for axis in (0, 1):
            for value in np.arange(np.ceil(low[axis] / step), high[axis] / step + 1) * step:
                ends = np.array([[low[0], low[1]], [high[0], high[1]]])
                ends[:, axis] = value
                start, end = self._at(ends)
                cv2.line(self.picture, start, end, _GRID, 1)
        cv2.putText(self.picture, f"{title}; grid {step:g} m", (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)

    def _at(self, flat: NDArray[np.float64]) -> list[tuple[int, int]]:
        shown = (np.asarray(flat, dtype=np.float64) - self._middle) * self._scale
        shown = np.clip(shown, -4 * _SIZE, 4 * _SIZE)
        return [(round(_SIZE / 2 + x), round(_SIZE / 2 - y)) for x, y in shown]

    def pixels(self, points_m: NDArray[np.float64]) -> list[tuple[int, int]]:
        """Picture coordinates of points, shape (N, 3)."""
        return self._at(np.atleast_2d(points_m)[:, self._axes])

    def cloud(self, points_m: NDArray[np.float64], colors: Picture) -> None:
        """Points behind everything else."""
        uv = np.array(self.pixels(points_m))
        inside = ((uv >= 0) & (uv < _SIZE)).all(axis=1)
        self.picture[uv[inside, 1], uv[inside, 0]] = colors[inside] // 2 + 30

    def loop(self, points_m: NDArray[np.float64], color: tuple[int, int, int]) -> None:
        """A closed line."""
        cv2.polylines(self.picture, [np.array(self.pixels(points_m), np.int32)], True, color, 1, cv2.LINE_AA)

    def arrow(self, start_m: NDArray[np.float64], end_m: NDArray[np.float64], color: tuple[int, int, int]) -> None:
        """An arrow."""
        start, end = self.pixels(np.stack([start_m, end_m]))
        cv2.arrowedLine(self.picture, start, end, color, 2, cv2.LINE_AA, tipLength=0.2)

    def mark(self, point_m: NDArray[np.float64], color: tuple[int, int, int], kind: int = cv2.MARKER_CROSS) -> None:
        """A marker."""
        cv2.drawMarker(self.picture, self.pixels(point_m)[0], color, kind, 12, 2, cv2.LINE_AA)


def draw_workspace(explanation: Explanation) -> Picture | None:
    """Top and side view of the goal frame, one above the other; None when nothing of it is known."""
    case = explanation.case
    transforms = case.transforms or {}
    profile = None if case.pipeline is None else case.pipeline.profile
    referrals, where = explanation.referrals, f"in {explanation.referrals[0].goal_frame}"
    frame_name, goal_from_optical = referrals[0].goal_frame, _shown_from_optical(explanation)
    if LEVEL in transforms:
        # What is above the table and what beside it cannot be seen along the axes of a camera that looks down at it.
        frame_name, goal_from_optical = LEVEL, transforms[LEVEL]
        where = "levelled"
        referrals = tuple(r if r.goal_frame == LEVEL else in_frame(r, goal_from_optical, LEVEL) for r in referrals)
    points = [np.asarray(r.position_m) for r in referrals if r.position_m is not None]
    points += [pose.translation_m for r in referrals for pose in (r.goal, r.approach) if pose is not None]
    cloud, colors = _scene(case.frame, goal_from_optical)
    if len(cloud):
        points += [np.quantile(cloud, 0.02, axis=0), np.quantile(cloud, 0.98, axis=0)]
    zones = {} if profile is None else _zone_corners(profile, transforms)
    points += [corner for _, corners in zones.values() if np.ptp(corners) < 10 for corner in corners]
    if not points:
        return None
    low, high = np.min(points, axis=0) - 0.08, np.max(points, axis=0) + 0.08
    views = [
        View((0, 1), low, high, f"from above, x right, y up, {where}"),
        View((0, 2), low, high, "from the side, x right, z up"),
    ]
    for view in views:
        if len(cloud):
            view.cloud(cloud, colors)
        for keeps_in, corners in zones.values():
            for face in ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6)) if len(corners) == 8 else (range(len(corners)),):
                view.loop(corners[list(face)], _IN if keeps_in else _OUT)
        if profile is not None and profile.reach is not None and profile.base_frame == frame_name:
            _draw_reach(view, profile)
        if goal_from_optical is not None:
            view.mark(goal_from_optical.translation_m, _CAMERA, cv2.MARKER_SQUARE)
        for referral in referrals:
            _draw_referral(view, referral, goal_from_optical)
    return np.concatenate([view.picture for view in views])


def _scene(frame: Frame | None, goal_from_optical: Transform | None) -> tuple[NDArray[np.float64], Picture]:
    none = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if frame is None or goal_from_optical is None or not frame.is_registered:
        return none
    try:
        depth_m, rgb = frame.depth_m, frame.rgb
    except Refused:
        return none
    rows, columns = np.nonzero(np.isfinite(depth_m[::_STEP_PX, ::_STEP_PX]))
    rows, columns = rows * _STEP_PX, columns * _STEP_PX
    points = frame.camera.unproject(np.stack([columns, rows], axis=-1).astype(np.float64), depth_m[rows, columns].astype(np.float64))
    known = np.isfinite(points).all(axis=-1)
    return goal_from_optical.apply(points[known]), rgb[rows[known], columns[known]]


def _zone_corners(profile: RobotProfile, transforms: Mapping[str, Transform]) -> dict[str, tuple[bool, NDArray[np.float64]]]:
    """Corners of each zone in the goal frame: 8 of a box, the lower and upper polygon of a prism."""
    found = {}
    for name, zone in profile.zones.items():
        if zone.type.is_box:
            ends = np.array([zone.min_m, zone.max_m])
            corners = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for k in (0, 1) for j in (0, 1) for i in (0, 1)])
        else:
            low, high = (np.column_stack([zone.corners_m, np.full(len(zone.corners_m), z)]) for z in zone.z_range_m)
            corners = np.concatenate([low, high[::-1]])
        if zone.frame != profile.goal_frame:
            if zone.frame not in transforms or profile.goal_frame not in transforms:
                continue
            corners = (transforms[profile.goal_frame] @ transforms[zone.frame].inverse()).apply(corners)
        found[name] = zone.type.keeps_in, corners
    return found


def _draw_reach(view: View, profile: RobotProfile) -> None:
    assert profile.reach is not None
    angle = np.linspace(0, 2 * np.pi, 72)
    for radius in (profile.reach.min_m, profile.reach.max_m):
        for plane in ((0, 1), (0, 2)):
            ring = np.tile(np.asarray(profile.reach.shoulder_m, dtype=np.float64), (72, 1))
            ring[:, plane[0]] += radius * np.cos(angle)
            ring[:, plane[1]] += radius * np.sin(angle)
            if list(plane) == view._axes:
                view.loop(ring, _REACH)


def _draw_referral(view: View, referral: Referral, goal_from_optical: Transform | None) -> None:
    if referral.position_m is not None:
        position = np.asarray(referral.position_m)
        view.mark(position, _POINT)
        if referral.surface is not None and goal_from_optical is not None:
            view.arrow(position, position + 0.06 * goal_from_optical.rotate(referral.surface.normal), _POINT)
    outside = referral.details.get("position_m")
    if not referral.ok and isinstance(outside, (list, tuple)) and len(outside) == 3:
        view.mark(np.asarray(outside, dtype=np.float64), _OUT, cv2.MARKER_TILTED_CROSS)
    if referral.goal is not None:
        if referral.approach is not None:
            view.arrow(referral.approach.translation_m, referral.goal.translation_m, _GOAL)
        view.mark(referral.goal.translation_m, _GOAL, cv2.MARKER_DIAMOND)


def words(explanation: Explanation) -> list[str]:
    """Everything a person needs to know, one fact a line."""
    lines = []
    for referral in explanation.referrals:
        lines.append(f"{referral.task.kind.value} '{referral.task.expression}' -> {referral.status.value}: {referral.sentence}")
        lines += _numbers(referral)
    if explanation.case.note:
        lines.append(f"note: {explanation.case.note}")
    if explanation.repeated:
        same = "the same, but for goals in different frames" if explanation.uncompared else "the same"
        agree = "answered again from its pixel on: " + ("DIFFERENT" if explanation.differences else same)
        lines += [agree, *explanation.differences, *explanation.uncompared]
    if explanation.differences:
        lines += [
            f"recorded answer {number}: {answer['status']}: {answer['sentence']}"
            for number, (answer, again) in enumerate(zip(explanation.case.answers, explanation.referrals, strict=True), 1)
            if (answer["status"], answer["sentence"]) != (again.status.value, again.sentence)
        ]
    return lines


def _numbers(referral: Referral) -> list[str]:
    lines = []
    if referral.pixel is not None:
        sample = referral.provenance.get("depth_sample") or {}
        depth = f", depth there {sample['depth_m']:.4f} m" if sample.get("depth_m") is not None else ""
        around = f", {sample['known_5x5']} of 25 neighbours known" if "known_5x5" in sample else ""
        lines.append(f"  pixel ({referral.pixel.u_px:.1f}, {referral.pixel.v_px:.1f}){depth}{around}")
    if referral.surface is not None and referral.position_m is not None:
        x, y, z = referral.position_m
        spread = 1e3 * referral.surface.spread_m
        covariance = np.reshape(referral.position_covariance_m2 or np.zeros(9), (3, 3))
        sigma = 1e3 * float(np.sqrt(max(0.0, np.linalg.eigvalsh(covariance)[-1])))
        where = f"({x:.4f}, {y:.4f}, {z:.4f}) m in {referral.goal_frame}"
        lines.append(f"  surface at {where}: {referral.surface.inliers} pixels, spread {spread:.1f} mm, worst sigma {sigma:.1f} mm")
    if referral.grasps:
        best = referral.grasps[0]
        lines.append(f"  {len(referral.grasps)} grasps, the best {best.kind}, {1e3 * best.width_m:.0f} mm open, score {best.score:.2f}")
    if referral.answer_text:
        lines.append(f"  the model said: {referral.answer_text[:200]}")
    made = {
        key: str(referral.provenance[key])[:16]
        for key in ("model", "weights_sha256", "prompt_sha256", "settings_sha256")
        if key in referral.provenance
    }
    if made:
        lines.append("  " + ", ".join(f"{key} {value}" for key, value in made.items()))
    if referral.timings_ms:
        lines.append("  " + ", ".join(f"{stage} {duration:.0f} ms" for stage, duration in referral.timings_ms.items()))
    return lines


def draw(explanation: Explanation) -> Picture:
    """Image with its overlay, workspace beside it, words below."""
    from roboref_node.drawing import draw_image

    case = explanation.case
    parts = []
    if case.frame is not None:
        try:
            goal_from_optical = _shown_from_optical(explanation)
            parts.append(draw_image(case.frame, explanation.referrals, goal_from_optical=goal_from_optical))
        except Refused:
            pass  # the colour image cannot be decoded; the words say so
    workspace = draw_workspace(explanation)
    if workspace is not None:
        parts.append(workspace)
    top = _side_by_side(parts) if parts else np.full((8, 960, 3), _PAPER, dtype=np.uint8)
    return np.concatenate([top, _text(words(explanation), top.shape[1])])


def _shown_from_optical(explanation: Explanation) -> Transform | None:
    """The camera in the frame that the answers are given in; None when it is not known."""
    case = explanation.case
    name = explanation.referrals[0].goal_frame
    if case.frame is not None and name == case.frame.frame_id:
        return Transform.identity()
    return (case.transforms or {}).get(name)


def _side_by_side(parts: Sequence[Picture]) -> Picture:
    height = max(part.shape[0] for part in parts)
    first = parts[0]
    if len(parts) > 1 and first.shape[0] < height:
        first = cv2.resize(first, (round(first.shape[1] * height / first.shape[0]), height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    padded = [cv2.copyMakeBorder(part, 0, height - part.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=_PAPER) for part in (first, *parts[1:])]
    return np.concatenate([np.asarray(part, dtype=np.uint8) for part in padded], axis=1)


def _text(lines: Sequence[str], width_px: int) -> Picture:
    wrapped = [
        part for line in lines for part in textwrap.wrap(line, max(40, width_px // 8), subsequent_indent="    ", drop_whitespace=False)
    ]
    strip = np.full((18 * len(wrapped) + 12, width_px, 3), _PAPER, dtype=np.uint8)
    for row, line in enumerate(wrapped):
        text = line.encode("ascii", "replace").decode()
        cv2.putText(strip, text, (8, 18 * row + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return strip
