"""How training pictures differ from rendered ones: exposure, focus, sensor noise, and objects in colours that no name fits."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.sim.appearance import colour_names
from roboref_node.sim.scene import ObjectSpec
from roboref_node.synth.split import RESERVED_PAIRS

Image = NDArray[np.uint8]

_TRIES = 20


def augment_rgb(rgb: Image, rng: np.random.Generator) -> Image:
    """Exposure, white balance, gamma, focus and sensor noise."""
    gamma, gain = rng.uniform(0.8, 1.25), rng.uniform(0.75, 1.2) * rng.uniform(0.94, 1.06, size=3)
    curves = (np.arange(256) / 255.0)[:, None] ** gamma * gain * 255.0
    x = _focus(np.stack([curves[:, i].astype(np.float32)[rgb[..., i]] for i in range(3)], axis=-1), rng)
    x += rng.standard_normal(x.shape, dtype=np.float32) * np.float32(255.0 * rng.uniform(0.0, 0.03))
    return np.asarray(np.clip(x, 0, 255), dtype=np.uint8)


def augment_depth(image: Image, rng: np.random.Generator) -> Image:
    """Sensor noise, holes along depth edges and dropped-out patches, as they look after area-averaging."""
    x = _focus(image.astype(np.float32), rng)
    x += rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 2.5))
    step = np.maximum(np.abs(np.diff(x, axis=0, prepend=x[:1])), np.abs(np.diff(x, axis=1, prepend=x[:, :1])))
    x[step > 10.0] *= 1.0 - rng.uniform(0.0, 0.9) * rng.random(int((step > 10.0).sum()), dtype=np.float32)
    if rng.random() < 0.3:
        side = image.shape[0]
        for _ in range(int(rng.integers(1, 4))):
            v, u = rng.integers(0, side, size=2)
            height, width = rng.integers(2, side // 8, size=2)
            x[v : v + height, u : u + width] = 0.0
    return np.asarray(np.clip(x, 0, 255), dtype=np.uint8)


def _focus(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A blur of less than a pixel: pictures are area-averaged to the model's size from sizes that differ."""
    return np.asarray(cv2.GaussianBlur(image, (3, 3), sigmaX=rng.uniform(0.2, 0.8)), dtype=np.float32)


def repaint(rgb: Image, instance: NDArray[np.int16], objects: tuple[ObjectSpec, ...], rng: np.random.Generator) -> Image:
    """Give every object a random colour, keeping its shading; a quarter of the time all objects the same one.

    It takes the colour away from what tells shapes apart. Colours that make a reserved pair with the object's shape are not used.

    Args:
        rgb: uint8 (H, W, 3).
        instance: Index into `objects`, -1 elsewhere, (H, W).
        objects: The scene's objects.
        rng: Source of the colours.
    """
    x = rgb.astype(np.float32)
    one = _colour(tuple(o.shape for o in objects), rng) if rng.random() < 0.25 else None
    for index, item in enumerate(objects):
        mask = instance == index
        new = one if one is not None else _colour((item.shape,), rng)
        if new is None or not mask.any():
            continue
        shade = x[mask].max(axis=1, keepdims=True) / (255.0 * max(max(item.rgb), 0.05))
        x[mask] = 255.0 * np.minimum(shade, 1.2) * np.array(new, dtype=np.float32)
    return np.asarray(np.clip(x, 0, 255), dtype=np.uint8)


def _colour(shapes: tuple[str, ...], rng: np.random.Generator) -> tuple[float, float, float] | None:
    """A colour that none of the shapes may not have, or None when none was found."""
    for _ in range(_TRIES):
        saturation = rng.uniform(0.0, 1.0) if rng.random() < 0.8 else 0.0
        rgb = colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.05, 1.0))
        names = colour_names(rgb)
        if not any((name, shape) in RESERVED_PAIRS for name in names for shape in shapes):
            return rgb
    return None
