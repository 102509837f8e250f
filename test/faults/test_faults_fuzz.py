"""Random damage at the pipeline's edge: nothing escapes, nothing blames roboref, and no goal holds what is not a number.

`make test` plays a few thousand cases; ROBOREF_FUZZ=100000 plays that many of each kind. ROBOREF_FUZZ_SEED repeats a run.
"""

import os
import random

import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")
import warnings

from fault_fuzz import Fuzzer

COUNT = int(os.environ.get("ROBOREF_FUZZ", "800"))
SEED = int(os.environ.get("ROBOREF_FUZZ_SEED", str(random.SystemRandom().randrange(2**31))))


@pytest.fixture
def play(graph):
    def run(kind):
        fuzzer, case, played = None, 0, 0
        statuses = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy about the infinite numbers that it is given
            while played < COUNT:
                seed = SEED + case
                fuzzer = Fuzzer(seed, graph.node) if fuzzer is None else fuzzer.again(seed)
                try:
                    getattr(fuzzer, kind)()
                except Exception as error:
                    raise AssertionError(f"{kind}, ROBOREF_FUZZ_SEED={seed}: {type(error).__name__}: {error}") from error
                case += 1
                played = fuzzer.inputs
                statuses = fuzzer.statuses
        print(f"{kind}: {case} questions, {played} fuzzed inputs, seed {SEED}: {dict(statuses.most_common())}")
        return statuses

    return run


@pytest.mark.timeout(6 * 3600 if COUNT > 10_000 else 300)
def test_fuzzed_messages_at_the_edge(play):
    statuses = play("play_messages")
    # The damage reaches different depths: a fuzzer that is always refused at the door would prove nothing.
    assert len(statuses) >= 6 and 0.02 < statuses["OK"] / statuses.total() < 0.8, statuses


@pytest.mark.timeout(6 * 3600 if COUNT > 10_000 else 300)
def test_fuzzed_cameras_and_poses_through_the_pipeline(play):
    statuses = play("play_geometry")
    assert len(statuses) >= 5 and 0.02 < statuses["OK"] / statuses.total() < 0.8, statuses
