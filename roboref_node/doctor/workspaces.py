"""Checks of what has been sourced: distributions, overlays and their order, libraries, and whether the messages fit the sources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host, last_line

_PACKAGES = Path("share") / "ament_index" / "resource_index" / "packages"
_BASE = ("rclpy", "rcl", "rmw_implementation")
"""Packages that only a distribution (or its wheels) has all of."""

_NEEDED = (
    "rclpy", "sensor_msgs.msg", "nav_msgs.msg", "visualization_msgs.msg", "diagnostic_msgs.msg", "tf2_ros", "message_filters", "cv_bridge",
    "tf_transformations", "roboref.msg", "roboref.action",
)  # fmt: skip
_SOURCE = ". ./env.sh   (or: source /opt/ros/$ROS_DISTRO/setup.bash, then source install/setup.bash, in this order)"
_REBUILD = "make setup && . ./env.sh   (or: colcon build && source install/setup.bash)"

_IMPORT_PROBE = """
import importlib, json, sys
failed = {}
for name in sys.argv[1:] or NAMES:
    try:
        module = importlib.import_module(name)
        if name == "roboref.msg":
            module.Referral.__import_type_support__()
    except BaseException as error:
        failed[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
print(json.dumps(failed))
"""


def check_workspaces(host: Host) -> list[Finding]:
    """Everything about ``AMENT_PREFIX_PATH`` and its companions, in the order in which one would repair it."""
    if not host.prefixes:
        return []
    order = _distributions(host) or _order(host)
    findings = [*_missing(host), *_python_versions(host), *order, *_libraries(host), *_stale_interfaces(host)]
    return findings or [Finding("workspaces", Level.OK, f"{len(host.prefixes)} prefixes are sourced, in a sensible order")]


def check_imports(host: Host) -> list[Finding]:
    """Whether every package that the nodes need can be imported."""
    done = host.run(f"NAMES = {_NEEDED!r}\n{_IMPORT_PROBE}")
    if done.returncode != 0:
        return [Finding("ros", Level.ERROR, f"importing ROS 2 ends Python: {last_line(done)}", "no node can start", _SOURCE)]
    failed: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    if not failed:
        distribution = host.environ.get("ROS_DISTRO", "wheels of ROS 2 Jazzy")
        return [Finding("ros", Level.OK, f"ROS 2 ({distribution}), every package imports")]
    if "No module named 'rclpy'" in failed.get("rclpy", ""):
        why = "the offline commands work; demo, record, nodes and launch files do not"
        return [Finding("ros", Level.WARNING, "rclpy cannot be imported", why, _SOURCE)]
    return [_import_finding(name, error) for name, error in _one_per_cause(failed)]


def _one_per_cause(failed: dict[str, str]) -> Iterable[tuple[str, str]]:
    """One missing library fails many imports; it is told once."""
    return {error: (name, error) for name, error in reversed(failed.items())}.values()


def _import_finding(name: str, error: str) -> Finding:
    library = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", error)
    if library is not None:
        what = f"{name} cannot be imported: the shared library {library.group(1)} is not found"
        why = "its folder is missing on LD_LIBRARY_PATH, or its system package is not installed"
        return Finding("system_library", Level.ERROR, what, why, f"{_SOURCE}; else: apt-file search {library.group(1)}")
    what = f"{name} cannot be imported: {error}"
    if name.startswith("roboref"):
        why = "the messages of roboref are not built, built from other sources, or their workspace is not sourced"
        return Finding("ros_package", Level.ERROR, what, why, _REBUILD)
    return Finding("ros_package", Level.ERROR, what, "the nodes need it", "rosdep install --from-paths . -y")


def _missing(host: Host) -> list[Finding]:
    gone = [prefix for prefix in host.prefixes if not prefix.is_dir()]
    if not gone:
        return []
    what = f"AMENT_PREFIX_PATH names {', '.join(map(str, gone[:3]))}, which does not exist"
    why = "a workspace was removed or rebuilt after this shell had sourced it; its packages are missing"
    return [Finding("overlay_missing", Level.ERROR, what, why, f"open a new shell, then {_SOURCE}")]


def _python_versions(host: Host) -> list[Finding]:
    """A distribution's rclpy is compiled for one Python only."""
    mine = f"{host.version[0]}.{host.version[1]}"
    for prefix in host.prefixes:
        versions = {
            found.group(1)
            for pattern in ("lib/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages")
            for folder in prefix.glob(pattern)
            if (found := re.search(r"/python(3\.\d+)/", f"{folder}/")) and (folder / "rclpy").is_dir()
        }
        if versions and mine not in versions:
            theirs = ", ".join(sorted(versions))
            what = f"the ROS 2 in {prefix} is for Python {theirs}, this is Python {mine} ({host.python})"
            why = "its compiled modules (rclpy, the messages, cv_bridge) cannot be loaded"
            fix = (
                f"deactivate the virtual environment and use python{theirs}, or make one with python{theirs} -m venv --system-site-packages"
            )
            return [Finding("python_mismatch", Level.ERROR, what, why, fix)]
    others = [str(p) for p in host.folders("PYTHONPATH") if (v := re.search(r"/python(3\.\d+)(/|$)", str(p))) and v.group(1) != mine]
    if others:
        what = f"PYTHONPATH has {others[0]}, and this is Python {mine}"
        why = "modules compiled for the other Python shadow those of this one and cannot be loaded"
        return [Finding("python_mismatch", Level.ERROR, what, why, f"unset PYTHONPATH in a new shell, then {_SOURCE}")]
    return []


def _packages(prefix: Path) -> frozenset[str]:
    folder = prefix / _PACKAGES
    return frozenset(file.name for file in folder.iterdir()) if folder.is_dir() else frozenset()


def _distributions(host: Host) -> list[Finding]:
    bases = [prefix for prefix in host.prefixes if set(_BASE) <= _packages(prefix)]
    if len(bases) > 1:
        what = f"two ROS 2 distributions are sourced in this shell: {' and '.join(map(str, bases[:2]))}"
        why = "libraries of one meet modules and messages of the other; they crash, or do not understand each other"
        return [Finding("two_distributions", Level.ERROR, what, why, "open a new shell and source one of them only (look into ~/.bashrc)")]
    named = host.environ.get("ROS_DISTRO", "")
    if bases and named and bases[0].parent == Path("/opt/ros") and bases[0].name != named:
        what = f"ROS_DISTRO is {named}, but {bases[0]} is sourced"
        return [
            Finding(
                "ros_distro", Level.WARNING, what, "tools look for packages of another distribution", f"open a new shell, then {_SOURCE}"
            )
        ]
    return []


def _order(host: Host) -> list[Finding]:
    """An overlay counts only when it stands before the distribution."""
    contents = [(prefix, _packages(prefix)) for prefix in host.prefixes]
    base = next((i for i, (_, packages) in enumerate(contents) if set(_BASE) <= packages), None)
    if base is None:
        return []
    distribution, theirs = contents[base]
    for prefix, packages in contents[base + 1 :]:
        if shadowed := sorted(packages & theirs):
            what = f"{distribution} stands before the workspace {prefix} and hides its {', '.join(shadowed[:4])}"
            why = "the distribution was sourced after the workspace, so the workspace's own versions do not count"
            return [Finding("overlay_order", Level.ERROR, what, why, f"open a new shell, then {_SOURCE}")]
    for prefix, packages in contents[:base]:
        ours = sorted(name for name in packages & theirs if _is_stand_in(prefix, name))
        if ours:
            what = f"{prefix} hides the genuine {', '.join(ours)} of {distribution}"
            why = "roboref's underlay is for machines without a distribution: it has only the part of the API that roboref uses"
            return [
                Finding(
                    "overlay_order", Level.ERROR, what, why, "open a new shell and source the distribution and your workspace, not env.sh"
                )
            ]
    holders = [prefix for prefix, packages in contents if "roboref" in packages]
    if len(holders) > 1:
        what = f"roboref is installed in {holders[0]} and in {holders[1]}; the first one counts"
        return [Finding("two_roborefs", Level.WARNING, what, "a change of the second has no effect", f"open a new shell, then {_SOURCE}")]
    return []


def _is_stand_in(prefix: Path, package: str) -> bool:
    """True for a package of ``underlay/``, which imitates one of a distribution."""
    try:
        return "for machines without a ROS distribution" in (prefix / "share" / package / "package.xml").read_text(encoding="utf-8")
    except OSError:
        return False


def _libraries(host: Host) -> list[Finding]:
    known = {path.resolve() for path in host.folders("LD_LIBRARY_PATH")}
    # Without this guard the wheels' own start-up sets the variable.
    guarded = host.environ.get("_ROS_WHEELS_BOOTSTRAP_COMPLETE") == "1"
    for prefix in host.prefixes:
        library = next(iter(sorted((prefix / "lib").glob("lib*__rosidl_typesupport_c.so"))), None)
        if library is None or (prefix / "lib").resolve() in known or (prefix.resolve() == host.prefix.resolve() and not guarded):
            continue
        what = f"{prefix / 'lib'} is not on LD_LIBRARY_PATH"
        why = f"{library.name} is not found, and with it none of the messages of that workspace"
        return [Finding("library_path", Level.ERROR, what, why, _SOURCE)]
    return []


def _stale_interfaces(host: Host) -> list[Finding]:
    """Messages that were changed in the sources and not built since."""
    if not (host.checkout / "package.xml").is_file():
        return []
    built = next((prefix / "share" / "roboref" for prefix in host.prefixes if "roboref" in _packages(prefix)), None)
    if built is None:
        return []
    for kind in ("msg", "action"):
        for source in sorted((host.checkout / kind).glob(f"*.{kind}")):
            copy = built / kind / source.name
            if not copy.is_file() or copy.read_bytes() != source.read_bytes():
                what = f"{source.relative_to(host.checkout)} differs from what is built in {built}"
                why = "nodes built from different definitions do not understand each other"
                return [Finding("stale_interfaces", Level.ERROR, what, why, _REBUILD)]
    return []
