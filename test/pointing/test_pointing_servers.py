"""The two network back-ends against real HTTP servers: what they send, what they make of the answer."""

from __future__ import annotations

import base64
import math

import cv2
import numpy as np
import pytest

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.model.depth_image import relative_depth_image
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.openai_server import OpenAIPointer, OpenAISettings
from roboref_node.pointing.roborefer_server import DepthSource, RoboReferServerPointer, RoboReferServerSettings
from roboref_node.pointing.sent_image import SizeRule
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

TASK = Task(TaskKind.PLACE, "behind the bowl", "put it behind the bowl")


def decoded(data: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def reply(text, **choice) -> dict:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}]}


class TestRoboReferServer:
    def pointer(self, url: str, depth: DepthSource) -> RoboReferServerPointer:
        return RoboReferServerPointer(RoboReferServerSettings(HttpSettings(url, retries=0), depth))

    @pytest.mark.parametrize(
        ("depth", "enable", "maps"), [(DepthSource.NONE, 0, 0), (DepthSource.SERVER, 1, 0), (DepthSource.SENSOR, 1, 1)]
    )
    def test_the_request_has_the_fields_of_the_published_server(self, serve, frame, depth: DepthSource, enable: int, maps: int) -> None:
        server = serve(lambda exchange: exchange.send_json({"result": 1, "answer": "[(0.5, 0.25)]"}))
        pointer = self.pointer(server.url, depth)
        answer = pointer.point(frame, TASK)
        pointer.close()
        assert [(point.u_px, point.v_px) for point in answer.points] == [(31.5, 11.5)]
        assert answer.text == "[(0.5, 0.25)]"
        assert answer.provenance["depth"] == depth.value
        assert set(answer.timings_ms) == {"prepare", "model"}
        request = server.exchanges[0]
        assert request.request_line.startswith("POST /query ")
        assert set(request.json) == {"image_url", "depth_url", "enable_depth", "text"}
        assert request.json["enable_depth"] == enable
        assert request.json["text"].startswith("Please point to the free space behind the bowl. Your answer")
        np.testing.assert_array_equal(decoded(request.json["image_url"][0]), frame.rgb)
        assert len(request.json["depth_url"]) == maps
        if maps:
            sent = decoded(request.json["depth_url"][0])
            np.testing.assert_array_equal(sent, relative_depth_image(frame.depth_m))
            assert sent.dtype == np.uint8 and sent[0, 0, 0] > sent[-1, -1, 0]  # near is bright

    def test_depth_of_another_camera_is_not_sent(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json({"result": 1, "answer": "[(0.5, 0.25)]"}))
        apart = Frame(frame.rgb, frame.depth_m, frame.camera, depth_camera=frame.camera, color_from_depth=Transform.identity())
        answer = self.pointer(server.url, DepthSource.SENSOR).point(apart, TASK)
        assert server.exchanges[0].json["enable_depth"] == 0 and server.exchanges[0].json["depth_url"] == []
        assert answer.provenance["depth"] == "none"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"result": 0, "answer": "[(0.5, 0.5)]"}, Status.UNPARSEABLE),
            ({"result": 1}, Status.UNPARSEABLE),
            ({"result": 1, "answer": None}, Status.UNPARSEABLE),
            ({"result": 1, "answer": "the cup is on the left"}, Status.UNPARSEABLE),
            ({"result": 1, "answer": "[]"}, Status.NOT_FOUND),
            ({"result": 1, "answer": "[(320, 240)]"}, Status.OUT_OF_IMAGE),
        ],
    )
    def test_answers_without_a_point_are_refused(self, serve, frame, body: dict, status: Status) -> None:
        server = serve(lambda exchange: exchange.send_json(body))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, DepthSource.NONE).point(frame, TASK)
        assert refusal.value.status is status

    @pytest.mark.parametrize("mark", ["\ud800", "\x00", "\x1b[2J", "\x9b", "\udcff"])
    def test_what_no_message_can_hold_is_replaced_before_anything_sees_it(self, serve, frame, mark: str) -> None:
        server = serve(lambda exchange: exchange.send_json({"result": 1, "answer": f"{mark}[(0.5, 0.25)]\n{mark}"}))
        answer = self.pointer(server.url, DepthSource.NONE).point(frame, TASK)
        assert [(point.u_px, point.v_px) for point in answer.points] == [(31.5, 11.5)]
        assert mark not in answer.text and answer.text.encode().decode().startswith("\ufffd") and "\n" in answer.text

    @pytest.mark.parametrize("answer", ["\ud800[]", "nothing \x00\ud800", "[(1.5, 0.5)]\ud800", "[Position] [\ud800]: (2, 3)"])
    def test_a_refusal_holds_only_what_a_message_can(self, serve, frame, answer: str) -> None:
        server = serve(lambda exchange: exchange.send_json({"result": 1, "answer": answer}))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, DepthSource.NONE).point(frame, TASK)
        assert "\x00" not in f"{refusal.value.sentence} {refusal.value.details}"
        assert all(str(value).encode() for value in (refusal.value.sentence, *refusal.value.details.values()))


