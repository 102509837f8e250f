"""Recognition without a network: pocketsphinx with a grammar for commands, and keyword search for what must never be mistaken.

A grammar turns *any* speech into one of its sentences, so what it gives is a proposal for the robot to read back. Answers to that
question, and "stop", are found by keyword search against a loop of all phonemes, which has something to say for everything else.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.language import words_of
from roboref_node.speech.audio import RATE_HZ, pcm16
from roboref_node.speech.endpointing import ANSWER_MAX_S
from roboref_node.speech.jsgf import command_grammar, spoken_words
from roboref_node.speech.recogniser import Heard
from roboref_node.speech.vocabulary import Vocabulary
from roboref_node.status import Refused, Status

_FRAME_S = 0.01
_FLOOR_DB = -40.0
"""Level of the noise that is added to an utterance, against its loudest piece. The acoustic model was trained on sound from
microphones: in the digital silence of a synthetic or gated voice it finds words that nobody said."""

_PIECE = RATE_HZ // 50
_PRIME_S = 1.0
"""Beginning of an utterance from which its cepstral mean is estimated. pocketsphinx carries the mean over from what was said before,
perhaps by somebody else or in other noise, and knows none for the first sentence."""

_PRIOR_FRAMES = 500
"""Weight that pocketsphinx gives to a mean that was set (CMN_WIN)."""

_CONTEXT_FRAMES = 3
"""Frames at the end of a sound that still wait for those after them."""

_TYPICAL_MEAN = (40.0, 3.0, -1.0)
_RESTART_S = 8.0
_OVERLAP_S = 0.8
_SEARCH = {"beam": 1e-64, "pbeam": 1e-64, "wbeam": 1e-40, "lw": 2.0, "bestpath": False}
"""Against pocketsphinx's defaults: wider beams, because no path of the grammar may be left at the end of a noisy sentence; less weight
of the grammar, which prefers "fetch the bottle" to "put it in the bottle" because it has fewer branches; and no search through the
lattice, which comes after the sound has ended and ends outside of the grammar ("go to the table on")."""

_SPOTTER_DELAY = 4
"""Frames of 10 ms that the search for "stop" looks beyond the word; pocketsphinx waits for 10."""

_SPOTTER_FLOOR_DB = -66.0
"""Noise against full scale that the search for "stop" hears in digital silence, as `_FLOOR_DB`."""

_SUFFIXES = ("most", "est", "er", "s")
"""Endings with which a word outside of the dictionary is put together: leftmost = left + most."""

_ANSWERS = ("_YES", "_NO")
"""Terminals of ``commands.lark`` that are searched for: more words would take the place of a yes in noise."""

ANSWER_COVERAGE = 0.55
"""Share of the utterance that a keyword must fill to be the answer: "yes" inside of a sentence is none."""


class SphinxRecogniser:
    """Commands by grammar, answers by keyword.

    Args:
        vocabulary: What can be named.
        answer_threshold: Of the keyword search for answers; larger is stricter.

    Raises:
        Refused: MODEL_UNAVAILABLE without pocketsphinx; BAD_REQUEST naming a word that its dictionary does not know.
    """

    name = "sphinx"

    def __init__(self, vocabulary: Vocabulary | None = None, *, answer_threshold: float = 1e-15) -> None:
        vocabulary = vocabulary or Vocabulary()
        self.grammar = command_grammar(vocabulary)
        self._commands = make_decoder(**_SEARCH)
        add_words(self._commands, spoken_words(self.grammar))
        self._commands.add_jsgf_string("commands", self.grammar)
        self._commands.activate_search("commands")
        phrases = [phrase for name in _ANSWERS for phrase in words_of(name) if phrase in vocabulary.phrases]
        self._answers = keyword_decoder(dict.fromkeys(phrases, answer_threshold))
        self._utterance: list[NDArray[np.float32]] = []
        self._running = False
        self._waiting: list[bytes] | None = []
        self._waiting_samples = 0
        self._level, self._rng = 0.0, np.random.default_rng(0)

    def start(self) -> None:
        """See `Recogniser`."""
        self._utterance, self._running = [], True
        self._waiting, self._waiting_samples = [], 0
        self._level, self._rng = 0.0, np.random.default_rng(0)

    def feed(self, samples: NDArray[np.float32]) -> None:
        """See `Recogniser`."""
        self._utterance.append(samples)
        sound = pcm16(self._with_floor(samples)).tobytes()
        if self._waiting is None:
            self._commands.process_raw(sound)
            return
        self._waiting.append(sound)
        self._waiting_samples += len(samples)
        if self._waiting_samples >= _PRIME_S * RATE_HZ:
            self._begin()

    def _begin(self) -> None:
        """Hear the beginning twice: once for its mean, once for its words."""
        sound, self._waiting = b"".join(self._waiting or ()), None
        decoder = self._commands
        prior = np.zeros(13)
        prior[: len(_TYPICAL_MEAN)] = _TYPICAL_MEAN
        decoder.set_cmn(_spelled(prior))
        decoder.start_utt()
        decoder.process_raw(sound, no_search=True)
        frames = max(len(sound) // 2 // round(_FRAME_S * RATE_HZ) - _CONTEXT_FRAMES, 1)
        mixed = np.array([float(value) for value in decoder.get_cmn(update=True).split(",")])
        decoder.end_utt()
        decoder.set_cmn(_spelled((mixed * (_PRIOR_FRAMES + frames) - prior * _PRIOR_FRAMES) / frames))
        decoder.start_utt()
        decoder.process_raw(sound)

    def _with_floor(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = len(samples) // _PIECE * _PIECE
        powers = np.mean(samples[:whole].reshape(-1, _PIECE) ** 2, axis=1)
        self._level = max(self._level, float(np.sqrt(powers.max(initial=0.0))))
        noise = self._rng.standard_normal(len(samples), dtype=np.float32)
        return samples + np.float32(self._level * 10 ** (_FLOOR_DB / 20)) * noise

    def finish(self, *, answering: bool) -> Heard:
        """See `Recogniser`."""
        if not self._running:
            return Heard("")
        if self._waiting is not None:
            self._begin()
        self._commands.end_utt()
        self._running = False
        samples = np.concatenate(self._utterance) if self._utterance else np.zeros(0, dtype=np.float32)
        if answering and len(samples) <= ANSWER_MAX_S * RATE_HZ + RATE_HZ:
            answer = self._find_answer(samples)
            if answer:
                return Heard(answer, is_answer=True)
        hypothesis = self._commands.hyp()
        return Heard(hypothesis.hypstr.strip() if hypothesis is not None else "")

    def _find_answer(self, samples: NDArray[np.float32]) -> str:
        voiced_s = voiced_length_s(samples)
        if not 0.0 < voiced_s <= ANSWER_MAX_S:
            return ""
        decoder = self._answers
        decoder.start_utt()
        decoder.process_raw(pcm16(np.concatenate([samples, np.zeros(RATE_HZ // 4, dtype=np.float32)])).tobytes(), full_utt=True)
        decoder.end_utt()
        found = [(s.word, (s.end_frame - s.start_frame + 1) * _FRAME_S) for s in decoder.seg() or () if not s.word.startswith("<")]
        best = max(found, key=lambda item: item[1], default=None)
        return best[0].strip() if best is not None and best[1] >= ANSWER_COVERAGE * voiced_s else ""


class KeywordSpotter:
    """Finds words in an endless stream, whatever else is said.

    Args:
        thresholds: Words with the threshold of each; larger is stricter, smaller finds more.

    Raises:
        Refused: MODEL_UNAVAILABLE without pocketsphinx; BAD_REQUEST naming a word that its dictionary does not know.
    """

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        # One decoder for each word: two words in one search take each other's places.
        self._decoders = {word: keyword_decoder({word: threshold}, kws_delay=_SPOTTER_DELAY) for word, threshold in thresholds.items()}
        for decoder in self._decoders.values():
            decoder.start_utt()
        self._fed = dict.fromkeys(self._decoders, 0)
        self._recent: deque[NDArray[np.float32]] = deque()
        self._recent_samples = 0
        self._rng = np.random.default_rng(0)

    def feed(self, samples: NDArray[np.float32]) -> str | None:
        """Add sound at 16 kHz; the word that was just completed, the first of `thresholds` if there are two, or None."""
        samples = samples + np.float32(10 ** (_SPOTTER_FLOOR_DB / 20)) * self._rng.standard_normal(len(samples), dtype=np.float32)
        sound, found = pcm16(samples).tobytes(), []
        self._recent.append(samples)
        self._recent_samples += len(samples)
        while self._recent_samples - len(self._recent[0]) >= _OVERLAP_S * RATE_HZ:
            self._recent_samples -= len(self._recent.popleft())
        for word, decoder in self._decoders.items():  # all of them: who says "cancel, stop!" has begun the second word by now
            decoder.process_raw(sound)
            self._fed[word] += len(samples)
            hypothesis = decoder.hyp()
            if hypothesis is not None and hypothesis.hypstr.strip():
                found.append(word)
                self._restart(word, ())
            elif self._fed[word] >= _RESTART_S * RATE_HZ:  # an utterance that never ends grows without bound
                self._restart(word, tuple(self._recent))
        return found[0] if found else None

    def _restart(self, word: str, overlap: tuple[NDArray[np.float32], ...]) -> None:
        decoder, self._fed[word] = self._decoders[word], 0
        decoder.end_utt()
        decoder.start_utt()
        if overlap:  # a word across the seam is still found
            decoder.process_raw(pcm16(np.concatenate(overlap)).tobytes())


def voiced_length_s(samples: NDArray[np.float32]) -> float:
    """Length from the first to the last 20 ms whose level is within 15 dB of the loudest."""
    frame = RATE_HZ // 50
    count = len(samples) // frame
    if count == 0:
        return 0.0
    power = np.mean(samples[: count * frame].reshape(count, frame).astype(np.float64) ** 2, axis=1)
    loud = np.flatnonzero(power > max(float(power.max()) * 10**-1.5, 1e-10))
    return float((loud[-1] - loud[0] + 1) * frame / RATE_HZ) if len(loud) else 0.0


def make_decoder(**search: Any) -> Any:
    """A decoder with the English model of the wheel and no language model.

    Args:
        **search: Of pocketsphinx's configuration.

    Raises:
        Refused: MODEL_UNAVAILABLE without pocketsphinx.
    """
    try:
        import pocketsphinx
    except ImportError as error:
        raise Refused(
            Status.MODEL_UNAVAILABLE, f"pocketsphinx cannot be imported ({error}): pip install 'roboref[speech]' (requirements/speech.txt)"
        ) from error
    pocketsphinx.set_loglevel("FATAL")
    model = os.path.join(pocketsphinx.get_model_path(), "en-us")
    return pocketsphinx.Decoder(hmm=os.path.join(model, "en-us"), dict=os.path.join(model, "cmudict-en-us.dict"), lm=None, **search)


def keyword_decoder(thresholds: Mapping[str, float], **search: Any) -> Any:
    """A decoder that searches for phrases against a loop of all phonemes."""
    decoder = make_decoder(**search)
    add_words(decoder, sorted({word for phrase in thresholds for word in phrase.split()}))
    with tempfile.NamedTemporaryFile("w", suffix=".keywords") as file:
        file.writelines(f"{phrase} /{threshold:.0e}/\n" for phrase, threshold in thresholds.items())
        file.flush()
        decoder.add_kws("keywords", file.name)
    decoder.activate_search("keywords")
    return decoder


def _spelled(mean: NDArray[np.float64]) -> str:
    return ",".join(f"{value:.4f}" for value in mean)


def add_words(decoder: Any, words: tuple[str, ...] | list[str]) -> None:
    """Give the decoder a pronunciation for compounds that its dictionary lacks.

    Raises:
        Refused: BAD_REQUEST naming the words for which there is none.
    """
    unknown = []
    for word in words:
        if decoder.lookup_word(word) is not None:
            continue
        parts = next(
            ((word.removesuffix(s), s) for s in _SUFFIXES if word.endswith(s) and decoder.lookup_word(word.removesuffix(s)) is not None),
            None,
        )
        tail = None if parts is None else decoder.lookup_word(parts[1])
        if parts is None or tail is None:
            unknown.append(word)
        else:
            decoder.add_word(word, f"{decoder.lookup_word(parts[0])} {tail}", True)
    if unknown:
        raise Refused(
            Status.BAD_REQUEST,
            f"pocketsphinx's dictionary does not know {', '.join(unknown[:5])} (parameters vocabulary.*); use other words, or Whisper",
            words=unknown,
        )
