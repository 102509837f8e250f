"""Checks of a running robot: listens to the camera, TF and the clock for some seconds and holds them against what a question needs."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import os
from collections.abc import Sequence

from rclpy.exceptions import InvalidTopicNameException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from roboref_node.doctor.camera import check_camera
from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.listening import Seen, listening
from roboref_node.doctor.ports import domains_in_use
from roboref_node.doctor.time_and_tf import check_clock, check_transforms
from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.ros import qos
from roboref_node.ros.camera_reading import StreamReading
from roboref_node.ros.settings import ReferSettings
from roboref_node.status import Refused


def examine_robot(camera: str = "camera", *, robot: str = "ur5", remaps: Sequence[str] = (), duration_s: float = 5.0) -> list[Finding]:
    """All checks of a running robot, in the order in which one would fix what they find.

    Args:
        camera: Namespace of the camera, put in the place of ``camera`` in the names of docs/ros.md.
        robot: Profile whose frames must be reachable from the camera.
        remaps: Further rules FROM:=TO, as of ``ros2 run ... --ros-args -r``.
        duration_s: How long to listen at most, once the images' publishers are discovered; that takes up to 7 s.
    """
    try:
        profile = load_profile(robot)
    except Refused as refused:
        return [Finding("robot", Level.ERROR, refused.sentence, "the goals' frames are not known", "--robot ur5")]
    settings = ReferSettings(robot=robot)
    try:
        return _heard(camera, profile, remaps, settings, duration_s)
    except (rclpy_implementation.RCLInvalidROSArgsError, InvalidTopicNameException) as error:
        reason = str(error).split(", at ")[0].removeprefix("Failed to parse ROS arguments: ")
        fix = "--camera NAMESPACE of letters, digits, _ and /; --remap FROM:=TO as of ros2 run"
        return [Finding("topics", Level.ERROR, f"these are no names of topics: {reason}", "nothing could be listened to", fix)]


def _heard(camera: str, profile: RobotProfile, remaps: Sequence[str], settings: ReferSettings, duration_s: float) -> list[Finding]:
    with listening(camera, remaps, settings) as listener:
        seen = listener.listen(duration_s)
        findings = _streams(listener.node, seen)
        findings += _pairing(seen)
        findings += check_camera(listener, seen, settings, profile)
        findings += check_transforms(listener, seen, profile)
        findings += check_clock(seen)
        findings += _refer_nodes(seen)
    return findings


def _streams(node: Node, seen: Seen) -> list[Finding]:
    findings = []
    for key, stream in (("color", seen.reading.color), ("depth", seen.reading.depth)):
        types = seen.types.get(stream.topic, [])
        if stream.problem:
            if types and "sensor_msgs/msg/Image" not in types:
                what, fix = f"{stream.topic} is of type {', '.join(types)}, not sensor_msgs/msg/Image", "remap to the image topic"
            else:
                what, fix = stream.problem, _how_to_hear(seen, stream)
            findings.append(Finding(f"{key}_topic", Level.ERROR, what, "no question can be answered without colour and depth", fix))
            continue
        if seen.publishers.get(key, 0) > 1:
            what = f"{seen.publishers[key]} nodes publish {stream.topic}"
            why = "images of two cameras arrive mixed, with one calibration"
            findings.append(
                Finding(f"{key}_publishers", Level.ERROR, what, why, f"ros2 topic info -v {stream.topic}; stop one, or give it a namespace")
            )
        rate_hz = seen.rates_hz.get(key, 0.0)
        offered = qos.offered(node, stream.topic).qos
        what = f"{stream.topic}: {rate_hz:.1f} Hz, {stream.encoding}, {offered}, frame {stream.frame_id or '(none)'}"
        slowest_hz = 1.0 / ReferSettings().max_frame_age_s
        if rate_hz < slowest_hz:
            why = f"at less than {slowest_hz:g} Hz the newest frame is often older than max_frame_age_s"
            findings.append(Finding(f"{key}_topic", Level.WARNING, what, why, "raise the camera's rate, or max_frame_age_s"))
        else:
            findings.append(Finding(f"{key}_topic", Level.OK, what))
        if stream.lost:
            what = f"{stream.lost} of {stream.lost + stream.count} images of {stream.topic} were lost on the way"
            findings.append(
                Finding(f"{key}_lost", Level.WARNING, what, "pairs are missing", "see the finding on the Fast DDS segment; lower the rate")
            )
    return findings


def _how_to_hear(seen: Seen, stream: StreamReading) -> str:
    images = sorted(name for name, types in seen.types.items() if "sensor_msgs/msg/Image" in types)
    others = [name for name in images if name not in (seen.topics.color, seen.topics.depth)]
    if stream.topic in images and "does not match" in stream.problem:
        return "set image_reliability:=best_effort, or change the QoS of the camera driver"
    if others:
        return f"--camera NS or --remap FROM:=TO; images are on {', '.join(others[:8])}"
    domain = int(os.environ.get("ROS_DOMAIN_ID") or 0)
    elsewhere = [d for d in domains_in_use() if d != domain]
    if elsewhere and not (seen.publishers.get("color") or seen.publishers.get("depth")):
        domains = ", ".join(map(str, elsewhere[:5]))
        return f"export ROS_DOMAIN_ID=<the camera's>: nodes of this machine are in {domains}, this shell is in {domain}"
    return "start the camera driver in the same ROS_DOMAIN_ID; for depth: align_depth.enable:=true with realsense-ros"


def _refer_nodes(seen: Seen) -> list[Finding]:
    findings = []
    for node in seen.refer_nodes:
        if node.state not in ("", "active"):
            what = f"{node.name} is {node.state}"
            step = "configure" if node.state == "unconfigured" else "activate"
            fix = f"ros2 lifecycle set {node.name} {step}   (its log says why it is not)"
            findings.append(Finding("refer_state", Level.ERROR, what, "it answers no question", fix))
        for problem in node.deaf_to:
            what = f"{node.name} cannot hear its camera: {problem}"
            fix = f"start {node.name} with image_reliability:=best_effort, or make the camera driver reliable"
            findings.append(Finding("qos", Level.ERROR, what, "publisher and subscriber never connect", fix))
    return findings


def _pairing(seen: Seen) -> list[Finding]:
    reading = seen.reading
    if reading.color.problem or reading.depth.problem:
        return []
    fix = "synchronise the streams in the camera driver (enable_sync); raise frame_buffer if one comes late, sync_slop_s if stamps differ"
    if not reading.pairs or reading.skew_s is None:
        return [Finding("pairing", Level.ERROR, reading.pairing_problem, "a pixel's depth must be of the same instant", fix)]
    possible = min(reading.color.count, reading.depth.count)
    what = f"{reading.pairs} pairs of {possible} possible, skew {1000 * reading.skew_s:.1f} ms"
    if reading.pairs < 0.5 * possible:
        return [Finding("pairing", Level.WARNING, what, "the others differ by more than sync_slop_s", fix)]
    return [Finding("pairing", Level.OK, what)]
