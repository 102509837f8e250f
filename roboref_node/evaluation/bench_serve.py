"""`roboref serve` under load: many clients at once, memory, fairness, and what a killed and restarted server costs them."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roboref_node.commands.arguments import above_zero, positive
from roboref_node.frame import Frame
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.roborefer_server import DepthSource, RoboReferServerPointer, RoboReferServerSettings
from roboref_node.sim.cell import SimulatedCell
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

_TOKEN_ENV = "ROBOREF_BENCH_TOKEN"
_START_S = 120.0
_ANSWERED = frozenset({Status.OK, Status.NOT_FOUND, Status.UNPARSEABLE, Status.OUT_OF_IMAGE})
"""The model was asked and said something."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``roboref bench serve``."""
    parser.add_argument("--clients", type=positive, default=16, help="clients at once (default 16)")
    parser.add_argument("--seconds", type=above_zero, default=120.0, help="duration of the load (default 120)")
    parser.add_argument("--outage", type=above_zero, default=3.0, help="seconds between the kill and the restart (default 3)")
    parser.add_argument("--model", default="nano", help="model to serve (default nano)")


@dataclass
class _Server:
    """`roboref serve` as a process of its own."""

    model: str
    port: int
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it and wait until it answers; returns at the first sign of health.

        Raises:
            Refused: MODEL_UNAVAILABLE when it does not come up.
        """
        environment = {**os.environ, "ROBOREF_TOKEN": os.environ[_TOKEN_ENV]}
        command = [sys.executable, "-m", "roboref_node.cli", "serve", "--model", self.model, "--port", str(self.port)]
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise Refused(Status.MODEL_UNAVAILABLE, f"roboref serve did not start within {_START_S:g} s: {self.log.read_text()[-500:]}")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(30.0)


class _Client(threading.Thread):
    """Asks one question after the other until it is told to stop."""

    def __init__(self, number: int, url: str, frame: Frame, tasks: list[Task], stop: threading.Event) -> None:
        super().__init__(name=f"client_{number}", daemon=True)
        http = HttpSettings(url, token_env=_TOKEN_ENV, connect_timeout_s=1.0, retries=0)
        self._pointer = RoboReferServerPointer(RoboReferServerSettings(http, depth=DepthSource.SENSOR))
        self._frame, self._tasks, self._stop_asking, self._number = frame, tasks, stop, number
        self.answers: list[tuple[float, float, Status]] = []
        """When each answer came (monotonic), how long it took in seconds, and what it was."""

    def run(self) -> None:
        """Until the event is set."""
        turn = self._number
        while not self._stop_asking.is_set():
            started = time.monotonic()
            status = Status.OK
            try:
                self._pointer.point(self._frame, self._tasks[turn % len(self._tasks)])
            except Refused as refused:
                status = refused.status
            now = time.monotonic()
            self.answers.append((now, now - started, status))
            turn += 1
            if status not in _ANSWERED:
                self._stop_asking.wait(0.05)  # as a node does, which asks again with the next instruction
        self._pointer.close()


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Load, kill -9 in the middle of the load, restart.

    Returns:
        ``clients``, ``seconds``, ``requests``, ``errors`` (anything but an answer before the kill), ``fairness`` (fewest over most answers
        of a client), ``p50_ms``, ``p95_ms``, ``rss_start_mb`` and ``rss_end_mb`` (medians over the second and the last quarter of the
        load), ``outage`` (statuses during the outage), ``recovery_s`` (from the server's return until every client has an answer again,
        less the median answer time).
    """
    os.environ.setdefault(_TOKEN_ENV, secrets.token_urlsafe(16))
    with SimulatedCell(3) as cell:
        image = cell.render()
        frame = Frame(image.rgb, image.depth_m, cell.camera)
        tasks = [Task(TaskKind.PICK, text, text) for text in (f"the {item.colour} {item.shape}" for item in cell.spec.objects)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="roboref_serve_") as folder:
        server = _Server(args.model, port, Path(folder) / "serve.log")
        server.start()
        stop = threading.Event()
        url = f"http://127.0.0.1:{port}"
        clients = [_Client(i, url, frame, tasks, stop) for i in range(args.clients)]
        try:
            for client in clients:
                client.start()
            quarter_s = 0.25 * args.seconds
            time.sleep(quarter_s)
            rss_start_mb = _median_rss_mb(server.process.pid, quarter_s)
            time.sleep(quarter_s)
            rss_end_mb = _median_rss_mb(server.process.pid, quarter_s)
            killed_s = time.monotonic()
            server.stop(signal.SIGKILL)
            time.sleep(args.outage)
            server.start()
            returned_s = time.monotonic()
            while not all(_first_after(c, returned_s) for c in clients) and time.monotonic() < returned_s + _START_S:
                time.sleep(0.01)
        finally:
            stop.set()
            for client in clients:
                client.join(60.0)
            server.stop(signal.SIGTERM)
    return _summary(args, clients, killed_s, returned_s, rss_start_mb, rss_end_mb)


