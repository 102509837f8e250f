"""The server's two APIs and its limits, over real connections."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import zlib

import httpx
import pytest
from PIL import Image

from roboref_node.serving import Answer, ImageLimits, ServeSettings
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

    def test_a_palette_picture_without_its_palette_is_a_bad_request(self, start, client, query) -> None:
        data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAMAAAAoyzS7AAAAAXRSTlMAQObYZgAAAApJREFUeJxjYAAAAAIAAUivpHEAAAAASUVORK5CYII="
        reply = client.post(f"{start().url}/query", json={**query, "image_url": [data]})
        assert reply.status_code == 400 and "intact" in reply.json()["error"]["message"]

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

    @pytest.mark.parametrize("tokens", [31, 2000])
    def test_a_client_that_names_no_limit_gets_the_models_own(self, start, client, encode, tokens: int) -> None:
        url = start(new_tokens=tokens).url
        query = client.post(f"{url}/query", json={"image_url": [encode()], "text": "Where?"}).json()["answer"]
        completion = client.post(f"{url}/v1/chat/completions", json=chat(encode)).json()["choices"][0]["message"]["content"]
        assert query.endswith(f"|{tokens}") and completion.endswith(f"|{tokens}")

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

    @pytest.mark.parametrize(
        ("host", "code"),
        [
            ("127.0.0.1:25547", 200),
            ("localhost", 200),
            ("[::1]:25547", 200),
            ("evil.example", 403),
            ("evil.example:25547", 403),
            ("[", 403),
        ],
    )
    def test_without_a_token_a_page_of_another_name_gets_nothing(self, start, host: str, code: int) -> None:
        """A page's own host name may be made to lead to this machine after it has loaded; its requests are then of one origin."""
        reply = httpx.get(f"{start(token='').url}/v1/models", headers={"host": host}, trust_env=False)
        assert reply.status_code == code

    def test_the_other_loopback_address(self, start, query) -> None:
        server = start(host="::1")
        assert server.url.startswith("http://[::1]:")
        reply = httpx.post(f"{server.url}/query", json=query, headers={"authorization": "Bearer a-token-for-tests"}, trust_env=False)
        assert reply.status_code == 200
        with pytest.raises(Refused, match="cannot be served on"):
            ServeSettings(host="::1", port=server.server_address[1]).check_address()

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
