"""Fixtures of the fault tests; the graph is the one of test/ros."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))  # live_graph and asker, as its own tests import them

from live_graph import Graph

RESULTS = Path(__file__).with_name("fault_results.json")
RECORD = "ROBOREF_RECORD_FAULTS"


@pytest.fixture(scope="session")
def graph(tmp_path_factory):
    for module in ("rclpy", "tf2_ros", "message_filters", "roboref.action"):
        pytest.importorskip(module, reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
    graph = Graph(tmp_path_factory.mktemp("processes"))
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def bench(graph, tmp_path_factory):
    """One refer process for all faults that leave it alive."""
    from fault_bench import Bench

    bench = Bench(graph, tmp_path_factory.mktemp("models"))
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def simulated(graph, tmp_path_factory):
    """A refer process that lives by simulated time."""
    from faults_of_the_processes import SimulatedBench

    bench = SimulatedBench(graph, tmp_path_factory.mktemp("models"))
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def second(graph, tmp_path_factory, bench):
    """A refer process that may be killed, of another robot in the same domain."""
    from faults_of_the_processes import SecondBench

    second = SecondBench(graph, tmp_path_factory.mktemp("models"), bench)
    yield second
    second.close()


@pytest.fixture(scope="session")
def record():
    """Keeps what a fault came to for docs/faults.md, when ROBOREF_RECORD_FAULTS is set."""

    def keep(fault, played):
        print(f"{fault.id}: {played.status}, noticed {played.noticed_s} s, recovered {played.recovered_s} s: {played.sentence}")
        if os.environ.get(RECORD):
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results[fault.id] = dataclasses.asdict(played)
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")

    return keep
