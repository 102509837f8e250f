"""The parser of the command line: wrong arguments, too, are told in JSON where ``--json`` is among them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from roboref_node.status import Status
from roboref_node.strict_json import to_json


class CommandParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that keeps to what ``--json`` promises: one object as the last line."""

    _as_json = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """See `argparse`."""
        self._as_json = "--json" in (sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end with exit status 2."""
        if self._as_json:
            print(to_json({"status": Status.BAD_REQUEST.value, "sentence": f"{self.prog}: {message}"}), flush=True)
        super().error(message)
