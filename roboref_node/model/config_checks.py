"""What the values of a configuration must be, so that a wrong file is refused where it is read and not by a library later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from transformers import Qwen2Config, SiglipVisionConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.model.config import RoboReferConfig

MOST_TILES = 128
"""Largest grid; the published models use 12, and choosing a grid takes the cube of this."""

MOST_LAYERS = 1000
"""Deepest network; the published models have 28 layers."""


@contextmanager
def refusing(problem: str, status: Status = Status.MODEL_UNAVAILABLE) -> Iterator[None]:
    """Whatever goes wrong inside becomes one sentence that begins with `problem`.

    For code of libraries that reads or writes files: what it raises is of every type and not documented.

    Raises:
        Refused: With `status`.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        kind = "" if isinstance(cause, ValueError | TypeError) else f"{type(cause).__name__}: "
        raise Refused(status, f"{problem}: {kind}{shorten(str(cause), 400).rstrip('.')}.") from error


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The value, if it is a whole number within bounds.

    Raises:
        ValueError: It is not; the text is a part of a sentence, as in all functions here.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, expected a whole number {bounds}")
    return value


def check_positive(name: str, value: Any) -> None:
    """Refuse all but finite numbers above zero.

    Raises:
        ValueError: See `check_whole`.
    """
    if not _is_finite(value) or value <= 0:
        raise ValueError(f"{name} is {value!r}, expected a number above 0")


def check_constants(names: Sequence[str], rescale: Any, mean: Any, std: Any) -> None:
    """Refuse what cannot normalise pictures of three channels.

    Args:
        names: What the three are called in the file.
        rescale: See `RoboReferConfig`.
        mean: See `RoboReferConfig`.
        std: See `RoboReferConfig`.

    Raises:
        ValueError: See `check_whole`.
    """
    check_positive(names[0], rescale)
    for name, values in zip(names[1:], (mean, std), strict=True):
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(_is_finite(value) for value in values):
            raise ValueError(f"{name} is {values!r}, expected three numbers, one per channel")
    for value in std:
        check_positive(names[2], value)


def check_layer_count(settings: Any, prefix: str = "") -> None:
    """Refuse absurd depths in what was read from a file, before transformers lists the layers one by one.

    Args:
        settings: Of a tower or language model; anything but a dictionary is left to transformers.
        prefix: In front of the name of the field.

    Raises:
        ValueError: See `check_whole`.
    """
    if isinstance(settings, dict) and "num_hidden_layers" in settings:
        check_whole(f"{prefix}num_hidden_layers", settings["num_hidden_layers"], 1, MOST_LAYERS)


def check_tower(config: SiglipVisionConfig, prefix: str = "") -> None:
    """Refuse sizes that make no SigLIP tower.

    Args:
        config: Of the tower.
        prefix: In front of the names of its fields.

    Raises:
        ValueError: See `check_whole`.
    """
    check_whole(f"{prefix}image_size", config.image_size, 1)
    check_whole(f"{prefix}patch_size", config.patch_size, 1, config.image_size)  # type: ignore[arg-type]  # checked just before
    check_whole(f"{prefix}num_channels", config.num_channels, 3, 3)
    check_positive(f"{prefix}layer_norm_eps", config.layer_norm_eps)
    _check_layer(config, prefix)
    _check_whole_heads(config, prefix)


