from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import wait

import numpy as np
import pytest

from roboref_node.serving.batcher import Batcher
from roboref_node.serving.metrics import Metrics
from roboref_node.serving.question import Answer, Question, RequestError

RGB = np.zeros((2, 2, 3), dtype=np.uint8)


def question(client: str, text: str) -> Question:
    return Question(RGB, None, False, text, 16, client)


class Gate:
    """Answers nothing until opened; remembers the batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append([q.text for q in questions])
        return [Answer(q.text, 1, 1, True) for q in questions]


def make(answer, **limits) -> Batcher:
    return Batcher(answer, **{"max_batch": 4, "max_queue": 100, "max_per_client": 50, "metrics": Metrics(), **limits})


def blocked(**limits) -> tuple[Gate, Batcher]:
    """A batcher whose worker is busy with a first question."""
    gate = Gate()
    batcher = make(gate, **limits)
    batcher.submit(question("first", "first"))
    assert gate.entered.wait(5)
    return gate, batcher


def test_a_single_question_does_not_wait_for_company() -> None:
    batcher = make(lambda questions: [Answer(q.text, 1, 1, True) for q in questions])
    started = time.monotonic()
    assert batcher.submit(question("a", "hello")).result(5).text == "hello"
    assert time.monotonic() - started < 2
    batcher.close(1)


def test_what_comes_in_while_the_model_is_busy_is_answered_together() -> None:
    gate, batcher = blocked()
    futures = [batcher.submit(question("a", str(n))) for n in range(6)]
    gate.open.set()
    assert [future.result(5).text for future in futures] == [str(n) for n in range(6)]
    assert gate.batches == [["first"], ["0", "1", "2", "3"], ["4", "5"]]
    batcher.close(1)


def test_a_quiet_client_is_served_in_the_next_batch_however_long_another_s_line_is() -> None:
    gate, batcher = blocked()
    greedy = [batcher.submit(question("greedy", f"g{n}")) for n in range(20)]
    quiet = batcher.submit(question("quiet", "q"))
    gate.open.set()
    wait([*greedy, quiet], 10)
    assert "q" in gate.batches[1]
    assert [text for batch in gate.batches for text in batch if text.startswith("g")] == [f"g{n}" for n in range(20)]
    batcher.close(1)


def test_clients_take_turns() -> None:
    gate, batcher = blocked(max_batch=3)
    futures = [batcher.submit(question(name, f"{name}{n}")) for n in range(3) for name in "abc"]
    gate.open.set()
    wait(futures, 10)
    assert gate.batches[1:] == [["a0", "b0", "c0"], ["a1", "b1", "c1"], ["a2", "b2", "c2"]]
    batcher.close(1)


def test_a_client_s_line_and_the_whole_queue_are_bounded() -> None:
    gate, batcher = blocked(max_per_client=2, max_queue=3)
    for text in "12":
        batcher.submit(question("a", text))
    with pytest.raises(RequestError) as error:
        batcher.submit(question("a", "3"))
    assert error.value.http_status == 429 and "max-per-client" in error.value.message
    batcher.submit(question("b", "1"))
    with pytest.raises(RequestError) as error:
        batcher.submit(question("c", "1"))
    assert error.value.http_status == 503 and "max-queue" in error.value.message
    gate.open.set()
    batcher.close(5)


def test_one_bad_question_does_not_spoil_its_batch() -> None:
    gate = Gate()

    def answer(questions: Sequence[Question]) -> list[Answer]:
        if any(q.text == "bad" for q in questions):
            raise ValueError("this one")
        return gate(questions)

    batcher = make(answer)
    batcher.submit(question("first", "first"))
    assert gate.entered.wait(5)
    futures = {text: batcher.submit(question("a", text)) for text in ("good", "bad", "fine")}
    gate.open.set()
    assert futures["good"].result(5).text == "good" and futures["fine"].result(5).text == "fine"
    with pytest.raises(RequestError) as error:
        futures["bad"].result(5)
    assert error.value.http_status == 500 and "this one" in error.value.message
    batcher.close(1)


def test_a_model_that_loses_answers_is_an_error_and_not_a_mix_up() -> None:
    batcher = make(lambda questions: [])
    with pytest.raises(RequestError) as error:
        batcher.submit(question("a", "x")).result(5)
    assert error.value.http_status == 500
    batcher.close(1)


def test_questions_that_were_given_up_are_not_answered() -> None:
    gate, batcher = blocked()
    given_up, wanted = batcher.submit(question("a", "given up")), batcher.submit(question("a", "wanted"))
    assert given_up.cancel()
    gate.open.set()
    assert wanted.result(5).text == "wanted"
    assert gate.batches == [["first"], ["wanted"]]
    batcher.close(1)


def test_closing_answers_what_is_waiting_and_takes_nothing_more() -> None:
    gate, batcher = blocked()
    waiting = batcher.submit(question("a", "waiting"))
    gate.open.set()
    batcher.close(5)
    assert waiting.result(0).text == "waiting"
    with pytest.raises(RequestError) as error:
        batcher.submit(question("a", "late"))
    assert error.value.http_status == 503


def test_closing_gives_up_after_the_grace_period() -> None:
    gate, batcher = blocked()
    waiting = batcher.submit(question("a", "waiting"))
    started = time.monotonic()
    batcher.close(0.2)
    assert time.monotonic() - started < 2
    with pytest.raises(RequestError) as error:
        waiting.result(0)
    assert error.value.http_status == 503
    gate.open.set()


def test_metrics_count_batches_and_the_queue() -> None:
    metrics = Metrics()
    gate = Gate()
    batcher = make(gate, metrics=metrics)
    batcher.submit(question("first", "first"))
    assert gate.entered.wait(5)
    futures = [batcher.submit(question("a", str(n))) for n in range(3)]
    assert "roboref_queue_length 3\n" in metrics.render()
    gate.open.set()
    wait(futures, 5)
    batcher.close(1)
    text = metrics.render()
    assert "roboref_queue_length 0\n" in text
    assert 'roboref_batch_size_bucket{le="1"} 1\n' in text and 'roboref_batch_size_bucket{le="4"} 2\n' in text
    assert "roboref_batch_size_count 2\n" in text and "roboref_wait_seconds_count 4\n" in text
