"""Which calibration an image gets, by the ways in which drivers tell them."""

from __future__ import annotations

import pytest

from roboref_node.rgbd import CalibrationHistory
from roboref_node.status import Refused, Status

S = 1_000_000_000


def history(*told: tuple[float, str], keep: int = 0) -> CalibrationHistory[str]:
    made = CalibrationHistory[str]("/camera_info", keep)
    for at_s, content in told:
        made.note(round(at_s * S), content.encode(), lambda content=content: content)  # type: ignore[misc]
    return made


def test_none_before_the_first() -> None:
    assert history().at(0) is None and history().newest_ns is None


def test_one_holds_for_every_image() -> None:
    for told in (((100.0, "a"),), ((100.0, "a"), (101.0, "a"), (102.0, "a"))):
        assert [history(*told).at(at_s * S) for at_s in (1, 100, 101, 1000)] == ["a"] * 4


def test_with_each_image_each_has_its_own() -> None:
    zooming = history((1.0, "a"), (1.1, "b"), (1.2, "c"))
    assert [zooming.at(round(at_s * S)) for at_s in (1.0, 1.1, 1.2, 1.3)] == ["a", "b", "c", "c"]


def test_told_once_it_holds_until_the_next() -> None:
    """A driver that latches it, and is started anew with another size."""
    restarted = history((10.0, "a"), (500.0, "b"))
    assert [restarted.at(at_s * S) for at_s in (10, 499, 500, 600)] == ["a", "a", "b", "b"]


def test_between_the_last_of_one_and_the_first_of_the_next_nobody_knows() -> None:
    slow = history((10.0, "a"), (11.0, "a"), (12.0, "b"), (13.0, "b"))
    assert [slow.at(round(at_s * S)) for at_s in (10.5, 11.0, 12.0, 12.5, 99.0)] == ["a", "a", "b", "b", "b"]
    with pytest.raises(
        Refused, match=r"/camera_info tells no calibration .* 11\.500 s: it changed between 11\.000 and 12\.000 s"
    ) as caught:
        slow.at(round(11.5 * S))
    assert caught.value.status is Status.NO_CAMERA


def test_an_image_long_before_the_first_of_several_is_refused() -> None:
    changed = history((10.0, "a"), (20.0, "b"))
    assert changed.at(round(9.5 * S)) == "a", "told a little late at the start"
    with pytest.raises(Refused, match=r"the first that is known is of 10\.000 s, and it has changed since"):
        changed.at(5 * S)


def test_of_two_with_one_stamp_the_last_counts() -> None:
    assert history((1.0, "a"), (1.0, "b")).at(1 * S) == "b"


def test_what_comes_out_of_order_is_put_in_order() -> None:
    assert history((2.0, "b"), (1.0, "a")).at(round(1.5 * S)) == "a"


def test_the_newest_are_kept() -> None:
    kept = history(*((float(n), str(n)) for n in range(100)), keep=10)
    assert kept.at(99 * S) == "99" and kept.at(90 * S) == "90"
    with pytest.raises(Refused):
        kept.at(50 * S)
