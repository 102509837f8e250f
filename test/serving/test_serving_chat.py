"""The OpenAI-compatible API over real connections: what a request may hold, and what comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from roboref_node.serving import Answer, Question


def chat(encode, *, pictures: int = 1, text: str = "Where?", **changes) -> dict:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encode(64 + i, 48)}"}} for i in range(pictures)]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **changes}


def test_a_completion(start, client, encode) -> None:
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
def test_the_limit_of_an_answer_has_two_names(start, client, encode, change: dict, tokens: int | None) -> None:
    reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, **change))
    if tokens is None:
        assert reply.status_code == 400 and "max_tokens" in reply.json()["error"]["message"]
    else:
        assert reply.json()["choices"][0]["message"]["content"].endswith(f"|{tokens}")


@pytest.mark.parametrize("tokens", [31, 2000])
def test_a_client_that_names_no_limit_gets_the_models_own(start, client, encode, tokens: int) -> None:
    url = start(new_tokens=tokens).url
    query = client.post(f"{url}/query", json={"image_url": [encode()], "text": "Where?"}).json()["answer"]
    completion = client.post(f"{url}/v1/chat/completions", json=chat(encode)).json()["choices"][0]["message"]["content"]
    assert query.endswith(f"|{tokens}") and completion.endswith(f"|{tokens}")


@pytest.mark.parametrize("head", ["data:image/jpeg", "data:IMAGE/PNG", "data:image/png;charset=utf-8"])
def test_the_head_of_a_data_uri_may_be_written_in_several_ways(start, client, encode, head: str) -> None:
    body = chat(encode)
    body["messages"][0]["content"][0]["image_url"]["url"] = f"{head};base64,{encode(64, 48)}"
    assert client.post(f"{start().url}/v1/chat/completions", json=body).status_code == 200


def test_the_second_picture_is_the_depth_map(start, client, encode) -> None:
    reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, pictures=2)).json()
    assert reply["choices"][0]["message"]["content"].split("|")[:2] == ["64x48", "65x48"]


def test_an_answer_that_was_cut_off_says_so(start, client, encode) -> None:
    server = start(lambda questions: [Answer("[(0.5", 3, 2, False) for _ in questions])
    reply = client.post(f"{server.url}/v1/chat/completions", json=chat(encode)).json()
    assert reply["choices"][0]["finish_reason"] == "length"


def test_the_model_is_listed(start, client) -> None:
    reply = client.get(f"{start(model='mini').url}/v1/models").json()
    assert [entry["id"] for entry in reply["data"]] == ["mini"]


@pytest.mark.parametrize("name", ["mini", "mini 2", "some/mini"])
def test_the_model_can_be_asked_for_by_its_name_and_no_other(start, client, encode, name: str) -> None:
    url = start(model=name).url
    assert client.get(f"{url}/v1/models/{name}").json() == client.get(f"{url}/v1/models").json()["data"][0]
    assert client.get(f"{url}/v1/models/gpt-4").status_code == 404
    for model, code in ((name, 200), (None, 200), ("gpt-4", 404), ("", 404), ([name], 404)):
        reply = client.post(f"{url}/v1/chat/completions", json=chat(encode, model=model))
        assert reply.status_code == code
        if code == 404:
            assert reply.json()["error"]["code"] == "model_not_found" and repr(name) in reply.json()["error"]["message"]


def test_values_that_change_nothing_are_taken(start, client, encode) -> None:
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
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "ignore_eos": False,
        "guided_json": None,
    }
    url = f"{start().url}/v1/chat/completions"
    assert client.post(url, json=chat(encode, **defaults)).status_code == 200
    assert client.post(url, json=chat(encode, **dict.fromkeys(defaults))).status_code == 200


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n": 3}, "n = "),
        ({"n": True}, "n = "),
        ({"stream": 0}, "stream"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"logprobs": 1}, "logprobs"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**63}, "seed"),
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
        ({"top_k": 5}, "top_k"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"guided_json": {}}, "guided_json"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["Where?"]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "no picture"}]}, "picture"),
        ({"messages": [{"role": "user", "content": 3}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "part"),
    ],
)
def test_what_is_not_supported_is_refused_and_not_ignored(start, client, encode, change: dict, word: str) -> None:
    reply = client.post(f"{start().url}/v1/chat/completions", json=chat(encode, **change))
    assert reply.status_code == 400 and word in reply.json()["error"]["message"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "file:///etc/passwd", "data:text/html;base64,AAAA", "", None])
def test_pictures_are_never_fetched(start, client, url) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]}]}
    reply = client.post(f"{start().url}/v1/chat/completions", json=body)
    assert reply.status_code == 400 and "data URI" in reply.json()["error"]["message"]


@pytest.mark.parametrize("text", ["\ud800", "a \udfff cup"])
def test_half_a_character_is_a_bad_request(start, client, encode, text: str) -> None:
    body = json.dumps(chat(encode, text=text))
    reply = client.post(f"{start().url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and "surrogate" in reply.json()["error"]["message"]


class Listener:
    """Answers everything alike, and keeps what it was asked."""

    TOKENS = (("[(", 1.0), ("0.512", 0.5), ("\ufffd", 0.0), (")]", 1.0))

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [Answer("[(0.512)]", 12, 4, True, self.TOKENS) for _ in questions]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def ask(start, client, listener):
    """Post a request; what the model is asked lies in `listener`."""
    url = f"{start(listener).url}/v1/chat/completions"
    return lambda body: client.post(url, json=body)


def messages(encode, *turns: tuple[str, str]) -> list[dict]:
    """Messages whose first question has a picture."""
    asked = chat(encode, text="Where?")["messages"]
    before = [turn for turn in turns if turn[0] in ("system", "developer")]
    written = [[{"role": role, "content": text} for role, text in some] for some in (before, turns[len(before) :])]
    return [*written[0], *asked, *written[1]]


@pytest.mark.parametrize(
    ("changes", "drawn"),
    [
        ({}, (0.0, 1.0, None)),
        ({"seed": 7}, (0.0, 1.0, 7)),
        ({"temperature": 0, "top_p": 0.9}, (0.0, 0.9, None)),
        ({"temperature": 1, "top_p": 1, "seed": -1}, (1.0, 1.0, -1)),
        ({"temperature": 0.7, "top_p": None}, (0.7, 1.0, None)),
    ],
)
def test_an_answer_is_greedy_unless_a_temperature_is_asked_for(ask, listener, encode, changes: dict, drawn: tuple) -> None:
    assert ask(chat(encode, **changes)).status_code == 200
    (question,) = listener.asked
    assert (question.temperature, question.top_p, question.seed) == drawn


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_dialogue_reaches_the_model(ask, listener, encode, role: str) -> None:
    turns = [(role, "Be brief."), ("assistant", "[(0.1, 0.2)]"), ("user", "And the other one?")]
    assert ask({"messages": messages(encode, *turns)}).status_code == 200
    assert ask({"messages": messages(encode, (role, ""))}).status_code == 200
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    assert ask({"messages": [{"role": role, "content": parts}, *messages(encode)]}).status_code == 200
    whole, empty, in_parts = listener.asked
    assert (whole.system, whole.text, whole.history) == ("Be brief.", "Where?", tuple(turns[1:]))
    assert (empty.system, empty.text, empty.history) == (None, "Where?", ())
    assert in_parts.system == "Be\nbrief."


@pytest.mark.parametrize(
    ("turns", "word"),
    [
        ([("assistant", "[]")], "ending with user"),
        ([("user", "And the other one?")], "in turn"),
        ([("assistant", "[]"), ("assistant", "[]")], "in turn"),
        ([("assistant", "[]"), ("system", "Be brief.")], "in turn"),
        ([("system", "Be brief."), ("system", "Be kind.")], "in turn"),
        ([("tool", "[]"), ("user", "And now?")], "in turn"),
        ([("assistant", "[]"), ("user", " ")], "missing"),
        ([("assistant", "x" * 3000), ("user", "y" * 3000)], "characters"),
        ([("system", "x" * 4000)], "characters"),
        ([("system", "\ud800")], "surrogate"),
    ],
)
def test_a_dialogue_that_cannot_be_is_refused(start, client, encode, turns: list, word: str) -> None:
    body = json.dumps({"messages": messages(encode, *turns)})
    reply = client.post(f"{start().url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 413) and word in reply.json()["error"]["message"]


def test_pictures_belong_to_the_first_question(ask, encode) -> None:
    (late,) = messages(encode)
    first = {"role": "user", "content": "Where?"}
    for wrong in ([first, {"role": "assistant", "content": "[]"}, late], [{**late, "role": "system"}, first]):
        reply = ask({"messages": wrong})
        assert reply.status_code == 400 and "first user message" in reply.json()["error"]["message"]


def test_the_tokens_of_an_answer_and_their_probabilities(ask, encode) -> None:
    assert "logprobs" not in ask(chat(encode)).json()["choices"][0]
    content = ask(chat(encode, logprobs=True)).json()["choices"][0]["logprobs"]["content"]
    assert [(entry["token"], entry["logprob"]) for entry in content] == [
        ("[(", 0.0), ("0.512", math.log(0.5)), ("\ufffd", -9999.0), (")]", 0.0),
    ]  # fmt: skip
    assert [entry["bytes"] for entry in content[:3]] == [[91, 40], list(b"0.512"), None]


@pytest.mark.parametrize("usage", [False, True])
def test_an_answer_as_events(ask, encode, usage: bool) -> None:
    body = chat(encode, stream=True, logprobs=True)
    reply = ask({**body, "stream_options": {"include_usage": True}} if usage else body)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.text.endswith("\n\n")
    *lines, last = reply.text.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    if usage:
        end = events.pop()
        assert (end["choices"], end["usage"]["total_tokens"]) == ([], 16)
    assert {event.get("usage", "none") for event in events} == {None if usage else "none"}
    assert {(event["object"], event["id"]) for event in events} == {("chat.completion.chunk", events[0]["id"])}
    choices = [event["choices"][0] for event in events]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "[(0.512)]"
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert len(choices[1]["logprobs"]["content"]) == 4


def test_what_is_wrong_with_a_streamed_question_has_its_status(ask, encode) -> None:
    reply = ask(chat(encode, stream=True, n=2))
    assert reply.status_code == 400 and reply.headers["content-type"] == "application/json"
