"""``/diagnostics``: what works, and one sentence on what does not, for each concern of the refer node."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from roboref.msg import Referral as ReferralMessage

from roboref_node.ros import qos
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.requests import RequestQueue
from roboref_node.ros.settings import NO_MODEL, ReferSettings, Reliability
from roboref_node.status import Refused, Status

_LOOK_S = 0.25
"""How often it looks; it publishes each `_LOOKS_PER_MESSAGE` looks, and at once when a level changes."""

_LOOKS_PER_MESSAGE = 4

_SILENT_S, _SILENT_PERIODS = 0.5, 3.0
"""A stream has stopped after so long, or so many of its periods, whichever is longer."""

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE

_MODEL_STATUSES = (Status.MODEL_UNAVAILABLE.value, Status.MODEL_TIMEOUT.value)


@dataclass(frozen=True)
class Link:
    """One transform that the goals need.

    Args:
        target: Frame of the robot.
        source: Optical frame.
        lag_s: How much older than the newest image the newest transform is, None when it is static or missing.
        problem: Why it is of no use, "" when it is.
    """

    target: str
    source: str
    lag_s: float | None = None
    problem: str = ""


@dataclass
class AnswerCounts:
    """What became of the questions so far."""

    per_status: Counter[str] = field(default_factory=Counter)
    last: ReferralMessage | None = None
    last_with_model: ReferralMessage | None = None

    def note(self, message: ReferralMessage) -> None:
        """Count one answer."""
        self.per_status[message.status_text] += 1
        self.last = message
        if "model" in message.timing_names or message.status_text in _MODEL_STATUSES:
            self.last_with_model = message


@dataclass(frozen=True)
class Snapshot:
    """All that the entries are made of; `camera` is None while the node is not active.

    Args:
        inactive: Why the node is not active.
        model: Name of the model.
        settings: Parameters in force.
        camera: State of the image topics.
        rates_hz: Of "color", "depth" and "pairs".
        lost: Messages lost since the last window, by topic.
        offered: QoS that the publishers offer, by topic.
        links: Transforms from the camera to the robot.
        waiting: Requests that wait.
        full: Why a further goal would be rejected, "" when it would not.
        answers: What became of the questions.
        clock: Which time ages are taken by: "system" or "simulated (/clock)".
        gpu_mb: Memory of the GPU by "free" and "total", and what the model holds by "model"; empty without one.
    """

    inactive: Refused
    model: str
    settings: ReferSettings | None
    camera: CameraReading | None = None
    rates_hz: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    offered: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    waiting: int = 0
    full: str = ""
    answers: AnswerCounts = field(default_factory=AnswerCounts)
    clock: str = "system"
    gpu_mb: Mapping[str, float] = field(default_factory=dict)


def entries(name: str, hardware: str, snapshot: Snapshot) -> list[DiagnosticStatus]:
    """One entry for each of camera, depth, pairing, TF, model and goals.

    Args:
        name: Put before each concern, the node's.
        hardware: Name of the robot profile.
        snapshot: What was found.
    """
    concerns: dict[str, tuple[bytes, str, dict[str, str]]] = {}
    camera, settings = snapshot.camera, snapshot.settings
    if camera is None or settings is None:
        idle: tuple[bytes, str, dict[str, str]] = (STALE, snapshot.inactive.sentence, {})
        concerns = dict.fromkeys(("camera", "depth", "pairing", "TF", "goals"), idle)
        if snapshot.inactive.status is Status.CANCELED:
            concerns["model"] = (STALE, snapshot.inactive.sentence, {"name": snapshot.model, "loaded": "false"})
        else:
            concerns["model"] = (ERROR, snapshot.inactive.sentence, {"name": snapshot.model, "loaded": "false"})
    else:
        concerns["camera"] = _stream(camera.color, "color", snapshot, settings, camera.calibration_problem)
        concerns["depth"] = _stream(camera.depth, "depth", snapshot, settings, "")
        concerns["pairing"] = _pairing(camera, snapshot, settings)
        concerns["TF"] = _transforms(camera, snapshot.links)
        concerns["model"] = _model(snapshot)
        concerns["goals"] = _goals(snapshot)
    return [
        DiagnosticStatus(
            level=level,
            name=f"{name}: {concern}",
            message=hint or "OK",
            hardware_id=hardware,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        for concern, (level, hint, values) in concerns.items()
    ]


def _stream(
    stream: StreamReading, key: str, snapshot: Snapshot, settings: ReferSettings, calibration_problem: str
) -> tuple[bytes, str, dict[str, str]]:
    rate_hz, lost = snapshot.rates_hz.get(key, 0.0), snapshot.lost.get(stream.topic, 0)
    values = {
        "topic": stream.topic,
        "rate_hz": f"{rate_hz:.1f}",
        "age_s": _seconds(stream.age_s),
        "clock": snapshot.clock,
        "encoding": stream.encoding,
        "frame_id": stream.frame_id,
        "received": str(stream.count),
        "lost": str(stream.lost),
        "incompatible_qos": str(stream.incompatible),
        "qos_requested": qos.describe(qos.images(reliable=settings.image_reliability is Reliability.RELIABLE)),
        "qos_offered": snapshot.offered.get(stream.topic, ""),
    }
    if stream.problem:
        return (STALE if stream.stopped else ERROR), stream.problem, values
    if calibration_problem:
        return ERROR, f"no camera info: {calibration_problem}", values
    if lost:
        hint = f"{lost} images of {stream.topic} were lost on the way: enlarge the middleware's buffers (roboref doctor) or lower the rate"
        return WARN, hint, values
    return OK, "", values


def _pairing(camera: CameraReading, snapshot: Snapshot, settings: ReferSettings) -> tuple[bytes, str, dict[str, str]]:
    rates = snapshot.rates_hz
    pairs_hz = rates.get("pairs", 0.0)
    slower_hz = min(rates.get("color", 0.0), rates.get("depth", 0.0))
    values = {
        "pairs_hz": f"{pairs_hz:.1f}",
        "pairs": str(camera.pairs),
        "skew_s": _seconds(camera.skew_s),
        "sync_slop_s": f"{settings.sync_slop_s:g}",
        "unpaired": str(max(0, min(camera.color.count, camera.depth.count) - camera.pairs)),
    }
    silent = [stream.topic for stream in (camera.color, camera.depth) if stream.problem]
    if silent:
        return STALE, f"waits for {' and '.join(silent)}", values
    if camera.pairing_problem:
        return ERROR, camera.pairing_problem, values
    if slower_hz > 0 and pairs_hz < 0.5 * slower_hz:
        hint = (
            f"{pairs_hz:.1f} pairs per second of {slower_hz:.1f} possible: the stamps of colour and depth differ by more than "
            f"sync_slop_s = {settings.sync_slop_s:g} s, or images are lost"
        )
        return WARN, hint, values
    return OK, "", values


def _transforms(camera: CameraReading, links: tuple[Link, ...]) -> tuple[bytes, str, dict[str, str]]:
    values: dict[str, str] = {"camera_frame": camera.color.frame_id}
    for link in links:
        state = "missing" if link.problem and link.lag_s is None else "static" if link.lag_s is None else f"{link.lag_s:.3f}"
        values[f"lag_s of {link.target} from {link.source}"] = state
    if not links:
        return STALE, f"the camera's frame is not known before an image of {camera.color.topic}", values
    problem = next((link.problem for link in links if link.problem), "")
    return (ERROR if problem else OK), problem, values


def _model(snapshot: Snapshot) -> tuple[bytes, str, dict[str, str]]:
    values = {"name": snapshot.model, "loaded": "false" if snapshot.model == NO_MODEL else "true"}
    values |= {f"gpu_{name}_mb": f"{value:.0f}" for name, value in snapshot.gpu_mb.items()}
    last = snapshot.answers.last_with_model
    if last is None:
        return OK, "", values
    timings = dict(zip(last.timing_names, last.timing_ms, strict=True))
    if "model" in timings:
        values["last_latency_ms"] = f"{timings['model']:.0f}"
    weights = json.loads(last.provenance_json or "{}").get("weights_sha256", "")
    if weights:
        values["weights_sha256"] = str(weights)
    return (ERROR, last.sentence, values) if last.status_text in _MODEL_STATUSES else (OK, "", values)


def _goals(snapshot: Snapshot) -> tuple[bytes, str, dict[str, str]]:
    answers = snapshot.answers
    last = "" if answers.last is None else answers.last.status_text
    values = {"last_status": last, "waiting": str(snapshot.waiting)}
    values |= {f"count {status}": str(count) for status, count in sorted(answers.per_status.items())}
    if snapshot.full:
        return WARN, snapshot.full, values
    if answers.last is not None and last not in (Status.OK.value, Status.CANCELED.value):
        level = ERROR if last == Status.INTERNAL.value else WARN
        return level, f"the last question was refused, {last}: {answers.last.sentence}", values
    return OK, "", values


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class Sources:
    """The parts of the node that are looked at; `receiver` and `queue` exist while it is active."""

    receiver: CameraReceiver | None
    queue: RequestQueue | None
    settings: ReferSettings | None
    robot: str
    frames: tuple[str, ...]
    inactive: Refused


class Diagnostics:
    """Looks at the node four times a second and publishes once a second, or at once when a level changes.

    Runs in the executor of `node`, never in the one of the images.

    Args:
        node: Publishes; wall time, because simulated time may stand still.
        sources: The parts of the node, asked anew for each look.
    """

    def __init__(self, node: Node, sources: Callable[[], Sources]) -> None:
        self._node, self._sources = node, sources
        self.answers = AnswerCounts()
        self._window: deque[tuple[float, dict[str, int]]] = deque(maxlen=9)
        self._window_of: CameraReceiver | None = None
        self._period_s = 0.0
        self._levels: list[Any] = []
        self._looks = 0
        self._offered: dict[str, str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        sources = self._sources()
        found = entries(self._node.get_fully_qualified_name().lstrip("/"), sources.robot, self._snapshot(sources))
        levels = [status.level for status in found]
        self._looks += 1
        if levels == self._levels and self._looks < _LOOKS_PER_MESSAGE:
            return
        self._levels, self._looks = levels, 0
        message = DiagnosticArray(status=found)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _snapshot(self, sources: Sources) -> Snapshot:
        settings, receiver, queue = sources.settings, sources.receiver, sources.queue
        if receiver is None or queue is None or settings is None:
            self._window.clear()
            return Snapshot(sources.inactive, "" if settings is None else settings.model, None)
        if receiver is not self._window_of:
            self._window.clear()
            self._window_of, self._period_s, self._offered = receiver, 0.0, {}
        silent_after_s = max(_SILENT_S, _SILENT_PERIODS * self._period_s)
        camera = receiver.frames.read(settings.max_frame_age_s, silent_after_s)
        rates_hz, lost = self._rates(camera)
        full = queue.full(settings.max_queue)
        return Snapshot(
            inactive=sources.inactive,
            model=settings.model,
            settings=settings,
            camera=camera,
            rates_hz=rates_hz,
            lost=lost,
            offered=self._qos_offered(camera),
            links=tuple(_link(receiver, target, camera.color, settings.tf_timeout_s) for target in sources.frames)
            if camera.color.count
            else (),
            waiting=queue.waiting,
            full="" if full is None else full.sentence,
            answers=self.answers,
            clock="simulated (/clock)" if self._node.get_parameter("use_sim_time").value else "system",
            gpu_mb=_gpu_memory_mb(),
        )

    def _rates(self, camera: CameraReading) -> tuple[dict[str, float], dict[str, int]]:
        """Per second, and lost messages, over the last two seconds."""
        counts = {"color": camera.color.count, "depth": camera.depth.count, "pairs": camera.pairs}
        lost = {stream.topic: stream.lost for stream in (camera.color, camera.depth)}
        self._window.append((time.monotonic(), counts | lost))
        (first_s, first), (last_s, _) = self._window[0], self._window[-1]
        if last_s <= first_s:
            return {}, {}
        rates_hz = {key: (count - first[key]) / (last_s - first_s) for key, count in counts.items()}
        slowest_hz = min(rates_hz["color"], rates_hz["depth"])
        flows = all(s.silent_s is not None and s.silent_s < _SILENT_S for s in (camera.color, camera.depth))
        if flows and slowest_hz > 0:  # while a stream is silent its rate sinks, but its period has not become longer
            self._period_s = 1.0 / slowest_hz
        return rates_hz, {topic: count - first[topic] for topic, count in lost.items()}

    def _qos_offered(self, camera: CameraReading) -> dict[str, str]:
        """Asked of the graph until it is known, and again while a stream has a problem: a publisher does not change its QoS."""
        for stream in (camera.color, camera.depth):
            if stream.problem or not self._offered.get(stream.topic):
                self._offered[stream.topic] = qos.offered(self._node, stream.topic)
        return self._offered


def _gpu_memory_mb() -> dict[str, float]:
    """Of the GPU that this process computes on; asks nothing of a process that has not begun to use one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"free": free / 1e6, "total": total / 1e6, "model": torch.cuda.memory_allocated() / 1e6}


def _link(receiver: CameraReceiver, target: str, color: StreamReading, timeout_s: float) -> Link:
    if not color.frame_id:
        return Link(target, color.frame_id, None, f"the images of {color.topic} have no frame_id: set the camera driver's frame name")
    try:
        lag_s = receiver.transforms.lag_s(target, color.frame_id, color.stamp_ns)
    except Refused as refused:
        return Link(target, color.frame_id, None, refused.sentence)
    if lag_s is None or lag_s <= timeout_s:
        return Link(target, color.frame_id, lag_s)
    hint = (
        f"the newest transform from {color.frame_id} to {target} is {lag_s:.3f} s older than the newest image "
        f"(tf_timeout_s = {timeout_s:g}): did its broadcaster stop, or are camera and robot clocks different?"
    )
    return Link(target, color.frame_id, lag_s, hint)
