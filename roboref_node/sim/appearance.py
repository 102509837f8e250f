"""What scenes look like: object colours, surface textures and lights, split into a training and a held-out family."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
FAMILIES = ("train", "heldout")
TEXTURE_PX = 256
PLAIN = "plain"

Rgb = tuple[float, float, float]

# Hue in degrees, saturation and value ranges. Hues are spaced so that a jitter of 5 degrees cannot make two names meet.
_HSV: dict[str, tuple[float, float, tuple[float, float], tuple[float, float]]] = {
    "red": (357.0, 5.0, (0.85, 1.0), (0.65, 0.90)),
    "orange": (28.0, 4.0, (0.88, 1.0), (0.85, 1.00)),
    "yellow": (53.0, 4.0, (0.80, 0.95), (0.85, 1.00)),
    "green": (125.0, 15.0, (0.65, 0.95), (0.40, 0.70)),
    "blue": (220.0, 8.0, (0.75, 0.95), (0.60, 0.95)),
    "purple": (284.0, 8.0, (0.60, 0.85), (0.45, 0.70)),
    "white": (45.0, 40.0, (0.00, 0.05), (0.92, 1.00)),
    "black": (220.0, 60.0, (0.00, 0.20), (0.03, 0.09)),
}


@dataclass(frozen=True)
class Surface:
    """Texture name (`PLAIN` or a key of `textures`) times a tint (linear factors 0..1)."""

    texture: str
    tint: Rgb


@dataclass(frozen=True)
class Light:
    """One lamp: travel direction of its light (world, unit), diffuse colour, and a position when it is a spot (else directional)."""

    direction: tuple[float, float, float]
    diffuse: Rgb
    spot_position_m: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Appearance:
    """Everything that changes the colours of a scene and nothing of its geometry."""

    family: str
    table: Surface
    shelf: Surface
    floor: Surface
    wall: Surface
    ambient: Rgb
    headlight: float
    lights: tuple[Light, ...]
    shadows: bool


def sample_colour(colour: str, rng: np.random.Generator) -> Rgb:
    """An RGB colour that a person would call `colour`."""
    hue, spread, saturation, value = _HSV[colour]
    h = ((hue + rng.uniform(-spread, spread)) % 360.0) / 360.0
    return colorsys.hsv_to_rgb(h, rng.uniform(*saturation), rng.uniform(*value))


def colour_names(rgb: Rgb) -> tuple[str, ...]:
    """Every colour name that a cautious person might give to an RGB colour; empty for colours between the names."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    if value < 0.2:
        return ("black",)
    if saturation < 0.25:
        return ("white",) if value > 0.6 else ()
    names = []
    for name, (centre, spread, *_) in _HSV.items():
        if name not in ("white", "black") and abs((hue * 360.0 - centre + 180.0) % 360.0 - 180.0) <= spread + 14.0:
            names.append(name)
    return tuple(names)


def sample_appearance(rng: np.random.Generator, family: str, shadows: bool) -> Appearance:
    """Draw surfaces and lights of one family (`FAMILIES`). The two share no texture and no light set-up.

    Training: plain, wood, checker, speckle and blotch surfaces; one or two directional lamps from above, nearly white.
    Held out: stripes, cells and plaid; one strongly tinted low lamp, or a spot above the table.
    """
    names = [name for name in textures() if name.split("/")[0] == family]
    ambient_level = rng.uniform(0.34, 0.50)
    if family == "train":
        surfaces = [PLAIN if rng.random() < p else names[rng.integers(len(names))] for p in (0.3, 0.55, 0.4, 0.7)]
        colour = 1.0 + rng.uniform(-0.06, 0.06, 3)
        count = int(rng.integers(1, 3))
        level = rng.uniform(0.45, 0.70) * (1.0 if count == 1 else 0.65)
        lights = tuple(
            Light(_towards_table(rng, 35.0, 85.0), _rgb(level * colour * rng.uniform(0.7, 1.0))) for _ in range(count)
        )  # fmt: skip
    else:
        surfaces = [names[rng.integers(len(names))] for _ in range(4)]
        warm = rng.random() < 0.5
        colour = np.array([1.12, 1.0, 0.80] if warm else [0.82, 0.98, 1.12]) * rng.uniform(0.95, 1.0)
        if rng.random() < 0.5:
            lights = (Light(_towards_table(rng, 15.0, 32.0), _rgb(rng.uniform(0.5, 0.6) * colour)),)
        else:
            position = (float(rng.uniform(0.1, 0.9)), float(rng.uniform(-0.5, 0.5)), float(rng.uniform(1.0, 1.6)))
            aim = np.array([0.54, 0.0, 0.0]) - np.array(position)
            aim /= np.linalg.norm(aim)
            lights = (Light((float(aim[0]), float(aim[1]), float(aim[2])), _rgb(0.65 * colour), position),)
    table, shelf, floor, wall = (Surface(name, _surface_tint(rng, name)) for name in surfaces)
    return Appearance(
        family, table, shelf, floor, wall, _rgb(np.full(3, ambient_level)), float(rng.uniform(0.05, 0.25)), lights, shadows
    )  # fmt: skip


def _rgb(values: NDArray[np.float64]) -> Rgb:
    return float(values[0]), float(values[1]), float(values[2])


