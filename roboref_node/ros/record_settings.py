"""Parameters ``record.*``: which questions are kept with their frames, where, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from roboref_node.parameters import check_settings, setting


class Recorded(str, Enum):
    """Which questions are recorded."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


@dataclass(frozen=True)
class RecordSettings:
    """Recording of questions with their frames."""

    questions: Recorded = setting("none, failed (every refusal that had a frame), or all.", default=Recorded.NONE)
    folder: str = setting("Where: one bag for each question.", default="~/.ros/roboref_questions")
    max_count: int = setting("Bags kept; the oldest is removed for a new one.", default=50, minimum=1, maximum=100_000)
    max_megabytes: int = setting("Size of all bags together; the oldest are removed for a new one.", default=500, minimum=1, unit="MB")
    min_free_megabytes: int = setting("Nothing is recorded when the disk has less free.", default=1000, minimum=0, unit="MB")

    def __post_init__(self) -> None:
        check_settings(self)
