"""Spoken sentences from flite or espeak-ng, two programs that a distribution brings: the robot's voice, and test speakers."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from roboref_node.speech.audio import RATE_HZ, Audio, read_wav
from roboref_node.status import Refused, Status

_TIMEOUT_S = 30.0
_PROGRAMS = ("flite", "espeak-ng")


class Synthesiser:
    """A voice.

    Args:
        voice: ``flite:NAME`` (``flite -lv`` lists the names: slt, rms, awb, kal16, ...) or ``espeak-ng[:NAME]`` (``espeak-ng --voices``).
        words_per_minute: Speed of espeak-ng; flite keeps its own.

    Raises:
        Refused: BAD_REQUEST when the name has another form; MODEL_UNAVAILABLE naming the package when the program is not installed.
    """

    def __init__(self, voice: str, *, words_per_minute: int = 150) -> None:
        self.voice = voice
        self._program, _, self._name = voice.partition(":")
        if self._program not in _PROGRAMS:
            raise Refused(Status.BAD_REQUEST, f"voice is {voice!r}, it must begin with one of {', '.join(_PROGRAMS)}")
        self._path = find_program(self._program)
        self._words_per_minute = words_per_minute

    def __call__(self, text: str) -> Audio:
        """The sentence as sound at 16 kHz.

        Raises:
            Refused: MODEL_UNAVAILABLE when the program fails, e.g. because it has no such voice.
        """
        with tempfile.TemporaryDirectory(prefix="roboref_voice_") as folder:
            out = Path(folder) / "voice.wav"
            if self._program == "flite":
                command = [self._path, *(["-voice", self._name] if self._name else []), "-t", text, "-o", str(out)]
            else:
                speed = ["-s", str(self._words_per_minute)]
                command = [self._path, *(["-v", self._name] if self._name else []), *speed, "-w", str(out), "--", text]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
            except subprocess.TimeoutExpired:
                raise Refused(Status.MODEL_TIMEOUT, f"{self._program} did not speak within {_TIMEOUT_S:g} s") from None
            if done.returncode != 0 or not out.is_file():
                raise Refused(Status.MODEL_UNAVAILABLE, f"{self.voice} cannot speak: {done.stderr.strip()[:200] or 'no sound came'}")
            return read_wav(out).at_rate(RATE_HZ)


def speak_command(voice: str, text: str) -> list[str]:
    """The command that says `text` on the machine's own loudspeaker.

    Raises:
        Refused: As `Synthesiser`.
    """
    program, _, name = voice.partition(":")
    if program not in _PROGRAMS:
        raise Refused(Status.BAD_REQUEST, f"voice is {voice!r}, it must be none or begin with one of {', '.join(_PROGRAMS)}")
    path = find_program(program)
    if program == "flite":
        return [path, *(["-voice", name] if name else []), "-t", text]
    return [path, *(["-v", name] if name else []), "--", text]


def find_program(name: str) -> str:
    """The path of `name`.

    Raises:
        Refused: MODEL_UNAVAILABLE naming the system package that brings it.
    """
    path = shutil.which(name)
    if path is None:
        raise Refused(Status.MODEL_UNAVAILABLE, f"the program {name} is not installed: sudo apt-get install -y {name}")
    return path
