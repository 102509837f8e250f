"""Other people's models from a folder, by transformers: all of their tensors or none, and nothing from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from roboref_node.model.config_checks import refusing
from roboref_node.status import Refused, Status

OFFLINE = {"local_files_only": True, "trust_remote_code": False}
"""For all that transformers loads: nothing is downloaded, no code in a folder is run, and nobody is asked on a terminal whether to."""


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """One bar per load would fill the log of a node."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def named_device(name: str) -> torch.device:
    """The device that a setting names, whether it is there or not.

    Raises:
        Refused: BAD_REQUEST when it is no name of a device on which a model can run.
    """
    with refusing(f"`device` is {name!r}", Status.BAD_REQUEST):
        device = torch.device(name)
        if device.type == "meta":  # takes any model, and computes nothing
            raise ValueError("expected cpu, cuda or cuda:1, for example")
    return device


def usable_device(name: str | None) -> torch.device:
    """A device that is there; None takes the GPU when there is one.

    Raises:
        Refused: BAD_REQUEST as `named_device`; MODEL_UNAVAILABLE when it is not there.
    """
    device = named_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    with refusing(f"`device` {str(device)!r} cannot be used here"):  # before gigabytes are read for it
        torch.zeros(1, device=device)
    return device


def load_whole(kind: Any, folder: Path, device: torch.device, *, dtype: str) -> Any:
    """A model that transformers loads, in evaluation mode, with every tensor from the folder's files.

    Args:
        kind: Class with ``from_pretrained``, such as ``AutoModelForDepthEstimation``.
        folder: Of the model.
        device: Where to.
        dtype: Name of the precision; ``auto`` = as stored.

    Raises:
        Refused: MODEL_UNAVAILABLE when it cannot be loaded, or tensors are missing, of another shape, or left over from its layers.
    """
    with refusing(f"transformers cannot load {folder}"), without_progress_bars():
        model, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name; transformers names them in its log only
            **OFFLINE,
        )
    # Tied weights, and what a class knows to be absent from published files, are not among the missing.
    if missing := sorted(found["missing_keys"]):
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{folder}: tensor {missing[0]}{_more(missing)} is missing; transformers would fill in random numbers.",
            tensors=missing[:10],
        )
    if mismatched := sorted(found["mismatched_keys"]):
        name, stored, expected = mismatched[0]
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{folder}: tensor {name} has shape {list(stored)}, expected {list(expected)} from the configuration{_more(mismatched)}.",
            tensors=[name for name, _, _ in mismatched[:10]],
        )
    if left_over := _left_over(model, found["unexpected_keys"]):
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{folder}: tensor {left_over[0]}{_more(left_over)} belongs to a layer that the configuration leaves out or has otherwise.",
            tensors=left_over[:10],
        )
    with refusing(f"{folder} cannot be brought to the device {str(device)!r}"):
        return model.to(device).eval()


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _left_over(model: torch.nn.Module, unexpected: set[str]) -> list[str]:
    """Unexpected tensors without which the model computes something else than was trained, sorted.

    These are the further layers of a stack of the model, and what belongs into one of its innermost modules: the bias of a layer
    without, the scale of a quantized weight, an adapter. Other tensors are allowed, because published checkpoints come with them and
    the model is complete without: heads for other tasks, buffers of older versions, layers that predict several tokens.
    """
    numbers = re.compile(r"(?<=\.)\d+(?=\.)")
    stacks = {numbers.sub("*", name) for name in model.state_dict()}
    innermost = tuple(f"{name}." for name, part in model.named_modules() if not [*part.children()] and [*part.parameters(recurse=False)])
    buffers = {name for name, _ in model.named_buffers()}  # also those that are computed and not stored
    return sorted(name for name in unexpected - buffers if numbers.sub("*", name) in stacks or name.startswith(innermost))
