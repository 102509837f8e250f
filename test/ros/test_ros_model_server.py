"""The refer node and `roboref serve` as processes: the server dies and returns, the node says so and recovers by itself."""

import socket
import time

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from asker import REFER, Asker
from live_graph import wait_until
from roboref.msg import Referral

QUESTION = "pick up the red cup"


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def refer(graph, camera, port, tmp_path):
    config = tmp_path / "server.yaml"
    config.write_text(
        f"backend: roborefer_server\ndepth: sensor\nhttp:\n  url: http://127.0.0.1:{port}\n  retries: 1\n  connect_timeout_s: 1.0\n"
    )
    process = graph.start(REFER, "--ros-args", "-r", "__node:=served", "-p", f"model:={config}")
    yield Asker(graph, process, "/served")
    process.end()


def test_a_server_that_dies_is_named_and_one_that_returns_is_used_at_once(graph, refer, random_nano, port):
    def serve():
        server = graph.start("roboref_node.cli", "serve", "--folder", str(random_nano), "--port", str(port), "--no-token")
        server.wait_for_log("serving nano")
        return server

    server = serve()
    answer = wait_until(lambda: refer.ask(QUESTION), "an answer of the model")
    # A model of random weights says anything; that it was asked is what counts.
    assert answer.status != Referral.MODEL_UNAVAILABLE and answer.answer_text, answer.sentence
    server.kill()
    down = refer.ask(QUESTION)
    assert down.status == Referral.MODEL_UNAVAILABLE, down.sentence
    assert f"127.0.0.1:{port}" in down.sentence and "retries" in down.sentence
    assert down.goal.header.frame_id == ""
    server = serve()
    returned = time.monotonic()
    again = refer.ask(QUESTION)
    assert again.status != Referral.MODEL_UNAVAILABLE and again.answer_text, again.sentence
    # The answer's own time does not count: what must be short is how long the node holds the server for dead.
    waited_s = time.monotonic() - returned - dict(zip(again.timing_names, again.timing_ms, strict=True))["total"] / 1e3
    assert waited_s < 2.0
    assert refer.process.alive
    server.end()
