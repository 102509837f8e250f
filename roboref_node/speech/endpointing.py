"""Where speech begins and ends in a stream of sound, by silero-vad: the pieces go to a recogniser while the person still speaks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.parameters import check_settings, setting
from roboref_node.speech.audio import RATE_HZ
from roboref_node.status import Refused, Status

WINDOW = 512
"""Samples that silero-vad judges at once: 32 ms."""

ANSWER_MAX_S = 1.6
"""Longer utterances are sentences, not answers."""


@dataclass(frozen=True)
class EndPointSettings:
    """When a stretch of sound is one utterance."""

    threshold: float = setting("Probability of speech above which a window of 32 ms is voiced.", default=0.5, minimum=0.05, maximum=0.99)
    silence_s: float = setting("Silence that ends an utterance.", default=0.32, unit="s", minimum=0.1, maximum=3.0)
    answer_silence_s: float = setting(
        "The same after a short word while the robot waits for yes or no.", default=0.2, unit="s", minimum=0.1, maximum=3.0
    )
    min_speech_s: float = setting("Shorter sounds are no speech.", default=0.1, unit="s", minimum=0.03, maximum=2.0)
    max_speech_s: float = setting("Longer utterances are cut here.", default=15.0, unit="s", minimum=1.0, maximum=60.0)
    lead_s: float = setting(
        "Sound before the onset that is kept: a soft first consonant.", default=0.25, unit="s", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


class Phase(str, Enum):
    """What a piece of an utterance is."""

    STARTED = "started"
    GOES_ON = "goes on"
    ENDED = "ended"


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of an utterance.

    Args:
        phase: First, further or last piece.
        samples: float32, (N,); the first piece begins `EndPointSettings.lead_s` before the onset, the last one is empty.
        at_s: Time in the stream: of the onset (STARTED), of the end of the piece, or of the end of the last voiced window (ENDED).
    """

    phase: Phase
    samples: NDArray[np.float32]
    at_s: float


class EndPointer:
    """Cuts a stream into utterances.

    Args:
        settings: Thresholds.

    Raises:
        Refused: MODEL_UNAVAILABLE when silero-vad is not installed.
    """

    def __init__(self, settings: EndPointSettings | None = None) -> None:
        self.settings = settings or EndPointSettings()
        self._model = _load()
        self._rest = np.zeros(0, dtype=np.float32)
        self._lead: deque[NDArray[np.float32]] = deque(
            maxlen=max(1, round((self.settings.lead_s + self.settings.min_speech_s) * RATE_HZ / WINDOW))
        )
        self._windows = 0
        self._voiced = 0
        self._onset_s = 0.0
        self._last_voiced_s = 0.0
        self._speaking = False

    @property
    def speaking(self) -> bool:
        """True inside an utterance."""
        return self._speaking

    def feed(self, samples: NDArray[np.float32], *, answering: bool = False) -> list[Piece]:
        """The pieces that `samples` complete.

        Args:
            samples: Sound at 16 kHz, (N,), any number.
            answering: The robot waits for yes or no: a word is over sooner than a sentence, in which people pause.
        """
        pieces: list[Piece] = []
        buffered = np.concatenate([self._rest, samples])
        whole = len(buffered) // WINDOW * WINDOW
        for start in range(0, whole, WINDOW):
            pieces += self._judge(buffered[start : start + WINDOW], answering)
        self._rest = buffered[whole:]
        return pieces

    def _judge(self, window: NDArray[np.float32], answering: bool) -> list[Piece]:
        import torch

        with torch.inference_mode():
            probability = float(self._model(torch.from_numpy(np.ascontiguousarray(window)), RATE_HZ))
        begin_s, end_s = self._windows * WINDOW / RATE_HZ, (self._windows + 1) * WINDOW / RATE_HZ
        self._windows += 1
        settings = self.settings
        if not self._speaking:
            self._lead.append(window)
            if probability < settings.threshold:
                self._voiced = 0
                return []
            if self._voiced == 0:
                self._onset_s = begin_s
            self._voiced += 1
            if end_s - self._onset_s < settings.min_speech_s:
                return []
            self._speaking, self._last_voiced_s = True, end_s
            lead = np.concatenate(list(self._lead))
            self._lead.clear()
            return [Piece(Phase.STARTED, lead, self._onset_s)]
        if probability >= max(0.05, settings.threshold - 0.15):  # hysteresis: a weak vowel does not end a word
            self._last_voiced_s = end_s
        pieces = [Piece(Phase.GOES_ON, window, end_s)]
        short = answering and self._last_voiced_s - self._onset_s <= ANSWER_MAX_S
        silence_s = min(settings.silence_s, settings.answer_silence_s) if short else settings.silence_s
        if end_s - self._last_voiced_s >= silence_s or end_s - self._onset_s >= settings.max_speech_s:
            pieces.append(Piece(Phase.ENDED, window[:0], self._last_voiced_s))
            self._speaking, self._voiced = False, 0
            self._model.reset_states()
        return pieces


def _load() -> Any:
    try:
        from silero_vad import load_silero_vad
    except ImportError as error:
        raise Refused(
            Status.MODEL_UNAVAILABLE, f"silero-vad cannot be imported ({error}): pip install 'roboref[speech]' (requirements/speech.txt)"
        ) from error
    return load_silero_vad()
