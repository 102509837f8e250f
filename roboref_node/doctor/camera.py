"""Checks of calibration, registration, encoding and units, by making of the newest pair what a question would be answered with."""

from __future__ import annotations

import math

import numpy as np
from sensor_msgs.msg import CameraInfo

from roboref_node.doctor.alignment import compare_edges
from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.listening import Listener, Seen
from roboref_node.doctor.view import check_view
from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel
from roboref_node.goals.profile import RobotProfile
from roboref_node.rgbd import RgbdPair, build_frame, frame_name
from roboref_node.ros.settings import ReferSettings
from roboref_node.status import Refused, Status

_VIEW_DEG = (15.0, 150.0)
"""Horizontal fields of view of depth cameras lie between these; a calibration outside belongs to another size or lens."""

_DARK = 12
"""Mean brightness below which a picture shows nothing: a lens cap, or no light."""

_MIN_KNOWN = 0.3
"""Least share of the image with depth."""

_INFO_FIX = "publish the CameraInfo of this very stream next to the image, with the same size"


def check_camera(listener: Listener, seen: Seen, settings: ReferSettings, profile: RobotProfile) -> list[Finding]:
    """Everything that can be learnt from the newest pair, its calibration and its place."""
    if seen.reading.calibration_problem:
        what = f"no camera info: {seen.reading.calibration_problem}"
        return [Finding("camera_info", Level.ERROR, what, "a pixel is no direction without it", _INFO_FIX)]
    if seen.pair is None:
        return []
    frames = listener.receiver.frames
    try:
        infos = frames.calibrations(seen.pair, 0.0)
        frame = build_frame(seen.pair, *infos, settings.trust, listener.receiver.transforms.lookup)
    except Refused as refused:
        if refused.status in (Status.TF_UNAVAILABLE, Status.TF_STALE):
            why = "depth has a camera of its own, and where that is must be known"
            fix = "switch on aligned depth in the driver, or publish the transform"
            return [Finding("depth_aligned", Level.ERROR, refused.sentence, why, fix)]
        return [Finding("camera_info", Level.ERROR, refused.sentence, "the calibration cannot be used", _INFO_FIX)]
    calibration = _calibration(frame.camera) + _owners(seen.pair, *infos)
    # With a wrong calibration every point is somewhere else: one cause, one finding.
    view = check_view(frame, listener.receiver.transforms, profile) if calibration[0].level is Level.OK else []
    return [*calibration, *_depth(frame), *_color(frame), *_alignment(frame, seen), *view]


def _calibration(camera: CameraModel) -> list[Finding]:
    view_deg = math.degrees(2 * math.atan(camera.width / (2 * camera.fx)))
    what = f"{camera.width}x{camera.height}, fx {camera.fx:.1f}, cx {camera.cx:.1f}, cy {camera.cy:.1f}: {view_deg:.0f} degrees wide"
    centred = 0.25 < camera.cx / camera.width < 0.75 and 0.25 < camera.cy / camera.height < 0.75
    if not (centred and _VIEW_DEG[0] < view_deg < _VIEW_DEG[1] and 0.8 < camera.fx / camera.fy < 1.25):
        why = "no common camera is like that; the calibration is of another size or another camera, and every goal would be off"
        return [Finding("camera_info", Level.ERROR, what, why, _INFO_FIX)]
    return [Finding("camera_info", Level.OK, what)]


def _owners(pair: RgbdPair, color_info: CameraInfo, depth_info: CameraInfo | None) -> list[Finding]:
    """Calibrations that name another camera than their images: of the same size nothing else tells, and every goal is off."""
    findings = []
    for what, image, info in (("colour", pair.frame_id, color_info), ("depth", pair.depth_frame_id, depth_info)):
        owner = "" if info is None else frame_name(info)
        if image and owner and owner != image:
            said = f"the camera info of {what} is of {owner}, its images are of {image}"
            why = "it may be the calibration of another camera of the same size, and every goal would be off"
            findings.append(Finding("camera_info_frame", Level.WARNING, said, why, _INFO_FIX))
    return findings


def _depth(frame: Frame) -> list[Finding]:
    try:
        depth_m = frame.depth_m[np.isfinite(frame.depth_m)]
    except Refused as refused:
        if refused.status is Status.UNITS_IMPLAUSIBLE:
            why = "a wrong unit puts the goal a thousand times too near or too far"
            fix = "16UC1 must be millimetres, 32FC1 metres: correct the driver's depth unit, or depth.near_m and depth.far_m"
            return [Finding("depth_units", Level.ERROR, refused.sentence, why, fix)]
        if refused.status is Status.NO_DEPTH:
            fix = "check emitter, range and exposure of the depth camera"
            return [Finding("depth_known", Level.ERROR, refused.sentence, "every question will be refused with NO_DEPTH", fix)]
        fix = "remap to the depth image (16UC1, mono16 or 32FC1), or change the driver's format"
        return [Finding("depth_encoding", Level.ERROR, refused.sentence, "no pixel can be lifted", fix)]
    low, middle, high = np.percentile(depth_m, (1, 50, 99))
    share = depth_m.size / frame.depth_m.size
    what = f"depth from {low:.2f} to {high:.2f} m, median {middle:.2f} m, known in {100 * share:.0f} % of the image"
    findings = [Finding("depth_units", Level.OK, what)]
    if share < _MIN_KNOWN:
        why = "most questions will be refused with NO_DEPTH"
        findings.append(Finding("depth_known", Level.WARNING, what, why, "check emitter, range and exposure of the depth camera"))
    return findings


def _color(frame: Frame) -> list[Finding]:
    try:
        brightness = float(frame.rgb.mean())
    except Refused as refused:
        return [Finding("color_encoding", Level.ERROR, refused.sentence, "the model cannot see", "change the driver's format")]
    if brightness < _DARK:
        what = f"the colour image is black (mean brightness {brightness:.0f} of 255)"
        return [
            Finding(
                "color_image", Level.WARNING, what, "the model sees nothing", "take off the lens cap, switch on the light or auto exposure"
            )
        ]
    return []


def _alignment(frame: Frame, seen: Seen) -> list[Finding]:
    if not frame.is_registered:
        what = f"depth has a camera of its own ({seen.reading.depth.frame_id}); it is registered for each question"
        return [Finding("depth_aligned", Level.INFO, what)]
    try:
        found = compare_edges(frame.rgb, frame.depth_m)
    except Refused:
        return []  # told by the checks of the images
    if found is not None and found.is_off:
        u, v = found.shift_px
        fit = f"they fit {100 * found.agreement:.0f} % as well as they could"
        what = f"edges of depth lie {-u:+d} columns and {-v:+d} rows from those of colour; {fit}"
        why = "a pixel gets the depth of its neighbour: the goal is beside the object"
        fix = "switch on the driver's registration (align_depth.enable:=true), or calibrate the depth camera and give it its own frame"
        return [Finding("depth_aligned", Level.ERROR, what, why, fix)]
    how = "too few edges to compare" if found is None else f"their edges agree ({found.edges} compared)"
    return [Finding("depth_aligned", Level.OK, f"depth is registered to colour; {how}")]
