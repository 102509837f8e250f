"""Faults of time on the camera's topics: stamps that do not pair, are out of order, or of another clock."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from fault_spoiling import sets
from fault_table import HARMLESS, fault

GROUP = "Stamps and clocks"
HOUR_NS = 3_600_000_000_000
TOO_OLD = r"s old: .*max_frame_age_s is 0\.5"

for name, what, injection, status, sentence, concern, recovery, attributes in (
    ("skewed", "Colour and depth are not stamped together", "depth is stamped 33 ms later than colour",
     "SYNC_SKEW", r"0\.033\d s apart, sync_slop_s allows 0\.02 s", "pairing", "the next question is answered", {"skew_ns": 33_000_000}),
    ("jitter", "Stamps of a pair differ a little", "depth is stamped 9 ms later than colour",
     HARMLESS, "the red box: pixel", "", "none needed: within sync_slop_s", {"skew_ns": 9_000_000}),
    ("of-the-past", "The camera's clock is an hour late", "all stamps are 3600 s in the past",
     "FRAME_STALE", r"is 3600\.\d{3} s old: max_frame_age_s is 0\.5; it was 3600\.\d{3} s old when it arrived, .*clocks", "camera",
     "the first pair with the right time, although it jumps", {"stamp_offset_ns": -HOUR_NS}),
    ("of-the-future", "The camera's clock is an hour ahead", "all stamps are 3600 s in the future",
     "FRAME_STALE", r"stamped 3\d\d\d\.\d{3} s in the future: .*max_frame_age_s is 0\.5", "camera",
     "the first pair with the right time, although it jumps back", {"stamp_offset_ns": HOUR_NS}),
    ("zero", "The driver does not fill in the stamps", "all stamps are 0",
     "FRAME_STALE", rf"is \d{{9,}}\.\d{{3}} {TOO_OLD}", "camera", "the next question is answered", {"clock_ns": lambda: 0}),
    ("negative", "Stamps before 1970", "all stamps are -5 s",
     "FRAME_STALE", TOO_OLD, "camera", "the next question is answered", {"clock_ns": lambda: -5_000_000_000}),
):  # fmt: skip
    fault(
        GROUP, f"stamps-{name}", what=what, injection=injection, status=status, sentence=sentence, concern=concern, recovery=recovery
    )(sets(**attributes))  # fmt: skip


@fault(
    GROUP, "stamps-reordered",
    what="Images arrive out of order", injection="colour of one look is sent after that of the next, depth in order",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: pairs are made by stamp",
)  # fmt: skip
def _(bench):
    held = []

    def swap(message):
        held.append(message)
        if len(held) < 2:
            return None
        second = held.pop()
        bench.camera.publish("color", second)
        return held.pop()

    bench.camera.spoil["color"] = swap


@fault(
    GROUP, "question-about-the-past",
    what="A question about a stamp that is no longer kept", injection="a goal with a stamp 100 s ago",
    status="FRAME_STALE", sentence=r"the nearest of the last \d+ is \d+\.\d{3} s away \(stamp_tolerance_s = 0\.05, frame_buffer = 15\)",
)  # fmt: skip
def _(bench):
    return lambda: bench.look(stamp=Time(sec=int(time.time()) - 100))
