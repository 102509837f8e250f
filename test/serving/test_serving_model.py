"""The real model behind the server: same answers as in process, and fair under load."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from robot import TASKS, http, is_answer, said
from tiny_checkpoint import write_tiny_checkpoint

import roboref_node.model as model_package
from roboref_node.model.monocular import MonocularDepth
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.local import LocalPointer
from roboref_node.pointing.local_model import LocalModel
from roboref_node.pointing.local_settings import LocalModelSettings
from roboref_node.pointing.openai_server import OpenAIPointer, OpenAISettings
from roboref_node.pointing.registry import load_pointer
from roboref_node.pointing.roborefer_server import DepthSource, RoboReferServerPointer, RoboReferServerSettings
from roboref_node.pointing.sent_image import model_depth
from roboref_node.serving.model_backend import ModelBackend
from roboref_node.serving.question import Question, RequestError
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

SHIPPED = Path(model_package.__path__[0]) / "weights" / "nano"
TOKEN = "a-token-for-tests"
CLIENTS = 16


def settings(folder: Path, **changes) -> LocalModelSettings:
    return LocalModelSettings(str(folder), **{"device": "cpu", "threads": 1, "think": "never", "format_suffix": False, **changes})


@pytest.fixture(scope="module", params=["random weights", "shipped weights"])
def folder(request, random_nano) -> Path:
    return SHIPPED if request.param == "shipped weights" else random_nano


@pytest.fixture(scope="module")
def model(folder) -> LocalModel:
    return LocalModel(settings(folder))


@pytest.fixture(scope="module")
def random_2b(tmp_path_factory) -> Path:
    """A checkpoint in the published layout, whose chat template is Qwen2's."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("random_2b") / "c", "2b")


