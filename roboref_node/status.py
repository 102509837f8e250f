"""Why a question did or did not become a goal: the closed list of statuses, and the exception that carries one."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Status(str, Enum):
    """Outcome of one referral. Every value but ``OK`` means that no goal was produced.

    The value is the wire name (message, JSON, log); `code` is its stable number in ``roboref/msg/Referral``.
    """

    OK = "OK"
    NOT_FOUND = "NOT_FOUND"
    UNPARSEABLE = "UNPARSEABLE"
    OUT_OF_IMAGE = "OUT_OF_IMAGE"
    NO_DEPTH = "NO_DEPTH"
    DEPTH_EDGE = "DEPTH_EDGE"
    AMBIGUOUS = "AMBIGUOUS"
    TF_UNAVAILABLE = "TF_UNAVAILABLE"
    TF_STALE = "TF_STALE"
    NO_CAMERA = "NO_CAMERA"
    FRAME_STALE = "FRAME_STALE"
    SYNC_SKEW = "SYNC_SKEW"
    UNITS_IMPLAUSIBLE = "UNITS_IMPLAUSIBLE"
    OUT_OF_WORKSPACE = "OUT_OF_WORKSPACE"
    UNREACHABLE = "UNREACHABLE"
    OCCUPIED = "OCCUPIED"
    TOO_WIDE = "TOO_WIDE"
    VERIFY_FAILED = "VERIFY_FAILED"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_TIMEOUT = "MODEL_TIMEOUT"
    CANCELED = "CANCELED"
    BAD_REQUEST = "BAD_REQUEST"
    INTERNAL = "INTERNAL"

    @property
    def code(self) -> int:
        """Stable position of this status in the list, the ``status`` field of ``roboref/msg/Referral``."""
        return list(Status).index(self)


class Refused(Exception):
    """A check failed: carries the status, one sentence for a person, and the numbers behind it.

    Raised inside the core only; `Pipeline.refer` turns it into a `Referral` and lets none escape.

    Args:
        status: What failed; never ``Status.OK``.
        sentence: One sentence with the number that failed and the setting that governs it.
        **details: JSON-serialisable values for provenance, e.g. ``nearest_px=(12.0, 30.0)``.
    """

    def __init__(self, status: Status, sentence: str, **details: Any) -> None:
        super().__init__(f"{status.value}: {sentence}")
        self.status = status
        self.sentence = sentence
        self.details = details
