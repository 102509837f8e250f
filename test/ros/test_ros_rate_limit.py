"""The limit of questions per second, on a clock of the test's own."""

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
from roboref_node.ros.messages import refusal_message
from roboref_node.ros.rate_limit import RateLimit
from roboref_node.status import Refused, Status


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_a_steady_stream_within_the_limit_passes():
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(200):
        clock.now_s += 0.1
        assert limit.admit(10.0) is None


def test_a_flood_is_cut_and_answered_once_a_second():
    clock = Clock()
    limit = RateLimit(clock)
    told = passed = 0
    for _ in range(5000):  # 5 s of 1000 Hz
        clock.now_s += 0.001
        refused = limit.admit(10.0)
        passed += refused is None
        if refused is not None:
            assert refused.status is Status.CANCELED and "max_questions_hz" in refused.sentence and "10 questions" in refused.sentence
            told += limit.is_told()
    assert 20 + 45 <= passed <= 20 + 51 and 4 <= told <= 6
    clock.now_s += 1.0
    assert limit.admit(10.0) is None


def test_a_limit_below_one_per_second_still_lets_single_questions_pass():
    clock = Clock()
    limit = RateLimit(clock)
    assert limit.admit(0.1) is None and limit.admit(0.1) is not None
    clock.now_s += 10.0
    assert limit.admit(0.1) is None


def test_a_refusal_does_not_echo_megabytes():
    message = refusal_message("x" * 5_000_000, Refused(Status.BAD_REQUEST, "too long"))
    assert len(message.instruction) == 20_000
