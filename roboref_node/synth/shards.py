"""Scenes and questions as tar shards in the WebDataset layout: images, 3D state and answers of one scene under one key.

A scene of key K is ``K.rgb.png``, ``K.depth.png`` (16 bit, millimetres, 0 = unknown), ``K.instance.png`` (8 bit, object index + 1)
and ``K.json``. ``webdataset``, ``datasets.load_dataset("webdataset", ...)`` and ``tar`` read it; nothing in it is code.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roboref_node.sim.render import Rendered, SceneRenderer
from roboref_node.sim.scene import SceneSettings, sample_scene
from roboref_node.status import Refused, Status
from roboref_node.synth.language import UNKNOWN_NOUNS
from roboref_node.synth.questions import KINDS, Asker, Question
from roboref_node.synth.split import RESERVED_PAIRS, is_reserved_seed
from roboref_node.synth.view import SceneView

_ATTEMPTS = 4


@dataclass(frozen=True)
class ExportSettings:
    """What a data set holds.

    Args:
        width, height: Image size in pixels.
        questions: Questions per scene, kinds drawn equally often.
        shard_scenes: Scenes per tar file.
        appearance: Family of textures and lights, see `SceneSettings`.
        shadows: False draws no shadows, which is about three times faster.
        samples: Multisampling of the colour image; 0 is fastest.
        seed: Seed of the questions; those of the scenes are given.
    """

    width: int = 320
    height: int = 240
    questions: int = 12
    shard_scenes: int = 500
    appearance: str = "train"
    shadows: bool = True
    samples: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 16 or self.questions < 0 or self.shard_scenes < 1 or self.samples < 0:
            raise ValueError(
                f"an export needs images of at least 16 px ({self.width} x {self.height}), {self.questions} >= 0 questions, "
                f"{self.shard_scenes} >= 1 scenes per shard and {self.samples} >= 0 samples"
            )


@dataclass(frozen=True)
class Exported:
    """What a call of `export_shards` did, without the second that the renderer needs to start; shards that were there do not count."""

    scenes: int
    questions: int
    seconds: float
    cpu_seconds: float


def export_shards(folder: Path, seeds: Sequence[int], settings: ExportSettings, *, part: tuple[int, int] = (0, 1)) -> Exported:
    """Write scenes into ``scenes-000000.tar`` and so on; shards that exist are kept, so a killed run goes on.

    A shard appears under its name when it is complete, and its bytes depend on its seeds and the settings only. Several processes
    may write one data set, each its own part. A last shard that is shorter than it is now to be is written anew.

    Args:
        folder: Where the shards go.
        seeds: Scene seeds; none may be reserved.
        settings: What the data set holds.
        part: (number, count): write the shards whose index leaves `number` when divided by `count`.

    Raises:
        ValueError: A seed is reserved for benchmarks, or `part` is no part.
        Refused: BAD_REQUEST when `folder` holds a data set of other settings or other scenes.
    """
    if any(is_reserved_seed(s) for s in seeds):
        raise ValueError("a reserved seed may not be exported for training")
    number, parts = part
    if not 0 <= number < parts:
        raise ValueError(f"part {number} of {parts} does not exist; parts are counted from 0")
    folder.mkdir(parents=True, exist_ok=True)
    _hold_to(folder / "export.json", settings, number)
    scenes = questions = 0
    with SceneRenderer(settings.width, settings.height, shadows=settings.shadows, samples=settings.samples) as renderer:
        started, cpu = time.perf_counter(), time.process_time()
        for shard, first in enumerate(range(0, len(seeds), settings.shard_scenes)):
            path = folder / f"scenes-{shard:06d}.tar"
            chunk = seeds[first : first + settings.shard_scenes]
            if shard % parts != number or _is_written(path, chunk):
                continue
            unfinished = path.with_suffix(f".{number}.unfinished")
            with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
                for seed in chunk:
                    count = _write_scene(tar, renderer, seed, settings)
                    scenes, questions = scenes + 1, questions + count
            unfinished.replace(path)
        return Exported(scenes, questions, time.perf_counter() - started, time.process_time() - cpu)


def _hold_to(note: Path, settings: ExportSettings, part: int) -> None:
    """Note the settings beside the shards; shards of other settings are not added to them."""
    if note.exists():
        then, now = json.loads(note.read_text()), asdict(settings)
        for name, value in now.items():
            if then.get(name) != value:
                sentence = f"{note.parent} holds shards with {name} = {then.get(name)}, not {value}: give another folder with --out"
                raise Refused(Status.BAD_REQUEST, sentence)
        return
    temporary = note.with_suffix(f".{part}.unfinished")
    temporary.write_text(json.dumps(asdict(settings), indent=1))
    temporary.replace(note)


def _is_written(shard: Path, seeds: Sequence[int]) -> bool:
    """Whether a shard holds these scenes; False for one that holds the first of them only.

    Raises:
        Refused: BAD_REQUEST when it holds others, or cannot be read.
    """
    if not shard.exists():
        return False
    try:
        with tarfile.open(shard) as tar:
            found = [int(name.partition(".")[0]) for name in tar.getnames() if name.endswith(".json")]
    except (tarfile.TarError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"{shard} is damaged ({error}): delete it") from error
    shared = min(len(found), len(seeds))
    if found[:shared] != list(seeds[:shared]):
        raise Refused(Status.BAD_REQUEST, f"{shard} holds the scenes from seed {found[0]} on, not from {seeds[0]}: give another --out")
    return len(found) >= len(seeds)


def _write_scene(tar: tarfile.TarFile, renderer: SceneRenderer, seed: int, settings: ExportSettings) -> int:
    looks = SceneSettings(appearance=settings.appearance)
    rendered = renderer.render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS, settings=looks))
    view = SceneView(rendered)
    asked = list(_questions(view, np.random.default_rng([settings.seed, seed]), settings.questions))
    depth = np.clip(np.nan_to_num(rendered.depth_m) * 1000.0 + 0.5, 0, 65535).astype(np.uint16)
    record = scene_record(rendered, view) | {"questions": [question_record(q) for q in asked]}
    key = f"{seed:012d}"
    for name, data in (
        ("rgb.png", _png(rendered.rgb[..., ::-1])),
        ("depth.png", _png(depth)),
        ("instance.png", _png((rendered.instance + 1).astype(np.uint8))),
        ("json", json.dumps(record, separators=(",", ":")).encode()),
    ):
        member = tarfile.TarInfo(f"{key}.{name}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return len(asked)


def _questions(view: SceneView, rng: np.random.Generator, count: int) -> Iterator[Question]:
    def unknown_word() -> str:
        return UNKNOWN_NOUNS[int(rng.integers(len(UNKNOWN_NOUNS)))]

    kinds = list(KINDS)
    for kind in rng.permuted(np.arange(count) % len(kinds)) if count else ():
        asker = Asker(view, rng, canonical=bool(rng.random() < 0.3), unknown_word=unknown_word, unnamed=RESERVED_PAIRS)
        question = next((q for q in (asker.ask(kinds[kind]) for _ in range(_ATTEMPTS)) if q is not None), None)
        if question is not None:
            yield question


def scene_record(rendered: Rendered, view: SceneView) -> dict[str, Any]:
    """Camera, pose and objects of a scene: metres, world frame with z up and the table top at 0, rotation rows row by row."""
    spec, camera = rendered.spec, view.camera
    return {
        "seed": spec.seed,
        "camera": {"width": camera.width, "height": camera.height, "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
        "world_from_optical": {
            "rotation": [[float(v) for v in row] for row in spec.world_from_optical.rotation],
            "translation_m": [float(v) for v in spec.world_from_optical.translation_m],
        },
        "objects": [
            {
                "shape": item.shape,
                "colour": item.colour,
                "size": item.size,
                "support": item.support,
                "center_m": [float(v) for v in item.centre_m],
                "extent_m": [float(v) for v in item.extent_m],
                "yaw_rad": float(spec.objects[item.index].yaw_rad),
                "pixels": item.pixels,
            }
            for item in view.objects
        ],
    }


def question_record(question: Question) -> dict[str, Any]:
    """A question as plain data; every field has the same type in every record, so that table readers can infer a schema.

    ``answer`` is RoboRefer's text, ``reasoning`` its steps: references, then candidates; ``target`` is an index into the scene's
    objects, -1 for free space and for what is absent; ``region`` holds the run lengths of the right pixels of free space, row by row,
    beginning with wrong ones.
    """
    point = [] if question.answer_uv is None else [round(v, 4) for v in question.answer_uv]
    return {
        "kind": question.kind,
        "steps": question.steps,
        "wording": question.wording,
        "text": question.text,
        "expression": question.expression,
        "place": question.place,
        "answer": f"[({point[0]:.3f}, {point[1]:.3f})]" if point else "[]",
        "point": point,
        "reasoning": question.reasoning(),
        "references": _named(question.references),
        "candidates": _named(question.candidates),
        "target": -1 if question.target is None else question.target,
        "region": run_lengths(question.mask) if question.place and question.mask.any() else [],
    }


def _named(points: Sequence[tuple[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    return [{"name": name, "point": [round(v, 4) for v in uv]} for name, uv in points]


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the alternating runs of a mask, row by row, the first one of False (perhaps 0)."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return [int(n) for n in (np.concatenate([[0], runs]) if flat.size and flat[0] else runs)]


def mask_from_runs(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Inverse of `run_lengths`, bool (height, width); all False without runs.

    Raises:
        ValueError: The runs do not fill the mask.
    """
    if not runs:
        return np.zeros((height, width), dtype=bool)
    if sum(runs) != height * width:
        raise ValueError(f"the runs cover {sum(runs)} pixels, the image has {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def _png(image: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise RuntimeError("an image could not be encoded as PNG")
    return data.tobytes()
