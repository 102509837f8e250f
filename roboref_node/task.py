"""What a person asked for, as data: the role of the answer and the referring expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class TaskKind(str, Enum):
    """What the answer is for; decides which goal is planned."""

    POINT = "point"
    PICK = "pick"
    PLACE = "place"
    NAVIGATE = "navigate"


@dataclass(frozen=True)
class Task:
    """One step of an instruction.

    Args:
        kind: Role of the answer.
        expression: Referring expression as spoken: a noun phrase for POINT, PICK and NAVIGATE ("the red cup left of the
            blue box"), a place phrase for PLACE ("behind the bowl", "in the bowl", "between the cup and the box").
        instruction: The whole sentence it came from.
    """

    kind: TaskKind
    expression: str
    instruction: str
