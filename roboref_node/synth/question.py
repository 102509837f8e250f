"""A question about one scene, as data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Question:
    """A question about one scene.

    Args:
        kind: One of `questions.KINDS`.
        text: The whole request.
        expression: Only the referring expression or place phrase.
        place: True when free space is asked for.
        mask: Every pixel that is a right answer, bool (H, W); all False when nothing in the scene matches.
        answer_uv: The best answer, normalised to [0, 1]; None when nothing matches.
        references: Named reference points in the order in which one would look for them, normalised.
        target: Index of the object asked for; None for free space and for absent objects.
        wording: Which form of request the text has (`language.request`); the words of the expression are not part of it.
        candidates: The look-alikes among which the answer is chosen, along the picture. To list them is a way to compare them; they are
            no steps of the question.
    """

    kind: str
    text: str
    expression: str
    place: bool
    mask: NDArray[np.bool_]
    answer_uv: tuple[float, float] | None
    references: tuple[tuple[str, tuple[float, float]], ...] = ()
    target: int | None = None
    wording: str = "canonical"
    candidates: tuple[tuple[str, tuple[float, float]], ...] = ()

    @property
    def trace(self) -> tuple[tuple[str, tuple[float, float]], ...]:
        """What an answer with reasoning spells out before the answer, in order."""
        return self.references + self.candidates

    @property
    def steps(self) -> int:
        """Number of things to find: the references and the answer."""
        return 1 + len(self.references)

    def reasoning(self) -> str:
        """The trace in RoboRefer's step form, e.g. ``[Position] [blue box]: [(0.309, 0.520)]``, one line each."""
        return "\n".join(f"[Position] [{name}]: [({x:.3f}, {y:.3f})]" for name, (x, y) in self.trace)
