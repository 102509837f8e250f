"""Processes that prepare batches end with the process that trains: when that one is killed, they would wait for it for ever."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_trainer(worker: int) -> None:
    """Have the kernel kill this process when its parent ends, on Linux; how a `DataLoader`'s workers begin.

    A batch carries masks that fill the pipe to the trainer, and a worker that ends waits until the pipe is read.

    Args:
        worker: Number of the worker; not looked at.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
