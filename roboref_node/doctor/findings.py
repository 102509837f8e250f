"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Level(str, Enum):
    """How bad it is. Only ``error`` means that a question would not work."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Args:
        id: Stable name of the check, for scripts.
        level: How bad it is.
        what: What is the case, with the number or path.
        why: Why it matters; "" when all is well.
        fix: The command or setting that fixes it; "" when there is nothing to fix.
    """

    id: str
    level: Level
    what: str
    why: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON form."""
        return {**asdict(self), "level": self.level.value}
