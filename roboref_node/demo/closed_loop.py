"""The closed loop of the demonstration: simulated cell with its arm, refer node and pick_place node as processes, seen from outside."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from roboref.action import PickPlace
from sensor_msgs.msg import Image
from std_msgs.msg import String

from roboref_node.demo.processes import NodeProcess
from roboref_node.demo.spinning import SpinningNode
from roboref_node.rgbd import decode_color
from roboref_node.ros import qos
from roboref_node.ros.action_call import ActionCaller, NotServed
from roboref_node.ros.camera import COLOR
from roboref_node.status import Refused, Status

MOVED_M = 0.01
"""An object that is farther than this from where it was has been moved."""
_READY = {"sim": "scene", "refer": "active: model", "pick_place": "ready: robot"}
"""What each node writes to its log when it is ready."""


class ClosedLoop:
    """Starts the nodes, sends sentences and holds what happened against the truth.

    Args:
        folder: For the output of the nodes.
        seed: Scene.
        model: Pointing model.
        arguments: ROS arguments of the pick_place node.
        width, height: Size of the images in pixels.
    """

    def __init__(
        self, folder: Path, seed: int, model: str, *, arguments: tuple[str, ...] = (), width: int = 640, height: int = 480
    ) -> None:
        self._stack = ExitStack()
        sim_time = ("--ros-args", "-p", "use_sim_time:=true")
        size = ("-p", f"width:={width}", "-p", f"height:={height}")
        started = {
            "sim": ("--ros-args", "-p", f"seed:={seed}", *size),
            "refer": (*sim_time, "-p", "robot:=ur5", "-p", f"model:={model}"),
            "pick_place": (*sim_time, "-p", "robot:=ur5", *arguments),
        }
        self.processes = {
            name: self._stack.enter_context(NodeProcess(f"roboref_node.nodes.{name}", nodes_arguments, folder / f"{name}.log"))
            for name, nodes_arguments in started.items()
        }
        self.node = self._stack.enter_context(SpinningNode("roboref_demo", sim_time=True))
        self._changed = threading.Condition()
        self._truth: dict[str, Any] = {}
        self._image: Image | None = None
        self.node.create_subscription(String, "/sim/truth", self._on_truth, qos.LATCHED)
        self.node.create_subscription(Image, f"/{COLOR}", self._on_image, qos.images(reliable=False, depth=1))
        self._say = self.node.create_publisher(String, "/pick_place/instruction", qos.ANSWERS)
        self._caller = ActionCaller(self.node, PickPlace, "/pick_place/pick_place")

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for all nodes and the first image.

        Raises:
            Refused: MODEL_UNAVAILABLE when a node ended or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while (missing := self._missing()) is not None:
            for name, process in self.processes.items():
                if not process.alive:
                    raise Refused(Status.MODEL_UNAVAILABLE, f"the node {name} ended while it was starting:\n{process.last_words()}")
            if time.monotonic() > deadline:
                raise Refused(Status.MODEL_UNAVAILABLE, f"{missing} was not ready within {timeout_s:g} s (--timeout)")
            time.sleep(0.05)

    def _missing(self) -> str | None:
        for name, words in _READY.items():
            if words not in self.processes[name].last_words(200):
                return f"the node {name}"
        if not self._caller.ready:
            return "the action of the pick_place node"
        return None if self._truth and self._image is not None else "the first image of the cell"

    def say(self, instruction: str) -> None:
        """Publish a sentence on the topic of the pick_place node."""
        self._say.publish(String(data=instruction))

    def do(self, instruction: str, timeout_s: float, on_feedback: Callable[[PickPlace.Feedback], None]) -> PickPlace.Result:
        """Send a sentence through the action and wait for its end.

        Args:
            instruction: The sentence.
            timeout_s: How long it may take; it is canceled then.
            on_feedback: Called with every state, on another thread.

        Raises:
            Refused: MODEL_TIMEOUT when there is no result in time.
        """
        try:
            return self._caller.call(
                PickPlace.Goal(instruction=instruction), wait_s=20.0, timeout_s=timeout_s, stopping_s=20.0, poll=lambda: False,
                on_feedback=on_feedback,
            )  # fmt: skip
        except NotServed as problem:
            raise Refused(Status.MODEL_TIMEOUT, str(problem)) from problem

    @property
    def truth(self) -> dict[str, Any]:
        """The newest truth of the cell: objects with their poses, what is held."""
        with self._changed:
            return self._truth

    def picture(self) -> NDArray[np.uint8] | None:
        """The newest colour image, uint8 (H, W, 3) RGB."""
        with self._changed:
            return None if self._image is None else decode_color(self._image)

    def _on_truth(self, message: String) -> None:
        with self._changed:
            self._truth = json.loads(message.data)

    def _on_image(self, message: Image) -> None:
        with self._changed:
            self._image = message

    def __enter__(self) -> ClosedLoop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that are somewhere else now, or in the gripper.

    Args:
        before: Truth of the cell.
        after: Truth of the cell, later.
    """
    found = []
    for then, now in zip(before["objects"], after["objects"], strict=True):
        distance_m = float(np.linalg.norm(np.subtract(now["position_m"], then["position_m"])))
        held = after.get("holding") == now["index"]
        if held or distance_m > MOVED_M:
            words = f"{now['size']} {now['colour']} {now['shape']}"
            found.append(
                {
                    "index": now["index"], "object": words, "moved_m": round(distance_m, 3), "held": held,
                    "from_m": [round(x, 3) for x in then["position_m"]], "to_m": [round(x, 3) for x in now["position_m"]],
                }
            )  # fmt: skip
    return found
