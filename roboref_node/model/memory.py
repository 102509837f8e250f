"""How much memory a model needs, and whether the device has it: asked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from roboref_node.model.config import RoboReferConfig
from roboref_node.model.config_checks import head_width
from roboref_node.status import Refused, Status

GIGABYTE = 1e9


@dataclass(frozen=True)
class MemoryEstimate:
    """Expected use in bytes.

    Args:
        weights: Parameters in the chosen precision.
        cache: Keys and values of one question of `tokens` tokens; twice, because they are moved or lengthened when its answer begins.
        working: Activations of the vision towers and of the prefill, roughly.
        tokens: Length of the question that the estimate is for.
    """

    weights: int
    cache: int
    working: int
    tokens: int

    @property
    def total(self) -> int:
        """Everything together, bytes."""
        return self.weights + self.cache + self.working

    def __str__(self) -> str:
        return (
            f"{self.total / GIGABYTE:.2f} GB (weights {self.weights / GIGABYTE:.2f}, cache {self.cache / GIGABYTE:.2f}, "
            f"working {self.working / GIGABYTE:.2f} for {self.tokens} tokens)"
        )


def most_tiles(config: RoboReferConfig) -> int:
    """Tiles of the largest grid of one image."""
    if config.tiling == "resize":
        return 1
    if config.tiling == "dynamic":
        return config.max_tiles + (config.max_tiles > 1)
    scales = list(config.s2_scales or ())
    return config.max_tiles + sum((scale // scales[0]) ** 2 for scale in scales[:-1])


def estimate_memory(config: RoboReferConfig, weight_bytes: int, dtype: torch.dtype) -> MemoryEstimate:
    """Memory for one RGB-D question with the largest grid.

    Args:
        config: The model.
        weight_bytes: Size of the weights as they will lie in memory.
        dtype: Precision of cache and activations.
    """
    size = dtype.itemsize
    text, vision = config.text, config.vision
    images = 2 if config.use_depth else 1
    blocks = 1 if config.tiling == "resize" else config.max_tiles + (config.tiling == "dynamic")
    tokens = 160 + images * blocks * (config.tokens_per_tile(config.vision) + 2)
    kv_heads = int(text.num_key_value_heads or text.num_attention_heads)
    cache = 2 * text.num_hidden_layers * kv_heads * head_width(text) * tokens * size
    tower_tokens = most_tiles(config) * config.token_grid(vision) ** 2
    # Largest live tensors: the MLP of a tower layer over all tiles of one image, or that of a language layer; and one row of logits.
    tower = tower_tokens * (2 * vision.intermediate_size + 6 * vision.hidden_size) * size
    language = tokens * (3 * text.intermediate_size + 6 * text.hidden_size) * size + 4 * text.vocab_size
    return MemoryEstimate(weight_bytes, 2 * cache, max(tower, language), tokens)


def available_memory(device: torch.device) -> int:
    """Free bytes on a device; in the main memory, at most what a container's limit leaves."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([int(psutil.virtual_memory().available), *_left_of_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _left_of_limits(membership: Path, root: Path) -> list[int]:
    """Bytes that the memory limits of a container or service leave, one per limit: who exceeds one is killed, however much is free.

    Args:
        membership: Lines ``number:controllers:/path``; of version 2 the controllers are empty.
        root: Where the groups are mounted.
    """
    left = []
    for line in _read(membership).splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            base, limit, usage, cached = root, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = ("total_inactive_file", "total_active_file")
        else:
            continue
        # A container sees its own group as the root, under a path that may be the one outside.
        inner = base / own.strip("/")
        for group in (inner, *inner.parents[: len(inner.parts) - len(base.parts)]):
            most, used = _read(group / limit).strip(), _read(group / usage).strip()
            if most.isdecimal() and used.isdecimal():  # "max" is none
                kept = dict(entry.split(" ", 1) for entry in _read(group / "memory.stat").splitlines() if " " in entry)
                left.append(max(0, int(most) - int(used) + sum(int(kept.get(name, 0)) for name in cached)))
    return left


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def check_fits(estimate: MemoryEstimate, device: torch.device, name: str) -> None:
    """Refuse a model that does not fit.

    Raises:
        Refused: MODEL_UNAVAILABLE, with both numbers.
    """
    free = available_memory(device)
    if estimate.total > free:
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{name} needs {estimate} on {device}, and {free / GIGABYTE:.2f} GB are free; choose a smaller model, `dtype` bfloat16, "
            f"`quantize` int8 or another `device`.",
            needed_bytes=estimate.total,
            free_bytes=free,
        )
