"""How far a question has come: stages, their durations, and whether the caller has given up."""

from __future__ import annotations

import time
from collections.abc import Callable

from roboref_node.status import Refused, Status

CancelCheck = Callable[[], bool]
StageReport = Callable[[str], None]


class Progress:
    """Timings, stage reports and cancellation of one question."""

    def __init__(self, canceled: CancelCheck | None, report: StageReport | None) -> None:
        self.timings_ms: dict[str, float] = {}
        self.canceled = canceled
        self._report = report
        self._started = self._last = time.perf_counter()

    def enter(self, stage: str) -> None:
        """Announce a stage.

        Raises:
            Refused: CANCELED when the caller gave up meanwhile.
        """
        if self.canceled is not None and self.canceled():
            raise Refused(Status.CANCELED, f"canceled before the stage '{stage}'", stage=stage)
        if self._report is not None:
            self._report(stage)
        self._last = time.perf_counter()

    def leave(self, stage: str) -> None:
        """Note how long a stage took."""
        self.timings_ms[stage] = self.timings_ms.get(stage, 0.0) + (time.perf_counter() - self._last) * 1e3

    def finish(self) -> dict[str, float]:
        """All timings with their total."""
        return {**self.timings_ms, "total": (time.perf_counter() - self._started) * 1e3}
