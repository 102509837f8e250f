"""RefSpatial-Bench and RefSpatial-Expand-Bench from a local folder: the raw layout and the parquet layout. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from roboref_node.status import Refused, Status

_LAYOUTS = "`<task>/question.json` next to its pictures (raw), or `data/<task>-00000-of-00001.parquet`"
Source = Callable[[], Any]


@dataclass(frozen=True, eq=False)
class BenchSample:
    """One question. Pictures are read when they are asked for.

    Args:
        id: As in the data, as text.
        object: The phrase of what is asked for.
        prompt: The whole instruction.
        suffix: The request for the answer format.
        step: Number of reasoning steps; 0 when the data give none.
        scene: ``indoor`` or ``outdoor`` in the Expand version, else empty.
        mask_path: As in the data; empty in the parquet layout.
        image_source, mask_source: Open the pictures.
    """

    id: str
    object: str
    prompt: str
    suffix: str
    step: int
    scene: str
    mask_path: str
    image_source: Source
    mask_source: Source

    def rgb(self) -> NDArray[np.uint8]:
        """Picture (H, W, 3).

        Raises:
            Refused: BAD_REQUEST when it cannot be read.
        """
        return np.asarray(_open(self.image_source, f"picture of question {self.id}").convert("RGB"), np.uint8)

    def mask(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of right answers: those whose first channel is not 0.

        Raises:
            Refused: BAD_REQUEST when it cannot be read.
        """
        return _first_channel(_open(self.mask_source, f"mask of question {self.id}"))


@dataclass(frozen=True, eq=False)
class BenchTask:
    """Location, Placement or Unseen.

    Args:
        name: As the folder or the split is called.
        folder: Of the raw layout; None for parquet.
        samples: By id, in the order of the data.
    """

    name: str
    folder: Path | None
    samples: Mapping[str, BenchSample]

    def mask_at(self, mask_path: str) -> NDArray[np.bool_]:
        """The mask that an answer file names, as the published script opens it.

        Raises:
            Refused: BAD_REQUEST when it cannot be read.
        """
        if self.folder is None:
            raise Refused(Status.BAD_REQUEST, f"task {self.name} was read from parquet, where masks have no path like {mask_path!r}")
        return _first_channel(_open(lambda: Image.open(self.folder / mask_path), f"mask {mask_path} of task {self.name}"))  # type: ignore[operator]


def load_refspatial(folder: Path) -> dict[str, BenchTask]:
    """All tasks of a benchmark folder, by name, sorted.

    Args:
        folder: The benchmark, or one task of it.

    Raises:
        Refused: BAD_REQUEST when the folder holds neither layout, or a file is broken; the sentence says which.
    """
    if not folder.is_dir():
        raise Refused(Status.BAD_REQUEST, f"--data {folder} is not a folder")
    questions = sorted({*folder.glob("question.json"), *folder.glob("*/question.json"), *folder.glob("*/*/question.json")})
    if questions:
        tasks = [_raw_task(file, folder) for file in questions]
    else:
        tables = sorted({*folder.glob("*.parquet"), *folder.glob("data/*.parquet")})
        if not tables:
            raise Refused(Status.BAD_REQUEST, f"{folder} holds no RefSpatial benchmark: expected {_LAYOUTS}")
        splits: dict[str, list[Path]] = {}
        for table in tables:
            splits.setdefault(table.name.partition("-")[0].removesuffix(".parquet").capitalize(), []).append(table)
        tasks = [_parquet_task(name, files) for name, files in splits.items()]
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


def _raw_task(file: Path, root: Path) -> BenchTask:
    task_folder = file.parent
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read {file}: {error}") from error
    if not isinstance(records, list):
        raise Refused(Status.BAD_REQUEST, f"{file} holds a {type(records).__name__}, not a list of questions")

    def sources(record: Mapping[str, Any]) -> tuple[str, Source, Source]:
        rgb, mask = str(record["rgb_path"]), str(record["mask_path"])
        return mask, lambda: Image.open(task_folder / rgb), lambda: Image.open(task_folder / mask)

    name = task_folder.name if task_folder == root else task_folder.relative_to(root).as_posix()
    return BenchTask(name, task_folder, _samples(records, sources, str(file)))


def _parquet_task(name: str, files: list[Path]) -> BenchTask:
    def source(data: bytes) -> Source:
        return lambda: Image.open(io.BytesIO(data))

    def sources(record: Mapping[str, Any]) -> tuple[str, Source, Source]:
        return "", source(record["image"]["bytes"]), source(record["mask"]["bytes"])

    return BenchTask(name, None, _samples(_rows(files), sources, f"split {name}"))


def _rows(files: list[Path]) -> Iterator[Mapping[str, Any]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise Refused(
            Status.BAD_REQUEST,
            f"{files[0].name} is a parquet file, and pyarrow is not installed: `pip install pyarrow`, or use the raw layout",
        )
    import pyarrow
    import pyarrow.parquet

    for file in files:
        try:
            table = pyarrow.parquet.read_table(file)
        except (OSError, pyarrow.ArrowException) as error:
            raise Refused(Status.BAD_REQUEST, f"cannot read {file}: {error}") from error
        yield from table.to_pylist()


def _samples(
    records: Iterable[Mapping[str, Any]], sources: Callable[[Mapping[str, Any]], tuple[str, Source, Source]], where: str
) -> dict[str, BenchSample]:
    samples: dict[str, BenchSample] = {}
    for number, record in enumerate(records):
        try:
            mask_path, image, mask = sources(record)
            sample = BenchSample(
                id=str(record["id"]),
                object=str(record["object"]),
                prompt=str(record["prompt"]),
                suffix=str(record["suffix"]),
                step=int(record.get("step") or 0),
                scene=str(record.get("scene") or ""),
                mask_path=mask_path,
                image_source=image,
                mask_source=mask,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused(Status.BAD_REQUEST, f"{where}: question number {number} is broken: {type(error).__name__} {error}") from error
        if sample.id in samples:
            raise Refused(Status.BAD_REQUEST, f"{where}: two questions have the id {sample.id}")
        samples[sample.id] = sample
    return samples


def _open(source: Source, what: str) -> Image.Image:
    try:
        picture: Image.Image = source()
        picture.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, TypeError) as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read the {what}: {error}") from error
    return picture


def _first_channel(picture: Image.Image) -> NDArray[np.bool_]:
    values = np.asarray(picture)
    return np.asarray((values[:, :, 0] if values.ndim == 3 else values) > 0)
