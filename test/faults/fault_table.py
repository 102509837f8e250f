"""The fault table as data: what goes wrong, how it is made to go wrong, what the node must then say, and how it recovers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HARMLESS = "OK"
"""Status of a fault that does no harm: the question is answered, and rightly."""


@dataclass(frozen=True)
class Outcome:
    """What came back, where it is not a referral: a refused parameter, a rejected goal, a process that has ended."""

    status_text: str
    sentence: str


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Args:
        id: Name of the row and of its test.
        group: Heading that it stands under.
        what: What is wrong.
        injection: How the test makes it wrong.
        status: Status of the answers while it lasts; `HARMLESS` when there is a right answer nevertheless.
        sentence: Regular expression that the answer's sentence must hold: the number that failed and the setting that governs it.
        inject: Makes it wrong; returns the question to ask (None: pick the object at a given pixel).
        concern: Entry of /diagnostics that must turn, "" when nothing can be known before a question is asked.
        within_s: Longest time until it is noticed: in diagnostics with a `concern`, by the first answer without.
        recovery: What ends it.
        mend: Makes it right where `Bench.mend` is not enough.
        bench: Fixture that it is played at.
        once: The question cannot be repeated while it lasts.
    """

    id: str
    group: str
    what: str
    injection: str
    status: str
    sentence: str
    inject: Callable[[Any], Callable[[], Any] | None]
    concern: str = ""
    within_s: float = 1.0
    recovery: str = "the next question is answered"
    mend: Callable[[Any], None] | None = None
    bench: str = "bench"
    once: bool = False

    @property
    def harmless(self) -> bool:
        """True when there is a right answer nevertheless."""
        return self.status == HARMLESS

    def explains(self, sentence: str) -> bool:
        """True when `sentence` holds what it must."""
        return re.search(self.sentence, sentence) is not None


FAULTS: dict[str, Fault] = {}


def fault(group: str, id: str, **fields: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Enter the decorated injection into the table."""

    def enter(inject: Callable[[Any], Any]) -> Callable[[Any], Any]:
        assert id not in FAULTS, id
        FAULTS[id] = Fault(id=id, group=group, inject=inject, **fields)
        return inject

    return enter
