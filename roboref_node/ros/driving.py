"""Sending a mobile robot to a pose and knowing when it stands there: through Nav2's action, or through ``goal_pose`` and TF."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock
from rclpy.node import Node

from roboref_node.geometry.transform import Transform
from roboref_node.ros import qos
from roboref_node.ros.action_call import ActionCaller, NotServed
from roboref_node.ros.stopwatch import Stopwatch
from roboref_node.ros.transforms import pose_stamped
from roboref_node.status import Refused, Status

_POLL_S = 0.05
_STILL_M, _STILL_RAD = 0.02, 0.03
"""A robot that moves less stands: legs sway and odometry is noisy."""
Where = Callable[[], Transform]
"""Where the base is in the goal frame, from TF; raises `Refused`."""


class NotThere(Exception):
    """The robot did not get to its goal; the sentence says why."""


class Driver(Protocol):
    """Takes the robot somewhere."""

    def drive(self, goal: PoseStamped, *, timeout_s: float, stopped: Callable[[], bool], report: Callable[[str], None]) -> None:
        """Returns when the robot has arrived.

        Args:
            goal: Pose of the base.
            timeout_s: How long it may take, by the node's clock.
            stopped: Polled; True ends the drive.
            report: Told how far it is.

        Raises:
            NotThere: It has not arrived.
        """

    def stop(self) -> None:
        """Stand still; returns at once."""


def nav2_action() -> Any | None:
    """``nav2_msgs/action/NavigateToPose``, or None where Nav2's messages are not installed."""
    try:
        return importlib.import_module("nav2_msgs.action").NavigateToPose
    except ImportError:
        return None


@dataclass(frozen=True)
class Arrival:
    """What counts as there.

    Args:
        where: The base now.
        arrive_m: How near.
        arrive_rad: How far turned from the goal.
    """

    where: Where
    arrive_m: float
    arrive_rad: float

    def apart(self, goal: PoseStamped) -> tuple[float, float]:
        """Distance and angle between the base and a goal.

        Raises:
            NotThere: TF does not tell where the base is.
        """
        yaw = 2.0 * math.atan2(goal.pose.orientation.z, goal.pose.orientation.w)
        return _apart(self._here(), (goal.pose.position.x, goal.pose.position.y, yaw))

    def is_there(self, apart: tuple[float, float]) -> bool:
        """Whether that is near enough."""
        return apart[0] <= self.arrive_m and apart[1] <= self.arrive_rad

    def stand(self, goal: PoseStamped, clock: Clock, *, still_s: float, timeout_s: float, stopped: Callable[[], bool]) -> None:
        """Returns when the base has stood still at its goal for a while: it may pass within the tolerance and go on moving.

        Args:
            goal: Pose of the base.
            clock: The node's.
            still_s: How long it must have stood.
            timeout_s: How long that may take.
            stopped: Polled; True ends the waiting.

        Raises:
            NotThere: It does not stand there, or TF does not tell.
        """
        watch = Stopwatch(clock)
        stood, since_ns = self._here(), clock.now().nanoseconds
        while clock.now().nanoseconds - since_ns < 1e9 * still_s:
            if stopped():
                raise NotThere("stopped at the goal")
            if watch.elapsed_s() > timeout_s + still_s:
                raise NotThere(f"the robot has not stood still for {still_s:g} s (settle_s) at its goal")
            time.sleep(_POLL_S)
            here = self._here()
            moved_m, turned_rad = _apart(stood, here)
            if moved_m > _STILL_M or turned_rad > _STILL_RAD:
                stood, since_ns = here, clock.now().nanoseconds
        if not self.is_there(apart := self.apart(goal)):
            raise NotThere(f"it came to rest elsewhere: {self.miss(apart)}")

    def _here(self) -> tuple[float, float, float]:
        """The base now: x, y in metres and yaw."""
        try:
            here = self.where()
        except Refused as refused:
            raise NotThere(f"{refused.status.value}: {refused.sentence}") from refused
        x, y, _ = here.translation_m
        return float(x), float(y), float(np.arctan2(here.rotation[1, 0], here.rotation[0, 0]))

    def miss(self, apart: tuple[float, float]) -> str:
        """A clause on how far off the robot is."""
        return (
            f"the robot is {apart[0]:.2f} m and {apart[1]:.2f} rad from its goal (arrive_m = {self.arrive_m:g}, "
            f"arrive_rad = {self.arrive_rad:g})"
        )


