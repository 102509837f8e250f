"""What a relation says: a signed margin and whether it is clear, clearly not, or too close to call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Outcome(str, Enum):
    """Three-valued answer of a relation."""

    PASS = "pass"
    FAIL = "fail"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Verdict:
    """A relation, measured.

    Args:
        margin: How far the relation is from its limit: positive where it holds, negative where it does not.
        unit: "m", "rad" or "1" (a share or ratio).
        outcome: `Outcome.AMBIGUOUS` when the margin is not larger than the tolerance.
    """

    margin: float
    unit: str
    outcome: Outcome

    @property
    def holds(self) -> bool:
        """True when the relation clearly holds."""
        return self.outcome is Outcome.PASS

    def __neg__(self) -> Verdict:
        """The verdict of the opposite relation."""
        opposite = {Outcome.PASS: Outcome.FAIL, Outcome.FAIL: Outcome.PASS, Outcome.AMBIGUOUS: Outcome.AMBIGUOUS}
        return Verdict(-self.margin, self.unit, opposite[self.outcome])


def judge(margin: float, tolerance: float, unit: str) -> Verdict:
    """Turn a margin into a verdict; what lies within the tolerance, and what is not a number, is ambiguous.

    Raises:
        ValueError: The tolerance is negative or not finite.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0.0):
        raise ValueError(f"a tolerance must be finite and at least 0, this one is {tolerance}")
    if margin > tolerance:
        outcome = Outcome.PASS
    elif margin < -tolerance:
        outcome = Outcome.FAIL
    else:
        outcome = Outcome.AMBIGUOUS
    return Verdict(float(margin), unit, outcome)
