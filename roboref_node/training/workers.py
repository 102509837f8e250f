"""Processes that prepare batches end with the process that trains: when that one is killed, they would wait for it for ever."""

from __future__ import annotations

import ctypes
import functools
import signal
import sys

from torch.utils.data import get_worker_info

_PR_SET_PDEATHSIG = 1


def end_with_trainer(worker: int = 0) -> None:
    """Have the kernel kill this process when its parent ends; does nothing outside of a `DataLoader`'s worker, and off Linux.

    Args:
        worker: Number of the worker; not looked at.
    """
    if get_worker_info() is not None:
        _bind_to_parent()


@functools.cache
def _bind_to_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
