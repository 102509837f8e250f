"""The machine as the doctor sees it: environment, Python and folders, as values, so that every check can be asked about another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROBE_S = 60.0
"""How long a probe may take: a cold disk needs tens of seconds for the first import of a large library."""

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Host:
    """Where a question would be asked.

    Args:
        environ: Environment variables.
        prefix: Prefix of the Python installation or virtual environment.
        python: Its interpreter.
        version: Version of that.
        checkout: Folder of the sources, with ``package.xml``; for an installed package a folder without one.
        shared_memory: Where the middleware keeps images.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    prefix: Path = Path(sys.prefix)
    python: Path = Path(sys.executable)
    version: tuple[int, int, int] = sys.version_info[:3]
    checkout: Path = _CHECKOUT
    shared_memory: Path = Path("/dev/shm")

    @property
    def prefixes(self) -> tuple[Path, ...]:
        """What has been sourced, the first one counts: ``AMENT_PREFIX_PATH``."""
        return tuple(Path(p) for p in self.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p)

    def folders(self, variable: str) -> tuple[Path, ...]:
        """Folders in a variable like PATH."""
        return tuple(Path(p) for p in self.environ.get(variable, "").split(os.pathsep) if p)

    def run(self, code: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in this environment: a library that crashes takes down nothing else.

        Args:
            code: The program.
            **changes: Environment variables that differ.
        """
        command = [str(self.python), "-c", code]
        environ = {**self.environ, **changes}
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=False, env=environ, cwd="/")
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no end within {PROBE_S:g} s")


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed probe said last, or how it died."""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    if done.returncode < 0:
        return f"it crashed with signal {-done.returncode}" + (f" after: {lines[-1]}" if lines else "")
    return lines[-1] if lines else f"it ended with status {done.returncode}"
