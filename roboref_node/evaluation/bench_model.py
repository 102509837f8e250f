"""``roboref bench model``: where the time of an answer goes, against the plain ``generate`` path and against the machine's floor."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from roboref_node.commands.arguments import image_size, positive
from roboref_node.status import Refused, Status

SHAPES = ("nano", "2b", "8b")
QUESTION = "Please point to the red cup left of the blue box. Answer as a list of tuples [(x1, y1)], coordinates between 0 and 1."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--shape", choices=SHAPES, action="append", help="default: nano, and 2b with random weights when there is an NVIDIA GPU"
    )
    parser.add_argument("--image", type=image_size, action="append", metavar="WxH", help="default: 640x480 and 848x480")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: cpu for nano, cuda for the others")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--tokens", type=positive, default=16, help="length of the answer (default 16)")
    parser.add_argument("--repeats", type=positive, default=20, help="timed answers per row (default 20)")
    parser.add_argument("--threads", type=positive, default=1, help="threads of torch on the CPU (default 1)")
    parser.add_argument("--estimate", action="store_true", help="memory that each shape needs in each precision; loads and times nothing")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every shape and image size.

    Returns:
        The row of the largest shape at the first image size, and all rows under ``rows``.
    """
    import torch

    if args.estimate:
        return {"memory": memory_rows(args.shape or list(SHAPES))}
    torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available()
    shapes = args.shape or (["nano", "2b"] if cuda else ["nano"])
    rows = []
    for shape in shapes:
        device = _device(args.device or ("cpu" if shape == "nano" or not cuda else "cuda"))
        bench = ModelBench(shape, device, args.dtype)
        for width, height in args.image or [(640, 480), (848, 480)]:
            rows.append(bench.row(width, height, args.tokens, args.repeats))
            _print(rows[-1])
        del bench
    first = next(row for row in rows if row["shape"] == max(shapes, key=SHAPES.index))
    return {**first, "rows": rows}


