"""The picture as a model server gets it: resized by a declared rule, encoded, in base64."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.pointing.dialect import Dialect
from roboref_node.status import Refused, Status

IMAGE_FORMATS = ("png", "jpeg")


@dataclass(frozen=True)
class SizeRule:
    """To which size a picture is brought before it is sent.

    Models of the Qwen2.5-VL family answer in pixels of the picture *after their own resizing*. Sending a size that the model leaves
    alone (both sides multiples of `multiple`, area within the limits) makes those pixels the pixels that were sent.

    Args:
        multiple: Both sides become multiples of this; 1 = any.
        min_pixels: Smallest area.
        max_pixels: Largest area; 0 = no limit.
    """

    multiple: int = 1
    min_pixels: int = 0
    max_pixels: int = 0

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.min_pixels < 0 or self.max_pixels < 0 or 0 < self.max_pixels < max(self.min_pixels, self.multiple**2):
            raise Refused(Status.BAD_REQUEST, f"`resize` makes no sense: {self}.")

    def check(self, dialect: Dialect) -> None:
        """See that answers in a dialect's pixels mean the pixels that are sent.

        Raises:
            Refused: BAD_REQUEST when the dialect's models resize pictures and this rule leaves their sizes to them.
        """
        if dialect.convention.resizes and self.multiple == 1:
            raise Refused(
                Status.BAD_REQUEST,
                f"Models of dialect '{dialect.value}' answer in pixels of the picture after their own resizing, so `resize` must name "
                "sizes that they keep: multiple 28 for Qwen2.5-VL and its kind, and the server's limits as min_pixels and max_pixels.",
            )

    def apply(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Size (width, height) to send a picture of `size_px` in; the aspect ratio is kept up to the rounding to `multiple`.

        Rounds to the nearest multiple; when the area leaves the limits, both sides are scaled by the square root of the ratio of the
        areas and rounded towards the inside of the limits, as Qwen2-VL's image processor does.
        """
        width, height = size_px
        step = self.multiple
        sides = [max(step, round(side / step) * step) for side in (width, height)]
        area = width * height
        if self.max_pixels and sides[0] * sides[1] > self.max_pixels:
            shrink = math.sqrt(area / self.max_pixels)
            sides = [max(step, math.floor(side / shrink / step) * step) for side in (width, height)]
        elif sides[0] * sides[1] < self.min_pixels:
            grow = math.sqrt(self.min_pixels / area)
            sides = [math.ceil(side * grow / step) * step for side in (width, height)]
        return sides[0], sides[1]


def size_px(image: NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) of an image (H, W, 3)."""
    return int(image.shape[1]), int(image.shape[0])


def resize(image: NDArray[np.uint8], rule: SizeRule) -> NDArray[np.uint8]:
    """`image` uint8 (H, W, 3) brought to the size that `rule` gives; untouched when it has it already."""
    target = rule.apply(size_px(image))
    if target == size_px(image):
        return image
    shrinks = target[0] * target[1] < image.shape[0] * image.shape[1]
    resized = cv2.resize(image, target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def encode_base64(image: NDArray[np.uint8], kind: str = "png") -> str:
    """`image` RGB uint8 (H, W, 3) as a base64 string of a PNG (lossless) or JPEG (quality 95) file."""
    # The compression is three times faster than the default for 10 % more bytes.
    parameters = [cv2.IMWRITE_PNG_COMPRESSION, 1] if kind == "png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    encoded, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not encoded:
        raise Refused(Status.INTERNAL, f"an image of {image.shape} cannot be encoded as {kind}")
    return base64.b64encode(data.tobytes()).decode("ascii")


def model_depth(frame: Frame) -> NDArray[np.uint8] | None:
    """The frame's depth as models see it, uint8 (H, W, 3), near = bright; None when it is not registered to the colour image.

    An unregistered map shows another camera's view: the model would look for the object beside it.
    """
    if not frame.is_registered:
        return None
    from roboref_node.model.depth_image import relative_depth_image  # brings torch, which a client with RGB only does not need

    image: Any = relative_depth_image(frame.depth_m)
    return np.asarray(image, dtype=np.uint8)
