"""Answers that were stored as JSON, by this version or an older one, or edited by hand: checked before anything is done with them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from roboref_node.status import Refused, Status
from roboref_node.task import TaskKind

_LARGEST = 1e9
"""Of a coordinate in metres: beyond it nothing was measured, and no picture of it can be drawn."""

_QUATERNION_SLACK = 1e-3
"""Of its length: a longer one agrees with every other in the comparison of angles."""


class _Form(NamedTuple):
    """What an entry has to be, in words and as a test; `needed` where the group around it cannot do without."""

    what: str
    fits: Callable[[Any], bool]
    needed: bool = False


def _is_number(value: Any, largest: float = _LARGEST) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= largest


def _is_stamp(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _numbers(count: int, *, largest: float = _LARGEST, needed: bool = False) -> _Form:
    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(_is_number(x, largest) for x in value)

    return _Form(f"a list of {count} numbers", fits, needed)


def _one_of(*values: str) -> _Form:
    return _Form(f"one of {', '.join(values)}", lambda value: value in values, needed=True)


_TEXT, _NEEDED_TEXT = (_Form("text", lambda value: isinstance(value, str), needed) for needed in (False, True))
_NUMBER = _Form("a number", _is_number)
_GROUP, _NEEDED_GROUP = (_Form("a group of values", lambda value: isinstance(value, Mapping), needed) for needed in (False, True))
_QUATERNION = _Form(
    "a unit quaternion", lambda value: _numbers(4).fits(value) and abs(math.hypot(*value) - 1.0) <= _QUATERNION_SLACK, needed=True
)
_POSE = {"": _GROUP, ".position_m": _numbers(3, needed=True), ".quaternion_xyzw": _QUATERNION}
_FILES = ("bag", "rgb", "depth", "camera", "depth_camera", "color_from_depth")
_FORMS: dict[str, _Form] = {
    "status": _one_of(*(status.value for status in Status)),
    "sentence": _NEEDED_TEXT,
    "task": _NEEDED_GROUP,
    "task.kind": _one_of(*(kind.value for kind in TaskKind)),
    **dict.fromkeys(("task.expression", "task.instruction"), _NEEDED_TEXT),
    "stamp_ns": _Form("a whole number of nanoseconds", _is_stamp),
    **dict.fromkeys(("frame_id", "answer", "position_frame"), _TEXT),
    "pixel": _numbers(2, largest=sys.float_info.max),  # a given one may be anywhere
    "position_m": _numbers(3),
    "covariance_m2": _numbers(9),
    **{f"{pose}{name}": form for pose in ("goal", "approach") for name, form in {**_POSE, ".frame": _NEEDED_TEXT}.items()},
    "gripper_width_m": _NUMBER,
    "timings_ms": _Form("a group of numbers", lambda value: isinstance(value, Mapping) and all(_is_number(x) for x in value.values())),
    "details": _GROUP,
    "details.position_m": _numbers(3),
    "provenance": _GROUP,
    **{f"provenance.goal_from_optical{name}": form for name, form in _POSE.items()},
    "provenance.depth_sample": _GROUP,
    **dict.fromkeys(("provenance.depth_sample.depth_m", "provenance.depth_sample.known_5x5"), _NUMBER),
    "provenance.source": _GROUP,
    **{f"provenance.source.{file}": _TEXT for file in _FILES},
    **{f"provenance.source.{number}": _NUMBER for number in ("near_m", "far_m", "sync_slop_s")},
    "provenance.source.topics": _GROUP,
}
"""Entries by their dotted names, a group before what is in it. Whatever else is stored is only shown."""


def checked_answer(data: Any, where: str) -> dict[str, Any]:
    """An answer as `Referral.to_dict` makes it; of what it lacks, the entries of the answer itself are None.

    Args:
        data: What JSON gave.
        where: The file and which answer of it, for the sentence.

    Raises:
        Refused: BAD_REQUEST naming the entry that is missing or of another form.
    """
    if not isinstance(data, Mapping):
        raise Refused(Status.BAD_REQUEST, f"{where} is {_short(data)}, it must be a group of values")
    for name, form in _FORMS.items():
        *groups, leaf = name.split(".")
        group: Any = data
        for part in groups:
            group = None if group is None else group.get(part)
        value = None if group is None else group.get(leaf)
        if value is None and group is not None and form.needed:
            raise Refused(Status.BAD_REQUEST, f"{where} has no {name}")
        if value is not None and not form.fits(value):
            raise Refused(Status.BAD_REQUEST, f"{where}: {name} is {_short(value)}, it must be {form.what}")
    return {**{name: None for name in _FORMS if "." not in name}, **data}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
