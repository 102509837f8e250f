"""A small benchmark folder in the layout of RefSpatial-Bench."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def mask(number: int) -> np.ndarray:
    """Columns from 8 * number to 8 * number + 16, all rows."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:, 8 * number : 8 * number + 16] = 255
    return values


def write_raw(folder: Path, tasks: dict[str, int]) -> Path:
    """`tasks`: number of questions by task."""
    for task, count in tasks.items():
        records: list[dict[str, Any]] = []
        (folder / task / "image").mkdir(parents=True)
        (folder / task / "mask").mkdir()
        for i in range(count):
            records.append(
                {
                    "id": i,
                    "object": f"the cup number {i} of {task}",
                    "prompt": f"Please point out the cup number {i} of {task}.",
                    "suffix": "Answer with tuples.",
                    "rgb_path": f"image/{i}.png",
                    "mask_path": f"mask/{i}.png",
                    "category": task,
                    "step": 1 + i % 3,
                }
            )
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8)).save(folder / task / "image" / f"{i}.png")
            Image.fromarray(np.dstack([mask(i)] * 3) if i % 2 else mask(i)).save(folder / task / "mask" / f"{i}.png")
        (folder / task / "question.json").write_text(json.dumps(records))
    return folder


def write_parquet(folder: Path, raw: Path, tasks: list[str]) -> Path:
    """The raw folder again, as the splits of a Hugging Face data set."""
    import pyarrow
    import pyarrow.parquet

    def picture(path: Path) -> dict[str, Any]:
        stream = io.BytesIO()
        Image.open(path).save(stream, "PNG")
        return {"bytes": stream.getvalue(), "path": None}

    (folder / "data").mkdir(parents=True)
    for task in tasks:
        records = json.loads((raw / task / "question.json").read_text())
        rows = [
            {k: r[k] for k in ("id", "object", "prompt", "suffix", "step")}
            | {"image": picture(raw / task / r["rgb_path"]), "mask": picture(raw / task / r["mask_path"])}
            for r in records
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data" / f"{task.lower()}-00000-of-00001.parquet")
    return folder


def write_answers(file: Path, texts: list[Any], **more: Any) -> Path:
    """Answers to questions 0, 1, .. as the published client writes them."""
    lines = [{"question_id": i, "text": text, "mask_path": f"mask/{i}.png", **more} for i, text in enumerate(texts)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file
