"""Checks of Python: version, virtual environment, and libraries that were compiled for another NumPy."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host, last_line

_OLDEST, _NEWEST = (3, 10), (3, 13)
_SHEBANG_BYTES = 400

_BRIDGE_PROBE = (
    "import importlib.util, sys\n"
    "if importlib.util.find_spec('cv_bridge') is None: sys.exit(77)\n"
    "import numpy, cv_bridge\n"
    "cv_bridge.CvBridge().cv2_to_imgmsg(numpy.zeros((2, 2, 3), numpy.uint8), 'bgr8')"
)
_ABSENT = 77


def check_python(host: Host) -> list[Finding]:
    """The interpreter's version."""
    version = ".".join(str(v) for v in host.version)
    if not _OLDEST <= host.version[:2] <= _NEWEST:
        return [Finding("python", Level.ERROR, f"Python {version}", "roboref is written for 3.10 to 3.13", "make setup PYTHON=python3.11")]
    return [Finding("python", Level.OK, f"Python {version} at {host.python}")]


def check_virtual_environment(host: Host) -> list[Finding]:
    """Scripts that start another Python than this one: a virtual environment that was moved or copied, or another one that is active."""
    findings = []
    active = host.environ.get("VIRTUAL_ENV", "")
    is_virtual = (host.prefix / "pyvenv.cfg").is_file()
    if active and is_virtual and Path(active).resolve() != host.prefix.resolve():
        what = f"VIRTUAL_ENV is {active}, but {host.python} belongs to {host.prefix}"
        why = "pip installs into one environment, and the programs run in the other"
        findings.append(Finding("virtual_env", Level.WARNING, what, why, f"deactivate; . {host.prefix}/bin/activate   (or . ./env.sh)"))
    folders = [host.prefix / "bin"] if is_virtual else []
    folders += [prefix / "lib" / "roboref" for prefix in host.prefixes]
    dead, foreign = _shebangs([folder for folder in folders if folder.is_dir()], host.prefix if is_virtual else None)
    if dead:
        interpreter, count = dead.most_common(1)[0]
        what = f"{count} programs start with #!{interpreter}, which does not exist"
        why = "the virtual environment was moved or copied: each of its programs, roboref among them, ends with 'bad interpreter'"
        findings.append(
            Finding("venv_shebang", Level.ERROR, what, why, "rm -rf .venv && make setup   (a venv cannot be moved; make it anew)")
        )
    elif foreign:
        interpreter, count = foreign.most_common(1)[0]
        what = f"{count} programs of {host.prefix} start {interpreter}"
        why = "they run in another environment, with other versions of everything"
        findings.append(
            Finding("venv_shebang", Level.ERROR, what, why, "rm -rf .venv && make setup   (a venv cannot be copied; make it anew)")
        )
    elif folders:
        findings.append(Finding("venv_shebang", Level.OK, "the installed programs start this Python"))
    return findings


def _shebangs(folders: list[Path], prefix: Path | None) -> tuple[Counter[str], Counter[str]]:
    """Interpreters that do not exist, and those of another virtual environment, with the number of programs that name them."""
    dead: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    for file in (f for folder in folders for f in folder.iterdir() if f.is_file() and not f.is_symlink()):
        with file.open("rb") as stream:
            start = stream.read(_SHEBANG_BYTES).decode("utf-8", "replace")
        # The second form is what pip writes when the path is too long for the kernel.
        found = re.match(r"#!\s*(/\S*python\S*)|#!/bin/sh\n'''exec' \"?(/[^\"]*python[^\" ]*)", start)
        if found is None:
            continue
        interpreter = Path(found.group(1) or found.group(2))
        if not interpreter.exists():
            dead[str(interpreter)] += 1
        elif prefix is not None and _is_in_venv(interpreter) and interpreter.parents[1].resolve() != prefix.resolve():
            foreign[str(interpreter)] += 1
    return dead, foreign


def _is_in_venv(interpreter: Path) -> bool:
    return (interpreter.parents[1] / "pyvenv.cfg").is_file()


def check_cv_bridge(host: Host) -> list[Finding]:
    """The cv_bridge of Humble and Jazzy is compiled against NumPy 1 and crashes with 2 at its first use."""
    done = host.run(_BRIDGE_PROBE)
    if done.returncode == _ABSENT:
        return []
    if done.returncode == 0:
        return [Finding("cv_bridge_abi", Level.OK, "cv_bridge works with this NumPy")]
    if re.search(r"numpy|ARRAY_API", done.stderr, re.IGNORECASE) or done.returncode < 0:
        what = f"cv_bridge fails with this NumPy: {last_line(done)}"
        return [
            Finding(
                "cv_bridge_abi",
                Level.ERROR,
                what,
                "it is compiled against another NumPy (its ABI changed with 2.0)",
                "pip install 'numpy<2'",
            )
        ]
    return [
        Finding(
            "cv_bridge_abi",
            Level.ERROR,
            f"cv_bridge does not work: {last_line(done)}",
            "color images are converted with it",
            "rosdep install --from-paths . -y",
        )
    ]


def check_command(host: Host) -> list[Finding]:
    """Which ``roboref`` the shell would start."""
    found = shutil.which("roboref", path=host.environ.get("PATH", ""))
    if found is None:
        why = "only python -m roboref_node.cli works in this shell"
        return [
            Finding("command", Level.WARNING, "the command roboref is not on the PATH", why, ". ./env.sh   (or: source install/setup.bash)")
        ]
    return [Finding("command", Level.OK, f"roboref is {found}")]
