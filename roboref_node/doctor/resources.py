"""Checks of what a machine has: memory, disk, folders that can be written, system libraries, off-screen rendering."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host, last_line

DISK_BYTES = 1_000_000_000
"""Logs, recorded questions and the cache of a working day."""

LIBRARIES = {
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libusb-1.0-0": "libusb-1.0.so.0",
    "libx11-6": "libX11.so.6",
    "libudev1": "libudev.so.1",
    "libgomp1": "libgomp.so.1",
}
"""Debian package: the library that open3d, mujoco or torch loads."""

_RENDER_PROBE = "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco/>'); mujoco.Renderer(m, 8, 8).close()"
_LIBRARY_PROBE = """
import ctypes
for name in NAMES:
    try:
        ctypes.CDLL(name)
    except OSError:
        print(name)
"""


def check_disk(host: Host, needed_bytes: int = DISK_BYTES) -> list[Finding]:
    """Free space, and the right to write, where nodes and commands write.

    Args:
        host: Where.
        needed_bytes: Free space below which is a warning.
    """
    findings = []
    home = Path(host.environ.get("HOME") or "/")
    logs = Path(host.environ.get("ROS_LOG_DIR") or Path(host.environ.get("ROS_HOME") or home / ".ros") / "log")
    folders = {
        "logs (ROS_LOG_DIR)": (
            logs,
            Level.ERROR,
            "a node that cannot write its log does not start",
            "export ROS_LOG_DIR=<a folder of yours>",
        ),
        "cache (XDG_CACHE_HOME)": (
            Path(host.environ.get("XDG_CACHE_HOME") or home / ".cache"),
            Level.WARNING,
            "hashes and compiled code are made anew at each start",
            "export XDG_CACHE_HOME=<a folder of yours>",
        ),
    }
    fullest: tuple[int, Path] | None = None
    for what, (folder, level, why, fix) in folders.items():
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK) or not _can_hold_files(existing):
            problem = f"the folder for {what}, {folder}, cannot be written"
            findings.append(Finding("folders", level, problem, why, fix))
            continue
        stats = os.statvfs(existing)
        free = stats.f_bavail * stats.f_frsize
        fullest = min(fullest or (free, folder), (free, folder))
    if fullest is not None and fullest[0] < needed_bytes:
        what = f"{fullest[1]} has {fullest[0] / 1e9:.2f} GB free, {needed_bytes / 1e9:.1f} GB are advised"
        why = "logs and recordings stop when the disk is full"
        level = Level.ERROR if fullest[0] == 0 else Level.WARNING
        findings.append(
            Finding("disk", level, what, why, "du -xh --max-depth=2 ~ | sort -h | tail, and remove what is old (ros2 bags, ~/.ros/log)")
        )
    elif fullest is not None:
        findings.append(Finding("disk", Level.OK, f"{fullest[0] / 1e9:.0f} GB of disk are free"))
    return findings


def _can_hold_files(folder: Path) -> bool:
    """False for what is writable by its mode only, such as /proc."""
    return os.statvfs(folder).f_blocks > 0


def check_libraries(host: Host, libraries: Mapping[str, str] = LIBRARIES) -> list[Finding]:
    """System libraries that Python packages load at their first use.

    Args:
        host: Where.
        libraries: Debian package and the library that must load.
    """
    missing = set(host.run(f"NAMES = {list(libraries.values())!r}\n{_LIBRARY_PROBE}").stdout.split())
    packages = [package for package, library in libraries.items() if library in missing]
    if packages:
        what = f"system libraries are missing: {', '.join(sorted(missing))}"
        why = "importing open3d, mujoco or torch fails with 'cannot open shared object file'"
        return [Finding("system_library", Level.ERROR, what, why, f"sudo apt-get install -y {' '.join(packages)}")]
    return [Finding("system_library", Level.OK, "every system library loads")]


def check_rendering(host: Host) -> list[Finding]:
    """MuJoCo's off-screen renderer: the simulated cell needs it, a robot does not."""
    if importlib.util.find_spec("mujoco") is None:
        return [Finding("rendering", Level.WARNING, "mujoco is not installed", "only the simulated cell needs it", "pip install mujoco")]
    backend = host.environ.get("MUJOCO_GL", "egl")
    done = host.run(_RENDER_PROBE, MUJOCO_GL=backend)
    if done.returncode == 0:
        return [Finding("rendering", Level.OK, f"MuJoCo renders off-screen with {backend}")]
    what = f"MuJoCo cannot render with MUJOCO_GL={backend}: {last_line(done)}"
    fix = "export MUJOCO_GL=egl; apt-get install libegl1 libgl1-mesa-dri   (or MUJOCO_GL=osmesa and libosmesa6)"
    return [Finding("rendering", Level.WARNING, what, "only the simulated cell and training need it", fix)]
