"""A language model's answer is read by the same grammar, and names nothing that was not said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from roboref_node.language.decompose import MAX_STEPS, Decomposer, check
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.speech.conversation import Conversation, Deed
from roboref_node.speech.recogniser import Heard
from roboref_node.status import Refused

SAID = "i would love to have the red cup behind the bowl"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('["pick up the red cup", "put it behind the bowl"]', "pick up the red cup then put it behind the bowl"),
        ('["Put the red cup behind the bowl"]', "put the red cup behind the bowl"),
    ],
)
def test_good_answers(answer: str, expected: str) -> None:
    assert check(answer, SAID) == expected


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("pick up the red cup", "no list of commands"),
        ('{"a": 1}', "no list of commands"),
        ("[1, 2]", "no list of commands"),
        ("[" * 100_000, "no list of commands"),
        ("[]", "finds 0 commands"),
        (json.dumps(["pick up the red cup"] * (MAX_STEPS + 1)), "finds 9 commands"),
        ('["pick up the knife"]', '"knife", which was not in the sentence'),
        ('["juggle the red cup"]', "not understood"),
        ('["stop"]', "names nothing to look for"),
        ('["import os"]', "not understood"),
    ],
)
def test_bad_answers_are_refused(answer: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check(answer, SAID)


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append({"path": self.path, **json.loads(self.rfile.read(int(self.headers["content-length"])))})
            body = json.dumps({"choices": [{"message": {"content": '["put the red cup behind the bowl"]'}}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1", asked
    http.shutdown()
    http.server_close()


def test_the_server_is_asked_and_its_words_are_always_confirmed(server: tuple[str, list[dict[str, object]]]) -> None:
    url, asked = server
    decomposer = Decomposer(HttpSettings(url, total_timeout_s=30.0), "any")
    conversation = Conversation(confirm=False, rewrite=decomposer)
    reactions = conversation.hear(Heard(SAID), onset_ns=0, now_s=0.0)
    decomposer.close()
    assert [r.deed for r in reactions] == [Deed.ASKED, Deed.SAY]
    assert "Put the red cup behind the bowl" in reactions[1].text
    assert asked[0]["path"] == "/v1/chat/completions"
    assert SAID in json.dumps(asked[0]["messages"])


def test_an_absent_server_is_a_reason_not_an_error() -> None:
    decomposer = Decomposer(HttpSettings("http://127.0.0.1:9", retries=0, total_timeout_s=5.0), "any")
    conversation = Conversation(rewrite=decomposer)
    (reaction,) = conversation.hear(Heard(SAID), onset_ns=0, now_s=0.0)
    decomposer.close()
    assert reaction.deed is Deed.SAY
    assert "cannot be reached" in reaction.text
