"""The server's two APIs and its limits, over real connections."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Sequence

import httpx
import pytest
from PIL import Image

from roboref_node.serving import Answer, ImageLimits, ModelServer, Question, ServeSettings
from roboref_node.status import Refused, Status

TOKEN = "a-token-for-tests"


def chat(encode, *, pictures: int = 1, text: str = "Where?", **changes) -> dict:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encode(64 + i, 48)}"}} for i in range(pictures)]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **changes}


class TestQuery:
    def test_the_published_api(self, start, client, query) -> None:
        reply = client.post(f"{start().url}/query", json=query)
        assert reply.status_code == 200
        assert reply.json() == {"result": 1, "answer": "64x48|none|Please point to the cup.|256"}

    def test_depth_is_taken_when_enabled_estimated_when_missing_and_ignored_when_not_enabled(self, start, client, query, encode) -> None:
        url = f"{start().url}/query"
        depth = [encode(32, 24)]
        answers = [
            client.post(url, json={**query, "enable_depth": 1, "depth_url": depth}).json()["answer"],
            client.post(url, json={**query, "enable_depth": 1}).json()["answer"],
            client.post(url, json={**query, "enable_depth": 0, "depth_url": depth}).json()["answer"],
        ]
        assert [answer.split("|")[1] for answer in answers] == ["32x24", "estimate", "none"]

    def test_hello_and_health_need_no_token(self, start) -> None:
        url = start().url
        assert httpx.get(f"{url}/").text.startswith("Hello, World!")
        assert httpx.get(f"{url}/health").json()["status"] == "ok"

    @pytest.mark.parametrize(
        ("change", "code", "word"),
        [
            ({"image_url": []}, 400, "one image"),
            ({"image_url": "x"}, 400, "lists"),
            ({"image_url": ["***"]}, 400, "base64"),
            ({"image_url": ["data:image/png;base64,AAAA"]}, 400, "data:"),
            ({"image_url": [base64.b64encode(b"GIF89a").decode()]}, 400, "PNG"),
            ({"image_url": [7]}, 400, "base64 string"),
            ({"enable_depth": 2}, 400, "enable_depth"),
            ({"text": ""}, 400, "text"),
            ({"text": None}, 400, "text"),
            ({"text": "x" * 5000}, 413, "4000"),
        ],
    )
    def test_wrong_fields_are_named(self, start, client, query, change: dict, code: int, word: str) -> None:
        reply = client.post(f"{start().url}/query", json={**query, **change})
        assert reply.status_code == code
        assert reply.json()["result"] == 0 and word in reply.json()["error"]["message"]

    @pytest.mark.parametrize("text", ["\ud800", "the red \udcff cup"])
    def test_half_a_character_is_a_bad_request(self, start, client, query, encode, text: str) -> None:
        url = start().url
        for path, body in (("/query", {**query, "text": text}), ("/v1/chat/completions", chat(encode, text=text))):
            reply = client.post(url + path, content=json.dumps(body), headers={"content-type": "application/json"})
            assert reply.status_code == 400 and "surrogate" in reply.json()["error"]["message"]

    def test_metric_depth_files_are_refused_instead_of_saturated(self, start, client, query, encode) -> None:
        body = {**query, "enable_depth": 1, "depth_url": [encode(64, 48, mode="I;16")]}
        reply = client.post(f"{start().url}/query", json=body)
        assert reply.status_code == 400 and "8 bit" in reply.json()["error"]["message"]

    def test_a_damaged_picture_is_a_bad_request(self, start, client, query) -> None:
        data = base64.b64decode(query["image_url"][0])
        reply = client.post(f"{start().url}/query", json={**query, "image_url": [base64.b64encode(data[: len(data) // 2]).decode()]})
        assert reply.status_code == 400

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("side", [4_000, 12_000, 50_000])
    def test_a_picture_that_would_unpack_to_gigabytes_is_refused_by_its_header(self, start, client, query, side: int) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")
        started = time.monotonic()
        reply = client.post(f"{start().url}/query", json={**query, "image_url": [base64.b64encode(bomb).decode()]})
        assert reply.status_code == 413 and time.monotonic() - started < 5
        assert "--max-pixels" in reply.json()["error"]["message"]

    def test_jpeg_and_grey_pictures_are_pictures_too(self, start, client, query, encode) -> None:
        stream = io.BytesIO()
        Image.new("L", (20, 10)).save(stream, "PNG")
        for data in (encode(20, 10, kind="JPEG"), base64.b64encode(stream.getvalue()).decode()):
            assert client.post(f"{start().url}/query", json={**query, "image_url": [data]}).json()["answer"].startswith("20x10|")


class TestChat:
    def test_a_completion(self, start, client, encode) -> None:
        reply = client.post(f"{start(model='mini').url}/v1/chat/completions", json=chat(encode, max_tokens=7)).json()
        assert reply["object"] == "chat.completion" and reply["model"] == "mini"
        assert reply["choices"][0]["message"] == {"role": "assistant", "content": "64x48|none|Where?|7"}
        assert reply["choices"][0]["finish_reason"] == "stop"
        assert reply["usage"] == {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}

    @pytest.mark.parametrize(
        ("change", "tokens"),
        [
            ({}, 256),
            ({"max_tokens": None}, 256),
            ({"max_completion_tokens": 3, "max_tokens": 7}, 3),
            ({"max_completion_tokens": None, "max_tokens": 3}, 3),
            ({"max_completion_tokens": 3, "max_tokens": None}, 3),
            ({"max_tokens": 0}, None),
            ({"max_tokens": False}, None),
            ({"max_completion_tokens": 0, "max_tokens": 7}, None),
            ({"max_completion_tokens": ""}, None),
        ],
    )
    def test_the_limit_of_an_answer_has_two_names(self, start, client, encode, change: dict, tokens: int | None) -> None:
        reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, **change))
        if tokens is None:
            assert reply.status_code == 400 and "max_tokens" in reply.json()["error"]["message"]
        else:
            assert reply.json()["choices"][0]["message"]["content"].endswith(f"|{tokens}")

    def test_the_second_picture_is_the_depth_map(self, start, client, encode) -> None:
        reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, pictures=2)).json()
        assert reply["choices"][0]["message"]["content"].split("|")[:2] == ["64x48", "65x48"]

    def test_an_answer_that_was_cut_off_says_so(self, start, client, encode) -> None:
        server = start(lambda questions: [Answer("[(0.5", 3, 2, False) for _ in questions])
        reply = client.post(f"{server.url}/v1/chat/completions", json=chat(encode)).json()
        assert reply["choices"][0]["finish_reason"] == "length"

    def test_the_model_is_listed(self, start, client) -> None:
        reply = client.get(f"{start(model='mini').url}/v1/models").json()
        assert [entry["id"] for entry in reply["data"]] == ["mini"]

    @pytest.mark.parametrize("name", ["mini", "mini 2", "some/mini"])
    def test_the_model_can_be_asked_for_by_its_name_and_no_other(self, start, client, encode, name: str) -> None:
        url = start(model=name).url
        assert client.get(f"{url}/v1/models/{name}").json() == client.get(f"{url}/v1/models").json()["data"][0]
        assert client.get(f"{url}/v1/models/gpt-4").status_code == 404
        for model, code in ((name, 200), (None, 200), ("gpt-4", 404), ("", 404), ([name], 404)):
            reply = client.post(f"{url}/v1/chat/completions", json=chat(encode, model=model))
            assert reply.status_code == code
            if code == 404:
                assert reply.json()["error"]["code"] == "model_not_found" and repr(name) in reply.json()["error"]["message"]

    def test_values_that_change_nothing_are_taken(self, start, client, encode) -> None:
        defaults = {
            "n": 1,
            "best_of": 1,
            "temperature": 0.0,
            "top_p": 1.0,
            "frequency_penalty": 0,
            "presence_penalty": 0.0,
            "logit_bias": {},
            "stream": False,
            "logprobs": False,
            "top_logprobs": 0,
            "stop": [],
            "response_format": {"type": "text"},
            "tools": [],
            "tool_choice": "auto",
            "functions": [],
            "seed": 7,
            "user": "robot",
            "metadata": {},
            "store": False,
        }
        url = f"{start().url}/v1/chat/completions"
        assert client.post(url, json=chat(encode, **defaults)).status_code == 200
        assert client.post(url, json=chat(encode, **dict.fromkeys(defaults))).status_code == 200

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"stream": True}, "stream"),
            ({"n": 3}, "n = "),
            ({"temperature": 0.7}, "temperature"),
            ({"logprobs": True}, "logprobs"),
            ({"n": True}, "n = "),
            ({"stream": 0}, "stream"),
            ({"top_p": 0.9}, "top_p"),
            ({"stop": ["]"]}, "stop"),
            ({"stop": ")"}, "stop"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"top_logprobs": 5}, "top_logprobs"),
            ({"logit_bias": {"5": 100}}, "logit_bias"),
            ({"functions": [{"name": "f"}]}, "functions"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"best_of": 2}, "best_of"),
            ({"frequency_penalty": 0.5}, "frequency_penalty"),
            ({"presence_penalty": -1}, "presence_penalty"),
            ({"max_tokens": 100_000}, "max_tokens"),
            ({"max_tokens": "many"}, "max_tokens"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
            ({"messages": [{"role": "user", "content": "no picture"}]}, "picture"),
            ({"messages": [{"role": "user", "content": 3}]}, "content"),
            ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "part"),
        ],
    )
    def test_what_is_not_supported_is_refused_and_not_ignored(self, start, client, encode, change: dict, word: str) -> None:
        reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, **change))
        assert reply.status_code == 400 and word in reply.json()["error"]["message"]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "file:///etc/passwd", "data:text/html;base64,AAAA", "", None])
    def test_pictures_are_never_fetched(self, start, client, url) -> None:
        body = {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]}]
        }
        reply = client.post(f"{start().url}/v1/chat/completions", json=body)
        assert reply.status_code == 400 and "data URI" in reply.json()["error"]["message"]


class TestAccess:
    @pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic x", "Bearer", f"bearer{TOKEN}", "Bearer \xe9"])
    def test_without_the_token_nothing_is_answered(self, start, query, header) -> None:
        url = start().url
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        with httpx.Client(headers=headers, trust_env=False) as http:
            for method, path in (("POST", "/query"), ("POST", "/v1/chat/completions"), ("GET", "/metrics"), ("GET", "/v1/models")):
                reply = http.request(method, url + path, json=query if method == "POST" else None)
                assert reply.status_code == 401
                assert TOKEN not in reply.text

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
    def test_the_scheme_may_be_in_any_case(self, start, scheme: str) -> None:
        reply = httpx.get(f"{start().url}/metrics", headers={"authorization": f"{scheme} {TOKEN}"}, trust_env=False)
        assert reply.status_code == 200

    def test_the_refusal_of_a_long_request_reaches_its_sender(self, start) -> None:
        reply = httpx.post(f"{start().url}/query", json={"text": "x" * 5_000_000}, trust_env=False)
        assert reply.status_code == 401

    def test_without_a_token_only_this_machine_is_served(self, start, query) -> None:
        with pytest.raises(Refused) as refusal:
            ServeSettings(host="0.0.0.0", token="")
        assert refusal.value.status is Status.BAD_REQUEST
        assert httpx.post(f"{start(token='').url}/query", json=query, trust_env=False).status_code == 200

    def test_a_token_is_made_up_when_none_is_given(self) -> None:
        assert len(ServeSettings().token) >= 32 and ServeSettings().token != ServeSettings().token

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            *(({"port": port}, "--port") for port in (-1, 65536, 99999)),
            *(({"host": host}, "--host") for host in ("", "\0", "a..b")),
            *(({"grace_s": seconds}, "--grace") for seconds in (-1.0, float("nan"), float("inf"))),
            *(({"answer_timeout_s": seconds}, "--answer-timeout") for seconds in (-1.0, 0.0, float("nan"), 1e300)),
            *(({name: 0}, f"--{name.replace('_', '-')}") for name in ("max_batch", "max_queue", "max_per_client", "max_connections")),
            ({"images": ImageLimits(max_pixels=0)}, "--max-pixels"),
            ({"max_body_bytes": -1}, "--max-body-bytes"),
            *(({"token": token}, "ROBOREF_TOKEN") for token in ("schl\xfcssel", "a\nb", "a b")),
        ],
    )
    def test_settings_that_cannot_work_are_named_before_anything_starts(self, change: dict, word: str) -> None:
        with pytest.raises(Refused) as refusal:
            ServeSettings(**change)
        assert refusal.value.status is Status.BAD_REQUEST and word in refusal.value.sentence
        assert all(character.isascii() and character.isprintable() for character in refusal.value.sentence)

    def test_several_wrong_settings_are_named_together(self) -> None:
        with pytest.raises(Refused) as refusal:
            ServeSettings(port=-1, max_batch=0)
        assert "--port" in refusal.value.sentence and "--max-batch" in refusal.value.sentence

    def test_an_address_in_use_is_a_sentence(self, start) -> None:
        port = start().server_address[1]
        with pytest.raises(Refused) as refusal:
            start(port=port)
        assert refusal.value.status is Status.BAD_REQUEST and str(port) in refusal.value.sentence


class TestLimits:
    def test_unknown_routes_and_methods(self, start, client) -> None:
        url = start().url
        assert client.get(f"{url}/query").status_code == 404
        assert client.post(f"{url}/nothing", json={}).status_code == 404
        reply = client.delete(f"{url}/query")
        assert reply.status_code == 501 and reply.json()["error"]["code"] == 501

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
    """Takes `seconds` per batch and remembers what it answered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.answered: list[str] = []
        self.busy = threading.Event()

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.busy.set()
        time.sleep(self.seconds)
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
        slow, results = Slow(0.4), {}
        server = start(slow, max_batch=1)
        first = self.post(server, query, "first", results)
        assert slow.busy.wait(5)
        second = self.post(server, query, "second", results)
        while server.metrics.queue_length < 1:
            time.sleep(0.01)
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
