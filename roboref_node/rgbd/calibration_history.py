"""Which of a camera's calibrations belongs to an image: a lens may zoom, and a driver may change the size or start anew."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from roboref_node.status import Refused, Status

Info = TypeVar("Info")

_EARLY_NS = 1_000_000_000
"""An image may be so much older than the first calibration, although that has changed since: a camera tells both as it starts."""


@dataclass
class _Told(Generic[Info]):
    """One calibration, and when it was told."""

    first_ns: int
    last_ns: int
    content: bytes
    info: Info

    @property
    def is_repeated(self) -> bool:
        return self.last_ns > self.first_ns


class CalibrationHistory(Generic[Info]):
    """The calibrations of one topic, each as often as it changed.

    Most drivers tell one with each image and its stamp, some every now and then, some once. So one that was told again and again holds
    from the first to the last time, and one that was told once until there is another.

    Args:
        topic: Its name.
        keep: How many different ones are kept, the newest; 0: all.
    """

    def __init__(self, topic: str, keep: int = 0) -> None:
        self._topic, self._keep = topic, keep
        self._told: list[_Told[Info]] = []

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest one."""
        return self._told[-1].last_ns if self._told else None

    def clear(self) -> None:
        """Forget all: the clock was set back."""
        self._told.clear()

    def note(self, stamp_ns: int, content: bytes, read: Callable[[], Info]) -> None:
        """One was told.

        Args:
            stamp_ns: From when it counts.
            content: Everything in it that is not its stamp.
            read: Gives the message; asked only when the content is new.
        """
        newest = self._told[-1] if self._told else None
        if newest is not None and newest.content == content:
            newest.first_ns, newest.last_ns = min(stamp_ns, newest.first_ns), max(stamp_ns, newest.last_ns)
            return
        if newest is not None and newest.last_ns == stamp_ns:
            self._told.pop()
        self._told.append(_Told(stamp_ns, stamp_ns, content, read()))
        self._told.sort(key=lambda told: told.first_ns)
        if self._keep:
            del self._told[: -self._keep]

    def at(self, stamp_ns: int) -> Info | None:
        """The calibration of an image, None when none was ever told.

        Raises:
            Refused: NO_CAMERA when it changed about then, and none was told with the image's stamp.
        """
        following = bisect_right(self._told, stamp_ns, key=lambda told: told.first_ns)
        after = self._told[following] if following < len(self._told) else None
        before = self._told[following - 1] if following else None
        if before is None:
            if after is not None and len(self._told) > 1 and after.first_ns - stamp_ns > _EARLY_NS:
                raise self._refusal(stamp_ns, f"the first that is known is of {after.first_ns / 1e9:.3f} s, and it has changed since")
            return None if after is None else after.info
        if after is not None and before.is_repeated and stamp_ns > before.last_ns:
            raise self._refusal(stamp_ns, f"it changed between {before.last_ns / 1e9:.3f} and {after.first_ns / 1e9:.3f} s")
        return before.info

    def _refusal(self, stamp_ns: int, why: str) -> Refused:
        return Refused(
            Status.NO_CAMERA,
            f"{self._topic} tells no calibration for the image at {stamp_ns / 1e9:.3f} s: {why}; ask about another image, or let the "
            "driver publish it with each image's stamp",
        )
