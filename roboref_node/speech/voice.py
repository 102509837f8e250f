"""The robot's own voice: what it says, one sentence after the other, and for how long the microphone hears it."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable

from roboref_node.speech.synthesis import speak_command
from roboref_node.status import Refused

SILENT = "none"
"""The voice of a robot that does not speak."""

_ECHO_S = 0.3
"""How long the sound of a sentence stays in the room."""
_LONGEST_S = 60.0
"""Sentences have at most 500 characters, which takes espeak-ng half a minute."""


class Voice:
    """Speaks on a thread of its own; `say` only stores.

    Args:
        voice: ``none``, or a voice of `speak_command`.
        on_failure: Called with a sentence when the program does not speak.

    Raises:
        Refused: As `speak_command`: a missing program is told now, not at the first question.
    """

    def __init__(self, voice: str, *, on_failure: Callable[[str], None] = lambda sentence: None) -> None:
        if voice != SILENT:
            speak_command(voice, "")
        self._voice, self._on_failure = voice, on_failure
        self._sayings: queue.Queue[str | None] = queue.Queue()
        self._unsaid = 0
        self._guard = threading.Lock()
        self._deaf_until_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="roboref_voice", daemon=True)
        self._thread.start()

    @property
    def is_heard(self) -> bool:
        """True while the microphone may hear it."""
        return time.monotonic() < self._deaf_until_s

    @property
    def is_talking(self) -> bool:
        """True until everything has been said."""
        return self._unsaid > 0

    def say(self, text: str) -> None:
        """Say a sentence after those that wait."""
        if self._voice == SILENT or self._closing:
            return
        with self._guard:
            self._unsaid += 1
        self._sayings.put(text)

    def close(self, timeout_s: float = 1.0) -> bool:
        """Fall silent; False when the program does not end within `timeout_s`."""
        self._closing = True
        self._sayings.put(None)
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (text := self._sayings.get()) is not None and not self._closing:
            self._deaf_until_s = float("inf")  # its own "yes or no" must not answer it
            try:
                self._speak(text)
            except (OSError, subprocess.TimeoutExpired, Refused) as error:
                self._on_failure(f"the voice failed: {error}")
            finally:
                self._deaf_until_s = time.monotonic() + _ECHO_S
                with self._guard:
                    self._unsaid -= 1

    def _speak(self, text: str) -> None:
        command = speak_command(self._voice, text)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as self._process:
            try:
                _, errors = self._process.communicate(timeout=_LONGEST_S)
            except BaseException:
                self._process.kill()
                raise
        if self._process.returncode != 0 and not self._closing:
            why = errors.decode(errors="replace").strip()[:200] or f"it ended with {self._process.returncode}"
            self._on_failure(f"the voice failed: {self._voice}: {why}")
