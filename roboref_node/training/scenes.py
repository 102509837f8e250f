"""Rendered scenes on disk: written once, memory-mapped by training, identified by their seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.model.depth_image import relative_depth_image
from roboref_node.sim.render import Rendered, SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.status import Refused, Status
from roboref_node.synth.split import RESERVED_PAIRS, is_reserved_seed
from roboref_node.synth.view import SceneView

SHARD_SCENES = 1000

LABEL_STRIDE = 2
"""Questions, masks and patches come from every second pixel: four times quicker to ask, and still finer than a coordinate bin."""


def label_pixels(image: NDArray[Any]) -> NDArray[Any]:
    """The pixels of a picture (S, S) that questions and labels are made from: every `LABEL_STRIDE`-th, a view."""
    half = LABEL_STRIDE // 2
    return image[half::LABEL_STRIDE, half::LABEL_STRIDE]


@dataclass(frozen=True, eq=False)
class StoredScene:
    """One scene as training sees it.

    Args:
        view: Geometry and instance ids at every `LABEL_STRIDE`-th pixel of the picture.
        rgb: uint8 (S, S, 3).
        depth_image: Relative depth without sensor noise, uint8 (S, S).
        instance: Index into the scene's objects, -1 elsewhere, int16 (S, S).
    """

    view: SceneView
    rgb: NDArray[np.uint8]
    depth_image: NDArray[np.uint8]
    instance: NDArray[np.int16]


def render_scenes(folder: Path, seeds: list[int], size: int) -> None:
    """Render training scenes into shards of `SHARD_SCENES`; shards that exist are kept, so a killed run goes on.

    A last shard that is shorter than it is now to be is rendered anew.

    Args:
        folder: Where the shards go.
        seeds: Scene seeds; none may be reserved.
        size: Side of the square image that the model takes, a multiple of `LABEL_STRIDE`.

    Raises:
        ValueError: A seed is reserved for benchmarks.
        Refused: BAD_REQUEST when a shard that exists holds other scenes, or pictures of another size.
    """
    if any(is_reserved_seed(s) for s in seeds):
        raise ValueError("a reserved seed may not be rendered for training")
    folder.mkdir(parents=True, exist_ok=True)
    renderer = SceneRenderer(size, size)
    small = size // LABEL_STRIDE
    for first in range(0, len(seeds), SHARD_SCENES):
        chunk = seeds[first : first + SHARD_SCENES]
        path = folder / f"shard_{first // SHARD_SCENES:04d}"
        if _is_rendered(path, chunk, size):
            continue
        arrays: dict[str, NDArray[np.generic]] = {
            "rgb": np.zeros((len(chunk), size, size, 3), dtype=np.uint8),
            "depth_image": np.zeros((len(chunk), size, size), dtype=np.uint8),
            "depth_m": np.zeros((len(chunk), small, small), dtype=np.float16),
            "instance": np.zeros((len(chunk), size, size), dtype=np.int8),
        }
        for i, seed in enumerate(chunk):
            rendered = renderer.render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS))
            arrays["rgb"][i] = rendered.rgb
            arrays["depth_image"][i] = relative_depth_image(rendered.depth_m)[..., 0]
            arrays["depth_m"][i] = label_pixels(rendered.depth_m)
            arrays["instance"][i] = rendered.instance
        path.mkdir(exist_ok=True)
        seeds_file = path / "seeds.json"
        seeds_file.unlink(missing_ok=True)
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
        # Last, and whole or not at all: a shard with this file is finished.
        seeds_file.with_suffix(".tmp").write_text(json.dumps(chunk))
        seeds_file.with_suffix(".tmp").replace(seeds_file)
        print(f"rendered {first + len(chunk)} of {len(seeds)} scenes", flush=True)


def _is_rendered(shard: Path, seeds: list[int], size: int) -> bool:
    """Whether a finished shard holds these scenes.

    Raises:
        Refused: BAD_REQUEST when it holds others.
    """
    if not (shard / "seeds.json").exists():
        return False
    found, arrays = _read_shard(shard)
    width = arrays["rgb"].shape[1]
    shared = min(len(found), len(seeds))
    if width != size or found[:shared] != seeds[:shared]:
        what = f"pictures of {width} px, not {size}" if width != size else f"the scenes from seed {found[0]} on, not from {seeds[0]}"
        raise Refused(Status.BAD_REQUEST, f"{shard} holds {what}: give another folder with --out")
    return len(found) >= len(seeds)


def _read_shard(shard: Path) -> tuple[list[int], dict[str, NDArray[Any]]]:
    """Seeds and memory-mapped arrays of a finished shard.

    Raises:
        Refused: BAD_REQUEST when a file of it is damaged.
    """
    arrays: dict[str, NDArray[Any]] = {}
    name = "seeds.json"
    try:
        seeds = [int(seed) for seed in json.loads((shard / name).read_text())]
        for name in ("rgb.npy", "depth_image.npy", "depth_m.npy", "instance.npy"):
            arrays[name.removesuffix(".npy")] = array = np.load(shard / name, mmap_mode="r")
            if len(array) != len(seeds):
                raise ValueError(f"it has {len(array)} scenes, seeds.json {len(seeds)}")
    except (OSError, ValueError, TypeError) as error:
        sentence = f"{shard / name} is damaged ({error}): delete {shard} and run `roboref train render` again"
        raise Refused(Status.BAD_REQUEST, sentence) from error
    return seeds, arrays


class SceneStore:
    """Read access to what `render_scenes` wrote.

    Args:
        folder: Its folder, or one above several of them.

    Raises:
        FileNotFoundError: The folder holds no finished shard.
        Refused: BAD_REQUEST when a shard is damaged, or the pictures are not all of one size.
    """

    def __init__(self, folder: Path) -> None:
        self.shards = [_read_shard(path) for path in sorted(folder.rglob("shard_*")) if (path / "seeds.json").exists()]
        if not self.shards:
            raise FileNotFoundError(f"{folder} holds no finished shard; run `roboref train render` first")
        sizes = sorted({int(arrays["rgb"].shape[1]) for _, arrays in self.shards})
        if len(sizes) > 1:
            raise Refused(Status.BAD_REQUEST, f"the pictures in {folder} are {' and '.join(map(str, sizes))} px wide, not of one size")
        self.index = [(s, i) for s, (seeds, _) in enumerate(self.shards) for i in range(len(seeds))]

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.shards[0][1]["rgb"].shape[1])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> StoredScene:
        shard, i = self.index[number]
        seeds, arrays = self.shards[shard]
        spec = sample_scene(seeds[i], excluded_pairs=RESERVED_PAIRS)
        rgb, depth_image = np.array(arrays["rgb"][i]), np.array(arrays["depth_image"][i])
        instance = arrays["instance"][i].astype(np.int16)
        depth = arrays["depth_m"][i].astype(np.float32)
        seen = np.ascontiguousarray(label_pixels(instance))
        # The view knows only geometry and ids; its picture is the large one.
        view = SceneView(Rendered(rgb=rgb, depth_m=depth, instance=seen, spec=spec))
        return StoredScene(view, rgb, depth_image, instance)
