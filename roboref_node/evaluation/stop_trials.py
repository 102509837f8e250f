"""The word "stop" against the moving simulated arm, over live DDS: ``python -m roboref_node.evaluation.stop_trials`` (needs ROS 2).

Each trial starts a motion, waits until the joints move, plays the word in real time on the topic `audio`, and takes the time from its
last voiced sample to the first of the joint states that do not change any more. In every second trial the refer node answers
questions all the while, so that the model is busy.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.action.client import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from roboref.action import MoveArm
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty, String

from roboref_node.demo.processes import NodeProcess
from roboref_node.ros.audio import AudioPlayer
from roboref_node.ros.process import spin
from roboref_node.speech.synthesis import Synthesiser
from roboref_node.status import Refused, Status

MOVING_RAD = 2e-3
"""Change between two joint states that counts as motion: 30 Hz times this is 3.4 degrees per second."""

_REST_S = 1.0
_SIDE_M, _FORWARD_M, _UP_M = 0.30, 0.45, 0.40
_QUESTIONS = ("point at the red box", "point at the blue cup", "point at the green ball")


class Trials:
    """The client of all nodes.

    Args:
        timeout_s: For the nodes to start, and for a motion to begin.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("stop_trials", context=self._context)
        self._joints: deque[tuple[float, Any]] = deque(maxlen=2000)
        self._stops: list[float] = []
        self._answers = 0
        self._busy = threading.Event()
        self._done = threading.Event()
        self._node.create_subscription(JointState, "joint_states", self._on_joints, 10)
        self._node.create_subscription(Empty, "stop", lambda message: self._stops.append(time.time()), 10)
        self._node.create_subscription(String, "speech/say", lambda message: None, 10)
        self._questions = self._node.create_publisher(String, "refer/instruction", 10)
        self._arm = ActionClient(self._node, MoveArm, "arm/move")
        self.player = AudioPlayer(self._node)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._threads = [
            threading.Thread(target=spin, args=(self._executor, self._node), daemon=True),
            threading.Thread(target=self._ask_on, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._sides = itertools.cycle((1.0, -1.0))

    def ready(self, processes: list[NodeProcess]) -> None:
        """Wait for all nodes.

        Raises:
            Refused: INTERNAL when one does not come up.
        """

        def up() -> bool:
            return bool(self._joints and self.player.listeners and self._questions.get_subscription_count() and self._arm.server_is_ready())

        self._await(up, "the nodes", processes)
        self._await(
            lambda: "active:" in next(p for p in processes if p.module.endswith("speech")).log.read_text(), "the recogniser", processes
        )

    def trial(self, sound: Any, *, busy: bool) -> dict[str, float | bool | None]:
        """One "stop": seconds from its end to the message and to rest; None for what did not happen."""
        if busy:
            self._busy.set()
        handle = self._move()
        ended = handle.get_result_async()
        self._await(lambda: ended.done() or self._moving(), "motion of the arm", [])
        if ended.done():
            result = ended.result().result
            raise Refused(Status.INTERNAL, f"the arm did not move: {result.outcome}: {result.sentence}")
        self._stops.clear()
        ended_s = self.player.play(sound, trailing_silence_s=0.5)
        deadline = time.monotonic() + 3.0
        while not self._stops and time.monotonic() < deadline:
            time.sleep(0.005)
        message_s = self._stops[0] - ended_s if self._stops else None
        self._await(ended.done, "end of the motion", [])
        time.sleep(_REST_S)  # long enough to see that nothing moves any more
        self._busy.clear()
        rest_s = None if message_s is None else max(self._last_motion_s() - ended_s, 0.0)
        return {"message_s": message_s, "rest_s": rest_s, "busy": busy}

    def close(self) -> None:
        """End the threads."""
        self._done.set()
        self._busy.set()
        self._executor.shutdown(timeout_sec=2.0)
        for thread in self._threads:
            thread.join(2.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _on_joints(self, message: JointState) -> None:
        self._joints.append((time.time(), np.array(message.position[:6])))

    def _moving(self) -> bool:
        recent = list(self._joints)[-3:]
        return len(recent) == 3 and all(np.abs(b[1] - a[1]).max() > MOVING_RAD for a, b in itertools.pairwise(recent))

    def _last_motion_s(self) -> float:
        """Arrival of the first joint state of the rest that lasts until now."""
        states = list(self._joints)
        final = states[-1][1]
        return next((b[0] for a, b in reversed(list(itertools.pairwise(states))) if np.abs(a[1] - final).max() > MOVING_RAD), states[0][0])

    def _move(self) -> Any:
        side = next(self._sides)
        future = self._arm.send_goal_async(
            MoveArm.Goal(motion=MoveArm.Goal.PLACE, approach=_pose(side, _UP_M), goal=_pose(side, _UP_M - 0.05), gripper_width_m=math.nan)
        )
        self._await(future.done, "an answer of arm/move", [])
        if not future.result().accepted:
            raise Refused(Status.INTERNAL, "arm/move rejected the motion")
        return future.result()

    def _ask_on(self) -> None:
        for question in itertools.cycle(_QUESTIONS):
            self._busy.wait()
            if self._done.is_set():
                return
            self._questions.publish(String(data=question))
            self._done.wait(0.1)

    def _await(self, condition: Any, what: str, processes: list[NodeProcess]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not condition():
            dead = next((p for p in processes if not p.alive), None)
            if dead is not None or time.monotonic() > deadline:
                words = "" if dead is None else f"\n{dead.last_words()}"
                raise Refused(Status.INTERNAL, f"no {what} within {self._timeout_s:g} s (--timeout){words}")
            time.sleep(0.02)


def _pose(side: float, up_m: float) -> PoseStamped:
    pose = PoseStamped()
    pose.header.frame_id = "base_link"
    pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = _FORWARD_M, side * _SIDE_M, up_m
    pose.pose.orientation.x, pose.pose.orientation.w = 1.0, 0.0  # the tool points down
    return pose


def main() -> int:
    """Run the trials; the last line is a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--voices", nargs="+", default=["flite:slt"])
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--domain", type=int, default=89)
    args = parser.parse_args()
    os.environ.update(ROS_DOMAIN_ID=str(args.domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    sounds = [Synthesiser(voice)("stop") for voice in args.voices]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roboref_stop_")))
        sim = ["-p", "width:=320", "-p", "height:=240", "-p", "rate:=30.0", "-p", "noise:=false"]
        wanted = {"sim": sim, "refer": ["-p", "use_sim_time:=true"], "speech": ["-p", "source:=topic"]}
        processes = [
            stack.enter_context(NodeProcess(f"roboref_node.nodes.{name}", ["--ros-args", *more], folder / f"{name}.log"))
            for name, more in wanted.items()
        ]
        trials = Trials(args.timeout)
        stack.callback(trials.close)
        trials.ready(processes)
        results = []
        for index in range(args.trials):
            results.append(trials.trial(sounds[index % len(sounds)], busy=index % 2 == 1))
            r = results[-1]
            times = "not heard" if r["message_s"] is None else f"message {r['message_s']:.3f} s, at rest {r['rest_s']:.3f} s"
            print(f"stop {index + 1}{' (model busy)' if r['busy'] else ''} by {args.voices[index % len(sounds)]}: {times}", flush=True)
    rests = [math.inf if r["rest_s"] is None else float(r["rest_s"]) for r in results]
    messages = [float(r["message_s"]) for r in results if r["message_s"] is not None]
    p95 = float(np.percentile(rests, 95, method="higher"))
    print(f"{len(messages)} of {len(results)} heard, {sum(r <= 0.3 for r in rests)} at rest within 0.3 s; message p95 ", end="")
    print(f"{np.percentile(messages, 95):.3f} s" if messages else "none", flush=True)
    print(json.dumps({"stop_p95_s": round(p95, 3) if math.isfinite(p95) else None, "heard": len(messages), "trials": len(results)}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as refused:
        print(refused.sentence)
        sys.exit(1)
