"""What every recogniser does: takes the pieces of an utterance while it is spoken, and gives its text at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Heard:
    """What a recogniser made of an utterance.

    Args:
        text: Lower-case words; "" when nothing was understood.
        is_answer: True when the whole utterance is a word of dialogue, by a test that rejects other speech.
    """

    text: str
    is_answer: bool = False


class Recogniser(Protocol):
    """Turns one utterance at a time into text; used from one thread."""

    name: str

    def start(self) -> None:
        """An utterance begins."""

    def feed(self, samples: NDArray[np.float32]) -> None:
        """A piece of it, 16 kHz."""

    def finish(self, *, answering: bool) -> Heard:
        """It is over.

        Args:
            answering: The robot has asked a question that wants yes or no.
        """