def _device(name: str) -> Any:
    """The device of that name.

    Raises:
        Refused: BAD_REQUEST when this machine does not have it.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise Refused(Status.BAD_REQUEST, f"--device {name} is no device; use cpu, cuda or cuda:1") from None
    count = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= count):
        raise Refused(Status.BAD_REQUEST, f"--device {name} cannot be used: torch sees {count or 'no'} NVIDIA GPU{'s' * (count > 1)} here")
    return device


def memory_rows(shapes: Sequence[str]) -> list[dict[str, Any]]:
    """Memory in GB of one RGB-D question with the largest grid of tiles, by shape and precision; nothing is allocated."""
    import torch

    from roboref_node.model import RoboReferModel
    from roboref_node.model.memory import GIGABYTE, estimate_memory
    from roboref_node.model.quantization import BITS, LAYERS

    rows = []
    for shape in shapes:
        config, _ = _preset(shape)
        with torch.device("meta"):
            sizes = {name: parameter.numel() for name, parameter in RoboReferModel(config).named_parameters()}
        layers = sum(size for name, size in sizes.items() if name.startswith(LAYERS))
        for precision, bits in {"float32": 32, "bfloat16": 16, **BITS}.items():
            rest = torch.float32 if precision == "float32" else torch.bfloat16
            weights = (sum(sizes.values()) - layers) * rest.itemsize + layers * bits // 8
            estimate = estimate_memory(config, weights, rest)
            rows.append({"shape": shape, "precision": precision, "memory_gb": round(estimate.total / GIGABYTE, 2)})
            print(f"{shape:>5} {precision:>9}: {estimate}")
    return rows


class ModelBench:
    """One model on one device.

    Args:
        shape: One of `SHAPES`; the nano with its shipped weights where they are installed, the others with random ones.
        device: Where.
        dtype: Name of the precision or None for the device's usual one.
    """

    def __init__(self, shape: str, device: Any, dtype: str | None) -> None:
        import torch

        from roboref_node.model import Generator, RoboReferModel, RoboReferProcessor, load_model
        from roboref_node.model.memory import check_fits, estimate_memory

        self.shape, self.device = shape, device
        self.dtype = getattr(torch, dtype) if dtype else (torch.bfloat16 if device.type == "cuda" else torch.float32)
        torch.manual_seed(0)
        shipped = _shipped_nano() if shape == "nano" else None
        if shipped is not None:
            self.model, self.processor = load_model(shipped, device=device, dtype=self.dtype)
        else:
            config, tokenizer = _preset(shape)
            with torch.device("meta"):
                parameters = sum(p.numel() for p in RoboReferModel(config).parameters())
            check_fits(estimate_memory(config, parameters * self.dtype.itemsize, self.dtype), device, shape)
            with torch.device(device):
                self.model = RoboReferModel(config)
            torch.nn.Module.to(self.model, device, self.dtype)
            self.model.train(False)
            self.processor = RoboReferProcessor(config, tokenizer, device=device)
        self.generator = Generator(self.model, self.processor)
        self.rate, self.bandwidth = _machine(device, self.dtype)

    def row(self, width: int, height: int, tokens: int, repeats: int) -> dict[str, Any]:
        """Times of one image size, in milliseconds; p50 and p95 from pictures to text, preprocessing included."""
        import numpy as np
        import torch

        rng = np.random.default_rng(0)
        rgb, depth = (rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2))
        depth_image = depth if self.model.config.use_depth else None

        def fast() -> Any:
            return self.generator.generate(self.processor(rgb, depth_image, QUESTION), max_new_tokens=tokens, stop_ids=(-1,))

        def plain() -> list[int]:
            return self._plain(self.processor(rgb, depth_image, QUESTION), tokens)

        same = list(fast().token_ids) == plain()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        fast()
        memory = self._memory()
        (answers, totals), (_, plain_totals) = _alternate((fast, plain), repeats, self.device)
        stage = {name: statistics.median(a.timings_ms[name] for a in answers) for name in ("vision", "prefill", "decode")}
        inputs = self.processor(rgb, depth_image, QUESTION)
        p50, plain_p50 = statistics.median(totals), statistics.median(plain_totals)
        return {
            "device": self._device_name(),
            "shape": self.shape,
            "image": f"{width}x{height}",
            "dtype": str(self.dtype).removeprefix("torch."),
            "prompt_tokens": self.processor.sequence_length(inputs),
            "answer_tokens": tokens,
            "p50_ms": round(p50, 2),
            "p95_ms": round(sorted(totals)[min(len(totals) - 1, round(0.95 * (len(totals) - 1)))], 2),
            "preprocess_ms": round(max(0.0, p50 - sum(stage.values())), 2),
            "vision_ms": round(stage["vision"], 2),
            "prefill_ms": round(stage["prefill"], 2),
            "per_token_ms": round(stage["decode"] / max(1, tokens - 1), 3),
            "floor_ms": round(self._floor(inputs, tokens), 2),
            "plain_p50_ms": round(plain_p50, 2),
            "speedup": round(plain_p50 / p50, 3),
            "memory_gb": round(memory, 3),
            "same_tokens_as_plain": same,
            "measured_tflops": round(self.rate / 1e12, 3),
            "measured_gb_per_s": round(self.bandwidth / 1e9, 1),
        }

    def _plain(self, inputs: Any, tokens: int) -> list[int]:
        """The same weights through transformers' ``generate`` with its defaults."""
        import torch

        with torch.inference_mode():
            embeds = self._embeds(inputs)
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=self.device)
            llm: Any = self.model.llm
            ids = llm.generate(
                inputs_embeds=embeds, attention_mask=mask, max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        return [int(token) for token in ids[0]]

    def _embeds(self, inputs: Any) -> Any:
        model = self.model
        rgb = model.encode_rgb(inputs.rgb_tiles.to(self.dtype), inputs.rgb_block_sizes)
        depth = None if inputs.depth_tiles is None else model.encode_depth(inputs.depth_tiles.to(self.dtype), inputs.depth_block_sizes)
        return model.embed(inputs.input_ids, rgb, depth)

    def _floor(self, inputs: Any, tokens: int) -> float:
        """Milliseconds that the operations of vision and prefill and the bytes of the answer's passes take at the machine's own rates."""
        length = self.processor.sequence_length(inputs)
        text, size = self.model.config.text, self.dtype.itemsize
        read_once = sum(p.numel() for p in self.model.llm.parameters())
        if not text.tie_word_embeddings:
            read_once -= text.vocab_size * text.hidden_size  # the embedding table is only looked up
        head = text.hidden_size // text.num_attention_heads
        cache = 2 * text.num_hidden_layers * int(text.num_key_value_heads or text.num_attention_heads) * head * length
        seconds = _operations(self.model.config, inputs, length) / self.rate + (tokens - 1) * (read_once + cache) * size / self.bandwidth
        return float(seconds * 1e3)

    def _memory(self) -> float:
        """Peak GB on a GPU, resident GB of the process on a CPU."""
        import psutil
        import torch

        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device)) / 1e9
        return float(psutil.Process().memory_info().rss) / 1e9

    def _device_name(self) -> str:
        import torch

        if self.device.type == "cuda":
            return str(torch.cuda.get_device_name(self.device))
        return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def _operations(config: Any, inputs: Any, length: int) -> int:
    """Operations of vision and prefill, counted on the meta device: nothing is computed."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from roboref_node.model import RoboReferModel

    with torch.device("meta"), torch.inference_mode(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        model = RoboReferModel(config)
        model.encode_rgb(inputs.rgb_tiles.to("meta", torch.float32), inputs.rgb_block_sizes)
        if inputs.depth_tiles is not None:
            model.encode_depth(inputs.depth_tiles.to("meta", torch.float32), inputs.depth_block_sizes)
        model.llm(inputs_embeds=torch.empty(1, length, config.text.hidden_size), logits_to_keep=1)
    # The counter takes attention for complete; a token sees only those before it, which is half of the two products.
    unseen = 2 * config.text.num_hidden_layers * length**2 * config.text.hidden_size
    return int(counter.get_total_flops() - unseen)


def _shipped_nano() -> str | None:
    """Folder of the nano's weights where they are installed."""
    from importlib import resources

    folder = resources.files("roboref_node.model").joinpath("weights").joinpath("nano")
    return str(folder) if folder.joinpath("model.safetensors").is_file() else None


