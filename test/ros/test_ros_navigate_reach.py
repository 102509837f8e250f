"""Whether the hand gets to what is seen on arrival, and how much is missing when it does not."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("roboref.action", reason="needs ROS 2 and the built interfaces (make setup, . ./env.sh)")

from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.goals.standoff import hand_to_spare_m
from roboref_node.nodes import navigate

PROFILE = load_profile("g1")
HEIGHT_M = 0.75


def ahead_m(missing_m: float) -> float:
    """How far in front of the base a point is that the hand misses by so much."""
    distances = np.arange(0.1, 2.0, 1e-4)
    spare = np.array([hand_to_spare_m([x, 0.0, HEIGHT_M], PROFILE.reach) for x in distances])
    return float(distances[np.abs(spare + missing_m)[spare.argmax() :].argmin() + spare.argmax()])


def check(missing_m: float) -> None:
    node = SimpleNamespace(_profile=PROFILE, _where=Transform.identity)
    seen = SimpleNamespace(position=SimpleNamespace(x=ahead_m(missing_m), y=0.0, z=HEIGHT_M + PROFILE.standoff.floor_z_m))
    navigate.NavigateNode._check_reach(node, seen, "the cup")


def test_what_the_hand_reaches_is_no_refusal() -> None:
    check(-0.02)


@pytest.mark.parametrize(("missing_m", "words"), [(0.003, "is 3.0 mm out of"), (0.4, "is 400.0 mm out of")])
def test_a_few_millimetres_are_told_as_such(missing_m: float, words: str) -> None:
    """They were 0.00 m, after a walk that stopped within its tolerance."""
    with pytest.raises(navigate._Ended, match=words) as ended:
        check(missing_m)
    assert ended.value.outcome is navigate.Outcome.OUT_OF_REACH
