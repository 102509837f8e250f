"""Who gives way to whom: instructions replace waiting instructions, goals queue up to a limit, a cancel is answered."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
from roboref_node.ros.last_results import results_leave
from roboref_node.ros.requests import Request, RequestQueue
from roboref_node.status import Refused, Status


class Desk:
    """A queue whose worker is held at a gate, and a record of what was answered how."""

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.events = []
        self.queue = RequestQueue(self._answer, self._refuse)
        self.queue.start()

    def _answer(self, request):
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        self.events.append(("canceled" if request.canceled.is_set() else "answered", request.instruction))

    def _refuse(self, request, refused):
        self.events.append((refused.status.value, request.instruction))

    def put(self, text, *, topic=False, limit=2):
        request = Request(text, finish=lambda request, messages: None, replaceable=topic)
        self.queue.submit(request, max_queue=limit)
        return request

    def put_running(self, text, **kwargs):
        request = self.put(text, **kwargs)
        assert self.entered.acquire(timeout=10)
        return request

    def finish(self, waiting=0):
        for _ in range(waiting + 1):
            self.gate.release()
        for _ in range(waiting):
            assert self.entered.acquire(timeout=10)
        assert self.queue.stop("end", 10)
        return self.events


@pytest.fixture
def desk():
    return Desk()


def test_a_stop_cancels_what_runs_and_all_that_waits(desk):
    desk.put_running("a")
    desk.put("b", topic=True)
    desk.put("c")
    assert desk.queue.cancel_all("somebody said stop") == 3
    desk.put("d")
    assert desk.finish(waiting=1) == [("CANCELED", "b"), ("CANCELED", "c"), ("canceled", "a"), ("answered", "d")]


def test_a_later_instruction_replaces_a_waiting_one_but_not_the_running_one(desk):
    desk.put_running("a", topic=True)
    desk.put("b", topic=True)
    desk.put("c", topic=True)
    assert desk.events == [("CANCELED", "b")]
    assert desk.finish(waiting=1) == [("CANCELED", "b"), ("answered", "a"), ("answered", "c")]


def test_goals_queue_in_order_and_the_one_too_many_is_refused_with_the_limit(desk):
    desk.put_running("a")
    desk.put("b")
    desk.put("c")
    assert desk.queue.full(2) is not None and desk.queue.full(3) is None
    with pytest.raises(Refused, match="max_queue = 2"):
        desk.put("d")
    desk.put("spoken", topic=True)
    assert desk.finish(waiting=3) == [("answered", x) for x in ("a", "b", "c", "spoken")]


def test_cancel_answers_a_waiting_request_at_once_and_tells_the_running_one(desk):
    running, waiting = desk.put_running("a"), desk.put("b")
    desk.queue.cancel(waiting, "changed my mind")
    assert desk.events == [("CANCELED", "b")]
    desk.queue.cancel(running, "changed my mind")
    assert desk.finish() == [("CANCELED", "b"), ("canceled", "a")]


def test_stop_answers_everything_and_accepts_nothing_more(desk):
    running = desk.put_running("a")
    desk.put("b")
    assert not desk.queue.stop("shutting down", 0.05)  # the worker is still busy, and says so
    assert running.canceled.is_set() and running.cancel_reason == "shutting down"
    assert desk.events == [("CANCELED", "b")]
    with pytest.raises(Refused) as caught:
        desk.put("c")
    assert caught.value.status is Status.CANCELED
    assert desk.finish() == [("CANCELED", "b"), ("canceled", "a")]


def test_a_node_that_ends_waits_until_its_results_have_left():
    def wait_s(goals):
        started_s = time.monotonic()
        with results_leave(goals):
            pass
        return time.monotonic() - started_s

    goals = {"a": None, "b": None}
    threading.Timer(0.2, goals.clear).start()
    assert wait_s(goals) >= 0.4 and not goals
    assert wait_s({}) < 0.2, "nobody waits"
    assert wait_s({"a": None}) < 3.0, "a goal that never ends must not hold the process up"
