"""The server's two APIs and its limits, over real connections."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import tracemalloc
import zlib

import httpx
import pytest
from PIL import Image

from roboref_node.serving import Answer, ImageLimits, ServeSettings
from roboref_node.serving.question import RequestError, decode_image
from roboref_node.status import Refused, Status

TOKEN = "a-token-for-tests"


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

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("[(0.1, 0.2)]", "[(0.1, 0.2)]"),
            ("<think>[Position] [mug]: [(0.4, 0.8)]</think><answer>[(0.1, 0.2)]", "[(0.1, 0.2)]"),
            ("<think>[Position] [mug]: [(0.4, 0.8)]</think> <answer> [(0.1, 0.2)] </answer>", "[(0.1, 0.2)]"),
            ("it stands there</think>\n[(0.1, 0.2)]", "[(0.1, 0.2)]"),
            ("<think>[Position] [mug]: [(0.4,", "<think>[Position] [mug]: [(0.4,"),  # cut off
        ],
    )
    def test_clients_that_read_the_whole_answer_as_a_list_are_spared_the_thinking(self, start, client, query, said, expected) -> None:
        server = start(answer=lambda questions: [Answer(said, 1, 1, True) for _ in questions])
        assert client.post(f"{server.url}/query", json=query).json()["answer"] == expected

    def test_base64_may_have_lines(self, start, client, query) -> None:
        data = base64.encodebytes(base64.b64decode(query["image_url"][0])).decode()
        assert data.count("\n") > 1
        assert client.post(f"{start().url}/query", json={**query, "image_url": [data]}).json()["answer"].startswith("64x48|")

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
    def test_half_a_character_is_a_bad_request(self, start, client, query, text: str) -> None:
        body = json.dumps({**query, "text": text})
        reply = client.post(f"{start().url}/query", content=body, headers={"content-type": "application/json"})
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

    @pytest.mark.parametrize(("width", "height"), [(1, 2_000_000), (2_000_000, 1), (6, 16_385)])
    def test_a_strip_of_few_pixels_is_refused_by_its_length(self, start, client, query, width: int, height: int) -> None:
        """Tiles are cut from the picture stretched to hundreds of columns first, which of millions of rows are gigabytes."""
        stream = io.BytesIO()
        Image.new("1", (width, height)).save(stream, "PNG")
        reply = client.post(f"{start().url}/query", json={**query, "image_url": [base64.b64encode(stream.getvalue()).decode()]})
        assert reply.status_code == 413 and f"{width}x{height}" in reply.json()["error"]["message"]

    def test_base64_of_blanks_costs_no_memory(self) -> None:
        data = "AA " * 1_000_000
        tracemalloc.start()
        try:
            with pytest.raises(RequestError, match="intact"):
                decode_image(data, ImageLimits(), "it")
            assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
        finally:
            tracemalloc.stop()

    def test_jpeg_and_grey_pictures_are_pictures_too(self, start, client, query, encode) -> None:
        stream = io.BytesIO()
        Image.new("L", (20, 10)).save(stream, "PNG")
        for data in (encode(20, 10, kind="JPEG"), base64.b64encode(stream.getvalue()).decode()):
            assert client.post(f"{start().url}/query", json={**query, "image_url": [data]}).json()["answer"].startswith("20x10|")


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
