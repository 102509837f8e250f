"""Where the server says no, and how it ends: limits, hostile connections, shutting down."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Sequence

import httpx
import pytest

from roboref_node.serving import Answer, ModelServer, Question

TOKEN = "a-token-for-tests"
HALF_SENT = (
    f"POST /query HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{".encode()
)
"""Its sender keeps its place until the rest has come in."""


class TestLimits:
    def test_unknown_routes_and_methods(self, start, client) -> None:
        url = start().url
        assert client.get(f"{url}/query").status_code == 404
        assert client.post(f"{url}/nothing", json={}).status_code == 404
        reply = client.delete(f"{url}/query")
        assert reply.status_code == 501 and reply.json()["error"]["code"] == 501

    @pytest.mark.parametrize("path", ["/health", "/nothing", "/metrics"])
    def test_head_is_get_without_the_content(self, start, client, path: str) -> None:
        server = start()
        full = client.get(f"{server.url}{path}")
        with socket.create_connection(server.server_address[:2], timeout=5) as connection:
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n".encode())
            reply = b"".join(iter(lambda: connection.recv(4096), b""))
        assert reply.startswith(f"HTTP/1.1 {full.status_code} ".encode()) and b"content-length: " in reply
        assert reply.endswith(b"\r\n\r\n")

    def test_a_body_that_is_too_long_is_refused_by_its_length(self, start, client) -> None:
        reply = client.post(f"{start(max_body_bytes=1000).url}/query", json={"text": "x" * 2_000_000})
        assert reply.status_code == 413 and "1000" in reply.json()["error"]["message"]

    @pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
    def test_bodies_that_are_no_json_object(self, start, client, content: bytes) -> None:
        reply = client.post(f"{start().url}/query", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 400

    def test_other_content_types_and_chunked_bodies_are_refused(self, start, client, query) -> None:
        url = f"{start().url}/query"
        assert client.post(url, content=json.dumps(query), headers={"content-type": "text/plain"}).status_code == 415
        chunks = iter([json.dumps(query).encode()])
        assert client.post(url, content=chunks, headers={"content-type": "application/json"}).status_code == 411

    def test_one_connection_serves_many_requests(self, start, client, query) -> None:
        server = start()
        for _ in range(3):
            assert client.post(f"{server.url}/query", json=query).status_code == 200
        assert "roboref_connections 1\n" in client.get(f"{server.url}/metrics").text

    @pytest.mark.parametrize(
        ("request_line", "headers", "codes"),
        [
            ("GET /health", "content-length: 38", [200]),
            ("GET /health", "transfer-encoding: chunked", [200]),
            ("GET /health", "content-length : 38", [200]),
            ("GET /nothing", "content-length: 38", [404]),
            ("POST /query", "content-type: application/json\r\ncontent-length: 0\r\ncontent-length: 38", [400]),
            ("POST /query", "content-type: application/json\r\ncontent-length: 38\r\ncontent-length: 0", [400]),
            ("POST /query", "content-type: application/json\r\nx\r\ncontent-length: 38", [400]),
            ("GET /health", "content-length: 0", [200, 404]),
        ],
    )
    def test_no_body_is_taken_for_the_next_request(self, start, request_line: str, headers: str, codes: list[int]) -> None:
        server = start()
        body = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        with socket.create_connection(server.server_address[:2], timeout=5) as connection:
            connection.sendall(f"{request_line} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n{headers}\r\n\r\n{body}".encode())
            connection.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: connection.recv(4096), b""))
        assert [int(part[:3]) for part in reply.split(b"HTTP/1.1 ")[1:]] == codes

    @pytest.mark.parametrize("part", ["line", "headers", "body"])
    def test_a_request_that_drips_in_is_hung_up_on(self, start, part: str) -> None:
        server = start(request_timeout_s=0.6)
        head = {"line": "", "headers": "POST /query HTTP/1.1\r\n"}.get(
            part,
            f"POST /query HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n",
        )
        with socket.create_connection(server.server_address[:2]) as connection:
            connection.sendall(head.encode())
            started = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - started < 5:
                    connection.sendall(b"x")
                    time.sleep(0.05)
            assert time.monotonic() - started < 4

    def idle(self, server: ModelServer, count: int, sent: bytes = b"") -> list[socket.socket]:
        """Connections that send no complete request, and are known to the server."""
        connections = [socket.create_connection(server.server_address[:2], timeout=5) for _ in range(count)]
        for connection in connections:
            connection.sendall(sent)
        deadline = time.monotonic() + 5
        while server.metrics.connections < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return connections

    def test_connections_beyond_the_limit_are_told_so(self, start, client) -> None:
        server = start(max_connections=2)
        idle = self.idle(server, 2)
        with socket.create_connection(server.server_address[:2], timeout=5) as third:
            reply = b"".join(iter(lambda: third.recv(4096), b""))
        assert reply.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in reply and b"--max-connections" in reply
        for connection in idle:
            connection.close()
        deadline = time.monotonic() + 5
        while server.metrics.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.get(f"{server.url}/health").status_code == 200
        assert 'route="other",code="503"} 1\n' in client.get(f"{server.url}/metrics").text

    def test_a_client_that_is_still_sending_reads_its_refusal_too(self, start, query) -> None:
        """With asyncio, as the clients of robots: there a write that fails ends the reading too."""

        async def ask(url: str, size: int) -> httpx.Response:
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False) as http:
                return await http.post(url, json={**query, "text": "x" * size})

        server = start(max_connections=2)
        idle = self.idle(server, 2, HALF_SENT)
        for size in (1_000, 100_000, 8_000_000):
            reply = asyncio.run(ask(f"{server.url}/query", size))
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert "--max-connections" in reply.json()["error"]["message"]
        for connection in idle:
            connection.close()

    def test_refused_clients_that_never_stop_sending_are_closed(self, start) -> None:
        server = start(max_connections=2)
        idle = self.idle(server, 2, HALF_SENT)
        first = socket.create_connection(server.server_address[:2], timeout=5)
        assert first.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
        more = [socket.create_connection(server.server_address[:2], timeout=5) for _ in range(2)]  # no more than these are kept
        assert all(connection.recv(1 << 16).startswith(b"HTTP/1.1 503 ") for connection in more)
        for connection in (first, more[1]):
            started = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - started < 8:
                    connection.sendall(b"x")
                    time.sleep(0.02)
            assert time.monotonic() - started < 6
        for connection in (*idle, *more, first):
            connection.close()

    @pytest.mark.parametrize("sent", [b"", b"POST /query HTTP/1.1\r\ncontent-le"])
    def test_idle_connections_make_room(self, start, client, query, sent: bytes) -> None:
        server = start(max_connections=8)
        idle = self.idle(server, 8, sent)
        time.sleep(1.2)
        assert client.post(f"{server.url}/query", json=query).status_code == 200
        hung_up = [connection.recv(1, socket.MSG_DONTWAIT) for connection in idle[:1]]
        assert hung_up == [b""]
        for connection in idle:
            connection.close()

    def test_a_connection_that_waits_for_its_answer_keeps_its_place(self, start, query) -> None:
        slow, results = Slow(2.5), {}
        server = start(slow, max_connections=1)
        thread = threading.Thread(target=lambda: results.update(code=self.ask(server, query)))
        thread.start()
        assert slow.busy.wait(5)
        time.sleep(1.2)
        with socket.create_connection(server.server_address[:2], timeout=5) as second:
            assert second.recv(4096).startswith(b"HTTP/1.1 503 ")
        thread.join()
        assert results == {"code": 200}

    def ask(self, server: ModelServer, query: dict) -> int:
        return httpx.post(f"{server.url}/query", json=query, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10).status_code


class Slow:
    """Takes `seconds` per batch, or until it may go on, and remembers what it answered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.answered: list[str] = []
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.busy.set()
        self.go_on.wait(self.seconds)
        self.answered += [q.text for q in questions]
        return [Answer(q.text, 1, 1, True) for q in questions]


