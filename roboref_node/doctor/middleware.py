"""Checks of DDS: which implementation, its shared memory, who can be discovered, and whether security can be had."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host

SEGMENT_BYTES = 8_000_000
"""Smallest useful shared-memory segment of Fast DDS: a 1280x720 image with its depth, twice."""

SHARED_MEMORY_BYTES = 200_000_000

_FASTDDS = "rmw_fastrtps_cpp"
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
_HIGHEST_DOMAIN = 232
_SAFE_DOMAIN = 101
"""Above it the ports of a domain lie in the range that Linux gives to other programs."""

ENCLAVE_FILES = ("identity_ca.cert.pem", "cert.pem", "key.pem", "permissions_ca.cert.pem", "governance.p7s", "permissions.p7s")


def check_implementation(host: Host) -> list[Finding]:
    """``RMW_IMPLEMENTATION`` names something that is installed."""
    name = host.environ.get("RMW_IMPLEMENTATION", "")
    if not name or not host.prefixes:
        return []
    library = f"lib{name}.so"
    folders = [*(prefix / "lib" for prefix in host.prefixes), *host.folders("LD_LIBRARY_PATH")]
    if any((folder / library).exists() for folder in folders):
        return [Finding("rmw", Level.OK, f"RMW_IMPLEMENTATION {name} is installed")]
    what = f"RMW_IMPLEMENTATION is {name}, and {library} is in none of the sourced workspaces"
    fix = f"unset RMW_IMPLEMENTATION   (or: apt-get install ros-$ROS_DISTRO-{name.replace('_', '-')})"
    return [Finding("rmw", Level.ERROR, what, "no node can start", fix)]


def check_segment(host: Host) -> list[Finding]:
    """The shared-memory segment of Fast DDS holds images."""
    if host.environ.get("RMW_IMPLEMENTATION") not in (None, "", _FASTDDS) or not host.prefixes:
        return []
    profile = host.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") or host.environ.get("FASTDDS_DEFAULT_PROFILES_FILE")
    why = "the default segment of 512 kB is smaller than an image: best-effort images are lost, the others arrive late"
    fix = "export FASTRTPS_DEFAULT_PROFILES_FILE=<share of roboref>/config/fastdds.xml   (env.sh does it)"
    if not profile:
        return [Finding("fastdds_segment", Level.WARNING, "no Fast DDS profile is set", why, fix)]
    try:
        root = ElementTree.parse(profile)
        sizes = [int(e.text or 0) for e in root.iter() if e.tag.endswith("segment_size")]
        is_default = any(e.get("is_default_profile") == "true" for e in root.iter() if e.tag.endswith("participant"))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        return [Finding("fastdds_segment", Level.ERROR, f"the Fast DDS profile {profile} cannot be read: {error}", why, fix)]
    if not sizes or max(sizes) < SEGMENT_BYTES:
        what = f"{profile} gives a segment of {max(sizes, default=0)} bytes, images need {SEGMENT_BYTES}"
        return [Finding("fastdds_segment", Level.WARNING, what, why, fix)]
    if not is_default:
        what = f'no participant profile in {profile} has is_default_profile="true", so it is not used'
        return [Finding("fastdds_segment", Level.WARNING, what, why, fix)]
    return [Finding("fastdds_segment", Level.OK, f"Fast DDS segment of {max(sizes) / 1e6:.0f} MB")]


def check_discovery(host: Host) -> list[Finding]:
    """Domain and range of discovery."""
    findings = []
    domain = host.environ.get("ROS_DOMAIN_ID", "") or "0"
    if not domain.isdigit() or int(domain) > _HIGHEST_DOMAIN:
        what = f"ROS_DOMAIN_ID is {domain!r}, it must be a number from 0 to {_HIGHEST_DOMAIN}"
        return [Finding("domain", Level.ERROR, what, "nodes cannot start with it", f"export ROS_DOMAIN_ID=<0 to {_SAFE_DOMAIN}>")]
    if int(domain) > _SAFE_DOMAIN:
        what = f"ROS_DOMAIN_ID is {domain}, above {_SAFE_DOMAIN}"
        why = "its ports may be taken by other programs, and then single nodes are invisible"
        findings.append(Finding("domain", Level.WARNING, what, why, f"export ROS_DOMAIN_ID=<0 to {_SAFE_DOMAIN}> for every node"))
    reach = host.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    only_local = host.environ.get("ROS_LOCALHOST_ONLY", "")
    if reach == "OFF":
        why = "nodes do not find each other, not even on this machine, unless ROS_STATIC_PEERS names them"
        fix = "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST   (or SUBNET)"
        findings.append(Finding("discovery", Level.ERROR, "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF", why, fix))
    elif reach and reach not in _RANGES:
        what = f"ROS_AUTOMATIC_DISCOVERY_RANGE is {reach!r}, it must be one of {', '.join(_RANGES)}"
        why = "it counts as LOCALHOST: nodes on other machines are invisible"
        findings.append(Finding("discovery", Level.WARNING, what, why, "export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET"))
    elif only_local == "1" and reach not in ("", "LOCALHOST"):
        what = f"ROS_LOCALHOST_ONLY is 1 and ROS_AUTOMATIC_DISCOVERY_RANGE is {reach}: they contradict each other"
        why = "the first one wins: a camera on another machine is invisible"
        findings.append(Finding("discovery", Level.WARNING, what, why, "unset ROS_LOCALHOST_ONLY"))
    else:
        what = f"ROS_DOMAIN_ID {domain}, discovery {'LOCALHOST (ROS_LOCALHOST_ONLY)' if only_local == '1' else reach or 'SUBNET'}"
        findings.append(Finding("discovery", Level.INFO, what))
    return findings


def check_shared_memory(host: Host) -> list[Finding]:
    """Room for the segments of the nodes."""
    folder = host.shared_memory
    if not folder.is_dir():
        return []
    stats = os.statvfs(folder)
    free_bytes = stats.f_bavail * stats.f_frsize
    if free_bytes < SHARED_MEMORY_BYTES:
        what = f"{folder} has {free_bytes / 1e6:.0f} MB free, {SHARED_MEMORY_BYTES / 1e6:.0f} MB are needed"
        why = "each node takes 32 MB of it for images; without it they travel by UDP"
        fix = "rm -f /dev/shm/fastrtps_*   (leftovers of killed nodes), or docker run --shm-size=1g"
        return [Finding("shm", Level.WARNING, what, why, fix)]
    return [Finding("shm", Level.OK, f"{folder} has {free_bytes / 1e6:.0f} MB free")]


def check_security(host: Host) -> list[Finding]:
    """SROS2, when it is switched on: the middleware has it, and the keystore and its enclaves are complete."""
    if host.environ.get("ROS_SECURITY_ENABLE", "").lower() != "true":
        return []
    enforced = host.environ.get("ROS_SECURITY_STRATEGY", "") == "Enforce"
    level = Level.ERROR if enforced else Level.WARNING
    why = "no node can start" if enforced else "nodes start without any protection (ROS_SECURITY_STRATEGY is not Enforce)"
    library = _fastdds_library(host)
    if library is not None and b"DDS:Auth:PKI-DH" not in library.read_bytes():
        what = f"ROS_SECURITY_ENABLE is true, and {library} is built without security"
        fix = "use a ROS 2 distribution (its Fast DDS has security), or unset ROS_SECURITY_ENABLE"
        return [Finding("security", level, what, why, fix)]
    keystore = host.environ.get("ROS_SECURITY_KEYSTORE", "")
    fix = "ros2 security create_keystore KEYSTORE; export ROS_SECURITY_KEYSTORE=KEYSTORE   (docs/security.md)"
    if not (Path(keystore) / "enclaves").is_dir() or not keystore:
        return [Finding("security", level, f"ROS_SECURITY_KEYSTORE is {keystore!r}, which holds no folder enclaves", why, fix)]
    enclaves = sorted(file.parent for file in Path(keystore, "enclaves").rglob("cert.pem"))
    if not enclaves:
        return [
            Finding(
                "security", level, f"the keystore {keystore} has no enclave", why, "ros2 security create_enclave KEYSTORE /roboref/refer"
            )
        ]
    for enclave in enclaves:
        absent = [name for name in ENCLAVE_FILES if not (enclave / name).is_file()]
        if absent:
            fix = "ros2 security create_enclave and create_permission KEYSTORE ENCLAVE security/roboref.policy.xml"
            return [Finding("security", level, f"the enclave {enclave} lacks {', '.join(absent)}", why, fix)]
    return [Finding("security", Level.OK, f"the keystore {keystore} has {len(enclaves)} complete enclaves")]


def _fastdds_library(host: Host) -> Path | None:
    if host.environ.get("RMW_IMPLEMENTATION") not in (None, "", _FASTDDS):
        return None
    folders = [*(prefix / "lib" for prefix in host.prefixes), *host.folders("LD_LIBRARY_PATH")]
    return next((f for folder in folders for name in ("libfastrtps.so", "libfastdds.so") if (f := folder / name).exists()), None)
