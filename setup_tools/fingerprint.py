"""Prints a hash that changes exactly when a build step has to run again.

Usage: fingerprint.py [--contents FILE_OR_FOLDER ...] [--names FOLDER ...] [--text WORD ...]
`--contents` counts names and bytes, `--names` only which files there are (for folders that are linked into the install, not copied).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

IGNORED_FOLDERS = {"__pycache__", "build", "install", "log", ".pytest_cache"}


def files_below(path: Path) -> Iterator[Path]:
    """The file itself, or every file of a folder in a stable order; a path that does not exist has none."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            if child.name not in IGNORED_FOLDERS and not child.name.endswith(".egg-info"):
                yield from files_below(child)


def fingerprint(contents: list[Path], names: list[Path], text: list[str]) -> str:
    """SHA-256 over the words in `text`, the files' names, and the bytes of those in `contents`."""
    digest = hashlib.sha256("\0".join(text).encode())
    for path in contents:
        for file in files_below(path):
            digest.update(f"\0{file}\0".encode())
            digest.update(file.read_bytes())
    for path in names:
        for file in files_below(path):
            digest.update(f"\0{file}\0".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", nargs="*", type=Path, default=[])
    parser.add_argument("--names", nargs="*", type=Path, default=[])
    parser.add_argument("--text", nargs="*", default=[])
    given = parser.parse_args()
    print(fingerprint(given.contents, given.names, given.text))