class TestLifetime:
    def post(self, server: ModelServer, query: dict, text: str, results: dict) -> threading.Thread:
        def work() -> None:
            try:
                reply = httpx.post(
                    f"{server.url}/query", json={**query, "text": text}, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
                )
                results[text] = reply.status_code
            except httpx.HTTPError as error:
                results[text] = type(error).__name__

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def test_stopping_finishes_what_is_under_way_and_refuses_the_rest(self, start, query) -> None:
        slow, results = Slow(20), {}
        server = start(slow, max_batch=1, grace_s=10.0)
        first = self.post(server, query, "first", results)
        assert slow.busy.wait(5)
        second = self.post(server, query, "second", results)
        while server.metrics.queue_length < 1:
            time.sleep(0.01)
        threading.Timer(0.4, slow.go_on.set).start()
        server.stop()
        first.join()
        second.join()
        assert results == {"first": 200, "second": 200}
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")

    def test_stopping_waits_no_longer_than_the_grace_period(self, start, query) -> None:
        slow, results = Slow(3), {}
        server = start(slow, grace_s=0.3)
        thread = self.post(server, query, "long", results)
        assert slow.busy.wait(5)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 2.5
        thread.join()
        assert results["long"] != 200

    def test_an_answer_that_takes_too_long_is_a_timeout(self, start, client, query) -> None:
        server = start(Slow(1.5), answer_timeout_s=0.3)
        reply = client.post(f"{server.url}/query", json=query)
        assert reply.status_code == 504 and "--answer-timeout" in reply.json()["error"]["message"]

    def test_the_question_of_a_client_that_hung_up_is_dropped_from_the_queue(self, start, query) -> None:
        slow, results = Slow(1.0), {}
        server = start(slow, max_batch=1)
        first = self.post(server, query, "first", results)
        assert slow.busy.wait(5)
        with httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}, timeout=0.4) as impatient, pytest.raises(httpx.ReadTimeout):
            impatient.post(f"{server.url}/query", json={**query, "text": "impatient"})
        last = self.post(server, query, "last", results)
        first.join()
        last.join()
        assert slow.answered == ["first", "last"]

    def test_a_model_that_fails_is_a_server_error_and_the_server_lives_on(self, start, client, query) -> None:
        def fragile(questions: Sequence[Question]) -> list[Answer]:
            if questions[0].text == "break":
                raise RuntimeError("out of memory")
            return [Answer("fine", 1, 1, True) for _ in questions]

        server = start(fragile)
        reply = client.post(f"{server.url}/query", json={**query, "text": "break"})
        assert reply.status_code == 500 and "out of memory" in reply.json()["error"]["message"]
        assert client.post(f"{server.url}/query", json=query).json()["answer"] == "fine"

    def test_what_is_refused_before_it_has_a_route_is_counted(self, start, client) -> None:
        server = start()
        assert client.delete(f"{server.url}/query").status_code == 501
        assert client.get(f"{server.url}/health", headers={"x": "a" * 70_000}).status_code == 431
        text = client.get(f"{server.url}/metrics").text
        assert 'requests_total{route="other",code="431"} 1\n' in text and 'requests_total{route="other",code="501"} 1\n' in text

    def test_the_name_of_a_model_cannot_break_the_metrics(self, start, client) -> None:
        server = start(model='my "best"\\model')
        assert client.get(f"{server.url}/v1/models/my%20%22best%22%5Cmodel").status_code == 200
        text = client.get(f"{server.url}/metrics").text
        assert 'requests_total{route="/v1/models/my \\"best\\"\\\\model",code="200"} 1\n' in text

    def test_metrics_count_requests_by_route_and_status(self, start, client, query) -> None:
        server = start()
        client.post(f"{server.url}/query", json=query)
        client.post(f"{server.url}/query", json={})
        client.get(f"{server.url}/some/other/path")
        text = client.get(f"{server.url}/metrics").text
        assert 'roboref_requests_total{route="/query",code="200"} 1\n' in text
        assert 'roboref_requests_total{route="/query",code="400"} 1\n' in text
        assert 'roboref_requests_total{route="other",code="404"} 1\n' in text
        assert "roboref_request_seconds_count 3\n" in text
