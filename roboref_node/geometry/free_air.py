"""A pixel in free air: does it mean the surface it shows, or a place above something nearer?

A pointing model that is asked for a place "above the mug" answers with a pixel whose depth is that of the wall behind. The
depth image alone cannot say what was meant; it can say which answers are possible, and refuse when there are two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.lift import LiftSettings, SurfacePoint, lift_many
from roboref_node.parameters import check_settings, setting
from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.frame import Frame

FloatArray = NDArray[np.float64]


class PointKind(str, Enum):
    """What a pixel can mean."""

    SURFACE = "surface"
    SUPPORT_BELOW = "support_below"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True)
class FreeAirSettings:
    """When a pixel is in free air."""

    reach_m: float = setting(
        "A surface farther from the camera than this is background, never meant.", default=1.5, unit="m", minimum=0.1, maximum=100.0
    )
    gap_m: float = setting(
        "The surface below must be nearer than the one behind by more than this.", default=0.10, unit="m", minimum=0.0, maximum=10.0
    )
    max_height_m: float = setting("Largest height over the surface below.", default=0.30, unit="m", minimum=0.01, maximum=10.0)
    level_cos: float = setting(
        "A surface whose normal makes a smaller angle with the vertical (cosine above this) is a support itself.",
        default=0.9, minimum=0.0, maximum=1.0,
    )  # fmt: skip
    steps: int = setting("Pixels looked at on the way down.", default=48, unit="px", minimum=4, maximum=500)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class PointClass:
    """The decision.

    Args:
        kind: What the pixel can mean.
        surface: The surface it shows; None when that has no depth or lies on an edge.
        below: What is below it when it is in free air.
        position_m: The point: on the surface, or on the asked ray above `below`; None when undecidable. Shape (3,).
        height_m: Height of the point over `below`, 0 on a surface.
        sentence: Why.
    """

    kind: PointKind
    surface: SurfacePoint | None
    below: SurfacePoint | None
    position_m: FloatArray | None
    height_m: float
    sentence: str


def classify_point(
    frame: Frame,
    uv_px: ArrayLike,
    up_optical: ArrayLike,
    lift_settings: LiftSettings | None = None,
    settings: FreeAirSettings | None = None,
) -> PointClass:
    """Decide between the surface that a pixel shows and a place in the air above something nearer.

    The pixel's column of air is followed down in the image along the projected vertical until a surface nearer than the one
    behind appears. Only the surface behind within reach: surface. Only something below: support below. Both, or neither:
    undecidable. A level surface (a table behind the mug) is a place of its own, so it is a surface too.

    Args:
        frame: Colour and depth.
        uv_px: Pixel, shape (2,).
        up_optical: Unit vector upwards in the optical frame, shape (3,).
        lift_settings: What counts as one surface.
        settings: When a pixel is in free air.

    Raises:
        Refused: OUT_OF_IMAGE.
    """
    settings = settings or FreeAirSettings()
    up = np.asarray(up_optical, dtype=np.float64) / np.linalg.norm(up_optical)
    uv = np.asarray(uv_px, dtype=np.float64)
    shown = lift_many(frame, uv[None], lift_settings, search=False)[0]
    if isinstance(shown, Refused):
        if shown.status is Status.OUT_OF_IMAGE:
            raise shown
        surface, depth = None, np.inf
    else:
        surface, depth = shown, float(shown.position_m[2])
    near_enough = surface is not None and depth <= settings.reach_m
    if surface is not None and near_enough and abs(float(surface.normal @ up)) > settings.level_cos:
        return PointClass(PointKind.SURFACE, surface, None, surface.position_m, 0.0, "the pixel shows a level surface within reach")
    below, position, height = _below(frame, uv, up, surface, lift_settings, settings)
    if below is None:
        if surface is not None and near_enough:
            return PointClass(PointKind.SURFACE, surface, None, surface.position_m, 0.0, "nothing nearer is below the pixel")
        seen = (
            "has no depth"
            if surface is None
            else f"shows a surface at {depth:.2f} m, beyond pipeline.free_air.reach_m = {settings.reach_m:g}"
        )
        sentence = f"the pixel {seen}, and nothing is below it within pipeline.free_air.max_height_m = {settings.max_height_m:g}"
        return PointClass(PointKind.UNDECIDABLE, surface, None, None, 0.0, sentence)
    if surface is not None and near_enough:
        sentence = (
            f"the pixel may mean the surface at {depth:.2f} m or a place {height:.2f} m above the one at {below.position_m[2]:.2f} m; "
            f"they are more than pipeline.free_air.gap_m = {settings.gap_m:g} apart"
        )
        return PointClass(PointKind.UNDECIDABLE, surface, below, None, height, sentence)
    return PointClass(
        PointKind.SUPPORT_BELOW, surface, below, position, height, f"the pixel is in free air, {height:.2f} m above a surface"
    )


def _below(
    frame: Frame, uv: FloatArray, up: FloatArray, shown: SurfacePoint | None, lift_settings: LiftSettings | None, settings: FreeAirSettings
) -> tuple[SurfacePoint | None, FloatArray | None, float]:
    """The middle of the first nearer surface under the pixel, the point above it on the asked ray, and the height between them."""
    camera = frame.camera
    ray = camera.rays(uv)
    depth = settings.reach_m if shown is None else min(float(shown.position_m[2]), settings.reach_m)
    # The way down at that distance: points under the ray's point, projected.
    foot = ray * depth - np.linspace(0.0, 2.0 * settings.max_height_m, settings.steps + 1)[1:, None] * up
    path = camera.project(foot)
    path = path[camera.on_image(np.nan_to_num(path, nan=-9.0))]
    if not len(path):
        return None, None, 0.0
    behind = shown
    run: list[SurfacePoint] = []
    for result in lift_many(frame, path, lift_settings, search=False):
        if isinstance(result, Refused):
            continue
        if run:
            if not _continues(run[-1], result, settings.gap_m):
                break
            run.append(result)
        elif result.position_m[2] > settings.reach_m or (behind is not None and not _occludes(result, behind, settings.gap_m)):
            behind = result
        else:
            run.append(result)
    if not run:
        return None, None, 0.0
    # The ray passes above all of it; its middle is farthest from the edges.
    middle = run[len(run) // 2]
    # The place above it: where the asked ray passes the vertical plane through it that faces the camera.
    level = ray - (ray @ up) * up
    facing = level / max(float(np.linalg.norm(level)), 1e-9)
    position = ray * (float(facing @ middle.position_m) / float(facing @ ray))
    height = float((position - middle.position_m) @ up)
    return (middle, position, height) if 0 < height <= settings.max_height_m else (None, None, 0.0)


def _continues(last: SurfacePoint, following: SurfacePoint, gap_m: float) -> bool:
    """Whether the surface goes on from one point to the next, neither bending away nor stepping."""
    step = following.position_m - last.position_m
    return bool(float(last.normal @ following.normal) > 0.9 and abs(float(last.normal @ step)) < 0.1 * gap_m)


def _occludes(front: SurfacePoint, behind: SurfacePoint, gap_m: float) -> bool:
    """Whether one surface stands before the other, rather than running on from it as a floor does from a wall."""
    step = behind.position_m - front.position_m
    return bool(step[2] > gap_m and abs(float(front.normal @ step)) > 0.3 * gap_m)
