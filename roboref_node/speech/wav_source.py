"""A sound file in the place of the microphone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roboref_node.speech.audio import RATE_HZ, read_wav

_BLOCK = 512
_BEFORE_S, _AFTER_S = 0.3, 1.0
"""Silence around the sound: the end of a sentence is heard by it."""


class WavSource:
    """Gives the sound of a file at 16 kHz to a callback, in real time, on a thread of its own.

    Args:
        on_samples: Takes float32 samples, (N,); must only store them.
        path: Of the file.

    Raises:
        Refused: As `read_wav`.
    """

    def __init__(self, on_samples: Callable[[NDArray[np.float32]], None], path: str) -> None:
        self._on_samples, self._audio = on_samples, read_wav(path)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._play, name="roboref_wav", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the sound."""
        self._closing.set()
        self._thread.join(1.0)

    def _play(self) -> None:
        began_s, sent_s = time.monotonic(), 0.0
        for chunk in self._audio.padded(_BEFORE_S, _AFTER_S).chunks(_BLOCK):
            sent_s += len(chunk) / RATE_HZ
            if self._closing.wait(max(0.0, began_s + sent_s - time.monotonic())):
                return
            self._on_samples(chunk)
