"""The microphone, through PortAudio; imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.speech.audio import RATE_HZ
from roboref_node.status import Refused, Status

_BLOCK = 512


class Microphone:
    """Gives sound at 16 kHz to a callback, on PortAudio's thread.

    Args:
        on_samples: Takes float32 samples, (N,); must only store them.
        device: Name or number of the input (``python -m sounddevice`` lists them); "" = the system's default.

    Raises:
        Refused: MODEL_UNAVAILABLE naming the package that is missing, or the reason why the device cannot be opened.
    """

    def __init__(self, on_samples: Callable[[NDArray[np.float32]], None], device: str = "") -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise Refused(
                Status.MODEL_UNAVAILABLE,
                f"sounddevice cannot be imported ({error}): pip install 'roboref[speech]'",
            ) from error
        except OSError as error:  # the wheel has no PortAudio inside on Linux
            raise Refused(Status.MODEL_UNAVAILABLE, f"{error}: sudo apt-get install -y libportaudio2") from error

        def store(block: Any, frames: int, time: Any, status: Any) -> None:
            on_samples(block[:, 0].copy())

        which: int | str | None = int(device) if device.isdigit() else device or None
        try:
            self._stream = sounddevice.InputStream(
                samplerate=RATE_HZ, blocksize=_BLOCK, channels=1, dtype="float32", device=which, callback=store
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"the microphone {device!r} (parameter microphone) cannot be opened at {RATE_HZ} Hz: {error}"
            ) from error

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()
