"""Checks of the machine: Python, ROS 2, middleware, rendering, memory and weights. None of them needs a running robot."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from roboref_node.doctor.findings import Finding, Level
from roboref_node.status import Refused

SEGMENT_BYTES = 8_000_000
"""Smallest useful shared-memory segment of Fast DDS: a 1280x720 image with its depth, twice."""

_ROS_PACKAGES = ("rclpy", "sensor_msgs.msg", "tf2_ros", "message_filters", "cv_bridge", "tf_transformations", "roboref.msg")


def examine_machine(model: str = "nano") -> list[Finding]:
    """All checks, in the order in which one would fix what they find.

    Args:
        model: Name or YAML file of the model that is to be used.
    """
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("ros", _ros),
        ("cv_bridge_abi", _cv_bridge_abi),
        ("fastdds", _fastdds),
        ("discovery", _discovery),
        ("shm", _shared_memory),
        ("rendering", _rendering),
        ("memory", _memory),
        ("model", lambda: _model(model)),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check()
        except Exception as error:  # A check that fails must not hide the others.
            findings.append(
                Finding(name, Level.WARNING, f"this check failed itself: {type(error).__name__}: {error}", "nothing is known about it")
            )
    return findings


def _python() -> list[Finding]:
    version = ".".join(str(v) for v in sys.version_info[:3])
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        return [Finding("python", Level.ERROR, f"Python {version}", "roboref is written for 3.10 to 3.13", "make setup PYTHON=python3.11")]
    return [Finding("python", Level.OK, f"Python {version} at {sys.executable}")]


def _ros() -> list[Finding]:
    if importlib.util.find_spec("rclpy") is None:
        return [
            Finding(
                "ros",
                Level.WARNING,
                "rclpy cannot be imported",
                "the offline commands work; demo, record, nodes and launch files do not",
                ". ./env.sh   (or: source /opt/ros/$ROS_DISTRO/setup.bash, then your workspace)",
            )
        ]
    findings = []
    for name in _ROS_PACKAGES:
        try:
            importlib.import_module(name)
        except Exception as error:
            ours = name == "roboref.msg"
            findings.append(
                Finding(
                    "ros_package",
                    Level.ERROR,
                    f"{name} cannot be imported: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                    "the nodes need it" if not ours else "the messages of roboref are not built, or their workspace is not sourced",
                    "make setup && . ./env.sh   (or: colcon build && source install/setup.bash)"
                    if ours
                    else "rosdep install --from-paths . -y",
                )
            )
    distribution = os.environ.get("ROS_DISTRO", "wheels of ROS 2 Jazzy")
    return findings or [Finding("ros", Level.OK, f"ROS 2 ({distribution}), every package imports")]


def _cv_bridge_abi() -> list[Finding]:
    """The cv_bridge of Humble and Jazzy is compiled against NumPy 1 and crashes with 2 at its first import."""
    if importlib.util.find_spec("cv_bridge") is None:
        return []
    probe = "import numpy, cv_bridge; cv_bridge.CvBridge().cv2_to_imgmsg(numpy.zeros((2, 2, 3), numpy.uint8), 'bgr8')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return [Finding("cv_bridge_abi", Level.OK, "cv_bridge works with this NumPy")]
    last = done.stderr.strip().splitlines()[-1:] or ["it crashed"]
    what = f"cv_bridge fails with this NumPy: {last[0]}"
    return [Finding("cv_bridge_abi", Level.ERROR, what, "it is compiled against NumPy 1", "pip install 'numpy<2'")]


def _fastdds() -> list[Finding]:
    if os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp" or importlib.util.find_spec("rclpy") is None:
        return []
    profile = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE")
    why = "the default segment of 512 kB is smaller than an image: best-effort images are lost, the others arrive late"
    fix = "export FASTRTPS_DEFAULT_PROFILES_FILE=<share of roboref>/config/fastdds.xml   (env.sh does it)"
    if not profile:
        return [Finding("fastdds_segment", Level.WARNING, "no Fast DDS profile is set", why, fix)]
    try:
        sizes = [int(e.text or 0) for e in ElementTree.parse(profile).iter() if e.tag.endswith("segment_size")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return [Finding("fastdds_segment", Level.ERROR, f"the Fast DDS profile {profile} cannot be read: {error}", why, fix)]
    if not sizes or max(sizes) < SEGMENT_BYTES:
        return [Finding("fastdds_segment", Level.WARNING, f"{profile} gives a segment of {max(sizes, default=0)} bytes", why, fix)]
    return [Finding("fastdds_segment", Level.OK, f"Fast DDS segment of {max(sizes) / 1e6:.0f} MB")]


def _discovery() -> list[Finding]:
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    if not domain.isdigit() or int(domain) > 232:
        return [
            Finding("domain", Level.ERROR, f"ROS_DOMAIN_ID is {domain!r}", "nodes cannot start with it", "export ROS_DOMAIN_ID=<0 to 101>")
        ]
    return [Finding("discovery", Level.INFO, f"ROS_DOMAIN_ID {domain}, discovery {reach}")]


def _shared_memory() -> list[Finding]:
    if not Path("/dev/shm").is_dir():
        return []
    stats = os.statvfs("/dev/shm")
    free_mb = stats.f_bavail * stats.f_frsize / 1e6
    if free_mb < 200:
        return [
            Finding(
                "shm",
                Level.WARNING,
                f"/dev/shm has {free_mb:.0f} MB free",
                "each node takes 32 MB of it for images; without it they travel by UDP",
                "rm -f /dev/shm/fastrtps_*   (leftovers of killed nodes), or docker run --shm-size=1g",
            )
        ]
    return [Finding("shm", Level.OK, f"/dev/shm has {free_mb:.0f} MB free")]


def _rendering() -> list[Finding]:
    if importlib.util.find_spec("mujoco") is None:
        return [Finding("rendering", Level.WARNING, "mujoco is not installed", "only the simulated cell needs it", "pip install mujoco")]
    backend = os.environ.get("MUJOCO_GL", "egl")
    probe = "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco/>'); mujoco.Renderer(m, 8, 8).close()"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "MUJOCO_GL": backend}
    )
    if done.returncode == 0:
        return [Finding("rendering", Level.OK, f"MuJoCo renders off-screen with {backend}")]
    return [
        Finding(
            "rendering",
            Level.WARNING,
            f"MuJoCo cannot render with MUJOCO_GL={backend}",
            "only the simulated cell and training need it",
            "apt-get install libegl1 libgl1-mesa-dri, or export MUJOCO_GL=osmesa and apt-get install libosmesa6",
        )
    ]


def _memory() -> list[Finding]:
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []:
        if line.startswith("MemAvailable"):
            available = int(line.split()[1]) * 1024
    if not available:
        return []
    if available < 2e9:
        return [
            Finding("memory", Level.WARNING, f"{available / 1e9:.1f} GB of memory are free", "the refer node with the nano takes 1 GB", "")
        ]
    return [Finding("memory", Level.OK, f"{available / 1e9:.1f} GB of memory are free")]


def _model(name: str) -> list[Finding]:
    from roboref_node.pointing.registry import load_pointer

    try:
        pointer = load_pointer(name)
    except Refused as refusal:
        why = "no question can be answered without a pixel"
        return [Finding("model", Level.ERROR, refusal.sentence, why, "choose another with model:=..., or fetch its weights")]
    return [Finding("model", Level.OK, f"the model {pointer.name} loads")]
