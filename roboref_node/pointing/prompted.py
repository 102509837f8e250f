"""What all back-ends have in common: prompt, the model's own part, the parser, timings and provenance."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import parse_points
from roboref_node.pointing.pointer import PixelPoint, PointAnswer
from roboref_node.pointing.prompt import build_prompt
from roboref_node.pointing.sent_image import size_px
from roboref_node.pointing.syntax import legible
from roboref_node.status import Refused, Status
from roboref_node.task import Task


class PromptSettings(Protocol):
    """The settings that shape a prompt."""

    @property
    def format_suffix(self) -> bool:
        """Ask for the answer format in the prompt."""
        ...

    @property
    def max_instruction_chars(self) -> int:
        """Longest expression."""
        ...


S = TypeVar("S", bound=PromptSettings)


@dataclass(frozen=True)
class Prepared:
    """A question in the form its model takes.

    Args:
        request: Payload or tensors.
        sent_px: Width and height of the image as the model gets it; None: as it is.
        provenance: What distinguishes this question, beside model and prompt.
    """

    request: Any
    sent_px: tuple[int, int] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


class PromptedPointer(ABC, Generic[S]):
    """A `Pointer` whose model is asked with a prompt and answers with text.

    Args:
        settings: Of the back-end.
        dialect: How the model writes points.
        name: Name for provenance.
    """

    def __init__(self, settings: S, dialect: Dialect, name: str) -> None:
        if settings.max_instruction_chars < 1:
            raise Refused(Status.BAD_REQUEST, f"`max_instruction_chars` is {settings.max_instruction_chars}, expected at least 1.")
        self.name = name
        self.settings = settings
        self.dialect = dialect

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        """See `Pointer.point`."""
        started = time.perf_counter()
        settings = self.settings
        prompt = build_prompt(
            task, self.dialect, format_suffix=settings.format_suffix, max_instruction_chars=settings.max_instruction_chars
        )
        provenance = {
            "model": self.name,
            "dialect": self.dialect.value,
            **self._identity(),
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
        }
        try:
            prepared = self._prepare(frame, task, prompt)
            provenance |= prepared.provenance
            asked = time.perf_counter()
            text, score = self._ask(frame, prepared, canceled)
            answered = time.perf_counter()
            text = legible(text)
            parsed = parse_points(text, self.dialect, size_px(frame.rgb), prepared.sent_px)
        except Refused as refusal:  # a refusal is an answer too: which model it came from must be known
            refusal.details["provenance"] = provenance
            raise
        return PointAnswer(
            points=tuple(PixelPoint(point.u_px, point.v_px, score) for point in parsed.points),
            text=text,
            steps=parsed.steps,
            timings_ms={"prepare": 1e3 * (asked - started), "model": 1e3 * (answered - asked)},
            provenance=provenance,
        )

    @property
    def identity(self) -> Mapping[str, str]:
        """Name and weights, for answers that end before the model is asked."""
        return {"model": self.name, **self._identity()}

    def _identity(self) -> Mapping[str, str]:
        """What tells the model from others of its name, such as the hash of its weights."""
        return {}

    @abstractmethod
    def _prepare(self, frame: Frame, task: Task, prompt: str) -> Prepared:
        """The question for the model.

        Raises:
            Refused: The model cannot be asked this.
        """

    @abstractmethod
    def _ask(self, frame: Frame, prepared: Prepared, canceled: Callable[[], bool] | None) -> tuple[str, float]:
        """The model's text and its own probability of it, NaN when it gives none.

        Raises:
            Refused: See `Pointer.point`.
        """
