"""JSON that every reader takes: no NaN, no Infinity, no types of NumPy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(data: Any) -> str:
    """One line of JSON: arrays become lists, numbers that are not finite null, everything unknown its text."""
    return json.dumps(_plain(data), allow_nan=False)


def _plain(value: Any) -> Any:
    for convert in ("to_dict", "tolist"):
        if hasattr(value, convert):
            return _plain(getattr(value, convert)())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float)) or value is None else str(value)
