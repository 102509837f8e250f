"""The layout of the published RoboRefer checkpoints: folders, configuration keys and tensor names, in terms of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from transformers import Qwen2Config, SiglipVisionConfig

from roboref_node.model.config import PROJECTOR_STRIDES, RoboReferConfig
from roboref_node.model.config_checks import (
    check_constants,
    check_language_model,
    check_layer_count,
    check_tower,
    check_whole,
    refusing,
)
from roboref_node.model.tensor_files import read_json
from roboref_node.status import Refused, Status

PARTS = ("llm", "vision_tower", "mm_projector", "depth_tower", "depth_projector")
_TOWERS = ("vision_tower", "depth_tower")
_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.")
# Buffers that older transformers versions stored; they are computed.
_BUFFERS = re.compile(r"(.*\.rotary_emb\.inv_freq|vision_model\.embeddings\.position_ids)")


def root_of(folder: Path) -> Path:
    """The folder itself, or its ``model/`` where training left the checkpoint.

    Raises:
        Refused: MODEL_UNAVAILABLE when there is no such folder.
    """
    if not folder.is_dir():
        raise Refused(Status.MODEL_UNAVAILABLE, f"{folder} is not a folder; expected a model checkpoint there.")
    nested = folder / "model"
    return nested if nested.is_dir() else folder


def our_name(part: str, name: str) -> str:
    """Name in `RoboReferModel` of a tensor of a sub-folder."""
    if part in _TOWERS:
        name = name.removeprefix("vision_model.").removeprefix("encoder.")
    return f"{part}.{name}"


def is_unused(part: str, name: str, config: RoboReferConfig) -> bool:
    """True for the tensors that a checkpoint holds but no forward pass reads: layers behind the selected one, final norm, pooling head."""
    if _BUFFERS.fullmatch(name):
        return True
    if part not in _TOWERS:
        return False
    tower = config.vision if part == "vision_tower" else config.depth
    if name.startswith(("vision_model.post_layernorm.", "vision_model.head.")):
        return True
    layer = _LAYER.match(name)
    used = tower.num_hidden_layers + 1 + config.select_layer
    return layer is not None and used <= int(layer[1]) < tower.num_hidden_layers


def read_config(root: Path, raw: dict[str, Any]) -> RoboReferConfig:
    """Configuration of a published checkpoint, without the ids that its tokenizer decides.

    Args:
        root: Folder with config.json and the sub-folders.
        raw: Content of config.json.

    Raises:
        Refused: MODEL_UNAVAILABLE, with the key, its value and what was expected.
    """
    file = root / "config.json"

    def expect(key: str, value: Any, allowed: tuple[Any, ...]) -> Any:
        if value not in allowed:
            raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: {key} is {value!r}, expected one of {', '.join(map(repr, allowed))}.")
        return value

    def flag(key: str) -> bool:
        return bool(expect(key, raw.get(key), (True, False, None)))

    def whole(key: str, default: int) -> int:
        value = raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | None):
            raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: {key} is {value!r}, expected a whole number.")
        return default if value is None else value

    expect("model_type", raw.get("model_type"), ("llava_llama", RoboReferConfig.model_type))
    tiling = expect("image_aspect_ratio", raw.get("image_aspect_ratio"), ("dynamic", "dynamic_s2"))
    merged = flag("dynamic_s2")
    if merged != (tiling == "dynamic_s2"):
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: dynamic_s2 is {merged}, which contradicts image_aspect_ratio {tiling!r}.")
    expect("s2", raw.get("s2"), (False, None))
    expect("mm_vision_select_feature", raw.get("mm_vision_select_feature", "cls_patch"), ("cls_patch",))
    for name in ("image_encoder", "depth_encoder"):
        _expect_plain_encoder(file, name, raw.get(name))
    use_depth, own_tower = flag("enable_depth"), flag("use_depth_tower")
    vision, preprocess = _read_tower(root / "vision_tower", resized=merged)
    depth, depth_preprocess = _read_tower(root / "depth_tower", resized=merged) if use_depth and own_tower else (vision, preprocess)
    projectors = ("mm_projector", "depth_projector") if use_depth else ("mm_projector",)
    kinds = [read_json(root / p / "config.json", f"the configuration of {p}").get("mm_projector_type") for p in projectors]
    kind = kinds[0]
    if kinds[-1] != kind:
        raise Refused(Status.MODEL_UNAVAILABLE, f"{root}: the projectors are of different types, {sorted(map(str, kinds))}; expected one.")
    if kind not in tuple(PROJECTOR_STRIDES):
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{root / 'mm_projector' / 'config.json'}: mm_projector_type is {kind!r}, expected one of {', '.join(PROJECTOR_STRIDES)}.",
        )
    max_sequence = _max_sequence(root / "llm")
    text = _read_language_model(root / "llm" / "config.json", max_sequence)
    scales = sorted(_scales(file, raw.get("s2_scales"))) if merged else None
    for name, tower in (("vision_tower", vision), ("depth_tower", depth)):
        if scales and scales[0] != tower.image_size:
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"{file}: the first of s2_scales is {scales[0]}, expected the {tower.image_size} px of {name}."
            )
    layer = whole("mm_vision_select_layer", -2)
    if layer >= 0 and depth.num_hidden_layers != vision.num_hidden_layers:
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{file}: mm_vision_select_layer is {layer}, counted from the first of the towers' {vision.num_hidden_layers} and "
            f"{depth.num_hidden_layers} layers; expected it counted from the last (negative) where they differ.",
        )
    with refusing(f"{file} is no usable configuration"):
        return RoboReferConfig(
            vision_config=vision.to_dict(),
            depth_config=depth.to_dict(),
            text_config=text.to_dict(),
            projector_type=kind,
            tiling=tiling,
            min_tiles=whole("min_tiles", 1),
            max_tiles=whole("max_tiles", 12),
            s2_scales=scales,
            s2_output_scale=whole("s2_resize_output_to_scale_idx", 0),
            select_layer=layer if layer < 0 else layer - vision.num_hidden_layers - 1,
            use_depth=use_depth,
            shared_depth_tower=use_depth and not own_tower,
            max_sequence=max_sequence,
            **{f"image_{key}": value for key, value in preprocess.items()},
            **{f"depth_{key}": value for key, value in depth_preprocess.items()},
        )


def _read_language_model(file: Path, max_sequence: int) -> Qwen2Config:
    raw = read_json(file, "the configuration of the language model")
    if raw.get("model_type") != "qwen2":
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: model_type is {raw.get('model_type')!r}, expected 'qwen2'.")
    with refusing(f"{file} is no usable configuration"):
        check_layer_count(raw)
        config = Qwen2Config.from_dict({**raw, **_attention_window(raw, max_sequence)})
        check_language_model(config)
    return config


def _attention_window(raw: dict[str, Any], max_sequence: int) -> dict[str, Any]:
    """The window as transformers 4.49 has it, with which the published code runs: in all layers, even where `use_sliding_window` is false.

    Those of the published models are longer than any question, and so is nothing left out.
    """
    window = raw.get("sliding_window", 4096)  # what a configuration without the key means
    limits = window is not None and check_whole("sliding_window", window, 1) < max_sequence
    return {"sliding_window": window, "use_sliding_window": limits, "max_window_layers": 0, "layer_types": None}


def _read_tower(folder: Path, *, resized: bool) -> tuple[SiglipVisionConfig, dict[str, Any]]:
    """Tower settings and the constants of its image processor (rescale, mean, std); `resized`: the size in its file is overridden."""
    file = folder / "config.json"
    raw = read_json(file, "the configuration of a SigLIP tower")
    with refusing(f"{file} is no usable configuration"):
        raw = raw.get("vision_config", raw) if raw.get("model_type") == "siglip" else raw
        if raw.get("model_type") != "siglip_vision_model":
            raise ValueError(f"model_type is {raw.get('model_type')!r}, expected 'siglip_vision_model'")
        config = SiglipVisionConfig.from_dict(raw)
        check_tower(config)
    file = folder / "preprocessor_config.json"
    processor = read_json(file, "the constants of the image processor")
    size = processor.get("size", {})
    if not resized and (not isinstance(size, dict) or (size.get("height"), size.get("width")) != (config.image_size, config.image_size)):
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: size is {size}, expected height and width {config.image_size} as the tower.")
    for key in ("do_rescale", "do_normalize"):
        if processor.get(key, True) is not True:
            raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: {key} is {processor[key]!r}, expected true.")
    constants = {
        "rescale": processor.get("rescale_factor", 1 / 255),
        "mean": processor.get("image_mean") or [0.5, 0.5, 0.5],
        "std": processor.get("image_std") or [0.5, 0.5, 0.5],
    }
    with refusing(f"{file} is no usable configuration"):
        check_constants(("rescale_factor", "image_mean", "image_std"), **constants)
    return config, constants


def _expect_plain_encoder(file: Path, key: str, value: Any) -> None:
    """Media blocks end with a newline and have no start token; anything else was never published."""
    if value is None:
        return
    try:
        settings = json.loads(value) if isinstance(value, str) else dict(value)
    except (ValueError, TypeError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        settings = {}
    target = str(settings.pop("_target_", ""))
    plain = settings.pop("start_tokens", None) is None and settings.pop("end_tokens", "\n") == "\n" and not settings
    if not target.endswith("BasicImageEncoder") or not plain:
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: {key} is {value!r}, expected a BasicImageEncoder without arguments.")


def _scales(file: Path, value: Any) -> list[int]:
    """S2 scales from "448,896,1344" or a list."""
    try:
        scales = [int(v) for v in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError, OverflowError):
        scales = []
    if not scales or min(scales) <= 0 or any(s % min(scales) for s in scales):
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: s2_scales is {value!r}, expected multiples of the first such as '448,896,1344'.")
    return scales


def _max_sequence(llm: Path) -> int:
    """model_max_length of the tokenizer; transformers writes 1e30 where there is none."""
    file = llm / "tokenizer_config.json"
    length = read_json(file, "the tokenizer of the language model").get("model_max_length")
    if isinstance(length, bool) or not isinstance(length, int | float | None):
        raise Refused(Status.MODEL_UNAVAILABLE, f"{file}: model_max_length is {length!r}, expected a number.")
    return int(length) if length is not None and 0 < length < 1e9 else 16384
