"""WAV files of every sample width, and those that are none."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from roboref_node.speech.audio import RATE_HZ, Audio, Resampler, read_wav, write_wav
from roboref_node.status import Refused


def write(path, samples, width, *, channels=1, rate=RATE_HZ):
    if width == 1:
        content = np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    elif width == 3:
        content = b"".join(int(round(x * (2**23 - 1))).to_bytes(3, "little", signed=True) for x in samples)
    else:
        content = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sample_widths(tmp_path, width):
    samples = 0.8 * np.sin(np.arange(4000) * 0.05)
    write(tmp_path / "a.wav", samples, width)
    assert np.abs(read_wav(tmp_path / "a.wav").samples - samples).max() < (0.02 if width == 1 else 1e-3)


def test_channels_are_mixed_and_rates_converted(tmp_path):
    left, right = 0.5 * np.sin(np.arange(44_100) * 0.02), np.zeros(44_100)
    write(tmp_path / "a.wav", np.stack([left, right], axis=1).ravel(), 2, channels=2, rate=44_100)
    audio = read_wav(tmp_path / "a.wav")
    assert (audio.rate_hz, len(audio.samples)) == (RATE_HZ, RATE_HZ)
    assert np.abs(audio.samples).max() == pytest.approx(0.25, abs=0.01)


def test_written_is_read(tmp_path):
    audio = Audio(np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32))
    write_wav(tmp_path / "a.wav", audio)
    assert np.abs(read_wav(tmp_path / "a.wav").samples - audio.samples).max() < 1e-4


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all, just text"])
def test_what_is_no_wav_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(Refused, match=r"a\.wav is no readable WAV file"):
        read_wav(tmp_path / "a.wav")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refused, match="no readable WAV file"):
        read_wav(tmp_path / "absent.wav")


@pytest.mark.parametrize(("rate_hz", "piece"), [(8_000, 160), (44_100, 512), (48_000, 480), (16_000, 512), (22_050, 7), (96_000, 10_000)])
def test_a_stream_sounds_as_the_whole(rate_hz, piece):
    rng = np.random.default_rng(0)
    whole = Audio(np.cumsum(rng.normal(0.0, 0.01, 2 * rate_hz)).clip(-1.0, 1.0).astype(np.float32), rate_hz)
    resampler = Resampler(rate_hz)
    stream = np.concatenate([resampler(chunk) for chunk in whole.chunks(piece)])
    wanted = whole.at_rate(RATE_HZ).samples
    assert len(wanted) - 400 < len(stream) <= len(wanted)
    np.testing.assert_allclose(stream, wanted[: len(stream)], atol=1e-4)
