"""A training run's folder: state that survives a kill, and curves for a person (progress bar), a program (JSONL) and TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

STATE = "state.pt"


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state whole or not at all: a kill at any moment leaves the last complete one."""
    temporary = folder / f"{STATE}.{os.getpid()}.tmp"
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / STATE)


def load_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote last, on the CPU; None when there is nothing."""
    if not (folder / STATE).exists():
        return None
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


class Curves:
    """Numbers of each step: a line of ``log.jsonl``, a point of each TensorBoard curve, the text of the progress bar.

    After a kill the steps behind the last checkpoint are computed again, and logged again; the later line counts.

    Args:
        folder: The run's folder.
        total: Steps of the whole run.
        start: Steps already done.
        label: In front of the progress bar.
        enabled: False in every process but the first: nothing is written.
    """

    def __init__(self, folder: Path, total: int, start: int, label: str, *, enabled: bool = True) -> None:
        self._file = (folder / "log.jsonl").open("a", buffering=1, encoding="utf-8") if enabled else None
        self._board = SummaryWriter(str(folder / "curves"), purge_step=start + 1) if enabled else None
        self._bar = tqdm(total=total, initial=start, desc=label, unit="step", disable=not enabled, mininterval=1.0)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()

    def add(self, step: int, values: Mapping[str, float], shown: tuple[str, ...] = ()) -> None:
        """Record a step.

        Args:
            step: Counted from 1.
            values: Numbers by name; a slash groups curves.
            shown: Names that the progress bar shows.
        """
        self._bar.update(max(0, step - self._bar.n))
        self._bar.set_postfix({name: f"{values[name]:.3g}" for name in shown if name in values}, refresh=False)
        if self._file is None or self._board is None:
            return
        self._file.write(json.dumps({"step": step, **{name: round(float(value), 6) for name, value in values.items()}}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)