def _towards_table(rng: np.random.Generator, low_deg: float, high_deg: float) -> tuple[float, float, float]:
    elevation, azimuth = np.radians(rng.uniform(low_deg, high_deg)), rng.uniform(0, 2 * np.pi)
    horizontal = -np.cos(elevation)
    return float(horizontal * np.cos(azimuth)), float(horizontal * np.sin(azimuth)), float(-np.sin(elevation))


def _surface_tint(rng: np.random.Generator, texture: str) -> Rgb:
    if texture != PLAIN:
        return _rgb(rng.uniform(0.75, 1.0) * (1.0 + rng.uniform(-0.08, 0.0, 3)))
    # Plain surfaces stay dull, so that colour names belong to objects.
    return colorsys.hsv_to_rgb(rng.uniform(), float(rng.uniform(0.0, 0.35)), float(rng.uniform(0.22, 0.88)))


@cache
def textures() -> dict[str, NDArray[np.uint8]]:
    """All textures by name ``family/kind/number``: uint8 (TEXTURE_PX, TEXTURE_PX, 3), seamless at the borders, fixed for ever."""
    rng = np.random.default_rng(77)
    made: dict[str, NDArray[np.uint8]] = {}
    kinds = {"train": (_wood, _checker, _speckle, _blotch), "heldout": (_stripes, _cells, _plaid)}
    for family, makers in kinds.items():
        for maker in makers:
            for number in range(5):
                made[f"{family}/{maker.__name__[1:]}/{number}"] = maker(rng)
    return made


def _two_colours(rng: np.random.Generator, contrast: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hue, saturation, value = rng.uniform(), rng.uniform(0.0, 0.4), rng.uniform(0.45, 0.92)
    other = np.clip(value - rng.uniform(*contrast), 0.08, 1.0)
    drift = rng.uniform(-0.06, 0.06)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)), np.array(colorsys.hsv_to_rgb((hue + drift) % 1.0, saturation, other))


def _blend(weight: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.uint8]:
    image = first + weight[..., None] * (second - first)
    return np.asarray(np.clip(image * 255.0, 0, 255), dtype=np.uint8)


def _noise(rng: np.random.Generator, cycles_x: float, cycles_y: float) -> NDArray[np.float64]:
    """Periodic Gaussian noise, zero mean, unit variance, with about so many cycles along x and y."""
    spectrum = np.fft.fft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX)))
    frequency = np.fft.fftfreq(TEXTURE_PX) * TEXTURE_PX
    damping = np.exp(-0.5 * ((frequency[None, :] / cycles_x) ** 2 + (frequency[:, None] / cycles_y) ** 2))
    image = np.fft.ifft2(spectrum * damping).real
    return np.asarray((image - image.mean()) / image.std(), dtype=np.float64)


def _wood(rng: np.random.Generator) -> NDArray[np.uint8]:
    hue, value = rng.uniform(0.05, 0.11), rng.uniform(0.45, 0.85)
    light = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.3, 0.6), value))
    grain = 0.5 + 0.5 * np.sin(
        2 * np.pi * rng.integers(3, 8) * np.linspace(0, 1, TEXTURE_PX, endpoint=False)[:, None] + 1.6 * _noise(rng, 2, 5)
    )
    fine = _noise(rng, 3, 60)
    return _blend(np.clip(0.75 * grain + 0.18 * fine, -0.2, 1.2), light, light * rng.uniform(0.6, 0.8))


def _checker(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.12, 0.6))
    cells = 2 * int(rng.integers(1, 4))
    index = np.arange(TEXTURE_PX) * cells // TEXTURE_PX
    return _blend(((index[:, None] + index[None, :]) % 2).astype(np.float64), first, second)


def _speckle(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.2, 0.6))
    return _blend((_noise(rng, 40, 40) > rng.uniform(0.6, 1.4)).astype(np.float64), first, second)


def _blotch(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.1, 0.4))
    scale = rng.uniform(3, 12)
    return _blend(np.clip(0.5 + 0.35 * _noise(rng, scale, scale), 0, 1), first, second)


def _stripes(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.12, 0.40))
    count, share = int(rng.integers(2, 8)), rng.uniform(0.3, 0.7)
    phase = (np.arange(TEXTURE_PX) * count / TEXTURE_PX) % 1.0
    return _blend(np.broadcast_to((phase < share).astype(np.float64), (TEXTURE_PX, TEXTURE_PX)), first, second)


def _cells(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.15, 0.42))
    points = rng.uniform(0, 1, (24, 2))
    grid = np.stack(np.meshgrid(*[np.arange(TEXTURE_PX) / TEXTURE_PX] * 2), axis=-1)[:, :, None]
    delta = np.abs(grid - points)
    nearest = np.sort(np.hypot(*np.moveaxis(np.minimum(delta, 1 - delta), -1, 0)), axis=-1)
    return _blend((nearest[..., 1] - nearest[..., 0] < 0.02).astype(np.float64), first, second)


def _plaid(rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = _two_colours(rng, (0.15, 0.42))
    count = int(rng.integers(2, 6))
    band = (((np.arange(TEXTURE_PX) * count / TEXTURE_PX) % 1.0) < 0.4).astype(np.float64)
    return _blend(0.5 * (band[:, None] + band[None, :]), first, second)
