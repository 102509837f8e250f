"""Every way in which a server can misbehave ends as a typed refusal, in time, with the number and the setting in the sentence."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import sys
import threading
import time
from email.utils import formatdate

import pytest

from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.status import Refused, Status

GOOD = {"result": 1, "answer": "[(0.5, 0.5)]"}


def client(url: str, **changes) -> HttpClient:
    settings = {"connect_timeout_s": 1.0, "read_timeout_s": 0.4, "total_timeout_s": 1.5, "retries": 1, "retry_wait_s": 0.01}
    return HttpClient(HttpSettings(url, **{**settings, **changes}))


def refused(http: HttpClient, **arguments) -> Refused:
    with pytest.raises(Refused) as refusal:
        http.post_json("/query", {"text": "?"}, **arguments)
    http.close()
    return refusal.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_good_server_is_asked_once_and_its_object_comes_back(serve) -> None:
    server = serve(lambda exchange: exchange.send_json(GOOD))
    http = client(server.url)
    assert http.post_json("/query", {"text": "?"}) == GOOD
    assert [exchange.request_line.split()[:2] for exchange in server.exchanges] == [["POST", "/query"]]
    assert server.exchanges[0].json == {"text": "?"}
    http.close()
    assert http.post_json("/query", {"text": "again"}) == GOOD  # closing is not for ever
    http.close()


def test_a_refused_connection_is_model_unavailable_and_names_address_attempts_and_setting() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    refusal = refused(client(url))
    assert refusal.status is Status.MODEL_UNAVAILABLE
    assert url in refusal.sentence and "2 attempts" in refusal.sentence and "`retries`" in refusal.sentence


def test_an_unknown_host_is_model_unavailable() -> None:
    assert refused(client("http://no-such-host.invalid:1")).status is Status.MODEL_UNAVAILABLE


def test_a_silent_server_times_out_after_the_read_timeout(serve) -> None:
    server = serve(lambda exchange: server.stopping.wait(20))
    started = time.monotonic()
    refusal = refused(client(server.url))
    assert refusal.status is Status.MODEL_TIMEOUT
    assert "0.4 s (`read_timeout_s`)" in refusal.sentence
    assert time.monotonic() - started < 1.5 + 1.0
    assert len(server.exchanges) == 1  # a slow model is not asked again while it works


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_bytes_times_out_after_the_total_timeout(serve, part: str) -> None:
    def drip(exchange) -> None:
        if part == "body":
            exchange.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not server.stopping.wait(0.1):
            exchange.socket.sendall(b"x")

    server = serve(drip)
    started = time.monotonic()
    refusal = refused(client(server.url))
    assert refusal.status is Status.MODEL_TIMEOUT
    assert "1.5 s (`total_timeout_s`)" in refusal.sentence
    assert 1.3 < time.monotonic() - started < 4


def test_an_error_page_is_model_unavailable_with_its_text_and_without_its_markup(serve) -> None:
    page = b"<html><head><title>500</title></head><body><h1>CUDA out of memory</h1>\x00\xff</body></html>"
    server = serve(lambda exchange: exchange.send("500 Internal Server Error", page, "content-type: text/html"))
    refusal = refused(client(server.url))
    assert refusal.status is Status.MODEL_UNAVAILABLE
    assert "answers 500" in refusal.sentence and "CUDA out of memory" in refusal.sentence and "<h1>" not in refusal.sentence
    assert len(server.exchanges) == 1


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_busy_server_is_asked_again_and_may_then_answer(serve, status: str) -> None:
    def busy_once(exchange) -> None:
        if len(server.exchanges) == 1:
            exchange.send(status, b"later")
        else:
            exchange.send_json(GOOD)

    server = serve(busy_once)
    http = client(server.url)
    assert http.post_json("/query", {}) == GOOD
    http.close()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("as_date", [False, True])
def test_a_busy_server_says_when_it_may_be_asked_again(serve, status: str, as_date: bool) -> None:
    asked: list[float] = []

    def busy_once(exchange) -> None:
        asked.append(time.time())
        value = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        if len(asked) == 1:
            exchange.send(status, b"later", f"retry-after: {value}")
        else:
            exchange.send_json(GOOD)

    http = client(serve(busy_once).url, total_timeout_s=20.0)
    assert http.post_json("/query", {}) == GOOD
    assert 0.95 < asked[1] - asked[0] < 5  # a date has whole seconds
    http.close()


@pytest.mark.parametrize("value", ["3600", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_wants_to_be_left_alone_for_too_long_is_refused_at_once(serve, value: str) -> None:
    server = serve(lambda exchange: exchange.send("503 Service Unavailable", b"later", f"retry-after: {value}"))
    started = time.monotonic()
    refusal = refused(client(server.url, retries=3, total_timeout_s=5.0))
    assert refusal.status is Status.MODEL_UNAVAILABLE and refusal.details["http_status"] == 503
    assert len(server.exchanges) == 1 and time.monotonic() - started < 3


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "\u00b2", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 99 Dec 2999 23:59:59 GMT"])
def test_a_time_that_is_none_or_over_is_no_reason_to_wait(serve, value: str) -> None:
    server = serve(lambda exchange: exchange.send("503 Service Unavailable", b"later", f"retry-after: {value}"))
    started = time.monotonic()
    assert refused(client(server.url)).details["http_status"] == 503
    assert len(server.exchanges) == 2 and time.monotonic() - started < 1.4  # 1.5 s is the shortest of the times


def test_retries_are_bounded(serve) -> None:
    server = serve(lambda exchange: exchange.send("503 Service Unavailable", b"later"))
    refusal = refused(client(server.url, retries=3))
    assert refusal.status is Status.MODEL_UNAVAILABLE and refusal.details["http_status"] == 503
    assert len(server.exchanges) == 4


def test_a_redirect_is_not_followed(serve) -> None:
    elsewhere = serve(lambda exchange: exchange.send_json(GOOD))
    server = serve(lambda exchange: exchange.send("307 Temporary Redirect", b"", f"location: {elsewhere.url}/query"))
    refusal = refused(client(server.url))
    assert refusal.status is Status.MODEL_UNAVAILABLE and "redirects" in refusal.sentence
    assert elsewhere.exchanges == []


@pytest.mark.parametrize("body", [b"", b"not json", b'{"result": 1', b"[1, 2]", b"\xff\xfe", b"[" * 200_000])
def test_an_answer_that_is_no_json_object_is_unparseable(serve, body: bytes) -> None:
    server = serve(lambda exchange: exchange.send("200 OK", body))
    assert refused(client(server.url)).status is Status.UNPARSEABLE


def test_an_endless_answer_is_cut_at_the_limit(serve) -> None:
    sent = 0

    def endless(exchange) -> None:
        nonlocal sent
        exchange.socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += exchange.socket.send(b"x" * 65536)

    server = serve(endless)
    refusal = refused(client(server.url, max_response_bytes=100_000))
    assert refusal.status is Status.UNPARSEABLE and "100000 bytes (`max_response_bytes`)" in refusal.sentence
    assert sent < 50_000_000


def test_compressed_bombs_are_not_unpacked(serve) -> None:
    bomb = gzip.compress(json.dumps({"answer": "x" * 50_000_000}).encode())
    server = serve(lambda exchange: exchange.send("200 OK", bomb, "content-encoding: gzip"))
    refusal = refused(client(server.url))
    assert refusal.status is Status.UNPARSEABLE and "compressed" in refusal.sentence
    assert server.exchanges[0].headers["accept-encoding"] == "identity"


def test_a_connection_that_dies_in_the_answer_is_retried(serve) -> None:
    def half(exchange) -> None:
        if len(server.exchanges) == 1:
            exchange.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        else:
            exchange.send_json(GOOD)

    server = serve(half)
    http = client(server.url)
    assert http.post_json("/query", {}) == GOOD
    http.close()


def test_something_that_does_not_speak_http_is_model_unavailable(serve) -> None:
    server = serve(lambda exchange: exchange.socket.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"))
    assert refused(client(server.url)).status is Status.MODEL_UNAVAILABLE


def test_cancelling_gives_up_at_once_and_hangs_up(serve) -> None:
    hung_up, canceled = threading.Event(), threading.Event()

    def wait_for_hang_up(exchange) -> None:
        canceled.set()
        exchange.socket.settimeout(10)
        if exchange.socket.recv(1) == b"":
            hung_up.set()

    server = serve(wait_for_hang_up)
    started = time.monotonic()
    refusal = refused(client(server.url, read_timeout_s=10, total_timeout_s=10), canceled=canceled.is_set)
    assert refusal.status is Status.CANCELED
    assert time.monotonic() - started < 5
    assert hung_up.wait(2)


def test_a_failure_that_meets_a_cancellation_is_nobodys_lost_exception(monkeypatch, caplog) -> None:
    begun = threading.Event()
    loops = []

    async def fail_when_canceled(self, method, path, body):  # in life a matter of microseconds: 1 cancellation in 600
        loops.append(asyncio.get_running_loop())
        begun.set()
        try:
            await asyncio.sleep(10)
        finally:
            raise Refused(Status.MODEL_UNAVAILABLE, "too late")

    monkeypatch.setattr(HttpClient, "_exchange", fail_when_canceled)
    http = client("http://127.0.0.1:9")
    with pytest.raises(Refused, match="was canceled"):
        http.post_json("/query", {"text": "?"}, canceled=begun.is_set)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loops[0]).result(5)  # the exchange has ended behind its caller's back
    gc.collect()
    http.close()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_closing_ends_a_question_that_is_under_way(serve) -> None:
    asked = threading.Event()

    def hang(exchange) -> None:
        asked.set()
        server.stopping.wait(20)

    server = serve(hang)
    http = client(server.url, read_timeout_s=10, total_timeout_s=10)
    closer = threading.Thread(target=lambda: asked.wait(10) and http.close())
    closer.start()
    with pytest.raises(Refused) as refusal:
        http.post_json("/query", {})
    assert refusal.value.status is Status.CANCELED
    closer.join()


def test_a_restarted_server_is_used_again_without_further_ado(serve) -> None:
    port = free_port()
    http = client(f"http://127.0.0.1:{port}", retries=0)
    first = serve(lambda exchange: exchange.send_json(GOOD), port)
    assert http.post_json("/query", {}) == GOOD
    first.stop()
    with pytest.raises(Refused) as refusal:
        http.post_json("/query", {})
    assert refusal.value.status is Status.MODEL_UNAVAILABLE
    second = serve(lambda exchange: exchange.send_json(GOOD), port)
    started = time.monotonic()
    assert http.post_json("/query", {}) == GOOD
    assert time.monotonic() - started < 2.0
    assert len(second.exchanges) == 1
    http.close()


def test_many_threads_share_one_client(serve) -> None:
    server = serve(lambda exchange: exchange.send_json({"echo": exchange.json["n"]}))
    http = client(server.url, connect_timeout_s=10.0, read_timeout_s=10.0, total_timeout_s=20.0)  # time is not what is tested
    results: dict[int, int] = {}

    def ask(n: int) -> None:
        results[n] = http.post_json("/query", {"n": n})["echo"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    http.close()
    assert results == {n: n for n in range(16)}


class TestToken:
    def test_it_comes_from_the_environment_and_never_shows_in_a_sentence(self, serve, monkeypatch) -> None:
        monkeypatch.setenv("ROBOREF_TEST_TOKEN", "secret-123")
        server = serve(lambda exchange: exchange.send("401 Unauthorized", b""))
        refusal = refused(client(server.url, token_env="ROBOREF_TEST_TOKEN"))
        assert server.exchanges[0].headers["authorization"] == "Bearer secret-123"
        assert refusal.status is Status.MODEL_UNAVAILABLE
        assert "ROBOREF_TEST_TOKEN" in refusal.sentence and "secret-123" not in str(refusal)

    def test_a_configured_variable_that_is_not_set_is_said_before_anything_is_sent(self, serve, monkeypatch) -> None:
        monkeypatch.delenv("ROBOREF_TEST_TOKEN", raising=False)
        server = serve(lambda exchange: exchange.send_json(GOOD))
        refusal = refused(client(server.url, token_env="ROBOREF_TEST_TOKEN"))
        assert refusal.status is Status.MODEL_UNAVAILABLE and "ROBOREF_TEST_TOKEN" in refusal.sentence
        assert server.exchanges == []


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def no_proxies(self, monkeypatch) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ALL_PROXY", "socks4://127.0.0.1:1"),
            ("http_proxy", "foo://user:secret@x"),
            ("HTTP_PROXY", "http://user:secret@127.0.0.1:99999"),
            ("HTTP_PROXY", "http://user:secret@a..b:1"),
            ("HTTPS_PROXY", "http://[::1"),
            ("NO_PROXY", "[::1"),
        ],
    )
    def test_a_proxy_that_is_none_is_named_by_its_variable_and_keeps_its_password(self, monkeypatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        refusal = refused(client("http://192.0.2.1:1"))
        assert refusal.status is Status.BAD_REQUEST and f"variable {name}" in refusal.sentence and "secret" not in str(refusal)

    def test_a_socks_proxy_needs_a_package(self, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "socksio", None)
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
        assert "ALL_PROXY" in refused(client("http://192.0.2.1:1")).sentence

    def test_what_a_proxy_says_is_told_from_what_the_server_says(self, serve, monkeypatch) -> None:
        proxy = serve(lambda exchange: exchange.send("503 Service Unavailable", b"no such host"))
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:secret@"))
        refusal = refused(client("http://gpu-box.invalid:25547", retries=0))
        assert refusal.status is Status.MODEL_UNAVAILABLE and "secret" not in str(refusal)
        assert "answers 503 through the proxy of http_proxy (NO_PROXY exempts hosts): 'no such host'" in refusal.sentence
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        assert "cannot be reached through the proxy of http_proxy" in refused(client("http://gpu-box.invalid:25547")).sentence
        monkeypatch.setenv("NO_PROXY", "other.invalid, gpu-box.invalid")
        assert "proxy" not in refused(client("http://gpu-box.invalid:25547")).sentence
        assert len(proxy.exchanges) == 1

    def test_they_do_not_apply_to_this_machine(self, serve, monkeypatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "foo://x")
        http = client(serve(lambda exchange: exchange.send_json(GOOD)).url)
        assert http.post_json("/query", {}) == GOOD
        http.close()

    @pytest.mark.parametrize(("name", "value"), [("SSL_CERT_FILE", "/nonexistent.pem"), ("SSL_CERT_FILE", __file__)])
    def test_authorities_that_cannot_be_read_are_named_by_their_variable(self, monkeypatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        refusal = refused(client("https://192.0.2.1:1"))
        assert refusal.status is Status.BAD_REQUEST and name in refusal.sentence and value in refusal.sentence
