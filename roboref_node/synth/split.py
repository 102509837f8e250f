"""What training never sees: reserved seeds and reserved colour-object pairs, by construction."""

from __future__ import annotations

import hashlib

RESERVED_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {("purple", "cup"), ("green", "cone"), ("orange", "bowl"), ("blue", "ball"), ("yellow", "bottle"), ("white", "box")}
)
"""(colour, shape) pairs that no training scene holds; each colour and each shape is seen in other pairs."""

_RESERVED_SHARE = 0.1


def is_reserved_seed(seed: int) -> bool:
    """True for the tenth of all seeds that belong to benchmarks, decided by a hash of the seed."""
    digest = hashlib.sha256(f"roboref scene {seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < _RESERVED_SHARE * 2**32


def training_seeds(count: int, start: int = 0) -> list[int]:
    """The first `count` seeds from `start` on that training may use."""
    return _take(count, start, reserved=False)


def reserved_seeds(count: int, start: int = 0) -> list[int]:
    """The first `count` seeds from `start` on that only benchmarks use."""
    return _take(count, start, reserved=True)


def _take(count: int, start: int, *, reserved: bool) -> list[int]:
    seeds: list[int] = []
    seed = start
    while len(seeds) < count:
        if is_reserved_seed(seed) is reserved:
            seeds.append(seed)
        seed += 1
    return seeds