def head_width(config: Qwen2Config) -> int:
    """Width of an attention head of a language model: its share of `hidden_size`, unless the configuration says otherwise."""
    return int(getattr(config, "head_dim", config.hidden_size // config.num_attention_heads))


def check_language_model(config: Qwen2Config, prefix: str = "") -> None:
    """Refuse sizes that make no Qwen2 language model.

    Args:
        config: Of the language model.
        prefix: In front of the names of its fields.

    Raises:
        ValueError: See `check_whole`.
    """
    check_whole(f"{prefix}vocab_size", config.vocab_size, 1)
    _check_layer(config, prefix)
    if hasattr(config, "head_dim"):
        check_whole(f"{prefix}head_dim", config.head_dim, 1)
    else:
        _check_whole_heads(config, prefix)
    if (width := head_width(config)) % 2:
        raise ValueError(
            f"{prefix}num_attention_heads is {config.num_attention_heads}, which makes heads of {width}; expected an even width"
        )
    shared = check_whole(f"{prefix}num_key_value_heads", config.num_key_value_heads, 1)
    if config.num_attention_heads % shared:
        raise ValueError(f"{prefix}num_key_value_heads is {shared}, expected a divisor of the {config.num_attention_heads} attention heads")
    check_positive(f"{prefix}rms_norm_eps", config.rms_norm_eps)
    rope: Any = config.rope_parameters
    kinds = ["default", *ROPE_INIT_FUNCTIONS]
    if rope["rope_type"] not in kinds:
        raise ValueError(f"{prefix}rope_type is {rope['rope_type']!r}, expected one of {', '.join(kinds)}")
    check_positive(f"{prefix}rope_theta", rope["rope_theta"])


def _check_layer(config: SiglipVisionConfig | Qwen2Config, prefix: str) -> None:
    check_whole(f"{prefix}num_hidden_layers", config.num_hidden_layers, 1, MOST_LAYERS)
    for name in ("hidden_size", "intermediate_size", "num_attention_heads"):
        check_whole(prefix + name, getattr(config, name), 1)
    if config.hidden_act not in ACT2FN:
        raise ValueError(f"{prefix}hidden_act is {config.hidden_act!r}, expected the name of an activation such as 'silu'")


def _check_whole_heads(config: SiglipVisionConfig | Qwen2Config, prefix: str) -> None:
    size, heads = config.hidden_size, config.num_attention_heads
    if size % heads:
        raise ValueError(f"{prefix}hidden_size is {size}, expected a multiple of the {heads} attention heads")


def check_fields(config: RoboReferConfig) -> None:
    """Refuse values of our own fields that no model works with.

    Raises:
        ValueError: See `check_whole`.
    """
    for kind in ("image", "depth"):
        names = [f"{kind}_{constant}" for constant in ("rescale", "mean", "std")]
        check_constants(names, *(getattr(config, name) for name in names))
    for name in ("media_newline", "use_depth", "shared_depth_tower"):
        if not isinstance(getattr(config, name), bool):
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected true or false")
    for name in ("image_token", "depth_token", "video_token"):
        if not isinstance(getattr(config, name), str) or not getattr(config, name):
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected the text of a marker")
    check_whole("min_tiles", config.min_tiles, 1, check_whole("max_tiles", config.max_tiles, 1, MOST_TILES))
    check_whole("select_layer", config.select_layer, -config.vision.num_hidden_layers - 1, -1)
    check_whole("max_sequence", config.max_sequence, 1)
    if config.tiling == "dynamic_s2":
        _check_scales(config)
    if config.stem == "conv":
        check_whole("stem_fold", config.stem_fold, 1)
        check_whole("stem_blocks", config.stem_blocks, 0, MOST_LAYERS)
        for channels in config.stem_channels:
            check_whole("stem_channels", channels, 1)


def _check_scales(config: RoboReferConfig) -> None:
    scales = config.s2_scales
    if not isinstance(scales, list | tuple) or not scales:
        raise ValueError(f"tiling dynamic_s2 needs s2_scales, e.g. [448, 896, 1344], not {scales!r}")
    for scale in scales:
        check_whole("s2_scales", scale, 1)
    if list(scales) != sorted(scales) or scales[0] != config.tile_size or any(scale % scales[0] for scale in scales):
        raise ValueError(f"s2_scales is {list(scales)}, expected ascending multiples of the tile's {config.tile_size} px")
    check_whole("max_tiles", config.max_tiles, (scales[-1] // scales[0]) ** 2)
    check_whole("s2_output_scale", config.s2_output_scale, -len(scales), len(scales) - 1)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
