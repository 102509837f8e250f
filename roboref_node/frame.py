"""One look of the camera: colour, metric depth, intrinsics and stamp, decoded on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

RgbSource = NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]
DepthSource = NDArray[np.float32] | Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Frame:
    """Colour and depth of one instant.

    Args:
        rgb_source: Colour image, uint8 (H, W, 3) in RGB order, or a function that decodes it.
        depth_source: Metric depth along the optical axis, float32 (h, w) in metres, NaN = unknown, or a function that decodes it.
            Zeros, infinities and negative numbers of an array are taken for unknown too.
        camera: Colour camera.
        stamp_ns: Time of exposure in nanoseconds of the camera's clock.
        frame_id: Colour optical frame (x right, y down, z forward).
        depth_camera: Intrinsics of the depth image when it is *not* registered to the colour image; None when it is.
        color_from_depth: Extrinsics from the depth to the colour optical frame; required with `depth_camera`.
        skew_ns: Time of the depth image minus `stamp_ns`.
    """

    rgb_source: RgbSource
    depth_source: DepthSource
    camera: CameraModel
    stamp_ns: int = 0
    frame_id: str = "camera_color_optical_frame"
    depth_camera: CameraModel | None = None
    color_from_depth: Transform | None = field(default=None)
    skew_ns: int = 0

    def __post_init__(self) -> None:
        if (self.depth_camera is None) != (self.color_from_depth is None):
            raise ValueError("unregistered depth needs both depth_camera and color_from_depth")

    @property
    def is_registered(self) -> bool:
        """True when each depth pixel belongs to the colour pixel of the same coordinates."""
        return self.depth_camera is None

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """Colour image, uint8 (H, W, 3).

        Raises:
            Refused: The message could not be decoded; BAD_REQUEST when this is no such array, or its size is not the camera's.
        """
        rgb = self.rgb_source() if callable(self.rgb_source) else self.rgb_source
        if not (isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.shape == (self.camera.height, self.camera.width, 3)):
            wanted = f"uint8 ({self.camera.height}, {self.camera.width}, 3), the camera's size"
            raise Refused(Status.BAD_REQUEST, f"the colour image is {_described(rgb)}; it must be {wanted}")
        return rgb

    @cached_property
    def depth_m(self) -> NDArray[np.float32]:
        """Depth in metres along the optical axis, float32 (h, w), NaN where unknown.

        Raises:
            Refused: The message could not be decoded; BAD_REQUEST when this is no such array, or its size is not the camera's.
        """
        depth_m = self.depth_source() if callable(self.depth_source) else self.depth_source
        owner = self.camera if self.depth_camera is None else self.depth_camera
        if not (isinstance(depth_m, np.ndarray) and depth_m.dtype.kind == "f" and depth_m.shape == (owner.height, owner.width)):
            wanted = f"float32 ({owner.height}, {owner.width}) in metres, the size of its camera"
            raise Refused(Status.BAD_REQUEST, f"the depth image is {_described(depth_m)}; it must be {wanted}{self._hint(depth_m)}")
        metres = depth_m.astype(np.float32, copy=False)
        return metres if callable(self.depth_source) else _known(metres)

    def _hint(self, depth_m: object) -> str:
        """The mistake that is behind most wrong depth images."""
        if isinstance(depth_m, np.ndarray) and depth_m.dtype.kind in "iu":
            return " (whole numbers are millimetres as a rule: divide by 1000)"
        return " (depth that is not registered to the colour image needs its own camera and extrinsics)" if self.is_registered else ""


def _known(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a driver writes for unknown as NaN: it would be a point at the camera."""
    known = (metres > 0.0) & (metres < np.inf)
    return metres if np.array_equal(known, ~np.isnan(metres)) else np.where(known, metres, np.float32(np.nan))


def _described(image: object) -> str:
    return f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
