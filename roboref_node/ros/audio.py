"""Sound on a topic: std_msgs/Int16MultiArray, mono, in real time."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading
import time

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Int16MultiArray

from roboref_node.ros import qos
from roboref_node.speech.audio import RATE_HZ, Audio, from_pcm16, pcm16

CHUNK = 512
"""Samples in a message of `AudioPlayer`: 32 ms."""


def audio_message(samples: NDArray[np.float32]) -> Int16MultiArray:
    """Samples as a message."""
    message = Int16MultiArray()
    message.data.frombytes(pcm16(samples).tobytes())  # rclpy keeps an array.array('h')
    return message


def samples_of(message: Int16MultiArray) -> NDArray[np.float32]:
    """The samples of a message, in [-1, 1]."""
    return from_pcm16(np.array(message.data, dtype=np.int16))


class AudioPlayer:
    """Plays sound onto a topic as a microphone would; for demonstrations and tests.

    Args:
        node: Who publishes.
        topic: Where the speech node listens.
    """

    def __init__(self, node: Node, topic: str = "audio") -> None:
        self._publisher = node.create_publisher(Int16MultiArray, topic, qos.SOUND)
        self.interrupted = threading.Event()
        """Set it to end a running `play` early."""

    @property
    def listeners(self) -> int:
        """Subscriptions of the topic."""
        return int(self._publisher.get_subscription_count())

    def play(self, audio: Audio, *, trailing_silence_s: float = 0.6) -> float:
        """Publish in real time; blocks, so never call it in the executor.

        Returns:
            ``time.time()`` at which the last voiced sample was sent.
        """
        sound = audio.at_rate(RATE_HZ)
        voiced_end_s = sound.voiced_end_s()
        began_s, sent_s, ended_s = time.monotonic(), 0.0, time.time()
        for chunk in sound.padded(0.0, trailing_silence_s).chunks(CHUNK):
            sent_s += len(chunk) / RATE_HZ
            # A microphone delivers a block when its last sample was recorded.
            if self.interrupted.wait(max(0.0, began_s + sent_s - time.monotonic())):
                break
            self._publisher.publish(audio_message(chunk))
            if sent_s - CHUNK / RATE_HZ < voiced_end_s:
                ended_s = time.time()
        return ended_s

    def silence(self, seconds: float) -> None:
        """Publish silence in real time."""
        self.play(Audio(np.zeros(round(seconds * RATE_HZ), dtype=np.float32)), trailing_silence_s=0.0)
