"""Random furnished rooms as plain data: walls, tables with the catalogue's objects, boxes in the way.

World frame: z up, floor at z = 0, origin in the middle of the flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.sim.appearance import COLOURS, Appearance, sample_appearance, sample_colour
from roboref_node.sim.meshes import SHAPES, SIZES, variants_of
from roboref_node.sim.scene import BoxRegion, ObjectSpec

FloatArray = NDArray[np.float64]

WALL_HEIGHT_M, WALL_M = 2.2, 0.1
TABLE_TOP_M = 0.04
DOOR_M = 1.1


class Kind(str, Enum):
    """What a block of furniture is."""

    WALL = "wall"
    TABLE = "table"
    BOX = "box"


@dataclass(frozen=True)
class Block:
    """Something that stands on the floor. A table is its top and one leg; seen from above it blocks as a whole."""

    kind: Kind
    region: BoxRegion

    def distance_m(self, xy_m: ArrayLike) -> FloatArray:
        """Distance of points of the floor, shape (..., 2), to the outline: positive outside, negative inside."""
        delta = np.asarray(xy_m, dtype=np.float64) - self.region.top_center_m[:2]
        c, s = np.cos(self.region.yaw_rad), np.sin(self.region.yaw_rad)
        q = np.abs(np.stack([c * delta[..., 0] + s * delta[..., 1], c * delta[..., 1] - s * delta[..., 0]], axis=-1))
        q = q - 0.5 * np.asarray(self.region.size_m[:2])
        return np.asarray(np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(axis=-1), 0.0))


@dataclass(frozen=True)
class PlanSettings:
    """Ranges that `sample_plan` draws from: (low, high), metres.

    Args:
        table_height_m: Heights at which a standing G1 both sees and reaches the top.
        tables: Number of tables; what does not fit is left out.
        boxes: Number of boxes on the floor.
        objects: Objects on each table, no two alike in the whole plan.
    """

    half_size_m: tuple[float, float] = (2.6, 3.6)
    tables: tuple[int, int] = (2, 4)
    table_height_m: tuple[float, float] = (0.68, 0.98)
    table_length_m: tuple[float, float] = (0.7, 1.5)
    table_depth_m: tuple[float, float] = (0.45, 0.8)
    boxes: tuple[int, int] = (3, 7)
    box_side_m: tuple[float, float] = (0.2, 0.55)
    box_height_m: tuple[float, float] = (0.2, 0.9)
    objects: tuple[int, int] = (2, 5)


@dataclass(frozen=True)
class FloorPlan:
    """A furnished flat.

    Args:
        seed: What it was drawn from.
        half_size_m: Inner half lengths along x and y.
        blocks: Walls, tables and boxes.
        objects: What lies on the tables; ``support`` is ``table:<index in blocks>``.
        appearance: Textures and lights.
    """

    seed: int
    half_size_m: tuple[float, float]
    blocks: tuple[Block, ...]
    objects: tuple[ObjectSpec, ...]
    appearance: Appearance

    def clearance_m(self, xy_m: ArrayLike) -> FloatArray:
        """True distance of points of the floor, shape (..., 2), to the nearest block; negative inside one."""
        return np.asarray(np.min([block.distance_m(xy_m) for block in self.blocks], axis=0))


def sample_plan(seed: int, settings: PlanSettings | None = None) -> FloorPlan:
    """Draw one flat. The same seed gives the same flat in every process."""
    settings = settings or PlanSettings()
    rng = np.random.default_rng([seed, 0x61])
    while True:
        half = (float(rng.uniform(*settings.half_size_m)), float(rng.uniform(*settings.half_size_m)))
        blocks = _walls(rng, half)
        wanted = int(rng.integers(settings.tables[0], settings.tables[1] + 1))
        tables = [block for block in (_table(rng, half, blocks, settings) for _ in range(wanted)) if block is not None]
        if len(tables) < settings.tables[0]:
            continue
        for _ in range(int(rng.integers(settings.boxes[0], settings.boxes[1] + 1))):
            box = _box(rng, half, blocks, settings)
            if box is not None:
                blocks.append(box)
        objects: list[ObjectSpec] = []
        for index, block in enumerate(blocks):
            if block.kind is Kind.TABLE:
                _lay(rng, objects, index, block, int(rng.integers(settings.objects[0], settings.objects[1] + 1)))
        look = sample_appearance(np.random.default_rng([seed, 0x62]), "train", shadows=False)
        return FloorPlan(seed, half, tuple(blocks), tuple(objects), look)


def _walls(rng: np.random.Generator, half: tuple[float, float]) -> list[Block]:
    """Four outer walls, and in two flats of three an inner wall along y with a door in it."""
    x, y = half
    t = WALL_M
    regions = [
        ((x + t / 2, 0.0), (t, 2 * y + 2 * t)),
        ((-x - t / 2, 0.0), (t, 2 * y + 2 * t)),
        ((0.0, y + t / 2), (2 * x, t)),
        ((0.0, -y - t / 2), (2 * x, t)),
    ]
    if rng.random() < 2 / 3:
        at, door = float(rng.uniform(-0.3, 0.3) * x), float(rng.uniform(-0.6, 0.6) * y)
        for low, high in ((-y, door - DOOR_M / 2), (door + DOOR_M / 2, y)):
            regions.append(((at, (low + high) / 2), (t, high - low)))
    return [
        Block(Kind.WALL, BoxRegion((float(cx), float(cy), WALL_HEIGHT_M), (float(sx), float(sy), WALL_HEIGHT_M)))
        for (cx, cy), (sx, sy) in regions
    ]


def _table(rng: np.random.Generator, half: tuple[float, float], blocks: list[Block], settings: PlanSettings) -> Block | None:
    """Against a wall, or free in the room; appended to `blocks` where it fits."""
    for _ in range(40):
        length, depth = float(rng.uniform(*settings.table_length_m)), float(rng.uniform(*settings.table_depth_m))
        height = float(rng.uniform(*settings.table_height_m))
        if rng.random() < 0.5:
            side = int(rng.integers(4))
            along = half[1] if side < 2 else half[0]
            place = float(rng.uniform(-1.0, 1.0)) * max(along - length / 2 - 0.05, 0.0)
            off = (half[0] if side < 2 else half[1]) - depth / 2 - float(rng.uniform(0.0, 0.05))
            sign = 1.0 if side % 2 == 0 else -1.0
            center = (sign * off, place) if side < 2 else (place, sign * off)
            size = (depth, length) if side < 2 else (length, depth)
            block, gap = Block(Kind.TABLE, BoxRegion((*center, height), (*size, height))), 0.0
        else:
            center = (float(rng.uniform(-0.7, 0.7)) * half[0], float(rng.uniform(-0.7, 0.7)) * half[1])
            yaw = float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.5 else 0.0
            block, gap = Block(Kind.TABLE, BoxRegion((*center, height), (length, depth, height), yaw)), 0.25
        if _apart(block, blocks, gap if gap else -0.01, 0.9):
            blocks.append(block)
            return block
    return None


def _box(rng: np.random.Generator, half: tuple[float, float], blocks: list[Block], settings: PlanSettings) -> Block | None:
    for _ in range(20):
        side = (float(rng.uniform(*settings.box_side_m)), float(rng.uniform(*settings.box_side_m)))
        center = (float(rng.uniform(-0.9, 0.9)) * half[0], float(rng.uniform(-0.9, 0.9)) * half[1])
        height = float(rng.uniform(*settings.box_height_m))
        block = Block(Kind.BOX, BoxRegion((*center, height), (*side, height), float(rng.uniform(-np.pi, np.pi))))
        if _apart(block, blocks, 0.05, 0.05):
            return block
    return None


def _apart(block: Block, others: list[Block], from_walls_m: float, from_furniture_m: float) -> bool:
    outline = _outline(block.region)
    return all(
        float(other.distance_m(outline).min()) >= (from_walls_m if other.kind is Kind.WALL else from_furniture_m)
        and float(block.distance_m(_outline(other.region)).min()) >= (from_walls_m if other.kind is Kind.WALL else from_furniture_m)
        for other in others
    )


def _outline(region: BoxRegion) -> FloatArray:
    """Points along the border of a block, and its middle, shape (N, 2)."""
    share = np.linspace(-0.5, 0.5, 9)
    ends = np.full_like(share, 0.5)
    unit = np.concatenate(
        [np.stack([share, ends], 1), np.stack([share, -ends], 1), np.stack([ends, share], 1), np.stack([-ends, share], 1)]
    )
    unit = np.concatenate([unit, np.zeros((1, 2))])
    c, s = np.cos(region.yaw_rad), np.sin(region.yaw_rad)
    return np.asarray(unit * region.size_m[:2] @ np.array([[c, s], [-s, c]]) + region.top_center_m[:2])


def _lay(rng: np.random.Generator, objects: list[ObjectSpec], table: int, block: Block, count: int) -> None:
    """Put objects on a table, most of them where a hand can get at them: within 18 cm of an edge."""
    region = block.region
    c, s = np.cos(region.yaw_rad), np.sin(region.yaw_rad)
    half = 0.5 * np.asarray(region.size_m[:2])
    for _ in range(count):
        for _ in range(30):
            colour, shape = COLOURS[int(rng.integers(len(COLOURS)))], SHAPES[int(rng.integers(len(SHAPES)))]
            size = SIZES[int(rng.integers(2))]
            variants = variants_of(shape, size)
            variant = variants[int(rng.integers(len(variants)))]
            u, v = (rng.uniform(-1.0, 1.0, 2) * (half - variant.radius_m - 0.01)).tolist()
            if rng.random() < 0.8:
                inset = variant.radius_m + float(rng.uniform(0.01, 0.12))
                if rng.random() < half[0] / (half[0] + half[1]):
                    v = float(rng.choice([-1.0, 1.0])) * max(half[1] - inset, 0.0)
                else:
                    u = float(rng.choice([-1.0, 1.0])) * max(half[0] - inset, 0.0)
            x, y = region.top_center_m[0] + c * u - s * v, region.top_center_m[1] + s * u + c * v
            free = all(np.hypot(x - o.position_m[0], y - o.position_m[1]) >= variant.radius_m + o.radius_m + 0.03 for o in objects)
            if free and all(o.pair != (colour, shape) for o in objects):
                pose = (float(x), float(y), region.top_center_m[2])
                yaw, rgb = float(rng.uniform(-np.pi, np.pi)), sample_colour(colour, rng)
                objects.append(
                    ObjectSpec(shape, colour, size, pose, yaw, variant.extent_m, variant.radius_m, f"table:{table}", variant.index, rgb)
                )
                break
