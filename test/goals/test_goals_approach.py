"""Whether the hand gets to what is seen on arrival, how much is missing when it does not, and whether standing elsewhere mends that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from roboref_node.geometry.transform import Transform
from roboref_node.goals.approach import hand_misses
from roboref_node.goals.profile import load_profile
from roboref_node.goals.standoff import hand_to_spare_m

PROFILE = load_profile("g1")
assert PROFILE.reach is not None and PROFILE.standoff is not None
HEIGHT_M = 0.75


def ahead_m(missing_m: float) -> float:
    """How far in front of the base a point is that the hand misses by so much."""
    assert PROFILE.reach is not None
    distances = np.arange(0.1, 2.0, 1e-4)
    spare = np.array([hand_to_spare_m([x, 0.0, HEIGHT_M], PROFILE.reach) for x in distances])
    return float(distances[np.abs(spare + missing_m)[spare.argmax() :].argmin() + spare.argmax()])


def test_what_the_hand_reaches_is_not_missed() -> None:
    assert hand_misses([ahead_m(-0.02), 0.0, HEIGHT_M], Transform.identity(), PROFILE) is None


@pytest.mark.parametrize(("missing_m", "words"), [(0.003, "is 3.0 mm out of"), (0.4, "is 400.0 mm out of")])
def test_a_few_millimetres_are_told_as_such(missing_m: float, words: str) -> None:
    """They were 0.00 m, after a walk that stopped within its tolerance."""
    miss = hand_misses([ahead_m(missing_m), 0.0, HEIGHT_M], Transform.identity(), PROFILE)
    assert miss is not None and miss.mendable and words in miss.sentence("the cup") and "profile.reach" in miss.sentence("the cup")


def test_it_is_measured_over_the_floor_under_the_base() -> None:
    """The base leans and stands somewhere, turned: what is missing is the same."""
    here = hand_misses([ahead_m(0.1), 0.0, HEIGHT_M], Transform.identity(), PROFILE)
    yaw, lean = 2.0, 0.1
    turned = Transform(np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]), np.array([3.0, -1.0, 0.79]))
    leaning = turned @ Transform(np.array([0.0, np.sin(lean / 2), 0.0, np.cos(lean / 2)]), np.zeros(3))
    point = turned.apply([ahead_m(0.1), 0.0, HEIGHT_M - 0.79])
    there = hand_misses(point, leaning, PROFILE)
    assert here is not None and there is not None
    assert there.missing_m == pytest.approx(here.missing_m, abs=1e-9) and there.height_m == pytest.approx(HEIGHT_M)


@pytest.mark.parametrize(("height_m", "mendable"), [(0.75, True), (0.1, False), (1.9, False)])
def test_what_lies_too_low_or_too_high_is_mended_by_no_step(height_m: float, mendable: bool) -> None:
    miss = hand_misses([2.0, 0.0, height_m], Transform.identity(), PROFILE)
    assert miss is not None and miss.mendable is mendable


def test_a_robot_without_an_arm_misses_nothing() -> None:
    assert hand_misses([9.0, 0.0, 0.0], Transform.identity(), dataclasses.replace(PROFILE, reach=None)) is None
