"""Checks of the chosen model: its files, their hashes, whether it fits into memory; its server is `doctor.server`'s."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.host import Host
from roboref_node.doctor.server import check_server
from roboref_node.pointing.registry import build_settings, load_pointer, read_model_file
from roboref_node.pointing.weights_hash import weight_files
from roboref_node.status import Refused

SUMS = "SHA256SUMS"
"""Beside the weights, as ``sha256sum *.* > SHA256SUMS`` writes it."""

_LFS = b"version https://git-lfs.github.com/spec/"
_TOO_LARGE = "it would be refused, or end the process, while loading"
_SMALLER = "a smaller model, dtype: bfloat16, quantize: int8, or roboref serve on another machine"
_NO_ANSWER = "no question can be answered without a pixel"


def check_model(host: Host, name: str) -> list[Finding]:
    """The model, from the cheapest check to loading it.

    Args:
        host: Where.
        name: Name in config/models, or a YAML file.
    """
    try:
        label, raw = read_model_file(name, {})
        if raw.get("backend") == "several_looks":
            label, raw = read_model_file(str(raw.get("model")), {})
    except Refused as refusal:
        return [
            Finding("model", Level.ERROR, refusal.sentence, _NO_ANSWER, "roboref doctor --model nano   (or another file of config/models)")
        ]
    findings = []
    if raw.get("backend") == "local":
        findings = _local(host, dict(raw), label)
    elif isinstance(raw.get("http"), dict):
        findings = check_server(host, raw, label)
    if any(finding.level is Level.ERROR for finding in findings):
        return findings
    try:
        pointer = load_pointer(name)
    except Refused as refusal:
        return [*findings, Finding("model", Level.ERROR, refusal.sentence, _NO_ANSWER, "choose another model, or fetch its weights")]
    return [*findings, Finding("model", Level.OK, f"the model {pointer.name} loads")]


def _local(host: Host, raw: dict[str, Any], label: str) -> list[Finding]:
    from roboref_node.pointing.local_settings import LocalModelSettings, check_weights

    raw.pop("backend")
    try:
        settings = build_settings(LocalModelSettings, raw, label)
        folder = settings.path
        pointers = [file for file in sorted(weight_files(folder)) if _is_pointer(file)]
        if pointers:
            what = f"{pointers[0]} is a Git LFS pointer of {pointers[0].stat().st_size} bytes, not the weights"
            return [Finding("model_files", Level.ERROR, what, _NO_ANSWER, settings.fetch or f"git -C {folder} lfs pull")]
        check_weights(folder, settings.fetch)
    except Refused as refusal:
        return [
            Finding("model_folder", Level.ERROR, refusal.sentence, _NO_ANSWER, "fetch the weights, or correct `folder` in the model's file")
        ]
    findings = _device(host, settings.device) or _fits(settings)
    if any(finding.level is Level.ERROR for finding in findings):
        return findings  # a file that is cut off has another hash too
    return [*findings, *_hashes(folder, settings.fetch)]


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_LFS)) == _LFS


def _device(host: Host, device: str) -> list[Finding]:
    if not device.startswith("cuda"):
        return []
    import torch

    if torch.cuda.is_available():
        seen = torch.cuda.device_count()
        index = torch.device(device).index or 0
        if index < seen:
            return []
        what = f"the model wants device {device}, and torch sees {seen} GPUs, cuda:0 to cuda:{seen - 1}"
        return [Finding("gpu", Level.ERROR, what, _NO_ANSWER, "device: cuda in the model's file; or look at CUDA_VISIBLE_DEVICES")]
    hidden = host.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        reason, fix = f"torch {torch.__version__} is built without CUDA", "install the CUDA build of the same torch version"
    elif hidden is not None and not hidden.strip("-1 "):
        reason, fix = f"CUDA_VISIBLE_DEVICES is {hidden!r}", "unset CUDA_VISIBLE_DEVICES"
    else:
        reason, fix = "there is no NVIDIA driver, or the container was started without --gpus", "nvidia-smi must list a GPU"
    what = f"the model wants device {device}, and torch sees no GPU: {reason}"
    return [Finding("gpu", Level.ERROR, what, _NO_ANSWER, f"{fix}; or device: cpu in the model's file")]


def _hashes(folder: Path, fetch: str) -> list[Finding]:
    """Against the list beside the weights, and against what `hf download` noted of each file."""
    checked = 0
    for file, expected in (*_listed(folder), *_downloaded(folder)):
        if not file.is_file():
            what = f"{file} is missing; {SUMS} lists it"
            return [Finding("model_files", Level.ERROR, what, _NO_ANSWER, fetch or "copy the model folder again")]
        found = _sha256(file)
        if found != expected:
            what = f"{file} has the SHA-256 {found[:16]}..., expected {expected[:16]}..."
            why = "the file was changed or damaged on its way: answers of other weights are not those that were tested"
            return [Finding("model_hash", Level.ERROR, what, why, f"rm {file}; {fetch or 'copy it again'}")]
        checked += 1
    return [Finding("model_hash", Level.OK, f"{checked} files of the model have the expected SHA-256")] if checked else []


def _listed(folder: Path) -> Iterator[tuple[Path, str]]:
    for sums in sorted(folder.rglob(SUMS)):
        for line in sums.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition(" ")
            if len(digest) == 64 and name.strip():
                yield sums.parent / name.strip().lstrip("*"), digest.lower()


def _downloaded(folder: Path) -> Iterator[tuple[Path, str]]:
    """``hf download --local-dir`` keeps commit and etag of each file; the etag of a large file is its SHA-256."""
    notes = folder / ".cache" / "huggingface" / "download"
    for note in sorted(notes.rglob("*.safetensors.metadata")) if notes.is_dir() else ():
        lines = note.read_text(encoding="utf-8").split()
        if len(lines) > 1 and len(lines[1]) == 64:
            yield folder / note.relative_to(notes).with_suffix(""), lines[1].lower()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _fits(settings: Any) -> list[Finding]:
    """Files that are complete, and the memory that they will take against what is free."""
    from roboref_node.model.checkpoint import plan_memory

    device = None if settings.device == "auto" else settings.device
    dtype = None if settings.dtype == "auto" else settings.dtype
    try:
        estimate, place, free_bytes = plan_memory(settings.path, device=device, dtype=dtype, quantize=settings.quantize or None)
    except Refused as refusal:
        if "Cannot allocate memory" in refusal.sentence:
            return [_too_large(sum(file.stat().st_size for file in weight_files(settings.path)), refusal.sentence)]
        if refusal.details.get("setting") == "quantize":
            fix = "pip install 'roboref[quantize]', or take `quantize` out of the model's file"
            return [Finding("model_memory", Level.ERROR, refusal.sentence, _NO_ANSWER, fix)]
        fix = settings.fetch or "copy the model folder again"
        return [Finding("model_files", Level.ERROR, refusal.sentence, _NO_ANSWER, fix)]
    what = f"the model needs {estimate} on {place}, and {free_bytes / 1e9:.2f} GB are free"
    if estimate.total > free_bytes:
        return [Finding("model_memory", Level.ERROR, what, _TOO_LARGE, _SMALLER)]
    return [Finding("model_memory", Level.OK, what)]


def _too_large(size: int, sentence: str) -> Finding:
    """Files that cannot even be mapped."""
    import psutil

    what = f"the model needs {size / 1e9:.0f} GB for its weights, and {psutil.virtual_memory().available / 1e9:.2f} GB are free: {sentence}"
    return Finding("model_memory", Level.ERROR, what, _TOO_LARGE, _SMALLER)
