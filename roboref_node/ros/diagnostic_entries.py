"""The entries of ``/diagnostics`` from what was found: a level, one sentence on what does not work, and the numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from roboref.msg import Referral as ReferralMessage

from roboref_node.ros import qos
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.settings import NO_MODEL, ReferSettings, Reliability
from roboref_node.status import Refused, Status

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
        offered: Publishers and their QoS, by topic.
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
    offered: Mapping[str, qos.Offer] = field(default_factory=dict)
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
        concerns["TF"] = _transforms(camera, snapshot.links, snapshot.clock)
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
    offered = snapshot.offered.get(stream.topic, qos.Offer())
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
        "qos_offered": offered.qos,
        "publishers": ", ".join(offered.nodes),
    }
    if stream.problem:
        return (STALE if stream.stopped else ERROR), stream.problem, values
    if calibration_problem:
        return ERROR, f"no camera info: {calibration_problem}", values
    if len(offered.nodes) > 1:
        hint = f"{len(offered.nodes)} nodes publish {stream.topic} ({values['publishers']}): images of two cameras mix; stop all but one"
        return WARN, hint, values
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


def _transforms(camera: CameraReading, links: tuple[Link, ...], clock: str) -> tuple[bytes, str, dict[str, str]]:
    values: dict[str, str] = {"camera_frame": camera.color.frame_id, "clock": clock}
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
