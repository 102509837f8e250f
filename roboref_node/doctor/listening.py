"""Listening to a running robot as the refer node would, and what was heard."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from roboref_node.rgbd import RgbdPair
from roboref_node.ros import qos
from roboref_node.ros.camera import COLOR, COLOR_INFO, DEPTH, DEPTH_INFO, CameraReceiver, resolved_topics
from roboref_node.ros.camera_reading import CameraReading
from roboref_node.ros.frames import CameraTopics
from roboref_node.ros.process import spin
from roboref_node.ros.settings import ReferSettings

_ENOUGH = 20
"""Pairs after which nothing more is learnt by listening."""

_SETTLE_S = 1.5
"""Shortest listening, and how long the graph must not have grown: other nodes are discovered one after the other."""

_DISCOVERY_S = 7.0
"""How long the publishers of the images may take to be discovered: a node that misses the other's first announcements waits for
the next ones, which DDS repeats every 3 s; two such rounds, and some."""

_ANSWER_S = 4.0
"""How long a node may take to answer about itself: one that loads its model on a busy machine is slow, not absent."""

_LOOK_S = 0.05

_REFER_SUFFIX = "/refer/_action/send_goal"
_DEFAULT_PREFIX = "camera/"


@dataclass(frozen=True)
class ReferState:
    """One running refer node that listens to the same camera.

    Args:
        name: With its namespace.
        use_sim_time: Its parameter.
        state: Of its lifecycle, "" when it did not say.
        deaf_to: Image topics whose publishers it cannot hear, with the reason.
    """

    name: str
    use_sim_time: bool
    state: str
    deaf_to: tuple[str, ...] = ()


@dataclass
class Seen:
    """What was heard.

    Args:
        topics: Where it was listened.
        reading: Counters of the image topics.
        rates_hz: Images per second of ``color`` and ``depth``.
        pair: The newest pair, None without one.
        clock_ns: The newest /clock, None without one.
        types: Types of every topic of the graph.
        parents: Parents that each frame was given on /tf and /tf_static.
        refer_nodes: Refer nodes at this camera.
        publishers: Number of publishers of ``color``, ``depth``, ``clock``.
        unheard: TF topics with a publisher that no tf2 listener hears, and why.
    """

    topics: CameraTopics
    reading: CameraReading
    rates_hz: dict[str, float] = field(default_factory=dict)
    pair: RgbdPair | None = None
    clock_ns: int | None = None
    types: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=dict)
    refer_nodes: tuple[ReferState, ...] = ()
    publishers: dict[str, int] = field(default_factory=dict)
    unheard: dict[str, str] = field(default_factory=dict)


class Listener:
    """A node that subscribes as the refer node would, from construction to `close`.

    Args:
        camera: Namespace of the camera.
        remaps: Further rules FROM:=TO.
        settings: Parameters of the refer node.
    """

    def __init__(self, camera: str, remaps: Sequence[str], settings: ReferSettings) -> None:
        prefix = camera.rstrip("/") + "/"
        own = [f"{name}:={prefix}{name.removeprefix(_DEFAULT_PREFIX)}" for name in (COLOR, COLOR_INFO, DEPTH, DEPTH_INFO)]
        # The first rule that fits counts, so that what the user says of one topic goes before the camera's namespace.
        arguments = [x for rule in (*remaps, *own) for x in ("-r", rule)]
        self.node = Node(
            f"roboref_doctor_{os.getpid()}", cli_args=["--ros-args", *arguments], enable_rosout=False, start_parameter_services=False
        )
        self._clock_ns: int | None = None
        self._parents: dict[str, set[str]] = {}
        self._clock, self._tf, self._tf_static = (self.node.resolve_topic_name(name) for name in ("/clock", "/tf", "/tf_static"))
        self.node.create_subscription(Clock, self._clock, self._on_clock, qos_profile_sensor_data)
        self.node.create_subscription(TFMessage, self._tf, self._on_transforms, qos.MOVING_TRANSFORMS)
        self.node.create_subscription(TFMessage, self._tf_static, self._on_transforms, qos.STATIC_TRANSFORMS)
        self.topics = resolved_topics(self.node, settings)
        self.receiver = CameraReceiver(self.node, settings)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self.node), name="roboref_doctor", daemon=True)
        self._thread.start()

    def _on_clock(self, message: Clock) -> None:
        self._clock_ns = int(message.clock.sec) * 1_000_000_000 + int(message.clock.nanosec)

    def _on_transforms(self, message: TFMessage) -> None:
        for item in message.transforms:
            self._parents.setdefault(item.child_frame_id.lstrip("/"), set()).add(item.header.frame_id.lstrip("/"))

    def listen(self, duration_s: float) -> Seen:
        """Until there are enough pairs, or `duration_s` has passed since both image topics have a publisher."""
        frames = self.receiver.frames
        started = time.monotonic()
        deadline_s, discovered = started + max(duration_s, _DISCOVERY_S), False
        first: dict[str, tuple[float, int]] = {}
        known, grown_s = 0, started
        while True:
            now = time.monotonic()
            if not discovered and all(self.node.count_publishers(topic) for topic in (self.topics.color, self.topics.depth)):
                deadline_s, discovered = now + duration_s, True
            reading = frames.read(math.inf, duration_s)
            counts = {"color": reading.color.count, "depth": reading.depth.count}
            for key, count in counts.items():
                if count and key not in first:
                    first[key] = (now, count)
            known, before = self._known(), known
            grown_s = now if known > before else grown_s
            heard = reading.pairs >= _ENOUGH and not reading.calibration_problem and now - grown_s > _SETTLE_S
            if heard or now > deadline_s:
                break
            time.sleep(_LOOK_S)
        seen = Seen(self.topics, reading, clock_ns=self._clock_ns, types=dict(self.node.get_topic_names_and_types()))
        for topic in (self.topics.color, self.topics.depth):  # the graph's list holds the doctor's own subscriptions too
            seen.types[topic] = sorted({info.topic_type for info in self.node.get_publishers_info_by_topic(topic)})
        seen.rates_hz = {key: (counts[key] - count) / (now - since) for key, (since, count) in first.items() if now > since}
        if reading.pairs:
            seen.pair = frames.latest(math.inf)
        seen.parents = {child: set(parents) for child, parents in self._parents.items()}
        seen.refer_nodes = tuple(self._refer_nodes())
        named = {"color": self.topics.color, "depth": self.topics.depth, "clock": self._clock}
        seen.publishers = {key: self.node.count_publishers(topic) for key, topic in named.items()}
        seen.unheard = dict(self._unheard())
        return seen

    def _known(self) -> int:
        """Nodes and services discovered so far."""
        return len(self.node.get_node_names()) + len(self.node.get_service_names_and_types())

    def _unheard(self) -> Iterator[tuple[str, str]]:
        for topic, listened in ((self._tf, qos.MOVING_TRANSFORMS), (self._tf_static, qos.STATIC_TRANSFORMS)):
            if problem := qos.explain_mismatch(self.node, topic, listened):
                yield topic, problem

    def _refer_nodes(self) -> Iterator[ReferState]:
        """Those that listen to this camera, and those that are not active and so listen to none."""
        deaf: dict[str, list[str]] = {}
        for topic in (self.topics.color, self.topics.depth):
            for info in self.node.get_subscriptions_info_by_topic(topic):
                name = f"{info.node_namespace.rstrip('/')}/{info.node_name}".removesuffix("_camera")  # see `CameraReceiver`
                problem = qos.explain_mismatch(self.node, topic, info.qos_profile)
                deaf.setdefault(name, []).extend([problem] if problem else [])
        for service, _ in self.node.get_service_names_and_types():
            name = service.removesuffix(_REFER_SUFFIX)
            if name == service:
                continue
            state = self._state(name)
            if name not in deaf and state in ("", "active"):
                continue  # it looks through another camera
            uses = self._ask(GetParameters, f"{name}/get_parameters", GetParameters.Request(names=["use_sim_time"]))
            if uses is not None and uses.values:
                yield ReferState(name, bool(uses.values[0].bool_value), state, tuple(deaf.get(name, ())))

    def _state(self, name: str) -> str:
        answer = self._ask(GetState, f"{name}/get_state", GetState.Request())
        return "" if answer is None else str(answer.current_state.label)

    def _ask(self, kind: Any, service: str, request: Any) -> Any:
        """The answer of a service, None when there is none in time."""
        client = self.node.create_client(kind, service)
        try:
            if not client.wait_for_service(_ANSWER_S):
                return None
            future = client.call_async(request)
            deadline = time.monotonic() + _ANSWER_S
            while not future.done() and time.monotonic() < deadline:
                time.sleep(0.01)
            return future.result() if future.done() else None
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        """Stop listening."""
        self.receiver.close()
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self.node.destroy_node()


@contextmanager
def listening(camera: str, remaps: Sequence[str], settings: ReferSettings) -> Iterator[Listener]:
    """A `Listener` in a context of its own."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = Listener(camera, remaps, settings)
        try:
            yield listener
        finally:
            listener.close()
    finally:
        try_shutdown()
