"""Two listeners on one stream of sound: one that only knows "stop" and "cancel" and never waits, one that understands sentences."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roboref_node.language import Act
from roboref_node.speech.audio import RATE_HZ
from roboref_node.speech.endpointing import EndPointer, Phase
from roboref_node.speech.recogniser import Heard, Recogniser
from roboref_node.speech.sphinx import KeywordSpotter

_BACKLOG_S = 30.0
"""Sound that may wait, in the largest chunks; of the usual ones of 32 ms it is 38 s."""
_REFRACTORY_S = 0.7
_WORST_CHUNK = 1600

INTERRUPTING: Mapping[str, Act] = MappingProxyType({"stop": Act.STOP, "cancel": Act.CANCEL})
"""What the words of the spotter do by default."""


@dataclass(frozen=True)
class Utterance:
    """What was heard, and when.

    Args:
        heard: The text.
        onset_ns: Node time at which the sound of the onset arrived.
        began_s: The same, ``time.monotonic()``: node time may stand still or jump back.
        ended_s: ``time.time()`` at which the last voiced sound arrived.
        understood_s: ``time.time()`` at which the text was there.
    """

    heard: Heard
    onset_ns: int
    began_s: float
    ended_s: float
    understood_s: float


class Listener:
    """Listens on two threads of its own; `push` only stores.

    Args:
        recogniser: Of sentences.
        end_pointer: Where utterances begin and end.
        spotter: Of the words that interrupt.
        on_utterance: Called on the thread of the sentences.
        on_interrupt: Called on the thread of the spotter, at once.
        interrupting: What each word of the spotter does.
        on_onset: Called with the onset's node time when somebody begins to speak.
        answering: True while the robot waits for an answer.
        deaf: True while the robot itself speaks, asked when the sound arrives; the spotter listens on.
        on_failure: Called with a sentence when a recogniser fails; the listener goes on.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        end_pointer: EndPointer,
        spotter: KeywordSpotter,
        *,
        on_utterance: Callable[[Utterance], None],
        on_interrupt: Callable[[Act], None],
        interrupting: Mapping[str, Act] = INTERRUPTING,
        on_onset: Callable[[int], None] = lambda onset_ns: None,
        answering: Callable[[], bool] = lambda: False,
        deaf: Callable[[], bool] = lambda: False,
        on_failure: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._recogniser, self._end_pointer, self._spotter = recogniser, end_pointer, spotter
        self._on_utterance, self._on_interrupt, self._on_onset, self._on_failure = on_utterance, on_interrupt, on_onset, on_failure
        self._interrupting, self._answering, self._deaf = dict(interrupting), answering, deaf
        limit = round(_BACKLOG_S * RATE_HZ / _WORST_CHUNK)
        self._sentences: queue.Queue[_Chunk | None] = queue.Queue(4 * limit)
        self._interrupts: queue.Queue[_Chunk | None] = queue.Queue(4 * limit)
        self._lost = False
        self._arrivals: list[tuple[float, _Chunk]] = []
        self._heard_s = 0.0
        self._onset: _Chunk | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(self._interrupts, self._spot), name="roboref_stop_words", daemon=True),
            threading.Thread(target=self._work, args=(self._sentences, self._understand), name="roboref_sentences", daemon=True),
        ]
        self._last_interrupt_s = dict.fromkeys(Act, -1e9)

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def push(self, samples: NDArray[np.float32], arrived_ns: int) -> None:
        """Add sound at 16 kHz.

        Args:
            samples: float32, (N,).
            arrived_ns: Node time of its last sample.
        """
        for start in range(0, len(samples), _WORST_CHUNK):  # a large message must not delay the spotter's first look
            chunk = _Chunk(samples[start : start + _WORST_CHUNK], arrived_ns, time.time(), time.monotonic(), self._deaf())
            _put_newest(self._interrupts, chunk)
            lost = _put_newest(self._sentences, chunk)
            if lost and not self._lost:
                self._on_failure("the recogniser is too slow for this machine: the oldest sound that it has not heard yet is dropped")
            self._lost = lost

    def close(self, timeout_s: float = 2.0) -> bool:
        """End both threads; False when one was still busy after `timeout_s`."""
        _put_newest(self._interrupts, None)
        _put_newest(self._sentences, None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, chunks: queue.Queue[_Chunk | None], handle: Callable[[_Chunk], None]) -> None:
        while (chunk := chunks.get()) is not None:
            try:
                handle(chunk)
            except Exception as error:  # a defect in one utterance must not make the robot deaf to "stop"
                self._on_failure(f"a recogniser failed, listening goes on: {type(error).__name__}: {error}")

    def _spot(self, chunk: _Chunk) -> None:
        word = self._spotter.feed(chunk.samples)
        if word is None:
            return
        now_s, act = time.monotonic(), self._interrupting[word]
        if now_s - self._last_interrupt_s[act] > _REFRACTORY_S:  # the same word once; a stop right behind a cancel counts
            self._last_interrupt_s[act] = now_s
            self._on_interrupt(act)

    def _understand(self, chunk: _Chunk) -> None:
        begin_s = self._heard_s
        self._heard_s += len(chunk.samples) / RATE_HZ
        self._arrivals.append((begin_s, chunk))
        if begin_s - self._arrivals[0][0] > _BACKLOG_S:
            del self._arrivals[: len(self._arrivals) // 2]
        samples = np.zeros_like(chunk.samples) if chunk.deaf else chunk.samples
        for piece in self._end_pointer.feed(samples, answering=self._answering()):
            if piece.phase is Phase.STARTED:
                self._onset = self._arrival(piece.at_s)
                self._on_onset(self._onset.arrived_ns)
                self._recogniser.start()
            if piece.phase is not Phase.ENDED or self._onset is None:
                self._recogniser.feed(piece.samples)
                continue
            heard = self._recogniser.finish(answering=self._answering())
            onset, end = self._onset, self._arrival(piece.at_s - 1e-6)
            self._on_utterance(Utterance(heard, onset.arrived_ns, onset.monotonic_s, end.arrived_s, time.time()))

    def _arrival(self, at_s: float) -> _Chunk:
        return next((chunk for begin_s, chunk in reversed(self._arrivals) if begin_s <= at_s), self._arrivals[0][1])


def _put_newest(chunks: queue.Queue[_Chunk | None], chunk: _Chunk | None) -> bool:
    """Add a chunk; True when the oldest one had to go for it."""
    lost = False
    while True:
        try:
            chunks.put_nowait(chunk)
            return lost
        except queue.Full:
            lost = True
            with contextlib.suppress(queue.Empty):
                chunks.get_nowait()


@dataclass(frozen=True, eq=False)
class _Chunk:
    samples: NDArray[np.float32]
    arrived_ns: int
    arrived_s: float
    monotonic_s: float
    deaf: bool
