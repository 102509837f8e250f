"""Faults of what the depth image says: units, values that are none, holes, edges, and pixels that are not in it."""

from __future__ import annotations

import numpy as np
from fault_camera import BOX_COLUMNS, BOX_PX, BOX_ROWS, HEIGHT, TABLE_M, WIDTH
from fault_spoiling import in_metres, looks, spoils, with_depth
from fault_table import fault

GROUP = "Depth values"
ALL_UNKNOWN = "the whole depth image is unknown"
EDGE = r"surfaces at \d\.\d+ m and \d\.\d+ m compete"
RANGE = r"lies outside the range depth.near_m = 0.1 .. depth.far_m = 10 m"


def millimetres_everywhere(value):
    return with_depth(lambda depth_mm: np.full_like(depth_mm, value))


def metres_everywhere(value):
    return in_metres(lambda metres: np.full_like(metres, value))


def hole(depth_mm):
    depth_mm[BOX_ROWS.start - 20 : BOX_ROWS.stop + 20, BOX_COLUMNS.start - 20 : BOX_COLUMNS.stop + 20] = 0


def noise(depth_mm):
    return np.random.default_rng(0).integers(300, 3000, (HEIGHT, WIDTH)).astype(np.uint16)


def tall(depth_mm):
    depth_mm[BOX_ROWS, BOX_COLUMNS] = 500


for name, what, injection, status, sentence, spoil in (
    ("millimetres-as-metres", "Units swapped", "32FC1 that holds millimetres",
     "UNITS_IMPLAUSIBLE", rf"median depth of 800 m {RANGE}: .*millimetres was read as metres", in_metres(lambda metres: 1000 * metres)),
    ("metres-as-millimetres", "Units swapped the other way", "16UC1 that holds metres",
     "UNITS_IMPLAUSIBLE", rf"median depth of 0.001 m {RANGE}: .*metres was read as millimetres", millimetres_everywhere(1)),
    ("zero", "Depth all invalid", "16UC1 with 0 everywhere", "NO_DEPTH", ALL_UNKNOWN, millimetres_everywhere(0)),
    ("saturated", "Depth saturated", "16UC1 with 65535 everywhere", "NO_DEPTH", ALL_UNKNOWN, millimetres_everywhere(65535)),
    ("nan", "Depth all nan", "32FC1 with nan everywhere", "NO_DEPTH", ALL_UNKNOWN, metres_everywhere(np.nan)),
    ("inf", "Depth all inf", "32FC1 with inf everywhere", "NO_DEPTH", ALL_UNKNOWN, metres_everywhere(np.inf)),
    ("negative", "Depth all negative", "32FC1 with -1 everywhere", "NO_DEPTH", ALL_UNKNOWN, metres_everywhere(-1.0)),
    ("denormal", "Depth all denormal", "32FC1 with 1e-42 everywhere",
     "UNITS_IMPLAUSIBLE", r"median depth of 1\.0\d*e-42 m", metres_everywhere(1e-42)),
    ("hole", "No depth at the object", "0 on the object and 20 px around it",
     "NO_DEPTH", r"no pixel within \d+ px has \(pipeline\.lift\.max_hole_px = 2\.5\)", with_depth(hole)),
    ("noise", "Depth is noise", "16UC1 with uniform noise from 0.3 to 3 m", "DEPTH_EDGE", EDGE, with_depth(noise)),
):  # fmt: skip
    fault(GROUP, f"depth-{name}", what=what, injection=injection, status=status, sentence=sentence)(spoils(depth=spoil))


@fault(
    GROUP, "pixel-on-an-edge",
    what="A point on an edge", injection="a pixel on the border of box and table", status="DEPTH_EDGE", sentence=rf"{EDGE}|edge",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = with_depth(tall)
    return lambda: bench.look((BOX_COLUMNS.start - 0.5, BOX_PX[1]))


@fault(
    GROUP, "object-beyond-reach",
    what="Everything is too far away", injection=f"all of depth 2.5 m deeper than {TABLE_M:g} m",
    status="OUT_OF_WORKSPACE", sentence=r"-?\d\.\d+",
)  # fmt: skip
def _(bench):
    bench.camera.spoil["depth"] = with_depth(lambda depth_mm: depth_mm + np.uint16(2500))
    return lambda: bench.look(instruction="point at the red box")


for name, what, pixel, number in (
    ("outside", "outside of the image", (float(WIDTH + 40), 10.0), r"200"), ("negative", "negative", (-3.0, 10.0), r"-3"),
    ("nan", "nan", (float("nan"), 10.0), "nan"), ("inf", "inf", (float("inf"), 10.0), "inf"),
    ("huge", "huge", (1e30, 1e30), r"lies outside the 160x120 image"),
):  # fmt: skip
    fault(
        GROUP, f"pixel-{name}", what=f"A pixel that is {what}", injection=f"a goal with the pixel ({pixel[0]:g}, {pixel[1]:g})",
        status="OUT_OF_IMAGE", sentence=number,
    )(looks(pixel))  # fmt: skip
