"""``/diagnostics``: the node looked at four times a second, and told about in one entry for each concern."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from roboref_node.ros import qos
from roboref_node.ros.camera import CameraReceiver
from roboref_node.ros.camera_reading import CameraReading, StreamReading
from roboref_node.ros.diagnostic_entries import AnswerCounts, Link, Snapshot, entries
from roboref_node.ros.requests import RequestQueue
from roboref_node.ros.settings import ReferSettings
from roboref_node.status import Refused

_LOOK_S = 0.25
"""How often it looks; it publishes each `_LOOKS_PER_MESSAGE` looks, and at once when a level changes."""

_LOOKS_PER_MESSAGE = 4

_SILENT_S, _SILENT_PERIODS = 0.5, 3.0
"""A stream has stopped after so long, or so many of its periods, whichever is longer."""


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
        self._levels: list[Any] = []
        self._looks = 0
        self._offered: dict[str, qos.Offer] = {}
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
            self._window_of, self._offered = receiver, {}
        silent_after_s = max(_SILENT_S, _SILENT_PERIODS * receiver.frames.period_s)
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
        return rates_hz, {topic: count - first[topic] for topic, count in lost.items()}

    def _qos_offered(self, camera: CameraReading) -> dict[str, qos.Offer]:
        """Asked of the graph once a second, and at each look while a stream has a problem."""
        for stream in (camera.color, camera.depth):
            if stream.problem or self._looks == 0 or stream.topic not in self._offered:
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