def _median_rss_mb(pid: int, duration_s: float) -> float:
    """Memory of a process over a while; one look would see a batch that comes or goes."""
    import psutil

    process = psutil.Process(pid)
    samples: list[float] = []
    end_s = time.monotonic() + duration_s
    while not samples or time.monotonic() < end_s:
        samples.append(process.memory_info().rss / 1e6)
        time.sleep(min(0.25, duration_s))
    return float(np.median(samples))


def _first_after(client: _Client, moment_s: float) -> float | None:
    return next((at for at, _, status in list(client.answers) if at > moment_s and status in _ANSWERED), None)


def _summary(
    args: argparse.Namespace,
    clients: list[_Client],
    killed_s: float,
    returned_s: float,
    rss_start_mb: float,
    rss_end_mb: float,
) -> dict[str, Any]:
    loaded = [[a for a in client.answers if a[0] < killed_s] for client in clients]
    times_s = np.array([duration for answers in loaded for _, duration, _ in answers])
    statuses = Counter(status.value for answers in loaded for _, _, status in answers)
    outage = Counter(s.value for client in clients for at, _, s in client.answers if killed_s <= at < returned_s)
    firsts = [_first_after(client, returned_s) for client in clients]
    median_s = float(np.median(times_s))
    late_s = max((first - returned_s for first in firsts if first is not None), default=float("inf"))
    counts = [len(answers) for answers in loaded]
    result = {
        "clients": args.clients,
        "seconds": args.seconds,
        "requests": int(times_s.size),
        "errors": sum(count for name, count in statuses.items() if Status(name) not in _ANSWERED),
        "statuses": dict(statuses),
        "fairness": round(min(counts) / max(counts), 3),
        "p50_ms": round(1e3 * median_s, 1),
        "p95_ms": round(1e3 * float(np.quantile(times_s, 0.95)), 1),
        "rss_start_mb": round(rss_start_mb, 1),
        "rss_end_mb": round(rss_end_mb, 1),
        "outage": dict(outage),
        "recovered": sum(first is not None for first in firsts),
        "recovery_s": round(max(0.0, late_s - median_s), 2),
    }
    print(
        f"{result['requests']} answers to {args.clients} clients in {args.seconds:g} s, {result['errors']} errors; "
        f"p50 {result['p50_ms']} ms, p95 {result['p95_ms']} ms; fewest over most answers of a client {result['fairness']}"
    )
    print(f"memory {result['rss_start_mb']} MB in the second quarter, {result['rss_end_mb']} MB in the last")
    print(
        f"killed for {returned_s - killed_s:.1f} s: {result['outage']}; {result['recovered']} of {args.clients} clients served again, "
        f"the last {result['recovery_s']} s after the return and its own answer time"
    )
    return result
