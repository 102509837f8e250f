"""What an idle refer node costs while a camera streams, against the least that a subscriber in rclpy can cost."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from roboref_node.commands.arguments import above_zero, natural, positive
from roboref_node.demo.processes import NodeProcess
from roboref_node.status import Refused, Status

_PROCESSES = "roboref_node.evaluation.ingest_processes"
_WARM_UP_S, _START_S = 3.0, 90.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``roboref bench ingest``."""
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="length of one measurement (default 10)")
    parser.add_argument("--repeats", type=positive, default=3, help="measurements; the one with the median ratio counts (default 3)")
    parser.add_argument("--model", default="none", help="model that the refer node loads (default none)")
    parser.add_argument("--domain", type=natural, default=87, help="ROS_DOMAIN_ID (default 87)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Camera at 30 Hz, 640x480; the node and a bare subscriber listen at the same time.

    Returns:
        ``node_cpu_percent`` and ``floor_cpu_percent`` of one core and their ``ratio`` (all of the repeat with the median ratio),
        and the number of images that each of the two received.

    Raises:
        Refused: INTERNAL when a process ends, or when one of them did not get the images: less work is no merit then.
    """
    os.environ.update(ROS_DOMAIN_ID=str(args.domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    measured: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roboref_ingest_")))
        with (
            _Measured("roboref_node.nodes.refer", ["--ros-args", "-p", f"model:={args.model}"], folder / "refer.log") as node,
            _Measured(_PROCESSES, ["floor"], folder / "floor.log") as floor,
        ):
            node.wait_for("active: model")
            with NodeProcess(_PROCESSES, ["camera"], folder / "camera.log") as camera:
                time.sleep(_WARM_UP_S)
                for _ in range(args.repeats):
                    measured.append(_measure(node, floor, args.seconds))
                    print(
                        "node {node_cpu_percent:.2f} %, floor {floor_cpu_percent:.2f} %, ratio {ratio:.3f}".format(**measured[-1]),
                        flush=True,
                    )
                    if not camera.alive:
                        raise Refused(Status.INTERNAL, f"the camera process ended:\n{camera.last_words()}")
        pairs = _number(node.log, r"after (\d+) pairs")
        images = _number(floor.log, r"received (\d+) images")
    if 2 * pairs < 0.9 * images or images == 0:
        raise Refused(Status.INTERNAL, f"the node received {pairs} pairs where the bare subscriber received {images} images")
    result = sorted(measured, key=lambda line: float(line["ratio"]))[len(measured) // 2]
    return {**result, "node_images": 2 * pairs, "floor_images": images}


class _Measured(NodeProcess):
    def cpu_s(self) -> float:
        """User and system time of all threads (Linux; proc(5), fields 14 and 15 of stat)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> _Measured:
        return self

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + _START_S
        while words not in self.log.read_text(errors="replace"):
            if not self.alive or time.monotonic() > deadline:
                raise Refused(Status.INTERNAL, f"{self.module} did not start:\n{self.last_words()}")
            time.sleep(0.05)


def _measure(node: _Measured, floor: _Measured, seconds: float) -> dict[str, Any]:
    started, before = time.monotonic(), (node.cpu_s(), floor.cpu_s())
    time.sleep(seconds)
    elapsed, after = time.monotonic() - started, (node.cpu_s(), floor.cpu_s())
    node_percent, floor_percent = (100.0 * (b - a) / elapsed for a, b in zip(before, after, strict=True))
    if floor_percent == 0.0:
        raise Refused(Status.INTERNAL, "the bare subscriber used no CPU at all: no image has arrived")
    return {
        "node_cpu_percent": round(node_percent, 3),
        "floor_cpu_percent": round(floor_percent, 3),
        "ratio": round(node_percent / floor_percent, 4),
    }


def _number(log: Path, pattern: str) -> int:
    found = re.search(pattern, log.read_text(errors="replace"))
    if found is None:
        raise Refused(Status.INTERNAL, f"{log.stem} ended without telling what it has received")
    return int(found[1])
