"""A training run's folder: what it began with, state that survives a kill, and curves for a person, a program and TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from roboref_node.status import Refused, Status

STATE = "state.pt"
RUN = "run.json"
OWN_PACE = ("recipe.steps", "recipe.save_every", "recipe.log_every", "recipe.threads", "recipe.workers")
"""Settings of the nano and of RFT that a run may go on with other values of."""


def begin_or_go_on(folder: Path, settings: Mapping[str, Any], may_change: Collection[str], *, begun: bool, first_process: bool) -> None:
    """Note what a run begins with; a run that goes on must have begun with the same.

    Args:
        folder: The run's folder.
        settings: All that decides the result, as plain data: the recipe, the number of processes.
        may_change: Names, dots between the levels, that may differ.
        begun: The folder holds a checkpoint to go on from.
        first_process: Write the note.

    Raises:
        Refused: BAD_REQUEST naming the setting that differs, and both values.
    """
    now, note = json.loads(json.dumps(settings)), folder / RUN
    if begun and note.exists():
        then, these = _flat(json.loads(note.read_text(encoding="utf-8"))), _flat(now)
        changed = [name for name in sorted({*then, *these}) if then.get(name) != these.get(name) and name not in may_change]
        if changed:
            name = changed[0]
            raise Refused(
                Status.BAD_REQUEST,
                f"{folder} holds a run that began with {name} = {then.get(name)}, and it is {these.get(name)} now"
                f"{f' ({len(changed)} settings differ)' if len(changed) > 1 else ''}: go on with what it began with, or give another --out",
            )
    if first_process:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = note.with_suffix(".tmp")
        temporary.write_text(json.dumps(now, indent=1), encoding="utf-8")
        temporary.replace(note)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(inner, f"{name}.{part}" if name else str(part)).items()}


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """What torch and safetensors raise when a disk is full, as the `OSError` that it is.

    Raises:
        OSError: With the name of what could not be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(f"cannot write {target}, is the disk full? ({_first_line(error)}) The state before is kept.") from error


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state whole or not at all: a kill at any moment leaves the last complete one.

    Raises:
        OSError: The disk is full; nothing is left of the attempt.
    """
    for left in folder.glob(f"{STATE}.*.tmp"):  # of a process that was killed while it wrote
        left.unlink(missing_ok=True)
    temporary = folder / f"{STATE}.{os.getpid()}.tmp"
    try:
        with writing(folder / STATE), temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / STATE)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote last, on the CPU; None when there is nothing.

    Raises:
        Refused: BAD_REQUEST when the file is damaged.
    """
    file = folder / STATE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        sentence = f"{file} is damaged ({_first_line(error)}): put a copy in its place, or delete it to begin anew"
        raise Refused(Status.BAD_REQUEST, sentence) from error
    return state


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


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
