"""Quality of service of every topic that roboref uses, and why an image topic may stay silent."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

ANSWERS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
"""Answers and goals. Volatile: a node that starts later must never execute the goal of an earlier question."""

_REQUESTS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=200, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
ACTION_SERVICES = {f"{name}_service_qos_profile": _REQUESTS for name in ("goal", "result", "cancel")}
"""Of every action server. With ROS's own ten, the middleware drops the eleventh request of a burst, and its client waits for ever."""

PICTURES = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""Overlay and markers: only looked at, so that a viewer started later still sees the last one."""

TIMELINE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""What happened, step by step: none may be skipped, and who comes later sees how it came to this."""

SOUND = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=500, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
"""Sound in messages of 32 ms or so: with ten, a process that gets no time for a third of a second loses the end of the sentence."""

LATCHED = PICTURES
"""Maps and other values that are published once."""

MOVING_TRANSFORMS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
"""tf2's own profile of ``/tf``."""

STATIC_TRANSFORMS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""tf2's own profile of ``/tf_static``."""


def images(*, reliable: bool, depth: int = 5) -> QoSProfile:
    """Sensor data: best effort matches every camera driver; `reliable` refuses best-effort publishers in exchange for retransmission."""
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)


def explain_silence(node: Node, topic: str, subscribed: QoSProfile) -> str:
    """One clause on why nothing arrives on `topic`: nobody publishes, the QoS does not match, or the publisher is quiet."""
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f"nobody publishes {topic}"
    return explain_mismatch(node, topic, subscribed) or f"{publishers[0].node_name} offers {topic} but nothing arrives"


def explain_mismatch(node: Node, topic: str, subscribed: QoSProfile) -> str:
    """One clause that names a publisher of `topic` that cannot be heard with the profile `subscribed`, "" when all can."""
    for publisher in node.get_publishers_info_by_topic(topic):
        compatibility, reason = qos_check_compatible(publisher.qos_profile, subscribed)
        if compatibility == QoSCompatibility.ERROR:
            return f"the QoS of {publisher.node_name} on {topic} does not match ({reason.strip()})"
    return ""


def describe(profile: QoSProfile) -> str:
    """Reliability and durability, the two that must match: ``best_effort volatile``."""
    return f"{profile.reliability.name.lower()} {profile.durability.name.lower()}"


@dataclass(frozen=True)
class Offer:
    """Who publishes a topic.

    Args:
        qos: What the publishers offer, one phrase for each kind.
        nodes: Names of their nodes, one for each publisher.
    """

    qos: str = ""
    nodes: tuple[str, ...] = ()


def offered(node: Node, topic: str) -> Offer:
    """Who publishes `topic`, and with which QoS."""
    publishers = node.get_publishers_info_by_topic(topic)
    names = sorted(f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}" for publisher in publishers)
    return Offer(", ".join(sorted({describe(publisher.qos_profile) for publisher in publishers})), tuple(names))


class LossCounts(Protocol):
    """Where `loss_counters` counts."""

    topic: str
    lost: int
    incompatible: int


def loss_counters(node: Node, counts: LossCounts) -> SubscriptionEventCallbacks:
    """Event callbacks of a subscription that count what does not arrive, and log publishers that cannot be heard."""

    def on_incompatible(event: Any) -> None:
        counts.incompatible = int(event.total_count)
        node.get_logger().warning(f"{counts.topic}: {event.total_count} publishers whose QoS does not match ours; nothing comes from them")

    def on_lost(event: Any) -> None:
        counts.lost = int(event.total_count)

    return SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost)
