"""The buffer of a node: transforms that can be waited for, cleared when simulated time jumps back."""

from __future__ import annotations

import threading
import time as wall_time
from collections.abc import Callable

from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph

from .buffer_core import BufferCore, duration_ns
from .exceptions import TransformException


class Buffer(BufferCore):
    """A `BufferCore` with waiting.

    Waiting ends when the transform arrives or after the timeout in wall-clock time, so it ends too while simulated time stands still. It
    sleeps until there is new data. Waiting inside of a callback needs an executor that serves the listener meanwhile, as ever with tf2.

    Args:
        cache_time: How long placements of moving frames are kept (default 10 s).
        node: Gives the clock whose jumps back (by a second or more, or a change between system and simulated time) clear the buffer,
            and offers the service ``tf2_frames``.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self._arrived = threading.Condition()
        self._pending: dict[Future, Callable[[], TransformStamped]] = {}
        if node is not None:
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._serve_frames)
            self.clock = node.get_clock()
            threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
            self.jump_handle = self.clock.create_jump_callback(threshold, post_callback=self.time_jump_callback)

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Clears the buffer: transforms of a time that has not come yet would be taken for the newest ones."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform of a moving frame and wakes who waits. One that makes no sense or is too old is logged and ignored."""
        super().set_transform(transform, authority)
        self._wake()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform that holds at every time and wakes who waits. One that makes no sense is logged and ignored."""
        super().set_transform_static(transform, authority)
        self._wake()

    # The default Duration() of the genuine signature is immutable: rclpy gives it no setters.
    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> TransformStamped:
        """`target_from_source` at a time (0: the newest at which all of the chain is known), waited for up to `timeout`.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException: See tf2_ros.exceptions.
        """
        if duration_ns(timeout) > 0:
            self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> TransformStamped:
        """`target_from_source`, the source at one time and the target at another, while `fixed_frame` stands still.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException: See tf2_ros.exceptions.
        """
        if duration_ns(timeout) > 0:
            self.can_transform_full(target_frame, target_time, source_frame, source_time, fixed_frame, timeout)
        return self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether `lookup_transform` would succeed; with `return_debug_tuple` also why not."""
        answer = self._wait(lambda: self.can_transform_core(target_frame, source_frame, time), timeout)
        return answer if return_debug_tuple else answer[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether `lookup_transform_full` would succeed; with `return_debug_tuple` also why not."""
        answer = self._wait(
            lambda: self.can_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame), timeout
        )
        return answer if return_debug_tuple else answer[0]

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Time) -> Future:
        """A future that gets the transform as soon as it is there; cancel it to stop waiting."""
        return self._when_there(lambda: self.lookup_transform_core(target_frame, source_frame, time))

    def wait_for_transform_full_async(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> Future:
        """A future that gets the transform through the fixed frame as soon as it is there; cancel it to stop waiting."""
        return self._when_there(lambda: self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame))

    async def lookup_transform_async(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        """`lookup_transform` for coroutines; waits without end."""
        await self.wait_for_transform_async(target_frame, source_frame, time)
        return self.lookup_transform_core(target_frame, source_frame, time)

    async def lookup_transform_full_async(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> TransformStamped:
        """`lookup_transform_full` for coroutines; waits without end."""
        await self.wait_for_transform_full_async(target_frame, target_time, source_frame, source_time, fixed_frame)
        return self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)

    def _serve_frames(self, request: FrameGraph.Request, response: FrameGraph.Response) -> FrameGraph.Response:
        response.frame_yaml = self.all_frames_as_yaml()
        return response

    def _wait(self, attempt: Callable[[], tuple[bool, str]], timeout: Duration) -> tuple[bool, str]:
        answer = attempt()
        timeout_ns = duration_ns(timeout)
        if answer[0] or timeout_ns <= 0:
            return answer
        deadline = wall_time.monotonic() + timeout_ns / 1e9
        # Whoever adds data notifies under this condition's lock: nothing arrives unseen between an attempt and the wait.
        with self._arrived:
            while not (answer := attempt())[0]:
                remaining_s = deadline - wall_time.monotonic()
                if remaining_s <= 0.0 or not self._arrived.wait(remaining_s):
                    break
        return answer if answer[0] else attempt()

    def _when_there(self, lookup: Callable[[], TransformStamped]) -> Future:
        future = Future()
        with self._arrived:
            self._pending[future] = lookup
        future.add_done_callback(self._forget)
        self._resolve(future, lookup)
        return future

    def _forget(self, future: Future) -> None:
        with self._arrived:
            self._pending.pop(future, None)

    def _wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()
            pending = list(self._pending.items()) if self._pending else ()
        # Outside of the lock: done-callbacks may use the buffer.
        for future, lookup in pending:
            self._resolve(future, lookup)

    def _resolve(self, future: Future, lookup: Callable[[], TransformStamped]) -> None:
        try:
            transform = lookup()
        except TransformException:
            return
        with self._arrived:
            # Of several threads that find the transform only one sets it.
            mine = self._pending.pop(future, None) is not None
        if mine:
            future.set_result(transform)
