"""Random checkpoints of a few thousand parameters in the exact layout of the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from roboref_node.model import ModelInputs

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{% for message in messages if message['content'] is not none %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[BOS]", "[PAD]", "<vila/sentinel>", "<image>", "<vila/video>", "<depth>"]
QWEN_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TILE, PATCH, CHANNELS, LAYERS = 56, 14, 24, 3


def logits(model: torch.nn.Module, inputs: ModelInputs) -> torch.Tensor:
    """Of a prepared question, on the CPU."""
    with torch.inference_mode():
        blocks = (inputs.rgb_tiles, inputs.depth_tiles, inputs.rgb_block_sizes, inputs.depth_block_sizes)
        return model(inputs.input_ids, *blocks).logits.cpu()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose only merge is that of two newlines, with the published special tokens behind it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, "ĊĊ"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    split = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="[PAD]", model_max_length=16384)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tower_tensors(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A SigLIP tower under its published names, with the tensors that nothing reads."""
    grid = (TILE // PATCH) ** 2
    prefix = "vision_model."
    shapes = {
        "embeddings.patch_embedding.weight": (CHANNELS, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": (CHANNELS,),
        "embeddings.position_embedding.weight": (grid, CHANNELS),
        "post_layernorm.weight": (CHANNELS,),
        "post_layernorm.bias": (CHANNELS,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layers.{layer}."
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{at}{norm}.weight": (CHANNELS,), f"{at}{norm}.bias": (CHANNELS,)}
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{at}self_attn.{projection}.weight": (CHANNELS, CHANNELS), f"{at}self_attn.{projection}.bias": (CHANNELS,)}
        shapes |= {f"{at}mlp.fc1.weight": (40, CHANNELS), f"{at}mlp.fc1.bias": (40,)}
        shapes |= {f"{at}mlp.fc2.weight": (CHANNELS, 40), f"{at}mlp.fc2.bias": (CHANNELS,)}
    return {prefix + name: _random(shape, generator) for name, shape in shapes.items()}


def projector_tensors(family: str, width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A projector under its published slot numbers."""
    if family == "2b":
        group, inner = 9 * CHANNELS, 3 * CHANNELS
        slots = {1: (group,), 2: (inner, group), 4: (inner,), 5: (width, inner), 7: (width, width)}
    else:
        group = 4 * 3 * CHANNELS
        slots = {1: (group,), 2: (width, group), 4: (width, width)}
    tensors = {}
    for slot, shape in slots.items():
        tensors[f"layers.{slot}.weight"] = _random(shape, generator)
        tensors[f"layers.{slot}.bias"] = _random(shape[:1], generator)
    return tensors


def write_tiny_checkpoint(
    folder: Path, family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0, sharded: bool = False, nested: bool = False
) -> Path:
    """Write one.

    Args:
        folder: New folder.
        family: ``2b`` (dynamic, 3x3, tied head) or ``8b`` (dynamic_s2, 2x2).
        dtype: Stored precision.
        seed: Of the weights.
        sharded: Split the language model's weights in two files with an index.
        nested: Put everything below ``model/``.
    """
    root = folder / "model" if nested else folder
    root.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tokenizer = tiny_tokenizer()
    tied = family == "2b"
    llm = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=tied,
    )
    names = {name: value for name, value in Qwen2ForCausalLM(llm).state_dict().items() if not (tied and name == "lm_head.weight")}
    weights = {name: _random(tuple(value.shape), generator).to(dtype) for name, value in names.items()}
    (root / "llm").mkdir()
    raw = {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": len(tokenizer), "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "tie_word_embeddings": tied, "hidden_act": "silu", "torch_dtype": "bfloat16", "use_sliding_window": False,
        "sliding_window": 32768, "max_window_layers": 28, "bos_token_id": 151643, "eos_token_id": 151645,
    }  # fmt: skip
    _write_json(root / "llm" / "config.json", raw)
    tokenizer.save_pretrained(root / "llm")
    if sharded:
        half = len(weights) // 2
        shards = [dict(list(weights.items())[:half]), dict(list(weights.items())[half:])]
        index: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            file = f"model-{number:05d}-of-00002.safetensors"
            save_file(shard, root / "llm" / file)
            index |= dict.fromkeys(shard, file)
        _write_json(root / "llm" / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    else:
        save_file(weights, root / "llm" / "model.safetensors")
    for part in ("vision_tower", "depth_tower"):
        (root / part).mkdir()
        save_file({k: v.to(dtype) for k, v in tower_tensors(generator).items()}, root / part / "model.safetensors")
        _write_json(
            root / part / "config.json",
            {
                "model_type": "siglip_vision_model",
                "architectures": ["SiglipVisionModel"],
                "hidden_size": CHANNELS,
                "intermediate_size": 40,
                "num_hidden_layers": LAYERS,
                "num_attention_heads": 2,
                "image_size": TILE,
                "patch_size": PATCH,
                "num_channels": 3,
                "hidden_act": "gelu_pytorch_tanh",
                "layer_norm_eps": 1e-6,
                "attention_dropout": 0.0,
                "vision_use_head": False,
            },  # fmt: skip
        )
        _write_json(
            root / part / "preprocessor_config.json",
            {
                "image_processor_type": "SiglipImageProcessor",
                "do_resize": True,
                "size": {"height": TILE, "width": TILE},
                "resample": 3,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
                "do_convert_rgb": True,
            },  # fmt: skip
        )
    kind = "mlp_downsample_3x3_fix" if family == "2b" else "mlp_downsample"
    for part in ("mm_projector", "depth_projector"):
        (root / part).mkdir()
        tensors = projector_tensors(family, 32, generator)
        save_file({k: v.to(dtype) for k, v in tensors.items()}, root / part / "model.safetensors")
        _write_json(root / part / "config.json", {"model_type": "v2l_projector", "mm_projector_type": kind})
    top: dict[str, object] = {
        "model_type": "llava_llama", "architectures": ["LlavaLlamaModel"], "enable_depth": True, "use_depth_tower": True,
        "image_aspect_ratio": "dynamic" if family == "2b" else "dynamic_s2", "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "cls_patch", "min_tiles": 1, "max_tiles": 12, "mm_use_im_start_end": False,
        "image_encoder": '{"_target_": "llava.model.encoders.BasicImageEncoder"}',
        "depth_encoder": '{"_target_": "llava.model.encoders.BasicImageEncoder"}', "resume_path": "/stale", "_name_or_path": "/stale",
        "llm_cfg": raw, "vision_tower_cfg": {}, "mm_projector_cfg": {}, "depth_tower_cfg": {}, "depth_projector_cfg": {},
        "hidden_size": 1536, "mm_hidden_size": 1152, "fps": 0.0, "num_video_frames": 8, "s2": False,
    }  # fmt: skip
    if family == "8b":
        scales = f"{TILE},{2 * TILE},{3 * TILE}"
        top |= {"dynamic_s2": True, "s2_scales": scales, "s2_max_split_size": TILE, "s2_resize_output_to_scale_idx": -1}
    _write_json(root / "config.json", top)
    return folder


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norm scales around one, everything else small but far from zero."""
    values = torch.randn(shape, generator=generator)
    return 1 + 0.1 * values if len(shape) == 1 else values * 0.25


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value))