def _apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Distance and angle between two places (x, y, yaw)."""
    turn = b[2] - a[2]
    return math.hypot(b[0] - a[0], b[1] - a[1]), abs(math.atan2(math.sin(turn), math.cos(turn)))


class Nav2Driver:
    """Nav2, through its NavigateToPose action. Its word that it arrived is held against TF: its own tolerance may be larger.

    Args:
        node: Carries the client.
        arrival: What counts as there.
        action: Name of the action.
        server_timeout_s: How long Nav2 may take to appear and to accept.

    Raises:
        Refused: BAD_REQUEST when nav2_msgs is not installed.
    """

    def __init__(self, node: Node, arrival: Arrival, action: str, server_timeout_s: float) -> None:
        kind = nav2_action()
        if kind is None:
            raise Refused(
                Status.BAD_REQUEST,
                "drive is nav2, but nav2_msgs is not installed (apt install ros-$ROS_DISTRO-nav2-msgs); drive:=goal_pose needs none",
            )
        self._kind, self._arrival = kind, arrival
        self._server_timeout_s = server_timeout_s
        self._caller = ActionCaller(node, kind, action)

    def drive(self, goal: PoseStamped, *, timeout_s: float, stopped: Callable[[], bool], report: Callable[[str], None]) -> None:
        """See `Driver`."""
        try:
            result = self._caller.call(
                self._kind.Goal(pose=goal), wait_s=self._server_timeout_s, timeout_s=timeout_s, stopping_s=5.0, poll=stopped,
                on_feedback=lambda feedback: report(f"{feedback.distance_remaining:.2f} m to go"),
            )  # fmt: skip
        except NotServed as problem:
            raise NotThere(str(problem)) from problem
        apart = self._arrival.apart(goal)
        if not self._arrival.is_there(apart):
            said = getattr(result, "error_msg", "") or f"error code {getattr(result, 'error_code', 0)}"
            raise NotThere(f"{self._caller.name} has ended ({said}) and {self._arrival.miss(apart)}")

    def stop(self) -> None:
        """See `Driver`."""
        self._caller.cancel()


class GoalPoseDriver:
    """Whatever listens to ``goal_pose``; TF tells when the base stands there. The refer node publishes the goal itself.

    Args:
        node: Carries the publisher that stops the robot; its clock is TF's.
        arrival: What counts as there.
        frame: The frame that `arrival` tells in.
        near_m: How near its goal whatever drives is expected to stop.
        begin_s: How long a robot that is there already may take to get that near: nobody tells when its step has begun.
    """

    def __init__(self, node: Node, arrival: Arrival, frame: str, *, near_m: float, begin_s: float) -> None:
        self._node, self._arrival, self._frame = node, arrival, frame
        self._near_m, self._begin_s = max(near_m, _STILL_M), begin_s
        self._goals = node.create_publisher(PoseStamped, "goal_pose", qos.ANSWERS)

    def drive(self, goal: PoseStamped, *, timeout_s: float, stopped: Callable[[], bool], report: Callable[[str], None]) -> None:
        """See `Driver`."""
        watch, told_s = Stopwatch(self._node.get_clock()), -math.inf
        while True:
            apart = self._followed(goal)
            if self._arrival.is_there(apart) and (apart[0] <= self._near_m or watch.elapsed_s() >= self._begin_s):
                return
            if stopped():
                raise NotThere(f"stopped {apart[0]:.2f} m before the goal")
            if watch.elapsed_s() > timeout_s:
                self.stop()
                raise NotThere(f"after {timeout_s:g} s (drive_timeout_s) {self._arrival.miss(apart)}: does anything drive to goal_pose?")
            if time.monotonic() - told_s > 1.0:
                told_s = time.monotonic()
                report(f"{apart[0]:.2f} m to go")
            time.sleep(_POLL_S)

    def _followed(self, goal: PoseStamped) -> tuple[float, float]:
        """`Arrival.apart`; a robot whose place is lost is told to stop."""
        try:
            return self._arrival.apart(goal)
        except NotThere:
            self.stop()
            raise

    def stop(self) -> None:
        """See `Driver`: the goal becomes the place where the robot is."""
        try:
            here = self._arrival.where()
        except Refused as refused:
            self._node.get_logger().error(f"the robot cannot be sent to where it stands: {refused.sentence}")
            return
        self._goals.publish(pose_stamped(here, frame_id=self._frame, stamp_ns=self._node.get_clock().now().nanoseconds))
