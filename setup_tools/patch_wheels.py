"""Makes the ROS wheels of the running virtual environment usable as an ament prefix for colcon.

Two things in them belong to the machine that built them:
- the exported CMake targets name its Python and numpy include folders (`/opt/python/cp3XX-cp3XX/...`), which fails every build of messages;
- the ament index names its prefix as the parent of each package, which does not exist here.
Running it twice changes nothing.

Usage: .venv/bin/python setup_tools/patch_wheels.py
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILDER = r"/opt/python/cp\d+-cp\d+"
NUMPY_INCLUDE = re.compile(BUILDER + r"/lib/python3\.\d+/site-packages/numpy/_?core/include")
PYTHON_INCLUDE = re.compile(BUILDER + r"/include/python3\.\d+")


def patch_exports(prefix: Path) -> int:
    """Rewrites the include folders in `share/*/cmake/*Export.cmake`; returns how many files changed."""
    changed = 0
    for path in prefix.glob("share/*/cmake/*Export.cmake"):
        before = path.read_text()
        # Functions as replacements: a path is inserted as it is, whatever backslashes it holds.
        after = NUMPY_INCLUDE.sub(lambda _: np.get_include(), before)
        after = PYTHON_INCLUDE.sub(lambda _: sysconfig.get_path("include"), after)
        if after != before:
            path.write_text(after)
            changed += 1
    return changed


def empty_parent_prefixes(prefix: Path) -> int:
    """Empties the files of `parent_prefix_path` in the ament index; returns how many were not empty."""
    changed = 0
    for path in (prefix / "share/ament_index/resource_index/parent_prefix_path").glob("*"):
        if path.stat().st_size:
            path.write_text("")
            changed += 1
    return changed


if __name__ == "__main__":
    prefix = Path(sys.prefix)
    exports, parents = patch_exports(prefix), empty_parent_prefixes(prefix)
    print(f"patched {exports} exported CMake targets and {parents} index entries in {prefix}")
