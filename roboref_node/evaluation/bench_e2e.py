"""From an instruction on a topic to its goal over live DDS: everything but the model's own time."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roboref_node.commands.arguments import natural, positive
from roboref_node.demo.processes import NodeProcess
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref.msg import Referral

_START_S, _ANSWER_S = 90.0, 60.0
_VERBS = ("point at", "pick up")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``roboref bench e2e``."""
    parser.add_argument("--n", type=positive, default=60, help="instructions that must lead to a goal (default 60)")
    parser.add_argument("--seed", type=natural, default=3, help="simulated scene (default 3)")
    parser.add_argument("--model", default="nano", help="pointing model (default nano)")
    parser.add_argument("--domain", type=natural, default=88, help="ROS_DOMAIN_ID (default 88)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Simulated cell and refer node as processes; each object of the scene is named in turn.

    The clock runs from the publication of the instruction to the arrival of the referral with its goal in this process; the
    stage ``model`` of the referral's own timings is taken off.

    Returns:
        ``n`` goals, ``p50_ms``, ``p95_ms``, ``refused`` instructions, and the median of each stage in ``stages_ms``.

    Raises:
        Refused: INTERNAL when a process ends or does not answer, or hardly an instruction leads to a goal.
    """
    os.environ.update(ROS_DOMAIN_ID=str(args.domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roboref_e2e_")))
        stack.enter_context(NodeProcess("roboref_node.nodes.sim", ["--ros-args", "-p", f"seed:={args.seed}"], folder / "sim.log"))
        arguments = ["--ros-args", "-p", "use_sim_time:=true", "-p", f"model:={args.model}"]
        refer = stack.enter_context(NodeProcess("roboref_node.nodes.refer", arguments, folder / "refer.log"))
        with _Speaker(refer) as speaker:
            names = speaker.object_names()
            instructions = itertools.cycle([f"{verb} the {name}" for name in names for verb in _VERBS])
            speaker.ask(next(instructions))  # the first answer pays for what is loaded on demand
            return _collect(speaker, instructions, args.n)


def _collect(speaker: _Speaker, instructions: Any, n: int) -> dict[str, Any]:
    without_model: list[float] = []
    stages: dict[str, list[float]] = {}
    refused: dict[str, int] = {}
    while len(without_model) < n:
        elapsed_ms, referral = speaker.ask(next(instructions))
        if referral.status != referral.OK:
            refused[referral.status_text] = refused.get(referral.status_text, 0) + 1
            if sum(refused.values()) > 20 * n:
                raise Refused(Status.INTERNAL, f"only {len(without_model)} of {n} instructions led to a goal: {refused}")
            continue
        timings = dict(zip(referral.timing_names, referral.timing_ms, strict=True))
        without_model.append(elapsed_ms - timings.get("model", 0.0))
        for name, value in timings.items():
            stages.setdefault(name, []).append(value)
    p50, p95 = (round(float(np.percentile(without_model, q)), 2) for q in (50, 95))
    print(f"{n} goals: p50 {p50} ms, p95 {p95} ms without the model; refused: {refused or 'none'}")
    medians = {name: round(float(np.median(values)), 2) for name, values in stages.items()}
    return {"n": n, "p50_ms": p50, "p95_ms": p95, "refused": refused, "stages_ms": medians}


class _Speaker:
    """A process-side node that publishes instructions and notes when the referral arrives."""

    def __init__(self, refer: NodeProcess) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions
        from roboref.msg import Referral
        from std_msgs.msg import String

        from roboref_node.ros.process import spin
        from roboref_node.ros.qos import LATCHED

        self._refer = refer
        self._string = String
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("bench_e2e", context=self._context)
        self._arrived = threading.Event()
        self._answer: tuple[float, Referral] | None = None
        self._truth: list[String] = []
        self._publisher = self._node.create_publisher(String, "/refer/instruction", 10)
        self._node.create_subscription(Referral, "/refer/referral", self._on_referral, 10)
        self._node.create_subscription(String, "/sim/truth", self._truth.append, LATCHED)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self._node), daemon=True)
        self._thread.start()

    def object_names(self) -> list[str]:
        """Colour and shape of every object that no other one shares, once both nodes are there."""
        import json

        deadline = time.monotonic() + _START_S
        while not (self._truth and self._publisher.get_subscription_count()):
            if not self._refer.alive or time.monotonic() > deadline:
                raise Refused(Status.INTERNAL, f"the nodes did not start:\n{self._refer.last_words()}")
            time.sleep(0.05)
        names = [f"{item['colour']} {item['shape']}" for item in json.loads(self._truth[-1].data)["objects"]]
        return [name for name in names if names.count(name) == 1]

    def ask(self, instruction: str) -> tuple[float, Referral]:
        """Milliseconds until the answer's arrival, and the answer."""
        self._arrived.clear()
        started = time.perf_counter()
        self._publisher.publish(self._string(data=instruction))
        if not self._arrived.wait(_ANSWER_S) or self._answer is None:
            raise Refused(Status.INTERNAL, f"no answer to {instruction!r} within {_ANSWER_S:g} s:\n{self._refer.last_words()}")
        arrived, referral = self._answer
        return 1e3 * (arrived - started), referral

    def _on_referral(self, message: Referral) -> None:
        self._answer = (time.perf_counter(), message)
        self._arrived.set()

    def __enter__(self) -> _Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self._node.destroy_node()
        self._context.try_shutdown()