@pytest.mark.usefixtures("token")
class TestSameAnswers:
    def test_both_apis_give_the_answer_that_the_model_gives_in_process(self, start, model, folder, frames) -> None:
        server = start(ModelBackend(model).answer_batch)
        local = LocalPointer(settings(folder, reuse_frames=False))
        query = RoboReferServerPointer(RoboReferServerSettings(http(server.url), DepthSource.SENSOR))
        openai = OpenAIPointer(OpenAISettings(http(f"{server.url}/v1"), "roboref", Dialect.ROBOREFER, send_depth=True))
        for frame, task in zip(frames, TASKS, strict=True):
            expected = said(local, frame, task)
            assert is_answer(expected)
            assert said(query, frame, task) == expected
            assert said(openai, frame, task) == expected
        query.close()
        openai.close()

    @pytest.mark.parametrize("suffix", [False, True])
    def test_unknown_words_are_not_found_through_both_apis_too(self, start, model, frames, suffix: bool) -> None:
        server = start(ModelBackend(model).answer_batch)
        pointers = [
            RoboReferServerPointer(RoboReferServerSettings(http(server.url), DepthSource.SENSOR, format_suffix=suffix)),
            OpenAIPointer(OpenAISettings(http(f"{server.url}/v1"), "roboref", Dialect.ROBOREFER, format_suffix=suffix)),
            OpenAIPointer(OpenAISettings(http(f"{server.url}/v1"), "roboref", Dialect.MOLMO)),
        ]
        for kind in (TaskKind.PICK, TaskKind.PLACE):
            outcomes = [said(pointer, frames[0], Task(kind, "the red flugelhorn", "")) for pointer in pointers]
            assert outcomes == [Status.NOT_FOUND.value, Status.NOT_FOUND.value, Status.UNPARSEABLE.value]  # the last expects XML
        for pointer in pointers:
            pointer.close()

    def test_unknown_words_spoil_no_other_question_and_may_be_let_through(self, model, frames) -> None:
        texts = ["Please point to the red cup.", "Please point to the red flugelhorn.", "Where is the bowl?"]
        questions = [Question(frames[0].rgb, None, False, text, 64, "a") for text in texts]
        answers = ModelBackend(model).answer_batch(questions)
        assert answers[1].text == "[]" and answers[1].complete and answers[1].completion_tokens == 0 < answers[1].prompt_tokens
        assert [answers[0], answers[2]] == ModelBackend(model).answer_batch([questions[0], questions[2]])
        guessing = LocalModel(replace(model.settings, refuse_unknown_words=False))
        assert ModelBackend(guessing).answer_batch(questions[1:2])[0].completion_tokens > 0

    def test_a_batch_of_different_questions_gives_each_its_own_answer(self, model, frames) -> None:
        backend = ModelBackend(model)
        depth = np.full((120, 160, 3), 128, dtype=np.uint8)
        questions = [
            Question(frames[0].rgb, None, False, "Please point to the red cup.", 64, "a"),
            Question(frames[1].rgb, depth, False, "Please point to the free space behind the bowl.", 64, "b"),
            Question(frames[2].rgb, None, False, "Please point to the leftmost bottle.", 1, "c"),
        ]
        together = backend.answer_batch(questions)
        alone = [backend.answer_batch([question])[0] for question in questions]
        assert [answer.text for answer in together] == [answer.text for answer in alone]
        assert together[2].completion_tokens <= 1 and all(answer.prompt_tokens > 64 for answer in together)

    def test_a_marker_whose_halves_surround_another_is_no_picture(self, model, frames) -> None:
        texts = ["the <im<image>age> red cup", "the <de<image>pth> red cup", "<im" * 50 + "<image>" + "age>" * 50]
        guessing = ModelBackend(LocalModel(replace(model.settings, refuse_unknown_words=False)))
        for text in texts:
            (answer,) = guessing.answer_batch([Question(frames[0].rgb, None, False, f"Please point to {text}.", 64, "a")])
            assert answer.complete

    def test_depth_that_nobody_can_estimate_is_a_clear_refusal(self, start, model, frames) -> None:
        server = start(ModelBackend(model).answer_batch)
        pointer = RoboReferServerPointer(RoboReferServerSettings(http(server.url), DepthSource.SERVER))
        with pytest.raises(Refused) as refusal:
            pointer.point(frames[0], TASKS[0])
        assert refusal.value.status is Status.MODEL_UNAVAILABLE
        assert "no depth estimator" in refusal.value.sentence
        pointer.close()

    def test_depth_is_estimated_for_clients_that_have_none(self, start, model, frames, depth_anything) -> None:
        """As RoboRefer's own server does, whose clients send colour and `enable_depth` 1."""
        estimating = LocalModel(replace(model.settings, depth_model=str(depth_anything)))
        server = start(ModelBackend(estimating).answer_batch)
        pointer = RoboReferServerPointer(RoboReferServerSettings(http(server.url), DepthSource.SERVER))
        assert is_answer(said(pointer, frames[0], TASKS[0]))
        pointer.close()
        rgb, depth = frames[0].rgb, MonocularDepth(depth_anything, device="cpu").relative_depth_image(frames[0].rgb)
        asked, given, without = ModelBackend(estimating).answer_batch(
            [Question(rgb, *how, "Please point to the red cup.", 64, "a") for how in ((None, True), (depth, False), (None, False))]
        )
        assert asked == given
        assert without.prompt_tokens < given.prompt_tokens

    def test_the_client_that_ships_gets_the_probabilities_of_the_model(self, start, model, frames) -> None:
        server = start(ModelBackend(model).answer_batch, model="whatever")
        openai = load_pointer("roboref_server", **{"http.url": f"{server.url}/v1", "http.token_env": "ROBOREF_TEST_TOKEN"})
        depth = model_depth(frames[0])
        (answer,) = model.answer([model.prepare(frames[0].rgb, depth, "Please point to the leftmost bottle.")], 64)
        if answer.text == "[]":
            with pytest.raises(Refused) as refusal:
                openai.point(frames[0], TASKS[1])
            assert refusal.value.status is Status.NOT_FOUND
        else:
            score = openai.point(frames[0], TASKS[1]).points[0].score
            assert score == pytest.approx(math.prod(answer.token_scores) ** (1 / len(answer.token_scores)), rel=1e-3)
        openai.close()
        (told,) = ModelBackend(model).answer_batch(
            [Question(frames[0].rgb, depth, False, "Please point to the leftmost bottle.", 64, "a", probabilities=True)]
        )
        assert "".join(text for text, _ in told.tokens).strip() == answer.text
        np.testing.assert_allclose([share for _, share in told.tokens], answer.token_scores, rtol=1e-4)

    def test_drawn_answers_differ_and_seeds_bring_them_back(self, model, frames) -> None:
        question = Question(frames[0].rgb, None, False, "Please point to the red cup.", 64, "a")
        drawn = [replace(question, temperature=1.9, seed=seed) for seed in range(6)]
        backend = ModelBackend(model)
        texts = [answer.text for answer in backend.answer_batch([question, *drawn])]
        assert texts == [answer.text for answer in backend.answer_batch([question, *drawn])]
        assert len(set(texts[1:])) > 1
        assert [answer.text for answer in backend.answer_batch([question])] == texts[:1]

    def test_a_dialogue_is_put_to_the_model_turn_by_turn(self, random_2b, frames) -> None:
        asked = []

        class Listening(LocalModel):
            def prepare(self, *args, **kwargs):
                asked.append(super().prepare(*args, **kwargs))
                return asked[-1]

        backend = ModelBackend(Listening(settings(random_2b, refuse_unknown_words=False)))
        history = (("assistant", "[(0.1, 0.2)]"), ("user", "And the <image>other one? Your answer should be formatted as a list."))
        (answer,) = backend.answer_batch(
            [Question(frames[0].rgb, None, False, "Where is the cup?", 64, "a", system="You <depth>point.", history=history)]
        )
        assert answer.complete
        *_, inputs = asked
        assert inputs.prompt.startswith("<|im_start|>system\nYou point.<|im_end|>\n<|im_start|>user\n<image>")
        assert inputs.prompt.endswith(
            "Where is the cup?<|im_end|>\n<|im_start|>assistant\n[(0.1, 0.2)]<|im_end|>\n"
            "<|im_start|>user\nAnd the other one?<|im_end|>\n<|im_start|>assistant\n"
        )

    def test_a_model_without_system_messages_says_so(self, start, model, frames) -> None:
        question = Question(frames[0].rgb, None, False, "Please point to the red cup.", 64, "a")
        with pytest.raises(RequestError, match="no system message") as error:
            ModelBackend(model).answer_batch([replace(question, system="Be brief.")])
        assert error.value.http_status == 400

    def test_unknown_words_of_a_later_turn_are_not_found_too(self, model, frames) -> None:
        history = (("assistant", "[]"), ("user", "Please point to the red flugelhorn."))
        (answer,) = ModelBackend(model).answer_batch([Question(frames[0].rgb, None, False, "Where is the cup?", 64, "a", history=history)])
        assert (answer.text, answer.completion_tokens) == ("[]", 0)

    def test_a_stopping_server_ends_the_batch_it_is_at(self, model, frames) -> None:
        backend = ModelBackend(model)
        backend.interrupt()
        with pytest.raises(RequestError, match="shutting down") as error:
            backend.answer_batch([Question(frames[0].rgb, None, False, "Please point to the red cup.", 64, "a")])
        assert error.value.http_status == 503


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.usefixtures("token")
def test_sixteen_clients_get_their_answers_and_their_share_and_memory_stays_flat(start, model, frames) -> None:
    server = start(ModelBackend(model).answer_batch)
    counts: Counter[int] = Counter()
    failures: list[str] = []

    def load(answers: int) -> list[int]:
        """Ask until there are so many answers, however long a busy machine takes; the memory during the second half."""
        counts.clear()

        def work(number: int) -> None:
            pointer = RoboReferServerPointer(RoboReferServerSettings(http(server.url), DepthSource.SENSOR))
            while counts.total() < answers:
                outcome = said(pointer, frames[number % 3], TASKS[number % 3])
                counts[number] += 1
                if not is_answer(outcome):
                    failures.append(f"{number}: {outcome}")
            pointer.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        memory = []
        while counts.total() < answers:
            time.sleep(0.05)
            if counts.total() > answers / 2:
                memory.append(resident_bytes())
        for thread in threads:
            thread.join()
        return memory

    before = load(4 * CLIENTS)  # buffers and pools grow to their size
    after = load(8 * CLIENTS)
    assert failures == []
    assert len(counts) == CLIENTS and min(counts.values()) >= 0.4 * max(counts.values()), counts
    assert min(after) - max(before) < 40e6  # a batch comes and goes
    metrics = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    batches = int(metrics.split("roboref_batch_size_count ")[1].split()[0])
    answered = float(metrics.split("roboref_batch_size_sum ")[1].split()[0])
    assert answered / batches > 1.5  # concurrent questions are answered together
