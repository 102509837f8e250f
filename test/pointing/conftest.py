"""Real HTTP servers on this machine, each with one behaviour, good or bad."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.camera import CameraModel


class Exchange:
    """One request as the server sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        stream = connection.makefile("rb")
        self.request_line = stream.readline().decode()
        self.headers: dict[str, str] = {}
        for raw in iter(stream.readline, b"\r\n"):
            if not raw:
                break
            name, _, value = raw.decode().partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.body = stream.read(int(self.headers.get("content-length", "0")))

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def send(self, status: str, body: bytes, *extra_headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *extra_headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def send_json(self, value: object) -> None:
        self.send("200 OK", json.dumps(value).encode(), "content-type: application/json")


Behaviour = Callable[[Exchange], None]


class Server(socketserver.ThreadingTCPServer):
    """Runs `behaviour` for every connection and remembers the requests."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behaviour: Behaviour, port: int = 0) -> None:
        self.behaviour = behaviour
        self.exchanges: list[Exchange] = []
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", port), None)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request, client_address) -> None:
        try:
            exchange = Exchange(request)
            self.exchanges.append(exchange)
            self.behaviour(exchange)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up, which is what many tests are about

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(behaviour: Behaviour, port: int = 0) -> Server:
        servers.append(Server(behaviour, port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def frame() -> Frame:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    depth_m = np.linspace(0.5, 2.0, 48 * 64, dtype=np.float32).reshape(48, 64)
    return Frame(rgb, depth_m, CameraModel(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48))


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """The folder of what is kept between runs, such as hashes of weights; each test has its own."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def taught_llava(tmp_path_factory) -> Path:
    """See `tiny_llava`; its lesson takes seconds."""
    from tiny_llava import build

    path = tmp_path_factory.mktemp("tiny_llava")
    build(path)
    return path
