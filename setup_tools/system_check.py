"""Names every system package that is missing, before anything is installed, in one apt-get line.

What counts is what works, not which package manager put it there: a library is there when the loader finds it, a compiler when it is on
the PATH. So the check holds on any distribution; the package names are Debian's and Ubuntu's.

Usage: python3 setup_tools/system_check.py [--install] [--library-path DIR:DIR]; exit status 1 when something is missing. With --install,
root on a machine with apt-get (a container, a CI runner) gets the missing packages installed; anybody else is told the line to run.
With --tests it is about the programs that only tests use. Who may not install them is told, and those tests are skipped; where they could
be installed and were not, that is a failure, or CI would skip tests for a broken mirror.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence

MINIMUM_PYTHON = (3, 10)
# Debian package -> the library that must load.
LIBRARIES = {
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libusb-1.0-0": "libusb-1.0.so.0",
    "libx11-6": "libX11.so.6",
    "libudev1": "libudev.so.1",
    "libidn2-0": "libidn2.so.0",
    "libgomp1": "libgomp.so.1",
}
# The driver behind EGL, one of: Mesa's (name by version) or NVIDIA's.
DRIVER_PATTERNS = ("dri/swrast_dri.so", "libgallium-*.so", "libEGL_nvidia.so.0")
# Debian package -> programs, one of which must be on the PATH.
PROGRAMS = {"g++": ("c++", "g++", "clang++"), "make": ("make",), "openssl": ("openssl",)}
# The voice that tests speak with, and the browser that they open the console in.
TEST_PROGRAMS = {"flite": ("flite",), "chromium": ("chromium", "chromium-browser", "google-chrome")}


def loads(library: str, directories: Sequence[str]) -> bool:
    """Whether the loader can open `library` in one of `directories` ("" is the loader's own search)."""
    for directory in directories:
        try:
            ctypes.CDLL(os.path.join(directory, library))
        except OSError:
            continue
        return True
    return False


def loader_directories() -> list[str]:
    """The directories in which the loader looks, as far as they can be listed: its cache, LD_LIBRARY_PATH and the usual ones."""
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    listing = ""
    if os.path.exists(ldconfig):
        listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    cached = [os.path.dirname(line.rsplit(" => ", 1)[1]) for line in listing.splitlines() if " => " in line]
    own = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return list(dict.fromkeys([path for path in own if path] + cached + ["/usr/lib64", "/usr/lib"]))


def missing_packages(library_path: Sequence[str] | None = None) -> list[str]:
    """The Debian names of the packages that are missing; `library_path` replaces the loader's own search."""
    directories = [""] if library_path is None else library_path
    missing = [package for package, library in LIBRARIES.items() if not loads(library, directories)]
    driver_directories = loader_directories() if library_path is None else library_path
    if not any(glob.glob(os.path.join(directory, pattern)) for directory in driver_directories for pattern in DRIVER_PATTERNS):
        missing.append("libgl1-mesa-dri")
    missing += missing_programs(PROGRAMS)
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        missing.append("python3-dev")
    return missing


def missing_programs(programs: Mapping[str, Sequence[str]]) -> list[str]:
    """The packages of which no program is on the PATH."""
    return [package for package, names in programs.items() if not any(shutil.which(name) for name in names)]


def install(packages: Sequence[str]) -> bool:
    """Runs apt-get for `packages` as root; whether it succeeded. Refreshes the lists once when they are absent or too old to be of use."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    print(f"System packages are missing and this is root: {' '.join(command)}", flush=True)
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0:
        return True
    subprocess.run(["apt-get", "update"], env=environment, stdout=subprocess.DEVNULL, check=False)
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0


def main() -> int:
    """Prints what is missing; returns the exit status."""
    parser = argparse.ArgumentParser(description="check the system packages that roboref needs")
    parser.add_argument("--library-path", help="search shared libraries only in these directories (colon-separated)")
    parser.add_argument("--install", action="store_true", help="as root and with apt-get, install what is missing")
    parser.add_argument("--tests", action="store_true", help="check the programs that only tests use")
    arguments = parser.parse_args()
    may_install = arguments.install and os.geteuid() == 0 and shutil.which("apt-get") is not None
    if arguments.tests:
        missing = missing_programs(TEST_PROGRAMS)
        if missing and may_install and install(missing):
            missing = missing_programs(TEST_PROGRAMS)
        if missing:
            print(f"The tests that need them are skipped without: sudo apt-get install -y {' '.join(missing)}")
        return 1 if missing and may_install else 0
    given = arguments.library_path
    if sys.version_info < MINIMUM_PYTHON:
        print(f"roboref needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]} (choose another: make PYTHON=python3.11)")
        return 1
    if sys.platform != "linux":
        print(f"make setup builds ROS 2 from wheels that exist for Linux only, and this is {sys.platform}; see docs/installation.md")
        return 1
    searched = None if given is None else given.split(os.pathsep)
    missing = missing_packages(searched)
    if missing and may_install and install(missing):
        missing = missing_packages(searched)
    if missing:
        print("System packages are missing (names of Debian and Ubuntu). Install them, then run the same command again:")
        print(f"  sudo apt-get install -y {' '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