class TestOpenAI:
    def pointer(self, url: str, dialect: Dialect, **settings) -> OpenAIPointer:
        return OpenAIPointer(OpenAISettings(HttpSettings(f"{url}/v1", retries=0), "some-model", dialect, **settings))

    def test_the_request_is_a_chat_completion_with_the_image_before_the_text(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply('[{"point_2d": [500, 250], "label": "cup"}]')))
        answer = self.pointer(server.url, Dialect.QWEN3_VL).point(frame, TASK)
        assert [(point.u_px, point.v_px) for point in answer.points] == [(31.5, 11.5)]
        request = server.exchanges[0]
        assert request.request_line.startswith("POST /v1/chat/completions ")
        body = request.json
        assert (body["model"], body["temperature"], "stream" in body, "logprobs" in body) == ("some-model", 0.0, False, False)
        image, text = body["messages"][0]["content"]
        assert image["image_url"]["url"].startswith("data:image/png;base64,")
        np.testing.assert_array_equal(decoded(image["image_url"]["url"].partition(",")[2]), frame.rgb)
        assert '"the free space behind the bowl"' in text["text"]

    def test_depth_goes_as_second_image_only_when_asked_for(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply("[(0.5, 0.25)]")))
        answer = self.pointer(server.url, Dialect.ROBOREFER, send_depth=True).point(frame, TASK)
        content = server.exchanges[0].json["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
        np.testing.assert_array_equal(decoded(content[1]["image_url"]["url"].partition(",")[2]), relative_depth_image(frame.depth_m))
        assert answer.provenance["depth"] == "sensor"

    def test_absolute_answers_refer_to_the_resized_image(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply('[{"point_2d": [27, 27]}]')))
        answer = self.pointer(server.url, Dialect.QWEN25_VL, resize=SizeRule(28)).point(frame, TASK)
        sent = decoded(server.exchanges[0].json["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2])
        assert sent.shape == (56, 56, 3)
        point = answer.points[0]
        assert (point.u_px, point.v_px) == pytest.approx((27.5 / 56 * 64 - 0.5, 27.5 / 56 * 48 - 0.5))

    def test_token_probabilities_become_the_score(self, serve, frame) -> None:
        tokens = {"logprobs": {"content": [{"token": "a", "logprob": math.log(0.9)}, {"token": "b", "logprob": math.log(0.4)}]}}
        server = serve(lambda exchange: exchange.send_json(reply("[(0.5, 0.25)]", **tokens)))
        answer = self.pointer(server.url, Dialect.ROBOREFER, logprobs=True).point(frame, TASK)
        assert answer.points[0].score == pytest.approx(0.6)
        assert server.exchanges[0].json["logprobs"] is True

    @pytest.mark.parametrize(
        "logprobs",
        [
            None,
            {"content": []},
            {"content": [{"logprob": None}]},
            {"content": [{"logprob": float("nan")}]},
            {"content": [{"logprob": -(10**400)}]},
        ],
    )
    def test_without_usable_probabilities_the_score_is_nan(self, serve, frame, logprobs) -> None:
        server = serve(lambda exchange: exchange.send_json(reply("[(0.5, 0.25)]", logprobs=logprobs)))
        assert math.isnan(self.pointer(server.url, Dialect.ROBOREFER).point(frame, TASK).points[0].score)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"choices": []},
            {"choices": [{}]},
            {"choices": [{"message": {"content": None}}]},
            {"choices": [{"message": {"content": [{"type": "thinking", "thinking": "[(0.5, 0.25)]"}]}}]},
            {"choices": {"0": 1}},
            {"choices": ["text"]},
        ],
    )
    def test_other_json_is_unparseable(self, serve, frame, body: dict) -> None:
        server = serve(lambda exchange: exchange.send_json(body))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, Dialect.ROBOREFER).point(frame, TASK)
        assert refusal.value.status is Status.UNPARSEABLE

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"error": {"message": "rate limited"}}, "but with 'rate limited'"),
            ({"error": "overloaded"}, "but with 'overloaded'"),
            ({"choices": [{"message": {"content": None, "refusal": "I cannot help with that"}}]}, "but with 'I cannot help with that'"),
            ({"choices": [{"message": {"content": None, "tool_calls": [{"id": "1"}]}}]}, "but with 'a call of a tool'"),
            (reply("[(0.5, 0.25)]", finish_reason="content_filter"), "withheld a part of the answer"),
            (reply(None, finish_reason="content_filter"), "withheld a part of the answer"),
            (reply(None, finish_reason="length"), "256 tokens (`max_tokens`), which its thinking took"),
            ({"choices": [{"message": {"role": "assistant"}, "finish_reason": "length"}]}, "which its thinking took"),
        ],
    )
    def test_what_the_server_says_instead_is_told(self, serve, frame, body: dict, words: str) -> None:
        server = serve(lambda exchange: exchange.send_json(body))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, Dialect.ROBOREFER).point(frame, TASK)
        assert refusal.value.status is Status.UNPARSEABLE and words in refusal.value.sentence

    def test_a_server_that_sets_thinking_apart_may_answer_in_parts(self, serve, frame) -> None:
        parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "[(0.9, 0.9)]"}]}, {"type": "text", "text": "[(0.5, 0.25)]"}]
        server = serve(lambda exchange: exchange.send_json(reply(parts)))
        answer = self.pointer(server.url, Dialect.ROBOREFER).point(frame, TASK)
        assert (answer.text, len(answer.points)) == ("[(0.5, 0.25)]", 1)

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"max_tokens": 0}, "max_tokens"),
            ({"temperature": math.nan}, "temperature"),
            ({"temperature": -1.0}, "temperature"),
            ({"image_format": "webm"}, "image_format"),
            ({"dialect": Dialect.QWEN25_VL}, "resize"),
            ({"dialect": Dialect.ROBOBRAIN, "resize": SizeRule(max_pixels=640 * 480)}, "resize"),
        ],
    )
    def test_settings_that_cannot_work_are_refused_at_once(self, change: dict, word: str) -> None:
        with pytest.raises(Refused, match=f"`{word}`") as refusal:
            OpenAISettings(**{"http": HttpSettings("http://127.0.0.1:1"), "model": "m", "dialect": Dialect.ROBOREFER, **change})
        assert refusal.value.status is Status.BAD_REQUEST

    def test_an_answer_cut_off_by_the_token_limit_is_unparseable_and_names_the_setting(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply("[(0.5, 0.25)]", finish_reason="length")))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, Dialect.ROBOREFER, max_tokens=7).point(frame, TASK)
        assert refusal.value.status is Status.UNPARSEABLE and "7 tokens (`max_tokens`)" in refusal.value.sentence

    def test_an_answer_cut_off_within_a_character_can_be_said_too(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply("a cup \ud83d", finish_reason="length")))
        with pytest.raises(Refused) as refusal:
            self.pointer(server.url, Dialect.ROBOREFER).point(frame, TASK)
        assert refusal.value.details["answer"] == "a cup \ufffd"

    def test_jpeg_is_an_option(self, serve, frame) -> None:
        server = serve(lambda exchange: exchange.send_json(reply("[(0.5, 0.25)]")))
        self.pointer(server.url, Dialect.ROBOREFER, image_format="jpeg").point(frame, TASK)
        url = server.exchanges[0].json["messages"][0]["content"][0]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,") and decoded(url.partition(",")[2]).shape == frame.rgb.shape


