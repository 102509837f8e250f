"""One connection of the server: reads requests within limits, checks the token, routes, and answers in JSON whatever happens."""

from __future__ import annotations

import concurrent.futures
import http.server
import json
import logging
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from roboref_node.serving import chat_api, query_api
from roboref_node.serving.question import Answer, Question, RequestError

if TYPE_CHECKING:
    from roboref_node.serving.server import ModelServer

_LOG = logging.getLogger(__name__)
_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_POLL_S = 0.25
_LINGER_S = 2.0


@dataclass(frozen=True)
class Text:
    """A reply that is no JSON.

    Args:
        content: The text.
        kind: Its content type.
    """

    content: str
    kind: str


Reply = dict[str, Any] | Text


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """What is asked for, and who answers.

    GET and HEAD ``/``, ``/health``, ``/metrics``, ``/v1/models``, ``/v1/models/NAME``; POST ``/query``, ``/v1/chat/completions``.
    """

    server: ModelServer
    protocol_version = "HTTP/1.1"
    server_version = "roboref"
    sys_version = ""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Bound every read and write of the socket."""
        super().setup()
        self.connection.settimeout(self.server.settings.request_timeout_s)
        self._unread_body = False

    def do_GET(self) -> None:
        """Answer GET."""
        self._respond(
            {
                "/": self._hello,
                "/health": self._health,
                "/metrics": self._metrics,
                "/v1/models": self._models,
                f"/v1/models/{self.server.settings.model}": self._model,
            }
        )

    def do_HEAD(self) -> None:
        """Answer HEAD, as GET without the content."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer POST."""
        self._respond({"/query": self._query, "/v1/chat/completions": self._chat})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted in /metrics, and logged for debugging only."""
        _LOG.debug("%s %s", self.client_address[0], format % args)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the HTTP layer (bad request line, unsupported method) are JSON too."""
        self.close_connection = True
        self.server.metrics.observe_request("other", int(code), 0.0)
        self._send(int(code), chat_api.write_error(RequestError(int(code), message or "bad request")))

    def _respond(self, routes: dict[str, Callable[[], Reply]]) -> None:
        started = time.monotonic()
        self._unread_body = self.command == "POST" or self._has_body()
        if self.command != "POST":  # what is left unread would be taken for the next request
            self.close_connection = self.close_connection or self._unread_body
        route = unquote(self.path.partition("?")[0])
        known = route in routes
        try:
            if not known:
                raise RequestError(404, f"{self.command} {route[:80]} does not exist here")
            if not (self.server.settings.token or self.server.is_addressed_here(self.headers.get("host", ""))):
                raise RequestError(403, "without a token only requests to this machine by its own name are answered")
            if route not in ("/", "/health") and not self.server.is_authorized(self.headers.get("authorization")):
                raise RequestError(401, "this needs the header `Authorization: Bearer <token>` with the token of the server")
            code, content = 200, routes[route]()
        except RequestError as error:
            self.close_connection = self.close_connection or self._unread_body
            code, content = error.http_status, chat_api.write_error(error)
        except (ConnectionError, TimeoutError):
            raise  # the client is gone: nothing to answer
        except Exception as error:
            _LOG.exception("%s %s failed", self.command, route)
            self.close_connection = True
            code, content = 500, chat_api.write_error(RequestError(500, f"{type(error).__name__}: {error}"))
        self.server.metrics.observe_request(route if known else "other", code, time.monotonic() - started)
        self._send(code, content)
        self.server.expect_request(self.connection, self.server.settings.request_timeout_s)
        if self._unread_body:
            self._discard_body()

    def _has_body(self) -> bool:
        """True as well when the headers cannot be trusted to say so: a malformed line hides those that follow."""
        lengths = self.headers.get_all("content-length", ["0"])
        return any(length.strip() != "0" for length in lengths) or "transfer-encoding" in self.headers or bool(self.headers.defects)

    def _discard_body(self) -> None:
        """Closing with unread data resets the connection, and the client would see that instead of the refusal just sent."""
        self.connection.shutdown(socket.SHUT_WR)
        self.server.expect_request(self.connection, _LINGER_S)
        while self.rfile.read1(1 << 16):
            pass

    def _send(self, code: int, content: Reply) -> None:
        text = content if isinstance(content, Text) else Text(json.dumps(content), _JSON)
        body = text.content.encode()
        if self.server.stopping:
            self.close_connection = True
        self.send_response(code)
        self.send_header("content-type", text.kind)
        self.send_header("content-length", str(len(body)))
        if code == 401:
            self.send_header("www-authenticate", "Bearer")
        if code in (429, 503):
            self.send_header("retry-after", "1")
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hello(self) -> Text:
        return Text("Hello, World! This is roboref serve.", "text/plain; charset=utf-8")

    def _health(self) -> dict[str, Any]:
        server = self.server
        if server.stopping:
            raise RequestError(503, "the server is shutting down")
        uptime_s = round(time.monotonic() - server.started, 1)
        return {"status": "ok", "model": server.settings.model, "uptime_s": uptime_s, "queue_length": server.metrics.queue_length}

    def _metrics(self) -> Text:
        return Text(self.server.metrics.render(), _METRICS)

    def _models(self) -> dict[str, Any]:
        return chat_api.write_models(self.server.settings.model)

    def _model(self) -> dict[str, Any]:
        return chat_api.write_model(self.server.settings.model)

    def _query(self) -> dict[str, Any]:
        settings = self.server.settings
        question = query_api.read_query(self._body(), settings.images, self._client(), settings.new_tokens)
        return query_api.write_query(self._answer(question))

    def _chat(self) -> Reply:
        settings = self.server.settings
        request = chat_api.read_chat(
            self._body(),
            settings.images,
            self._client(),
            new_tokens=settings.new_tokens,
            max_new_tokens=max(settings.new_tokens, settings.max_new_tokens),
            model=settings.model,
        )
        answer = self._answer(request.question)
        if request.stream:
            return Text(chat_api.write_chat_events(answer, request), "text/event-stream")
        return chat_api.write_chat(answer, request)

    def _client(self) -> str:
        """Who asks: the address, and a name that clients behind one address may give themselves."""
        return f"{self.client_address[0]}/{self.headers.get('x-client-id', '')[:64]}"

    def _body(self) -> dict[str, Any]:
        """The JSON object of the request.

        Raises:
            RequestError: 411, 413, 415 or 400.
        """
        limit = self.server.settings.max_body_bytes
        # A web page may post plain text to this machine from anywhere, but JSON only after a preflight that is not answered.
        if self.headers.get_content_type() != _JSON:
            raise RequestError(415, f"the content type must be {_JSON}")
        lengths = set(self.headers.get_all("content-length", [""]))
        if len(lengths) > 1 or self.headers.defects:
            raise RequestError(400, "the headers are malformed, or hold two different content-lengths")
        length = lengths.pop()
        if not (length.isascii() and length.isdigit()) or "transfer-encoding" in self.headers:
            raise RequestError(411, "the header content-length is needed, and transfer-encoding is not supported")
        if len(length) > 15 or int(length) > limit:
            raise RequestError(413, f"the request has {length[:20]} bytes and the limit is {limit} (`--max-body-bytes`)")
        self.server.expect_body(self.connection)
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise ConnectionAbortedError("the client hung up within its request")
        self._unread_body = False
        self.server.expect_answer(self.connection)
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            raise RequestError(400, "the request is not JSON") from None
        if not isinstance(body, dict):
            raise RequestError(400, "the request is not a JSON object")
        return body

    def _answer(self, question: Question) -> Answer:
        """Wait for the model, for as long as the client does.

        Raises:
            RequestError: 429, 500, 503, 504; ConnectionAbortedError when the client hung up.
        """
        limit_s = self.server.settings.answer_timeout_s
        deadline = time.monotonic() + limit_s
        future: Future[Answer] = self.server.batcher.submit(question)
        while True:
            try:
                return future.result(min(_POLL_S, max(0.0, deadline - time.monotonic())))
            except (TimeoutError, concurrent.futures.TimeoutError):
                if _is_gone(self.connection):
                    future.cancel()
                    raise ConnectionAbortedError("the client hung up") from None
                if time.monotonic() >= deadline:
                    future.cancel()
                    raise RequestError(504, f"no answer within {limit_s:g} s (`--answer-timeout`)") from None


def _is_gone(connection: socket.socket) -> bool:
    """True when the other side has closed the connection."""
    poll = select.poll()  # unlike select, not limited to file numbers below 1024
    try:
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
