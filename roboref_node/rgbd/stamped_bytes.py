"""The stamp of a message that has not been decoded."""

from __future__ import annotations

import struct

HEADER_STAMP_BYTES = 12
"""Of a CDR-encoded message that begins with a std_msgs/Header: encapsulation, then int32 and uint32; what follows is no time."""


def header_stamp_ns(raw: bytes) -> int:
    """Stamp of a CDR-encoded message that begins with a std_msgs/Header, nanoseconds."""
    seconds, nanoseconds = struct.unpack("<iI" if raw[1] & 1 else ">iI", raw[4:HEADER_STAMP_BYTES])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
