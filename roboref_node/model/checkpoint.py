"""Load a model folder: one of ours, or a published RoboRefer checkpoint in its own layout. Strict about every tensor."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roboref_node.model import tensor_files
from roboref_node.model.config import RoboReferConfig
from roboref_node.model.config_checks import refusing
from roboref_node.model.conversation import attach_tokenizer, check_tokenizer
from roboref_node.model.memory import MemoryEstimate, available_memory, check_fits, estimate_memory
from roboref_node.model.modeling import RoboReferModel
from roboref_node.model.pretrained import usable_device, without_progress_bars
from roboref_node.model.processing import RoboReferProcessor, load_tokenizer
from roboref_node.model.quantization import BITS, LAYERS, check_quantization, quantize_language_model
from roboref_node.model.upstream import PARTS, is_unused, our_name, read_config, root_of
from roboref_node.status import Refused, Status

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    tile_budget: int | None = None,
    rgb_newline: bool = False,
    quantize: str | None = None,
    check_memory: bool = True,
) -> tuple[RoboReferModel, RoboReferProcessor]:
    """A model in evaluation mode and its processor.

    Args:
        folder: A folder written by `save_pretrained` or ``roboref convert``, or a published RoboRefer checkpoint (with ``llm/``,
            ``vision_tower/`` and so on, possibly below ``model/``).
        device: Where to; None takes the GPU when there is one.
        dtype: Precision; None takes bfloat16 on a GPU and float32 on the CPU.
        tile_budget: See `RoboReferProcessor`.
        rgb_newline: See `RoboReferProcessor`.
        quantize: ``int8`` or ``int4`` weights of the language model, with torchao.
        check_memory: Refuse beforehand what does not fit.

    Raises:
        Refused: MODEL_UNAVAILABLE; the sentence says which file or tensor is missing or wrong, and what was expected. BAD_REQUEST for a
            name of no device or precision.
    """
    place = usable_device(None if device is None else str(device))
    precision = _precision(dtype, place)
    check_quantization(quantize, precision, place)
    path = Path(folder)
    config, tokenizer, weights = _open(path)
    if check_memory:
        check_fits(estimate_memory(config, _weight_bytes(weights, precision, quantize), precision), place, str(path))
    model = _fill(config, weights, precision)
    if quantize is not None:
        quantize_language_model(model, quantize, place)
    torch.nn.Module.to(model, place)
    model.train(False)
    processor = RoboReferProcessor(config, tokenizer, tile_budget=tile_budget, rgb_newline=rgb_newline, device=place)
    return model, processor


def plan_memory(
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    quantize: str | None = None,
) -> tuple[MemoryEstimate, torch.device, int]:
    """What `load_model` would need, where, and how many bytes are free there; every file is checked and nothing is loaded.

    Raises:
        Refused: As `load_model`, except for the lack of memory.
    """
    place = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = _precision(dtype, place)
    check_quantization(quantize, precision, place)
    config, _, weights = _open(Path(folder))
    return estimate_memory(config, _weight_bytes(weights, precision, quantize), precision), place, available_memory(place)


def convert(source: str | Path, destination: str | Path) -> RoboReferConfig:
    """Write a published checkpoint as one self-contained folder, in the precision it has, or the least that holds all that it has.

    Args:
        source: Any folder that `load_model` takes.
        destination: New or empty folder; what is written appears there when it is complete.

    Returns:
        The configuration written.

    Raises:
        Refused: BAD_REQUEST when the destination holds files or cannot be written; MODEL_UNAVAILABLE as `load_model`.
    """
    target = Path(destination)
    config, tokenizer, weights = _open(Path(source))
    precision = functools.reduce(torch.promote_types, {location.dtype for location in weights.values()})
    with _new_folder(target) as folder:
        model = _fill(config, weights, precision)
        with refusing(f"{target} cannot be written", Status.BAD_REQUEST):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    return config


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, whose content becomes that of `target` at the end; after an error nothing of it stays.

    Raises:
        Refused: BAD_REQUEST when `target` holds files or cannot be written.
    """
    problem = f"{target} cannot be written"
    with refusing(problem, Status.BAD_REQUEST):
        exists = target.is_dir()
        if target.exists() and (not exists or any(target.iterdir())):
            raise Refused(Status.BAD_REQUEST, f"{target} is not {'empty' if exists else 'a folder'}; convert writes a new folder.")
        # Inside a folder that is there already: it may be a mounted volume, which nothing can be renamed onto.
        partial = (target if exists else target.parent) / f".{target.name}.{os.getpid()}.partial"
        partial.mkdir(parents=True)
    try:
        yield partial
        with refusing(problem, Status.BAD_REQUEST):
            if exists:
                for file in list(partial.iterdir()):
                    file.rename(target / file.name)
            else:
                partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _weight_bytes(weights: dict[str, tensor_files.Location], dtype: torch.dtype, quantize: str | None) -> int:
    """Size in memory, the language model's layers in their quantized precision."""
    layers = tensor_files.count_elements({name: location for name, location in weights.items() if name.startswith(LAYERS)})
    rest = tensor_files.count_elements(weights) - layers
    return rest * dtype.itemsize + layers * (BITS[quantize] if quantize else 8 * dtype.itemsize) // 8


