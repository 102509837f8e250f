"""What is known of the image topics at one moment, from counters alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamReading:
    """What is known of one image topic without decoding anything.

    Args:
        topic: Resolved name.
        count: Messages received.
        lost: Messages that the middleware has lost on the way.
        incompatible: Publishers met whose QoS does not match.
        silent_s: Since the newest message arrived, None before the first.
        age_s: Age of its stamp on the node's clock, None before the first.
        encoding: Encoding or, of a compressed image, format; "" before the first.
        frame_id: Frame of the newest message.
        stamp_ns: Stamp of the newest message.
        stopped: It has brought something once, and nothing for too long.
        problem: Why the stream is of no use now, "" when it is.
    """

    topic: str
    count: int = 0
    lost: int = 0
    incompatible: int = 0
    silent_s: float | None = None
    age_s: float | None = None
    encoding: str = ""
    frame_id: str = ""
    stamp_ns: int = 0
    stopped: bool = False
    problem: str = ""


@dataclass(frozen=True)
class CameraReading:
    """State of the camera at one moment.

    Args:
        color: Colour topic.
        depth: Depth topic.
        pairs: Pairs made so far.
        skew_s: Stamp of depth minus stamp of colour of the newest pair, None without one.
        pairing_problem: Why there is no usable pair, "" when there is one.
        calibration_problem: Why there is no calibration of the colour camera, "" when there is one.
    """

    color: StreamReading
    depth: StreamReading
    pairs: int = 0
    skew_s: float | None = None
    pairing_problem: str = ""
    calibration_problem: str = ""
