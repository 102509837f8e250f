"""What an error of a server says, whatever its body looks like; and answers that break off."""

from __future__ import annotations

import gzip
import json
import socket

import pytest

from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.status import Refused, Status

GOOD = {"result": 1, "answer": "[(0.5, 0.5)]"}
BODIES = {
    "compressed": (gzip.compress(b"x"), "content-encoding: gzip"),
    "long": (b"x" * 3_000_000, "content-type: text/plain"),
    "plain": (b"sorry", "content-type: text/plain"),
}


@pytest.fixture(autouse=True)
def token(monkeypatch) -> None:
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", "secret")


def refused(url: str) -> Refused:
    http = HttpClient(HttpSettings(url, read_timeout_s=2.0, retries=1, retry_wait_s=0.01, token_env="ROBOREF_TEST_TOKEN"))
    with pytest.raises(Refused) as refusal:
        http.post_json("/query", {"text": "?"})
    http.close()
    return refusal.value


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("status", "header", "words", "attempts"),
    [
        ("401 Unauthorized", "x: y", "answers 401 to the token in ROBOREF_TEST_TOKEN", 1),
        ("302 Found", "location: http://127.0.0.1:9/", "redirects, which is not followed", 1),
        ("500 Internal Server Error", "x: y", "answers 500", 1),
        ("503 Service Unavailable", "x: y", "answers 503", 2),
    ],
)
def test_the_status_counts_and_not_the_body(serve, body: str, status: str, header: str, words: str, attempts: int) -> None:
    server = serve(lambda exchange: exchange.send(status, *BODIES[body], header))
    refusal = refused(server.url)
    assert refusal.status is Status.MODEL_UNAVAILABLE
    assert words in refusal.sentence and len(refusal.sentence) < 400
    assert len(server.exchanges) == attempts


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_an_answer_that_says_it_is_not_compressed_is_read(serve, encoding: str) -> None:
    server = serve(lambda exchange: exchange.send("200 OK", json.dumps(GOOD).encode(), f"content-encoding: {encoding}"))
    http = HttpClient(HttpSettings(server.url))
    assert http.post_json("/query", {"text": "?"}) == GOOD
    http.close()


def test_an_answer_that_breaks_off_is_told_from_a_server_that_is_not_there(serve) -> None:
    server = serve(lambda exchange: exchange.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"))
    refusal = refused(server.url)
    assert refusal.status is Status.MODEL_UNAVAILABLE
    assert "breaks off its answers after 2 attempts (`retries`)" in refusal.sentence


def test_a_server_that_takes_no_request_is_told_from_one_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # the system accepts, nobody reads
        http = HttpClient(HttpSettings(f"http://127.0.0.1:{deaf.getsockname()[1]}", read_timeout_s=0.5))
        with pytest.raises(Refused) as refusal:
            http.post_json("/query", {"text": "x" * 30_000_000})
        http.close()
    assert refusal.value.status is Status.MODEL_TIMEOUT
    assert "took no more of the request for 0.5 s (`read_timeout_s`)" in refusal.value.sentence
