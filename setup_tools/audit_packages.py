"""Known vulnerabilities of the pinned packages, and what must not be in the repository; says so when it could not ask.

The versions of requirements/lock.txt are looked up in the OSV database (the one pip-audit uses) in one request. Without a network that part
is skipped with a message; the rest works offline. A vulnerability that does not concern roboref is listed in requirements/accepted.txt: one
identifier a line, the reason behind a #.

Usage: python setup_tools/audit_packages.py [--lock FILE] [--url URL] [--must-ask]; exit status 1 when something was found.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OSV_URL = "https://api.osv.dev/v1/querybatch"
TIMEOUT_S = 20.0
MOST_BYTES = 20_000_000
# What loads as code when it is read.
CODE_IN_DISGUISE = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill")


def pinned(lock: Path) -> dict[str, str]:
    """Package and version of each pin in a requirements file."""
    found = (re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;#]+)", line) for line in lock.read_text(encoding="utf-8").splitlines())
    return {match.group(1).lower(): match.group(2) for match in found if match}


def accepted(file: Path) -> set[str]:
    """Identifiers that were looked at and do not concern roboref."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {line.partition("#")[0].strip() for line in lines} - {""}


def ask(packages: Mapping[str, str], url: str) -> dict[str, list[str]]:
    """Identifiers of known vulnerabilities by package.

    Raises:
        OSError: The database cannot be asked.
        ValueError: Its answer is not understood.
    """
    names = sorted(packages)
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": packages[name].partition("+")[0]} for name in names]
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError(f"{url} is neither https nor this machine")
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # the scheme is checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        results = json.loads(response.read(MOST_BYTES))["results"]
    if len(results) != len(names):
        raise ValueError(f"{len(results)} results for {len(names)} packages")
    return {name: [v["id"] for v in result.get("vulns", [])] for name, result in zip(names, results, strict=True) if result.get("vulns")}


def tracked_files(root: Path) -> list[str]:
    """Files under version control; none outside of a checkout."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    return [name for name in done.stdout.split("\0") if name]


def disguised(names: Iterable[str]) -> list[str]:
    """Files whose reading may run code: weights belong into safetensors."""
    return [name for name in names if name.lower().endswith(CODE_IN_DISGUISE)]


def main() -> int:
    """Print what was found; 0 = nothing."""
    parser = argparse.ArgumentParser(description="look for known vulnerabilities in the pinned packages")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements" / "lock.txt")
    parser.add_argument("--accepted", type=Path, default=ROOT / "requirements" / "accepted.txt")
    parser.add_argument("--url", default=OSV_URL, help="another OSV server")
    parser.add_argument("--must-ask", action="store_true", help="fail when the database cannot be asked")
    arguments = parser.parse_args()
    status = 0
    for name in disguised(tracked_files(ROOT)):
        print(f"audit: {name} may run code when it is loaded; weights are kept as safetensors")
        status = 1
    packages = pinned(arguments.lock)
    try:
        found = ask(packages, arguments.url)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"audit: SKIPPED the vulnerabilities of {len(packages)} packages: {arguments.url} cannot be asked ({error})")
        return 1 if arguments.must_ask else status
    ignored = accepted(arguments.accepted)
    for package, identifiers in found.items():
        for identifier in sorted(set(identifiers) - ignored):
            print(f"audit: {package} {packages[package]} has {identifier}: https://osv.dev/vulnerability/{identifier}")
            status = 1
    print(f"audit: {len(packages)} packages looked up, {'nothing found' if not status else 'see above'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
