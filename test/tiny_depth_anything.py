"""A small Depth-Anything of random weights, in a folder as transformers writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_depth_anything(folder: Path, **changes: Any) -> Path:
    """Write one; `changes` are further values of its configuration."""
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    backbone = {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 56,
        "patch_size": 14, "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False, "apply_layernorm": True,
    }  # fmt: skip
    neck = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "head_hidden_size": 8}
    torch.manual_seed(0)
    DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone, **neck, **changes)).save_pretrained(folder)
    return folder
