"""Checks of a running robot: listens to the camera, TF and the clock for some seconds and holds them against what a question needs."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from rosgraph_msgs.msg import Clock

from roboref_node.doctor.findings import Finding, Level
from roboref_node.goals.profile import RobotProfile, load_profile
from roboref_node.rgbd import DepthTrust, RgbdPair, build_frame
from roboref_node.ros import qos
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO, CameraReceiver, resolved_topics
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.frames import CameraTopics
from roboref_node.ros.process import spin
from roboref_node.ros.settings import ReferSettings
from roboref_node.status import Refused, Status

_ENOUGH = 20
"""Pairs after which nothing more is learnt by listening."""

_CLOCK_S = 1.0
"""Stamps that are farther from a clock than this do not come from it."""

_VIEW_DEG = (15.0, 150.0)
"""Horizontal fields of view of depth cameras lie between these; a calibration outside belongs to another size or lens."""

_REFER_SUFFIX = "/refer/_action/send_goal"

_DEFAULT_PREFIX = "camera/"


@dataclass
class _Seen:
    """What was heard."""

    topics: CameraTopics
    reading: CameraReading
    rates_hz: dict[str, float] = field(default_factory=dict)
    pair: RgbdPair | None = None
    clock_ns: int | None = None
    types: dict[str, list[str]] = field(default_factory=dict)
    sim_time_of: dict[str, bool] = field(default_factory=dict)


class _Listener:
    """A node that subscribes as the refer node would, from construction to `close`."""

    def __init__(self, camera: str, remaps: Sequence[str], settings: ReferSettings) -> None:
        prefix = camera.rstrip("/") + "/"
        own = [f"{name}:={prefix}{name.removeprefix(_DEFAULT_PREFIX)}" for name in (COLOR, COLOR_INFO, DEPTH, DEPTH_INFO)]
        # The first rule that fits counts, so that what the user says of one topic goes before the camera's namespace.
        arguments = [x for rule in (*remaps, *own) for x in ("-r", rule)]
        self.node = Node(
            f"roboref_doctor_{os.getpid()}", cli_args=["--ros-args", *arguments], enable_rosout=False, start_parameter_services=False
        )
        self.clock_ns: int | None = None
        self.node.create_subscription(Clock, self.node.resolve_topic_name("/clock"), self._on_clock, qos_profile_sensor_data)
        self.topics = resolved_topics(self.node, settings)
        self.receiver = CameraReceiver(self.node, settings)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self.node), name="roboref_doctor", daemon=True)
        self._thread.start()

    def _on_clock(self, message: Clock) -> None:
        self.clock_ns = int(message.clock.sec) * 1_000_000_000 + int(message.clock.nanosec)

    def listen(self, duration_s: float) -> _Seen:
        """Until there are enough pairs, or `duration_s` has passed."""
        frames = self.receiver.frames
        started = time.monotonic()
        first: dict[str, tuple[float, int]] = {}
        while True:
            now = time.monotonic()
            reading = frames.read(math.inf, duration_s)
            counts = {"color": reading.color.count, "depth": reading.depth.count}
            for key, count in counts.items():
                if count and key not in first:
                    first[key] = (now, count)
            heard = reading.pairs >= _ENOUGH and not reading.calibration_problem
            if heard or now - started > duration_s:
                break
            time.sleep(0.05)
        seen = _Seen(self.topics, reading, clock_ns=self.clock_ns, types=dict(self.node.get_topic_names_and_types()))
        seen.rates_hz = {key: (counts[key] - count) / (now - since) for key, (since, count) in first.items() if now > since}
        if reading.pairs:
            seen.pair = frames.latest(math.inf)
        seen.sim_time_of = dict(self._sim_time_of_refer_nodes())
        return seen

    def _sim_time_of_refer_nodes(self) -> Iterator[tuple[str, bool]]:
        """Of the refer nodes that listen to this camera; those of other cameras may live by another clock."""
        subscribers = self.node.get_subscriptions_info_by_topic(self.topics.color)
        listening = {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in subscribers}
        for service, _ in self.node.get_service_names_and_types():
            name = service.removesuffix(_REFER_SUFFIX)
            if name == service or f"{name}_camera" not in listening:  # see `CameraReceiver`
                continue
            client = self.node.create_client(GetParameters, f"{name}/get_parameters")
            if client.wait_for_service(1.0):
                future = client.call_async(GetParameters.Request(names=["use_sim_time"]))
                deadline = time.monotonic() + 2.0
                while not future.done() and time.monotonic() < deadline:
                    time.sleep(0.01)
                answer = future.result() if future.done() else None
                if answer is not None and answer.values:
                    yield name, bool(answer.values[0].bool_value)
            self.node.destroy_client(client)

    def close(self) -> None:
        self.receiver.close()
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self.node.destroy_node()


@contextmanager
def _listening(camera: str, remaps: Sequence[str], settings: ReferSettings) -> Iterator[_Listener]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = _Listener(camera, remaps, settings)
        try:
            yield listener
        finally:
            listener.close()
    finally:
        try_shutdown()


def examine_robot(camera: str = "camera", *, robot: str = "ur5", remaps: Sequence[str] = (), duration_s: float = 5.0) -> list[Finding]:
    """All checks of a running robot, in the order in which one would fix what they find.

    Args:
        camera: Namespace of the camera, put in the place of ``camera`` in the names of docs/ros.md.
        robot: Profile whose frames must be reachable from the camera.
        remaps: Further rules FROM:=TO, as of ``ros2 run ... --ros-args -r``.
        duration_s: How long to listen at most.
    """
    try:
        profile = load_profile(robot)
    except Refused as refused:
        return [Finding("robot", Level.ERROR, refused.sentence, "the goals' frames are not known", "--robot ur5")]
    settings = ReferSettings(robot=robot)
    with _listening(camera, remaps, settings) as listener:
        seen = listener.listen(duration_s)
        findings = _streams(listener.node, seen)
        findings += _pairing(seen)
        findings += _camera(listener, seen, settings)
        findings += _transforms(listener, seen, profile)
        findings += _clock(seen)
    return findings


def _streams(node: Node, seen: _Seen) -> list[Finding]:
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
        rate_hz = seen.rates_hz.get(key, 0.0)
        what = (
            f"{stream.topic}: {rate_hz:.1f} Hz, {stream.encoding}, {qos.offered(node, stream.topic)}, frame {stream.frame_id or '(none)'}"
        )
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


def _how_to_hear(seen: _Seen, stream: StreamReading) -> str:
    images = sorted(name for name, types in seen.types.items() if "sensor_msgs/msg/Image" in types)
    others = [name for name in images if name not in (seen.topics.color, seen.topics.depth)]
    if stream.topic in images and "does not match" in stream.problem:
        return "set image_reliability:=best_effort, or change the QoS of the camera driver"
    if others:
        return f"--camera NS or --remap FROM:=TO; images are on {', '.join(others[:8])}"
    return "start the camera driver in the same ROS_DOMAIN_ID; for depth: align_depth.enable:=true with realsense-ros"


def _pairing(seen: _Seen) -> list[Finding]:
    reading = seen.reading
    if reading.color.problem or reading.depth.problem:
        return []
    fix = "synchronise the streams in the camera driver (enable_sync), or raise sync_slop_s"
    if not reading.pairs or reading.skew_s is None:
        return [Finding("pairing", Level.ERROR, reading.pairing_problem, "a pixel's depth must be of the same instant", fix)]
    possible = min(reading.color.count, reading.depth.count)
    what = f"{reading.pairs} pairs of {possible} possible, skew {1000 * reading.skew_s:.1f} ms"
    if reading.pairs < 0.5 * possible:
        return [Finding("pairing", Level.WARNING, what, "the others differ by more than sync_slop_s", fix)]
    return [Finding("pairing", Level.OK, what)]


def _camera(listener: _Listener, seen: _Seen, settings: ReferSettings) -> list[Finding]:
    """Calibration, alignment, encoding and units, by making of the newest pair what a question would be answered with."""
    info_fix = "publish the CameraInfo of this very stream next to the image, with the same size"
    if seen.reading.calibration_problem:
        what = f"no camera info: {seen.reading.calibration_problem}"
        return [Finding("camera_info", Level.ERROR, what, "a pixel is no direction without it", info_fix)]
    if seen.pair is None:
        return []
    frames = listener.receiver.frames
    trust = DepthTrust(settings.depth.near_m, settings.depth.far_m, settings.depth.aligned, settings.rectified)
    try:
        frame = build_frame(seen.pair, frames.color_info(0.0), frames.depth_info(), trust, listener.receiver.transforms.lookup)
    except Refused as refused:
        if refused.status in (Status.TF_UNAVAILABLE, Status.TF_STALE):
            why = "depth has a camera of its own, and where that is must be known"
            return [
                Finding(
                    "depth_aligned", Level.ERROR, refused.sentence, why, "switch on aligned depth in the driver, or publish the transform"
                )
            ]
        return [Finding("camera_info", Level.ERROR, refused.sentence, "the calibration cannot be used", info_fix)]
    findings = []
    camera = frame.camera
    view_deg = math.degrees(2 * math.atan(camera.width / (2 * camera.fx)))
    what = f"{camera.width}x{camera.height}, fx {camera.fx:.1f}, cx {camera.cx:.1f}, cy {camera.cy:.1f}: {view_deg:.0f} degrees wide"
    centred = 0.25 < camera.cx / camera.width < 0.75 and 0.25 < camera.cy / camera.height < 0.75
    if centred and _VIEW_DEG[0] < view_deg < _VIEW_DEG[1]:
        findings.append(Finding("camera_info", Level.OK, what))
    else:
        why = "no common camera is like that; the calibration is of another size or another camera"
        findings.append(Finding("camera_info", Level.WARNING, what, why, info_fix))
    if frame.is_registered:
        findings.append(Finding("depth_aligned", Level.OK, "depth is registered to colour"))
    else:
        what = f"depth has a camera of its own ({seen.reading.depth.frame_id}); it is registered for each question"
        findings.append(Finding("depth_aligned", Level.INFO, what))
    try:
        depth_m = frame.depth_m[np.isfinite(frame.depth_m)]
    except Refused as refused:
        why = "a wrong unit puts the goal a thousand times too near or too far"
        fix = "16UC1 must be millimetres, 32FC1 metres: correct the driver's depth unit, or depth.near_m and depth.far_m"
        return [*findings, Finding("depth_units", Level.ERROR, refused.sentence, why, fix)]
    try:
        _ = frame.rgb
    except Refused as refused:
        findings.append(Finding("color_image", Level.ERROR, refused.sentence, "the model cannot see", "change the driver's format"))
    low, middle, high = np.percentile(depth_m, (1, 50, 99)) if depth_m.size else (math.nan,) * 3
    share = depth_m.size / frame.depth_m.size
    what = f"depth from {low:.2f} to {high:.2f} m, median {middle:.2f} m, known in {100 * share:.0f} % of the image"
    if share < 0.3:
        why = "most questions will be refused with NO_DEPTH"
        findings.append(Finding("depth_units", Level.WARNING, what, why, "check emitter, range and exposure of the depth camera"))
    else:
        findings.append(Finding("depth_units", Level.OK, what))
    return findings


def _transforms(listener: _Listener, seen: _Seen, profile: RobotProfile) -> list[Finding]:
    if seen.pair is None:
        return []
    source, findings = seen.pair.frame_id, []
    if not source:
        why = "nobody knows where an image without a frame was taken"
        return [Finding("tf", Level.ERROR, f"the images of {seen.topics.color} have no frame_id", why, "set the driver's frame name")]
    for target in dict.fromkeys((profile.goal_frame, profile.base_frame)):
        transforms = listener.receiver.transforms
        try:
            transforms.lookup(target, source, seen.pair.stamp_ns)
            lag_s = transforms.lag_s(target, source, seen.pair.stamp_ns)
        except Refused as refused:
            missing = refused.status is Status.TF_UNAVAILABLE
            fix = (
                f"ros2 run tf2_tools view_frames; then publish the missing link between {source} and {target} "
                "(robot_state_publisher, or static_transform_publisher with the hand-eye calibration)"
                if missing
                else "synchronise the hosts' clocks (chrony), and check the rate of the broadcaster with ros2 topic hz /tf"
            )
            why = f"goals are given in {target}, the camera looks from {source}"
            findings.append(Finding("tf", Level.ERROR, refused.sentence, why, fix))
            continue
        age = "static" if lag_s is None else f"newest {1000 * abs(lag_s):.0f} ms {'before' if lag_s > 0 else 'after'} the image"
        findings.append(Finding("tf", Level.OK, f"{target} from {source}: complete, {age}"))
    return findings


def _clock(seen: _Seen) -> list[Finding]:
    stream = seen.reading.color
    if stream.age_s is None or stream.silent_s is None:
        return []
    age_s = stream.age_s - stream.silent_s
    simulated_age_s = None if seen.clock_ns is None else (seen.clock_ns - stream.stamp_ns) / 1e9
    simulated = simulated_age_s is not None and abs(simulated_age_s) <= _CLOCK_S
    real = abs(age_s) <= _CLOCK_S
    if not simulated and not real:
        other = "nobody publishes /clock" if simulated_age_s is None else f"{simulated_age_s:.3f} s old by /clock"
        what = f"the newest image is {age_s:.3f} s old by the system's clock, and {other}"
        why = "every frame is refused as stale (max_frame_age_s)"
        fix = "synchronise the hosts (chrony); for a bag: roboref replays it with /clock, and the nodes need use_sim_time:=true"
        return [Finding("clock", Level.ERROR, what, why, fix)]
    findings = []
    if simulated:
        findings.append(Finding("clock", Level.OK, "the images' stamps follow /clock: every node needs use_sim_time:=true"))
    elif simulated_age_s is not None:
        why = "nodes with use_sim_time refuse every frame"
        findings.append(
            Finding(
                "clock", Level.WARNING, "/clock is published, but the images' stamps follow the system's clock", why, "stop its publisher"
            )
        )
    else:
        findings.append(Finding("clock", Level.OK, f"the images' stamps follow the system's clock, {1000 * age_s:.0f} ms old on arrival"))
    for name, uses in seen.sim_time_of.items():
        fits = uses if simulated and not real else not uses if real and not simulated else True
        if not fits:
            what = f"{name} has use_sim_time:={str(uses).lower()}, the images' stamps say {str(simulated).lower()}"
            fix = f"ros2 param set {name} use_sim_time {str(simulated).lower()}"
            findings.append(Finding("use_sim_time", Level.ERROR, what, "every frame is refused as stale", fix))
    return findings
