"""Sound as data: mono samples with a rate, WAV files, resampling, noise of a stated level."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roboref_node.status import Refused, Status

RATE_HZ = 16_000
"""What every recogniser and the voice activity detector work with."""

_VOICED = 0.02
"""Share of the peak above which a synthetic, clean recording counts as voiced."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound.

    Args:
        samples: float32 in [-1, 1], (N,).
        rate_hz: Samples per second.
    """

    samples: NDArray[np.float32]
    rate_hz: int = RATE_HZ

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"samples are {self.samples.dtype} of shape {self.samples.shape}, they must be float32 of shape (N,)")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    def at_rate(self, rate_hz: int) -> Audio:
        """The same sound at another rate (polyphase filter)."""
        if rate_hz == self.rate_hz:
            return self
        from scipy.signal import resample_poly  # takes longer to import than everything else here

        divisor = gcd(rate_hz, self.rate_hz)
        resampled = resample_poly(self.samples, rate_hz // divisor, self.rate_hz // divisor)
        return Audio(resampled.astype(np.float32), rate_hz)

    def padded(self, before_s: float, after_s: float) -> Audio:
        """With silence around it."""
        before, after = (np.zeros(round(s * self.rate_hz), dtype=np.float32) for s in (before_s, after_s))
        return Audio(np.concatenate([before, self.samples, after]), self.rate_hz)

    def voiced_end_s(self) -> float:
        """When the last sound of a clean recording ends; its trailing silence does not count."""
        loud = np.flatnonzero(np.abs(self.samples) > _VOICED * max(float(np.abs(self.samples).max(initial=0.0)), 1e-9))
        return float(loud[-1] + 1) / self.rate_hz if len(loud) else 0.0

    def with_noise(self, snr_db: float, rng: np.random.Generator) -> Audio:
        """With white noise at `snr_db` below the mean power of the voiced part, over the whole length."""
        loud = np.abs(self.samples) > _VOICED * max(float(np.abs(self.samples).max(initial=0.0)), 1e-9)
        power = float(np.mean(self.samples[loud].astype(np.float64) ** 2)) if loud.any() else 0.0
        noise = rng.normal(0.0, np.sqrt(power / 10 ** (snr_db / 10)), len(self.samples))
        return Audio(np.clip(self.samples + noise, -1.0, 1.0).astype(np.float32), self.rate_hz)

    def chunks(self, samples: int) -> Iterator[NDArray[np.float32]]:
        """Consecutive pieces of `samples` samples; the last one may be shorter."""
        for start in range(0, len(self.samples), samples):
            yield self.samples[start : start + samples]


class Resampler:
    """Turns a stream at one rate into one at another, piece by piece, as `Audio.at_rate` does with the whole.

    A filter that begins anew with each piece fades every edge into silence: at 8 kHz and 20 ms the words are no longer understood.

    Args:
        from_hz: Rate of what comes.
        to_hz: Rate of what is given.
    """

    def __init__(self, from_hz: int, to_hz: int = RATE_HZ) -> None:
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        # scipy's filter reaches 10 periods of the slower of the two rates to each side; in whole periods of `down`, for their results
        # lie on samples of both.
        reach = 10 * max(self._up, self._down) // self._up + 1
        self._reach = -(-reach // self._down) * self._down
        self._waiting = np.zeros(self._reach, dtype=np.float32)
        if self._up != self._down:
            import scipy.signal  # noqa: F401  # takes seconds, which the first sound must not wait for

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is known by now: the last samples, 10 ms at most, wait for those that the filter has to see after them."""
        if self._up == self._down:
            return samples
        from scipy.signal import resample_poly

        stream = np.concatenate([self._waiting, samples])
        known = (len(stream) - 2 * self._reach) // self._down * self._down
        if known <= 0:
            self._waiting = stream
            return stream[:0]
        used = stream[: known + 2 * self._reach]
        result = resample_poly(used, self._up, self._down).astype(np.float32)
        self._waiting = stream[known:]
        begin = self._reach // self._down * self._up
        return np.asarray(result[begin : begin + known // self._down * self._up])


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as 16-bit integers."""
    return np.asarray(np.rint(np.clip(samples, -1.0, 1.0) * 32767.0), dtype=np.int16)


def from_pcm16(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit integers as samples in [-1, 1]."""
    return samples.astype(np.float32) / 32768.0


def read_wav(path: str | Path) -> Audio:
    """A WAV file (PCM of 8, 16, 24 or 32 bits, any rate, any number of channels) as mono sound at `RATE_HZ`.

    Raises:
        Refused: BAD_REQUEST when the file cannot be read or is no PCM.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError) as error:
        raise Refused(Status.BAD_REQUEST, f"{path} is no readable WAV file: {error or 'it is empty'}") from error
    if width == 1:
        samples = (np.frombuffer(content, dtype=np.uint8).astype(np.float32) - 128.0) / 128.0
    elif width == 3:
        bytes_of = np.frombuffer(content[: len(content) // 3 * 3], dtype=np.uint8).reshape(-1, 3).astype(np.int32)
        value = bytes_of[:, 0] | (bytes_of[:, 1] << 8) | (bytes_of[:, 2] << 16)
        samples = (np.where(value >= 1 << 23, value - (1 << 24), value) / float(1 << 23)).astype(np.float32)
    else:
        kind = np.dtype("<i2") if width == 2 else np.dtype("<i4")
        samples = np.frombuffer(content[: len(content) // width * width], dtype=kind).astype(np.float32) / float(1 << (8 * width - 1))
    mono = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1)
    return Audio(mono.astype(np.float32), rate).at_rate(RATE_HZ)


def write_wav(path: str | Path, audio: Audio) -> None:
    """Write 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate_hz)
        file.writeframes(pcm16(audio.samples).tobytes())