def _precision(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise Refused(Status.BAD_REQUEST, f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _open(folder: Path) -> tuple[RoboReferConfig, Any, dict[str, tensor_files.Location]]:
    """Configuration, tokenizer and, by our names, where each tensor lies; nothing is loaded yet."""
    root = root_of(folder)
    raw = tensor_files.read_json(root / "config.json", "a RoboRefer checkpoint or a folder written by `roboref convert`")
    if raw.get("model_type") == RoboReferConfig.model_type:
        with refusing(f"{root / 'config.json'} is no usable configuration"):
            config = RoboReferConfig.from_pretrained(root)
        tokenizer = _tokenizer(root)
        with refusing(f"{root}: tokenizer, chat template and configuration do not fit together"):
            check_tokenizer(config, tokenizer)
        return config, tokenizer, _checked(config, root, {root.name: tensor_files.locate(root)}, renames=False)
    config = read_config(root, raw)
    tokenizer = _tokenizer(root / "llm")
    with refusing(f"{root / 'llm'} holds no usable tokenizer"):
        attach_tokenizer(config, tokenizer)
        check_tokenizer(config, tokenizer)
    parts = {part: tensor_files.locate(root / part) for part in PARTS if part in config_parts(config)}
    # The published loader cuts the vocabulary to the tokenizer's: rows behind it have no text.
    config.text.vocab_size = min(config.text.vocab_size, len(tokenizer))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if (location := parts["llm"].get(name)) is not None:
            parts["llm"][name] = location.cut(config.text.vocab_size)
    return config, tokenizer, _checked(config, root, parts, renames=True)


def config_parts(config: RoboReferConfig) -> tuple[str, ...]:
    """Sub-folders of the published layout that a model with this configuration reads."""
    depth = (("depth_projector",) if config.use_depth else ()) + (("depth_tower",) if config.has_depth_tower else ())
    return ("llm", "vision_tower", "mm_projector", *depth)


def _tokenizer(folder: Path) -> Any:
    old_files = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    for name in ("tokenizer_config.json",) if old_files else ("tokenizer.json", "tokenizer_config.json"):
        tensor_files.read_json(folder / name, "the model's tokenizer there")
    with refusing(f"{folder} holds no readable tokenizer (tokenizer.json, tokenizer_config.json)"):
        return load_tokenizer(folder)


def _checked(
    config: RoboReferConfig, root: Path, parts: dict[str, dict[str, tensor_files.Location]], *, renames: bool
) -> dict[str, tensor_files.Location]:
    """Match the tensors on disk with those of the model, name by name and shape by shape."""
    names = [our_name(part, name) if renames else name for part, locations in parts.items() for name in locations]
    for stack, wanted in _layer_counts(config).items():
        stored = {name.removeprefix(stack).split(".")[0] for name in names if name.startswith(stack)}
        if wanted > len(stored):  # compared first, because a model of many layers takes long to lay out
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"{root}: the configuration has {wanted} layers {stack}*, the files hold {len(stored)}."
            )
    with refusing(f"{root}: no model has this configuration"), torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in RoboReferModel(config).state_dict().items()}
    tied = "llm.lm_head.weight" if config.text.tie_word_embeddings else None
    found: dict[str, tensor_files.Location] = {}
    for part, locations in parts.items():
        for name, location in locations.items():
            ours = our_name(part, name) if renames else name
            if ours in expected:
                if not location.dtype.is_floating_point:
                    raise Refused(
                        Status.MODEL_UNAVAILABLE,
                        f"{location.file}: tensor {name} holds {location.dtype}, expected floating-point numbers.",
                    )
                if location.shape != expected[ours]:
                    raise Refused(
                        Status.MODEL_UNAVAILABLE,
                        f"{location.file}: tensor {name} has shape {list(location.shape)}, expected {list(expected[ours])} "
                        f"from the configuration.",
                    )
                found[ours] = location
            elif not (renames and is_unused(part, name, config)):
                raise Refused(Status.MODEL_UNAVAILABLE, f"{location.file}: tensor {name} is not part of this model.")
    missing = sorted(expected.keys() - found.keys() - {tied})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Refused(Status.MODEL_UNAVAILABLE, f"{root}: tensor {missing[0]}{more} is missing; the configuration expects it.")
    if (head := found.pop(tied or "", None)) is not None:
        _check_tied(head, found["llm.model.embed_tokens.weight"])
    return found


def _check_tied(head: tensor_files.Location, table: tensor_files.Location) -> None:
    """A head beside a configuration that ties it to the embedding table must be that table: else one of the two is wrong."""
    stored = tensor_files.load({"head": head, "table": table}, torch.promote_types(head.dtype, table.dtype))
    if not torch.equal(stored["head"], stored["table"]):
        raise Refused(
            Status.MODEL_UNAVAILABLE,
            f"{head.file}: tensor {head.name} is not the embedding table, as tie_word_embeddings in the configuration says; expected it "
            f"equal or absent, or tie_word_embeddings false.",
        )


def _layer_counts(config: RoboReferConfig) -> dict[str, int]:
    """How many layers a model with this configuration has, by the beginning of their tensors' names."""
    towers = {"vision_tower": config.vision} | ({"depth_tower": config.depth} if config.has_depth_tower else {})
    counts = {f"{name}.layers.": tower.num_hidden_layers + 1 + config.select_layer for name, tower in towers.items()}
    return {LAYERS: config.text.num_hidden_layers, **counts}


def _fill(config: RoboReferConfig, weights: dict[str, tensor_files.Location], dtype: torch.dtype) -> RoboReferModel:
    """A model with the given tensors; nothing is initialised at random first."""
    tensors: dict[str, Tensor] = tensor_files.load(weights, dtype)
    with without_progress_bars():
        model = RoboReferModel.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype)
    assert isinstance(model, RoboReferModel)
    return model
