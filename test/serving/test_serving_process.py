"""`roboref serve` as a process: clients that survive its death, an end in order, and what cannot be served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from robot import TASKS, http, is_answer, said

from roboref_node.pointing.roborefer_server import DepthSource, RoboReferServerPointer, RoboReferServerSettings

TOKEN = "a-token-for-tests"


class ServeProcess:
    """`roboref serve` as a process of its own."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.port = port
        command = [sys.executable, "-m", "roboref_node.cli", "serve", "--folder", str(folder), "--port", str(port), *options]
        environment = {**os.environ, "ROBOREF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 100
        with httpx.Client(timeout=1, trust_env=False) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    client.get(f"http://127.0.0.1:{self.port}/health").raise_for_status()
                    return
                except httpx.HTTPError:
                    time.sleep(0.05)
        raise AssertionError(f"serve did not start: {self.process.stdout.read() if self.process.poll() is not None else 'no answer'}")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within 60 s"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def processes(random_nano) -> Iterator[list[ServeProcess]]:
    started: list[ServeProcess] = []
    yield started
    for serve in started:
        if serve.process.poll() is None:
            serve.process.kill()
            serve.process.communicate()


@pytest.mark.timeout(240)  # two processes import torch, which takes long on a busy machine
@pytest.mark.usefixtures("token")
def test_clients_of_a_killed_server_get_model_unavailable_and_recover_by_themselves(processes, random_nano, frames) -> None:
    port = free_port()
    processes.append(ServeProcess(random_nano, port))
    processes[0].wait_until_ready()
    outcomes: list[tuple[float, str]] = []
    stop = threading.Event()

    def robot() -> None:
        settings = http(f"http://127.0.0.1:{port}", connect_timeout_s=1.0, retries=1, retry_wait_s=0.05)
        pointer = RoboReferServerPointer(RoboReferServerSettings(settings, DepthSource.SENSOR))
        while not stop.is_set():
            outcome = said(pointer, frames[0], TASKS[0])
            outcomes.append((time.monotonic(), outcome))
            time.sleep(0.1)
        pointer.close()

    robots = [threading.Thread(target=robot) for _ in range(4)]
    for thread in robots:
        thread.start()
    wait_for(lambda: len(outcomes) >= 8, "answers")
    killed = time.monotonic()
    processes[0].end(signal.SIGKILL)
    wait_for(lambda: outcomes[-1][0] > killed + 0.5, "questions that nobody hears")
    processes.append(ServeProcess(random_nano, port))
    processes[1].wait_until_ready()
    back = time.monotonic()
    wait_for(lambda: outcomes[-1][0] > back + 2.0, "answers again")
    stop.set()
    for thread in robots:
        thread.join()
    good = outcomes[0][1]
    assert is_answer(good)
    assert {outcome for at, outcome in outcomes if at < killed} == {good}
    assert {outcome for at, outcome in outcomes if killed + 0.5 < at < back - 0.5} == {"MODEL_UNAVAILABLE"}
    assert min(at for at, outcome in outcomes if at > killed + 0.5 and outcome == good) - back < 2.0
    assert {outcome for at, outcome in outcomes if at > back + 1.0} == {good}
    code, output = processes[1].end(signal.SIGTERM)
    assert code == 0
    assert f"serving nano on http://127.0.0.1:{port} " in output and output.rstrip().endswith("stopped")
    assert TOKEN not in output


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("token")
def test_a_signal_without_grace_ends_the_process_in_order_while_the_model_computes(processes, random_nano, frames) -> None:
    processes.append(ServeProcess(random_nano, free_port(), "--grace", "0"))
    processes[0].wait_until_ready()
    stop = threading.Event()

    def robot() -> None:
        pointer = RoboReferServerPointer(RoboReferServerSettings(http(f"http://127.0.0.1:{processes[0].port}"), DepthSource.SENSOR))
        while not stop.is_set():
            said(pointer, frames[0], TASKS[0])
        pointer.close()

    robots = [threading.Thread(target=robot) for _ in range(8)]
    for thread in robots:
        thread.start()
    with httpx.Client(timeout=5, trust_env=False) as client:
        health = f"http://127.0.0.1:{processes[0].port}/health"
        wait_for(lambda: client.get(health).json()["queue_length"] > 0, "question behind the one that is computed")
    code, output = processes[0].end(signal.SIGTERM)
    stop.set()
    for thread in robots:
        thread.join()
    assert (code, output.rstrip().splitlines()[-1]) == (0, "stopped")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--model", "no_such_model"], "no_such_model"),
        (["--model", "gemini"], "local"),
        (["--host", "0.0.0.0", "--no-token"], "token"),
        (["--folder", "/nonexistent"], "/nonexistent"),
        (["--port", "99999"], "--port"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_an_exit_status(arguments: list[str], word: str) -> None:
    command = [sys.executable, "-m", "roboref_node.cli", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert word in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
