"""What a command that could not do its work tells: one sentence, the JSON it was asked for, and exit status 2."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from roboref_node.status import Refused, Status
from roboref_node.strict_json import to_json


def tell(error: Refused | OSError, *, as_json: bool, **rest: Any) -> int:
    """Print why; returns the exit status.

    Args:
        error: A refusal, or what the operating system says of a path that was given. A broken pipe is raised again.
        as_json: Print a JSON object as the last line too.
        **rest: Further keys of that object, those that the command's JSON always has.
    """
    if isinstance(error, BrokenPipeError):  # of the output: nobody is left to be told
        raise error
    refusal = error if isinstance(error, Refused) else Refused(Status.BAD_REQUEST, _sentence(error))
    print(refusal.sentence, file=sys.stderr)
    if as_json:
        with contextlib.suppress(OSError):  # the error may be that the output cannot be written
            print(to_json({"status": refusal.status.value, "sentence": refusal.sentence, **rest}))
    return 2


def _sentence(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
