"""The HTTP server: RoboRefer's API, an OpenAI-compatible one, health and metrics, on this machine only and with a token by default."""

from __future__ import annotations

import hmac
import http.server
import ipaddress
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from roboref_node.serving.batcher import AnswerBatch, Batcher
from roboref_node.serving.handler import RequestHandler
from roboref_node.serving.metrics import Metrics
from roboref_node.serving.question import ImageLimits
from roboref_node.serving.refusals import Refusals
from roboref_node.status import Refused, Status

_LOG = logging.getLogger(__name__)
_SETTLED_S = 1.0
"""A client sends its request well within this time after connecting."""
_LONGEST_S = 86_400.0
"""Above it, threads of some systems refuse to wait; and nobody waits a day for an answer."""


@dataclass
class _Wait:
    """What a connection is waited for."""

    deadline: float
    """When it is hung up on; infinity while an answer is computed."""
    idle_since: float
    """Since when nothing is known about what comes in next; infinity from the check of the token to the end of the answer."""


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the server.

    Args:
        host: Address to listen on.
        port: Port; 0 takes any free one.
        token: Bearer token that clients must send; empty = none, which is allowed on the loopback address only.
        model: Name under which the model is listed, and the only one that clients may ask for.
        images: Limits on pictures and texts.
        max_body_bytes: Longest request.
        new_tokens: Longest answer where the client names none.
        max_new_tokens: Longest answer that a client may ask for; `new_tokens` where that is more.
        max_connections: Most open connections; the one that has been idle longest makes room for another.
        max_queue: Most questions waiting.
        max_per_client: Most questions waiting per client.
        max_batch: Most questions answered at once.
        request_timeout_s: Longest time for a request to come in, and longest rest between two requests of one connection.
        answer_timeout_s: Longest time for an answer, waiting included.
        grace_s: On shutdown, longest time for the questions that are under way.
    """

    host: str = "127.0.0.1"
    port: int = 25547
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    model: str = "roboref"
    images: ImageLimits = field(default_factory=ImageLimits)
    max_body_bytes: int = 32 << 20
    new_tokens: int = 256
    max_new_tokens: int = 1024
    max_connections: int = 64
    max_queue: int = 64
    max_per_client: int = 16
    max_batch: int = 8
    request_timeout_s: float = 20.0
    answer_timeout_s: float = 60.0
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        counts = {
            "--max-pixels": self.images.max_pixels,
            "--max-body-bytes": self.max_body_bytes,
            "--max-connections": self.max_connections,
            "--max-queue": self.max_queue,
            "--max-per-client": self.max_per_client,
            "--max-batch": self.max_batch,
            "`new_tokens`": self.new_tokens,
            "`max_new_tokens`": self.max_new_tokens,
        }
        times = {"--answer-timeout": self.answer_timeout_s, "`request_timeout_s`": self.request_timeout_s}
        wrong = [f"{name} must be at least 1, not {count}" for name, count in counts.items() if count < 1]
        wrong += [
            f"{name} must be above 0 and at most {_LONGEST_S:g} s, not {seconds:g}"
            for name, seconds in times.items()
            if not 0 < seconds <= _LONGEST_S
        ]
        if not 0 <= self.grace_s <= _LONGEST_S:
            wrong.append(f"--grace must be 0 to {_LONGEST_S:g} s, not {self.grace_s:g}")
        if not 0 <= self.port <= 65535:
            wrong.append(f"--port must be 0 to 65535, not {self.port}")
        if not _is_host(self.host):
            wrong.append(f"--host must be an address or a name, not {self.host!r}")
        if not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            wrong.append("the token (ROBOREF_TOKEN) may hold only ASCII characters that can be printed, and no space")
        if wrong:
            raise Refused(Status.BAD_REQUEST, f"{'; '.join(wrong)}.")
        if not self.token and not is_loopback(self.host):
            raise Refused(
                Status.BAD_REQUEST,
                f"Serving on {self.host} without a token would let everyone on the network use the model: set a token, or host 127.0.0.1.",
            )

    def check_address(self) -> None:
        """See that the address can be listened on, before a model is loaded for it.

        Raises:
            Refused: BAD_REQUEST when it cannot.
        """
        with _binding(self), socket.create_server((self.host, self.port), family=_family(self.host)):
            pass


def _is_host(host: str) -> bool:
    """False for what the resolver cannot even look up; the empty name would mean all addresses, unsaid."""
    try:
        return bool(host.encode("idna")) and host.isprintable()
    except UnicodeError:
        return False


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ModelServer(http.server.ThreadingHTTPServer):
    """A thread per connection in front of one `Batcher`.

    Args:
        settings: Address and limits.
        answer_batch: The model.
        interrupt: Makes `answer_batch` give up soon, when the server stops and the grace is over.

    Raises:
        Refused: BAD_REQUEST when the address cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, settings: ServeSettings, answer_batch: AnswerBatch, interrupt: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.started = time.monotonic()
        self.stopping = False
        self._connections: dict[socket.socket, _Wait] = {}
        self._connections_lock = threading.Lock()
        self._refusals = Refusals(settings.max_connections)
        self._serving: threading.Thread | None = None
        self.address_family = _family(settings.host)
        with _binding(settings):
            super().__init__((settings.host, settings.port), RequestHandler)
        self.batcher = Batcher(
            answer_batch,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_per_client=settings.max_per_client,
            metrics=self.metrics,
            interrupt=interrupt,
        )

    @property
    def url(self) -> str:
        """Base address."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._serving = threading.Thread(target=self.serve_forever, args=(0.1,), name="roboref-serve", daemon=True)
        self._serving.start()

    def stop(self) -> None:
        """Take no more requests, finish those under way for at most `grace_s` seconds, and close everything."""
        self.stopping = True
        deadline = time.monotonic() + self.settings.grace_s
        if self._serving is not None:  # `shutdown` waits for a loop to end, for ever if none was started
            self.shutdown()
            self._serving.join()
        self.server_close()
        self._refusals.close()
        self.batcher.close(self.settings.grace_s)
        while self._busy() and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._connections_lock:
            for connection in self._connections:
                _hang_up(connection)

    def is_authorized(self, header: str | None) -> bool:
        """Compare the token of the Authorization header in constant time; the scheme's name may be in any case (RFC 7235)."""
        if not self.settings.token:
            return True
        scheme, _, token = (header or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.settings.token.encode())

    def is_addressed_here(self, host: str) -> bool:
        """False for a Host header that names another machine: a web page whose name was made to lead here after it had loaded."""
        try:
            return not host or is_loopback(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False

    def expect_request(self, connection: socket.socket, seconds: float) -> None:
        """Hang up when no complete request came in after so many seconds, or earlier when the place is needed."""
        now = time.monotonic()
        self._wait_for(connection, _Wait(now + seconds, now))

    def expect_body(self, connection: socket.socket) -> None:
        """The request has the token: its connection keeps its place while the rest of it comes in."""
        with self._connections_lock:
            if connection in self._connections:
                self._connections[connection].idle_since = float("inf")

    def expect_answer(self, connection: socket.socket) -> None:
        """The request is complete, and what is waited for is the model."""
        self._wait_for(connection, _Wait(float("inf"), float("inf")))

    def _wait_for(self, connection: socket.socket, wait: _Wait) -> None:
        with self._connections_lock:
            if connection in self._connections:
                self._connections[connection] = wait

    def service_actions(self) -> None:
        """Hang up on connections whose request is overdue: each byte of a drip restarts a socket's timeout, but not this one."""
        self._refusals.drain()
        now = time.monotonic()
        with self._connections_lock:
            for connection, wait in self._connections.items():
                if wait.deadline < now:
                    _hang_up(connection)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Beyond `max_connections` hang up on the one that has been idle longest, or refuse the new one when all are in use."""
        with self._connections_lock:
            if len(self._connections) < self.settings.max_connections:
                return True
            longest = min(self._connections, key=lambda connection: self._connections[connection].idle_since)
            if self._connections[longest].idle_since < time.monotonic() - _SETTLED_S:
                del self._connections[longest]
                _hang_up(longest)
                return True
        self.metrics.observe_request("other", 503, 0.0)
        self._refusals.refuse(request, f"all {self.settings.max_connections} connections are in use (`--max-connections`)")
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Register the connection and give it a thread."""
        now = time.monotonic()
        with self._connections_lock:
            self._connections[request] = _Wait(now + self.settings.request_timeout_s, now)
            self.metrics.connections = len(self._connections)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Unregister the connection and close it, unless it has been refused: then it is closed when its client has read that."""
        if request in self._refusals:
            return
        with self._connections_lock:
            self._connections.pop(request, None)
            self.metrics.connections = len(self._connections)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are normal; everything else is logged."""
        _LOG.debug("connection of %s failed", client_address, exc_info=True)

    def _busy(self) -> bool:
        """True while some connection waits for its answer to be computed or written."""
        with self._connections_lock:
            return any(wait.deadline == float("inf") for wait in self._connections.values())


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def _binding(settings: ServeSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"{settings.host}:{settings.port} cannot be served on: {error.strerror}.") from error


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _LOG.debug("already closed")


def serve_until(server: ModelServer, wait: Callable[[], object]) -> None:
    """Serve until `wait` returns (a signal came), then stop with grace."""
    server.start()
    try:
        wait()
    finally:
        server.stop()
