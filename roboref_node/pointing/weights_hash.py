"""Which weights answered: one SHA-256 over a model folder's weight files, computed once per version of the files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def weight_files(folder: Path) -> Iterator[Path]:
    """The ``*.safetensors`` of a model folder: in it, in its parts, or in the parts below its ``model/``.

    Folders that are links are looked into, as the loader does; a fixed depth, so that links in a circle end.
    """
    for pattern in ("*.safetensors", "*/*.safetensors", "*/*/*.safetensors"):
        yield from (file for file in folder.glob(pattern) if file.is_file())


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of all `weight_files`, in the order of their names.

    Hashing 17 GB takes a minute, so the result is remembered in the user's cache directory under the files' sizes and times.
    """
    files = sorted(weight_files(folder))
    # The name too: one file may be linked from several folders, under several names.
    versions = [(str(file.relative_to(folder)), str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = json.dumps(versions)
    known = _read_cache()
    if key not in known:
        known[key] = _digest(folder, files)
        _write_cache(known)
    return known[key]


def _digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roboref" / "weights_sha256.json"


def _read_cache() -> dict[str, str]:
    try:
        known = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in known.items()} if isinstance(known, dict) else {}


def _write_cache(known: dict[str, str]) -> None:
    """Best effort: without a writable home the hash is computed again the next time."""
    target = _cache_file()
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as stream:
            json.dump(known, stream)
        os.replace(stream.name, target)