def _preset(shape: str) -> tuple[Any, Any]:
    """Configuration of a shape, for random weights; time depends on the number of tokens, not on which, so a byte tokenizer does."""
    from roboref_node.model import RoboReferConfig
    from roboref_node.model.conversation import attach_tokenizer

    tokenizer = _byte_tokenizer()
    presets = {"2b": RoboReferConfig.roborefer_2b, "8b": RoboReferConfig.roborefer_8b}
    config = RoboReferConfig.nano(len(tokenizer)) if shape == "nano" else presets[shape]()
    attach_tokenizer(config, tokenizer)
    return config, tokenizer


def _byte_tokenizer() -> Any:
    """One token per byte, and the special tokens of the published models."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<image>", "<depth>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    wrapper: Any = PreTrainedTokenizerFast
    fast = wrapper(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    turns = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
    fast.chat_template = turns + "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    return fast


def _alternate(functions: Sequence[Callable[[], Any]], repeats: int, device: Any) -> list[tuple[list[Any], list[float]]]:
    """Results and milliseconds of each function, called in turn so that a busy moment hits all; the first round does not count."""
    import torch

    found: list[tuple[list[Any], list[float]]] = [([], []) for _ in functions]
    for turn in range(repeats + 1):
        for function, (results, times) in zip(functions, found, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            started = time.perf_counter()
            result = function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                results.append(result)
                times.append((time.perf_counter() - started) * 1e3)
    return found


def _machine(device: Any, dtype: Any) -> tuple[float, float]:
    """What this device really does: operations per second of a large product, bytes per second of a large sum."""
    import torch

    side = 8192 if device.type == "cuda" else 768
    a, b = torch.randn(side, side, device=device, dtype=dtype), torch.randn(side, side, device=device, dtype=dtype)
    ((_, products),) = _alternate([lambda: a @ b], 10, device)
    large = torch.ones((1 << 30) if device.type == "cuda" else (1 << 26), device=device, dtype=torch.float32)
    ((_, sums),) = _alternate([large.sum], 5, device)
    return 2 * side**3 / min(products) * 1e3, large.numel() * 4 / min(sums) * 1e3


def _print(row: dict[str, Any]) -> None:
    print(
        f"{row['shape']} {row['image']} on {row['device']} ({row['dtype']}, {row['prompt_tokens']} + {row['answer_tokens']} tokens): "
        f"p50 {row['p50_ms']} ms, p95 {row['p95_ms']} ms; preprocessing {row['preprocess_ms']}, vision {row['vision_ms']}, "
        f"prefill {row['prefill_ms']}, per token {row['per_token_ms']}; floor {row['floor_ms']}; "
        f"plain generate {row['plain_p50_ms']} ({row['speedup']}x); {row['memory_gb']} GB",
        flush=True,
    )
