"""Safetensors folders: which tensor lies where, with which shape; read without loading, loaded without surprises."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from roboref_node.status import Refused, Status

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "F64": torch.float64}


@dataclass(frozen=True)
class Location:
    """Where a tensor lies: its file, its name in it, its shape and precision."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def cut(self, rows: int) -> Location:
        """Its first rows alone."""
        return replace(self, shape=(min(rows, self.shape[0]), *self.shape[1:])) if self.shape else self


def read_json(file: Path, expected: str) -> dict[str, Any]:
    """A JSON object from a file.

    Args:
        file: Path.
        expected: What the folder should be, for the error.

    Raises:
        Refused: MODEL_UNAVAILABLE when it is missing or no JSON object.
    """
    if not file.is_file():
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file} is missing; expected {expected}.")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:  # the first: also numbers of thousands of digits
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file} is not valid JSON ({error}); expected {expected}.") from error
    if not isinstance(value, dict):
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file} holds a {type(value).__name__}, expected a JSON object.")
    return value


def locate(folder: Path) -> dict[str, Location]:
    """All tensors of a folder, from ``model.safetensors`` or else the shards that ``model.safetensors.index.json`` lists.

    Where saving over an older checkpoint left both, transformers reads the single file, and so the published code does.

    Raises:
        Refused: MODEL_UNAVAILABLE when files are missing, unreadable, not safetensors or disagree with the index.
    """
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():
        return _read_header(single)
    if index.is_file():
        mapping = read_json(index, "the list of weight shards").get("weight_map")
        if not isinstance(mapping, dict) or not all(isinstance(v, str) and Path(v).name == v for v in mapping.values()):
            raise Refused(Status.MODEL_UNAVAILABLE, f"{index} has no usable weight_map; expected tensor names and file names beside it.")
        found: dict[str, Location] = {}
        for shard in sorted(set(mapping.values())):
            found.update(_read_header(folder / shard))
        if unlisted := sorted(mapping.keys() ^ found.keys()):
            raise Refused(Status.MODEL_UNAVAILABLE, f"{index}: tensor {unlisted[0]} is in only one of the index and its shards.")
        return found
    others = [p.name for p in (folder.iterdir() if folder.is_dir() else ()) if p.suffix in (".bin", ".pt", ".pth")]
    hint = f"; {others[0]} is a pickle and is not read, convert it to safetensors" if others else ""
    raise Refused(Status.MODEL_UNAVAILABLE, f"{single} is missing; expected the weights there or a model.safetensors.index.json{hint}.")


def count_elements(locations: Mapping[str, Location]) -> int:
    """Numbers in all tensors together."""
    return sum(math.prod(location.shape) for location in locations.values())


def load(locations: Mapping[str, Location], dtype: torch.dtype) -> dict[str, Tensor]:
    """Read tensors in the given precision.

    Raises:
        Refused: MODEL_UNAVAILABLE when a file cannot be read.
    """
    by_file: dict[Path, list[str]] = {}
    for ours, location in locations.items():
        by_file.setdefault(location.file, []).append(ours)
    tensors: dict[str, Tensor] = {}
    for file, names in by_file.items():
        try:
            with safe_open(file, framework="pt") as shard:
                for ours in names:
                    stored, shape = shard.get_tensor(locations[ours].name), locations[ours].shape
                    tensors[ours] = (stored if stored.shape == shape else stored[: shape[0]].clone()).to(dtype)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise Refused(Status.MODEL_UNAVAILABLE, f"{file} cannot be read as safetensors: {error}.") from error
    return tensors


def _read_header(file: Path) -> dict[str, Location]:
    try:
        if not file.is_file():
            raise Refused(Status.MODEL_UNAVAILABLE, f"{file} is missing; the index of its folder lists it.")
        with safe_open(file, framework="pt") as shard:
            found = {}
            for name in shard.keys():  # noqa: SIM118  # not a dict
                part = shard.get_slice(name)
                kind = part.get_dtype()
                if kind not in _DTYPES:
                    raise Refused(
                        Status.MODEL_UNAVAILABLE, f"{file}: tensor {name} has precision {kind}, expected one of {', '.join(_DTYPES)}."
                    )
                found[name] = Location(file, name, tuple(part.get_shape()), _DTYPES[kind])
            return found
    except (SafetensorError, OSError, RuntimeError) as error:  # the last: torch cannot map a file larger than the memory
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file} cannot be read as safetensors: {error}.") from error
