"""tf2's buffer, made to notice what tf2 is silent about: frames with two parents, loops, and clocks that went back."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from tf2_ros import Buffer

_JUMP_BACK_NS = 1_000_000_000
"""A stamp of one frame that is older than its newest by more than this: its broadcaster's clock was set back, or a bag began again."""

_BOTH_S = 2.0
"""Two parents count as contradicting each other when both were told within this time; later the second has replaced the first."""


class TransformBuffer(Buffer):  # type: ignore[misc]  # tf2_ros has no types
    """A tf2 buffer that is watched.

    tf2 lets the last of two parents win, so that lookups jump between them. And it drops transforms that are older than its cache,
    so that after a broadcaster's clock was set back it waits until that clock has caught up: here everything that moves is forgotten
    instead, as tf2 itself does when simulated time jumps.

    Args:
        cache_s: How much of the past is kept, seconds.
        node: The node whose clock tells of jumps in simulated time.
    """

    def __init__(self, cache_s: float, node: Node) -> None:
        super().__init__(cache_time=Duration(seconds=cache_s), node=node)
        self.watch = TransformWatch()
        self._node, self._logger = node, node.get_logger()
        self._lock = threading.Lock()
        self._fixed: dict[str, tuple[TransformStamped, str]] = {}
        self._moved_s: dict[str, float] = {}

    def close(self) -> None:
        """Take back what tf2 has put into the node: it would keep the buffer, and all that is in it, for the life of the node."""
        service, jumps = getattr(self, "srv", None), getattr(self, "jump_handle", None)
        if service is not None:
            self._node.destroy_service(service)
        if jumps is not None:
            jumps.unregister()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform of a moving frame."""
        back_s = self.watch.note(transform, is_static=False)
        if back_s > 0:
            self._logger.warning(f"the stamps of {transform.child_frame_id} on /tf went back by {back_s:.3f} s: what moves is forgotten")
            self.clear()
        with self._lock:
            if transform.child_frame_id in self._fixed:
                self._moved_s[transform.child_frame_id] = time.monotonic()
        super().set_transform(transform, authority)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at every time."""
        self.watch.note(transform, is_static=True)
        with self._lock:
            self._fixed[transform.child_frame_id] = transform, authority
            self._moved_s.pop(transform.child_frame_id, None)
        super().set_transform_static(transform, authority)

    def restore_static(self) -> None:
        """Put back static transforms that somebody moved and has stopped to move.

        tf2 keeps one transform of a static frame, the last: told once on ``/tf``, a wrong one would stay until the node ends.
        """
        if not self._moved_s:
            return
        with self._lock:
            over = [child for child, moved_s in self._moved_s.items() if time.monotonic() - moved_s > _BOTH_S]
            for child in over:
                del self._moved_s[child]
            back = [self._fixed[child] for child in over]
        for transform, authority in back:
            self._logger.warning(
                f"{transform.child_frame_id} is static and was moved on /tf until {_BOTH_S:g} s ago: its static pose is back"
            )
            super().set_transform_static(transform, authority)


class TransformWatch:
    """Who was told to be whose parent, and when; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest_ns: dict[str, int] = {}
        self._told: dict[str, dict[str, tuple[float, bool]]] = {}

    def note(self, transform: TransformStamped, *, is_static: bool) -> float:
        """Remember one transform; returns by how many seconds its stamps went back, 0 when they did not."""
        child, parent = transform.child_frame_id.removeprefix("/"), transform.header.frame_id.removeprefix("/")
        stamp_ns = int(transform.header.stamp.sec) * 1_000_000_000 + int(transform.header.stamp.nanosec)
        with self._lock:
            self._told.setdefault(child, {})[parent] = (time.monotonic(), is_static)
            back_ns = 0 if is_static else self._newest_ns.get(child, stamp_ns) - stamp_ns
            if back_ns > _JUMP_BACK_NS:
                self._newest_ns.clear()
            if not is_static:
                self._newest_ns[child] = max(stamp_ns, self._newest_ns.get(child, stamp_ns))
        return back_ns / 1e9 if back_ns > _JUMP_BACK_NS else 0.0

    def find_contradiction(self, target: str, source: str) -> str:
        """A clause that names the frame between `target` and `source` that has two parents, or is above itself; "" when none is."""
        with self._lock:
            above_target, above_source = self._ancestors(target), self._ancestors(source)
            for child in sorted(above_target ^ above_source):
                parents = self._contradicting(child)
                if parents is not None:
                    return f"{child} has two parents in TF, {parents[0]} and {parents[1]}: end one of their broadcasters"
            for child in sorted(above_target | above_source):
                for parent in self._parents(child):
                    if child in self._ancestors(parent):
                        return f"{child} is above itself in TF, by way of {parent}: end the broadcaster of one of the two"
        return ""

    def _contradicting(self, child: str) -> tuple[str, str] | None:
        """The last two parents of `child`, when the second has not replaced the first."""
        told = sorted(((told_s, is_static, parent) for parent, (told_s, is_static) in self._told.get(child, {}).items()), reverse=True)
        if len(told) < 2:
            return None
        (last_s, last_static, last), (first_s, first_static, first) = told[:2]
        # A static transform is told once: two of them contradict each other for ever. What moves is told again and again.
        reference_s = last_s if last_static and first_static else time.monotonic()
        return (last, first) if reference_s - first_s < _BOTH_S else None

    def _parents(self, frame: str) -> list[str]:
        """Parents that are static or were told just now."""
        now_s = time.monotonic()
        return [parent for parent, (told_s, is_static) in self._told.get(frame, {}).items() if is_static or now_s - told_s < _BOTH_S]

    def _ancestors(self, frame: str) -> set[str]:
        """`frame` and all frames above it, along every parent."""
        found: set[str] = set()
        waiting = [frame]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._parents(name))
        return found
