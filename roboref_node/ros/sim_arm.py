"""The simulated arm behind the MoveArm server, and the faults that only a simulation can be asked for."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from roboref_node.arm.motion import Motion, MotionResult, Outcome
from roboref_node.ros.arm_server import ArmServer, Finish, Report
from roboref_node.ros.call_soon import call_soon
from roboref_node.sim.cell import SimulatedCell
from roboref_node.sim.frames import BASE_FRAME, WORLD_FRAME

PUSH_M = 0.12


class SimulatedMover:
    """Hands motions from the executor to the thread that steps the cell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: tuple[Motion, Report, Finish] | None = None
        self._running: tuple[Motion, Report, Finish] | None = None
        self._stop = threading.Event()

    def begin(self, motion: Motion, report: Report, finish: Finish) -> None:
        """See `arm_server.Mover`."""
        with self._lock:
            self._stop.clear()
            self._next = (motion, report, finish)

    def stop(self) -> bool:
        """See `arm_server.Mover`."""
        with self._lock:
            self._stop.set()
            return self._next is not None or self._running is not None

    def before_step(self, cell: SimulatedCell) -> None:
        """Start what was asked for, or stop it; on the cell's thread."""
        with self._lock:
            if self._next is not None and self._running is None:
                self._running, self._next = self._next, None
                fresh = True
            else:
                fresh = False
        if fresh and self._running is not None:
            cell.arm.start(self._running[0], canceled=self._stop.is_set)
        if self._running is not None and self._stop.is_set():
            cell.arm.stop()

    def after_step(self, cell: SimulatedCell) -> None:
        """Tell how far it is; on the cell's thread."""
        if self._running is None:
            return
        _, report, finish = self._running
        if cell.arm.busy:
            report(cell.arm.stage, cell.arm.progress)
            return
        result = cell.arm.result
        assert result is not None
        with self._lock:
            self._running = None
        finish(result)

    def abandon(self) -> None:
        """The simulation ends: nobody shall wait for a motion that will never end."""
        with self._lock:
            waiting = [entry for entry in (self._next, self._running) if entry is not None]
            self._next = self._running = None
        for _, _, finish in waiting:
            finish(MotionResult(Outcome.CANCELED, "the simulation ends", False, float("nan")))


class SimulatedArm:
    """Interfaces of the simulated arm: MoveArm, stop, and the services that break something on purpose.

    Services below the node's name, for tests only: ``arm_fault`` and ``slippery`` (std_srvs/SetBool), ``remove_object`` and
    ``knock_object`` (std_srvs/Trigger), which concern the object in the gripper, else the one nearest to the motion's goal, and
    ``reset_objects`` (std_srvs/Trigger), which fails while the arm moves.

    Args:
        node: The sim node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.mover = SimulatedMover()
        self._server = ArmServer(node, self.mover, (BASE_FRAME, WORLD_FRAME))
        self._orders: queue.SimpleQueue[tuple[Callable[[SimulatedCell], str], Future]] = queue.SimpleQueue()
        for name, order in (("arm_fault", _set_fault), ("slippery", _set_slippery)):
            node.create_service(SetBool, f"~/{name}", self._switch(order))
        for name, deed in (("remove_object", _remove), ("knock_object", _knock), ("reset_objects", _reset)):
            node.create_service(Trigger, f"~/{name}", self._trigger(deed))

    def step(self, cell: SimulatedCell, dt_s: float) -> None:
        """Let a frame's time pass in the cell, with everything that was asked for since the last one."""
        while True:
            try:
                order, answer = self._orders.get_nowait()
            except queue.Empty:
                break
            text = order(cell)
            call_soon(self._node, answer.set_result, text)
        self.mover.before_step(cell)
        cell.step(dt_s)
        self.mover.after_step(cell)

    def _ask(self, order: Callable[[SimulatedCell], str]) -> Future:
        answer = Future(executor=self._node.executor)
        self._orders.put((order, answer))
        return answer

    def _switch(self, order: Callable[[SimulatedCell, bool], str]) -> Any:
        async def serve(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
            response.message = await self._ask(lambda cell: order(cell, bool(request.data)))
            response.success = True
            return response

        return serve

    def _trigger(self, deed: Callable[[SimulatedCell], str]) -> Any:
        async def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = await self._ask(deed)
            response.success = bool(response.message)
            return response

        return serve


def _set_fault(cell: SimulatedCell, on: bool) -> str:
    cell.arm.fault = on
    return f"the arm {'reports a fault' if on else 'is well'}"


def _set_slippery(cell: SimulatedCell, on: bool) -> str:
    cell.arm.world.set_slippery(on)
    return f"the fingers are {'slippery' if on else 'made of rubber'}"


def _remove(cell: SimulatedCell) -> str:
    index = cell.arm.object_concerned()
    if index is None:
        return ""
    cell.remove_object(index)
    return f"object {index} is gone"


def _knock(cell: SimulatedCell) -> str:
    index = cell.arm.object_concerned()
    if index is None:
        return ""
    cell.push_object(index, PUSH_M)
    return f"object {index} was pushed by {PUSH_M:g} m"


def _reset(cell: SimulatedCell) -> str:
    if cell.arm.busy:
        return ""
    cell.reset_objects()
    return "every object is back in its place"