class TestSizeRule:
    @pytest.mark.parametrize(
        ("rule", "size", "expected"),
        [
            (SizeRule(), (641, 479), (641, 479)),
            (SizeRule(28), (640, 480), (644, 476)),
            (SizeRule(28, max_pixels=28 * 28 * 256), (1920, 1080), (588, 336)),
            (SizeRule(28, min_pixels=28 * 28 * 16), (50, 40), (140, 112)),
            (SizeRule(28), (10, 10), (28, 28)),
            (SizeRule(max_pixels=640 * 480), (1280, 960), (640, 480)),
        ],
    )
    def test_sizes(self, rule: SizeRule, size: tuple[int, int], expected: tuple[int, int]) -> None:
        assert rule.apply(size) == expected

    def test_it_agrees_with_the_resizing_of_the_model_family(self) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        rule = SizeRule(28, min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
        for size in [(640, 480), (1280, 720), (1920, 1080), (848, 480), (30, 29), (333, 1001), (4000, 3000)]:
            height, width = smart_resize(size[1], size[0], 28, rule.min_pixels, rule.max_pixels)
            assert rule.apply(size) == (width, height)
            assert rule.apply((width, height)) == (width, height)  # what is sent is left alone by the model

    def test_a_rule_that_nothing_fits_is_a_bad_request(self) -> None:
        with pytest.raises(Refused) as refusal:
            SizeRule(28, min_pixels=1000, max_pixels=900)
        assert refusal.value.status is Status.BAD_REQUEST
