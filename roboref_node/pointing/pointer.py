"""The one interface behind which every pointing model stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from roboref_node.frame import Frame
from roboref_node.task import Task


@dataclass(frozen=True)
class PixelPoint:
    """A point in the colour image.

    Args:
        u_px: Column, 0 = centre of the first pixel, to the right.
        v_px: Row, 0 = centre of the first pixel, downwards.
        score: The model's own probability of the answer in [0, 1]; NaN when it gives none.
    """

    u_px: float
    v_px: float
    score: float = float("nan")

    @property
    def is_finite(self) -> bool:
        """False for what no image has and JSON cannot say, such as a given pixel of infinity."""
        return math.isfinite(self.u_px) and math.isfinite(self.v_px)


@dataclass(frozen=True)
class ReasoningStep:
    """One intermediate step of a reasoning answer, e.g. ``[Position] [blue box]: [(0.3, 0.4)]``.

    Args:
        kind: Position, Orientation or Size.
        target: What the step is about, as the model named it.
        values: Normalised point, unit vector or metres.
    """

    kind: str
    target: str
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class PointAnswer:
    """What a pointing model said.

    Args:
        points: At least one point inside the image, best first.
        text: The raw answer.
        steps: Intermediate reasoning steps, in the order of the answer.
        timings_ms: Duration of each stage in milliseconds.
        provenance: Model name, weights hash, prompt hash: whatever makes the answer reproducible.
    """

    points: tuple[PixelPoint, ...]
    text: str
    steps: tuple[ReasoningStep, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


class Pointer(Protocol):
    """A model that answers "where is that?" with pixels. Implementations are safe to call from one thread at a time."""

    name: str

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        """Find what `task` refers to in `frame`.

        Args:
            frame: Colour and depth.
            task: Role and referring expression.
            canceled: Polled between steps; the answer is given up as soon as it returns True.

        Raises:
            Refused: NOT_FOUND, UNPARSEABLE, OUT_OF_IMAGE, MODEL_UNAVAILABLE, MODEL_TIMEOUT or CANCELED.
        """
        ...
