"""Language-model weights in 8 or 4 bits for small GPUs, by torchao where it is installed. Towers, projectors and head stay as they are."""

from __future__ import annotations

import importlib.util

import torch

from roboref_node.model.modeling import RoboReferModel
from roboref_node.status import Refused, Status

BITS = {"int8": 8, "int4": 4}
LAYERS = "llm.model.layers."
"""Prefix of the names of the tensors that are quantized."""


def check_quantization(kind: str | None, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse what cannot work before anything is loaded.

    Raises:
        Refused: BAD_REQUEST for an unknown kind, MODEL_UNAVAILABLE when torchao or the right device or precision is missing.
    """
    if kind is None:
        return
    if kind not in BITS:
        raise Refused(Status.BAD_REQUEST, f"quantize is {kind!r}, expected one of {', '.join(BITS)}.", setting="quantize")
    if importlib.util.find_spec("torchao") is None:
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"quantize {kind} needs the package torchao, which is not installed (pip install torchao).",
            setting="quantize",
        )
    if kind == "int4" and (device.type != "cuda" or dtype != torch.bfloat16):
        raise Refused(
            Status.MODEL_UNAVAILABLE, f"quantize int4 needs an NVIDIA GPU and bfloat16, not {device} and {dtype}.", setting="quantize"
        )


def quantize_language_model(model: RoboReferModel, kind: str, device: torch.device) -> None:
    """Quantize the linear maps of the decoder layers in place, layer by layer on `device`, so that the full precision never lies there.

    Args:
        model: In full precision.
        kind: Key of `BITS`.
        device: Where the layers end up.
    """
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    # torch's own kernel reads tiles of 4 bits; torchao's default layout would need a further package.
    four_bits = Int4WeightOnlyConfig(group_size=128, int4_packing_format="tile_packed_to_4d")
    config = Int8WeightOnlyConfig() if kind == "int8" else four_bits
    quantize_(model.llm.model.layers, config, device=device)
