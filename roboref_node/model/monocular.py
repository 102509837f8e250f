"""Relative depth from colour alone, for cameras without depth and because the published models were fed such maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForDepthEstimation

from roboref_node.model.config_checks import refusing
from roboref_node.model.pretrained import OFFLINE, load_whole, usable_device
from roboref_node.model.tensor_files import read_json
from roboref_node.model.tiling import as_rgb
from roboref_node.status import Refused, Status

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

_LONGEST = 10
"""Sides of a picture, long to short: the network's input grows with it, to gigabytes for a strip of one pixel."""


class MonocularDepth:
    """A Depth-Anything model (relative, inverse depth) from a local folder.

    Args:
        folder: Hugging Face folder of a depth estimation model.
        device: Where to run; None takes the GPU when there is one.
        input_size: Shorter side of the network's input in pixels, rounded up to whole patches; RoboRefer's server uses 518.

    Raises:
        Refused: MODEL_UNAVAILABLE when the folder holds no such model, or not all of it, or the device is not there; BAD_REQUEST for a
            name of no device and for an input smaller than a patch.
    """

    def __init__(self, folder: str | Path, *, device: str | None = None, input_size: int = 518) -> None:
        path = Path(folder)
        self.device = usable_device(device)
        read_json(path / "config.json", "a Depth-Anything model for transformers")
        with refusing(f"{path / 'config.json'} is no usable configuration"):
            config: Any = AutoConfig.from_pretrained(path, **OFFLINE)
            self._multiple = int(getattr(config, "patch_size", None) or 14)
        # Models without the field (ZoeDepth, DPT) are not known to give inverse depth: read as such, metres show near things dark.
        kind = getattr(config, "depth_estimation_type", None)
        if kind != "relative":
            raise Refused(Status.MODEL_UNAVAILABLE, f"{path}: depth_estimation_type is {kind!r}, expected 'relative' (inverse depth).")
        if input_size < self._multiple:
            raise Refused(
                Status.BAD_REQUEST, f"`input_size` is {input_size}, expected at least one patch of the model, {self._multiple} px."
            )
        self._input_size = input_size
        # In float32, the precision of the pictures: on its own, transformers takes the one in which the weights are stored.
        self._model = load_whole(AutoModelForDepthEstimation, path, self.device, dtype="float32")

    @torch.inference_mode()
    def inverse_depth(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Relative inverse depth, larger = nearer, without unit.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            float32 (H, W).

        Raises:
            Refused: BAD_REQUEST for what is no picture, or a strip; MODEL_UNAVAILABLE when the model computes NaN or infinity.
        """
        try:
            rgb = as_rgb(rgb)
        except ValueError as error:
            raise Refused(Status.BAD_REQUEST, f"No depth can be estimated: {error}.") from error
        height, width = rgb.shape[:2]
        if max(height, width) > _LONGEST * min(height, width):
            raise Refused(
                Status.BAD_REQUEST,
                f"No depth can be estimated: the picture is {width}x{height} pixels, one side may be at most {_LONGEST} times the other.",
            )
        scale = self._input_size / min(height, width)
        least = math.ceil(self._input_size / self._multiple)  # a part of a patch would be cut off, and the map be moved by it
        size = [max(least, round(side * scale / self._multiple)) * self._multiple for side in (width, height)]
        resized = cv2.resize(rgb.astype(np.float32) / 255.0, size, interpolation=cv2.INTER_CUBIC)
        pixels = torch.from_numpy(((resized - _MEAN) / _STD).transpose(2, 0, 1)[None].astype(np.float32)).to(self.device)
        predicted = self._model(pixels).predicted_depth[:, None].float()
        full = torch.nn.functional.interpolate(predicted, (height, width), mode="bilinear", align_corners=True)
        if not full.isfinite().all():  # a map of it would be black, as if nothing were near
            raise Refused(Status.MODEL_UNAVAILABLE, "The depth model computes no finite numbers: its weights hold NaN or infinity.")
        return full[0, 0].cpu().numpy()

    def relative_depth_image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The 8-bit map that the model sees: min-max of `inverse_depth`, near bright, uint8 (H, W, 3); all 0 without contrast."""
        inverse = self.inverse_depth(rgb)
        low, high = float(inverse.min()), float(inverse.max())
        image = np.zeros((*inverse.shape, 3), dtype=np.uint8)
        if high - low > 1e-9:
            image[:] = ((inverse - low) / (high - low) * 255.0).astype(np.uint8)[..., None]
        return image
