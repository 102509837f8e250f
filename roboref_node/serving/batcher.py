"""The queue in front of the model: batches what has come in while it was busy, and lets no client starve another."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from roboref_node.serving.metrics import Metrics
from roboref_node.serving.question import Answer, Question, RequestError

_LOG = logging.getLogger(__name__)
_INTERRUPTED_S = 5.0
"""How long an interrupted model may go on: until its next token."""
AnswerBatch = Callable[[Sequence[Question]], Sequence[Answer]]


class Batcher:
    """One worker thread that answers batches, taken from the clients in turn.

    There is no waiting for a batch to fill: a single robot gets its answer as fast as the model can, and under load the questions
    that arrive during one batch make up the next.

    Args:
        answer_batch: The model. Called by the worker thread only.
        max_batch: Most questions at once.
        max_queue: Most questions waiting, of all clients together.
        max_per_client: Most questions waiting of one client.
        metrics: Where batches and waiting times are counted.
        interrupt: Makes `answer_batch` give up soon; None when nothing can.
    """

    def __init__(
        self,
        answer_batch: AnswerBatch,
        *,
        max_batch: int,
        max_queue: int,
        max_per_client: int,
        metrics: Metrics,
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        self._answer_batch = answer_batch
        self._interrupt = interrupt
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_per_client = max_per_client
        self._metrics = metrics
        self._waiting: OrderedDict[str, deque[tuple[Question, Future[Answer], float]]] = OrderedDict()
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="roboref-batcher", daemon=True)
        self._worker.start()

    def submit(self, question: Question) -> Future[Answer]:
        """Queue a question.

        Raises:
            RequestError: 429 when this client has too many questions waiting, 503 when the queue is full or the server stops.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise RequestError(503, "the server is shutting down")
            line = self._waiting.get(question.client)
            if line is not None and len(line) >= self._max_per_client:
                raise RequestError(429, f"{len(line)} questions of this client are waiting (`--max-per-client`)")
            if self._count >= self._max_queue:
                raise RequestError(503, f"{self._count} questions are waiting (`--max-queue`)")
            self._waiting.setdefault(question.client, deque()).append((question, future, time.monotonic()))
            self._count += 1
            self._metrics.queue_length = self._count
            self._changed.notify()
        return future

    @property
    def is_working(self) -> bool:
        """False when closed and nothing is computed any more."""
        return self._worker.is_alive()

    def close(self, grace_s: float) -> None:
        """Answer what is waiting, for at most `grace_s` seconds, then refuse the rest and interrupt what is being answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join(grace_s)
        with self._changed:
            rest = [future for line in self._waiting.values() for _, future, _ in line]
            self._waiting.clear()
            self._count = self._metrics.queue_length = 0
        for future in rest:
            if future.set_running_or_notify_cancel():
                future.set_exception(RequestError(503, "the server is shutting down"))
        if self.is_working and self._interrupt is not None:
            self._interrupt()
            self._worker.join(_INTERRUPTED_S)

    def _take(self) -> list[tuple[Question, Future[Answer]]]:
        """The next batch: one question per client in turn. Empty when closed and nothing is waiting."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._closed)
            batch: list[tuple[Question, Future[Answer]]] = []
            while self._waiting and len(batch) < self._max_batch:
                client, line = self._waiting.popitem(last=False)
                question, future, since = line.popleft()
                self._count -= 1
                if line:
                    self._waiting[client] = line  # to the end of the turn
                if future.set_running_or_notify_cancel():
                    batch.append((question, future))
                    self._metrics.observe_wait(time.monotonic() - since)
            self._metrics.queue_length = self._count
            return batch

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._answer(batch)
            elif self._closed and not self._count:
                return

    def _answer(self, batch: list[tuple[Question, Future[Answer]]]) -> None:
        started = time.monotonic()
        try:
            answers = self._answer_batch([question for question, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"the model gave {len(answers)} answers to {len(batch)} questions")
        except RequestError as error:
            self._fail(batch, error)
        except Exception as error:
            _LOG.exception("a batch of %d failed", len(batch))
            self._fail(batch, RequestError(500, f"the model failed: {type(error).__name__}: {error}"))
        else:
            self._metrics.observe_batch(len(batch), time.monotonic() - started)
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)

    def _fail(self, batch: list[tuple[Question, Future[Answer]]], error: RequestError) -> None:
        """A batch that fails is asked one by one, so that one client's question cannot spoil the others'."""
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        for entry in batch:
            self._answer([entry])
