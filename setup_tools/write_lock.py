"""Prints requirements/lock.txt from the packages that pip installed into the running virtual environment.

Usage: .venv/bin/python setup_tools/write_lock.py > requirements/lock.txt
"""

from __future__ import annotations

import importlib.metadata
import re

HEADER = """\
# Every version that `make setup` installs on Python 3.11, direct and transitive (a constraints file).
# Renewed by: .venv/bin/python setup_tools/write_lock.py > requirements/lock.txt"""


def pins() -> list[str]:
    """One `name==version` for each distribution that pip installed, sorted.

    The ROS wheels bring metadata of their own for the packages inside them (no INSTALLER file): those are no distributions that pip knows.
    The local part of a version (`2.13.0+cpu`) names a build, not a release, and is left out.
    """
    found = set()
    for distribution in importlib.metadata.distributions():
        if (distribution.read_text("INSTALLER") or "").strip() == "pip" and distribution.name != "pip":
            found.add(f"{re.sub(r'[-_.]+', '-', distribution.name).lower()}=={distribution.version.split('+')[0]}")
    return sorted(found)


if __name__ == "__main__":
    print(HEADER)
    print("\n".join(pins()))
