"""Pictures and a question in, token ids and normalised tiles out; exactly as the models were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from roboref_node.model import conversation, tiling
from roboref_node.model.config import RoboReferConfig
from roboref_node.model.projector import scale_blocks

BlockSizes = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """One question, ready for the model.

    Args:
        input_ids: int64 [1, L] with one marker per media block.
        rgb_tiles: float32 [N, 3, S, S], normalised, or None.
        depth_tiles: float32 [M, 3, S, S], normalised, or None.
        rgb_block_sizes: (rows, columns) of each colour image's last scale for ``dynamic_s2``, else None.
        depth_block_sizes: As `rgb_block_sizes`, for the depth images.
        prompt: The rendered conversation.
    """

    input_ids: Tensor
    rgb_tiles: Tensor | None
    depth_tiles: Tensor | None
    rgb_block_sizes: BlockSizes | None
    depth_block_sizes: BlockSizes | None
    prompt: str

    def to(self, device: torch.device | str) -> ModelInputs:
        """The same on another device."""
        rgb, depth = (None if tiles is None else tiles.to(device) for tiles in (self.rgb_tiles, self.depth_tiles))
        return replace(self, input_ids=self.input_ids.to(device), rgb_tiles=rgb, depth_tiles=depth)


class RoboReferProcessor:
    """Preprocessing that belongs to one model.

    Args:
        config: The model's configuration, with the token ids of `tokenizer`.
        tokenizer: Its tokenizer.
        tile_budget: Most tiles of a grid, thumbnail not counted; None takes the configuration's. Fewer tiles are faster and coarser.
        rgb_newline: See `conversation.user_content`.
        device: Where the tiles are normalised and returned; 8-bit pixels travel there.
    """

    def __init__(
        self,
        config: RoboReferConfig,
        tokenizer: PreTrainedTokenizerFast,
        *,
        tile_budget: int | None = None,
        rgb_newline: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.tile_budget = tile_budget
        self.rgb_newline = rgb_newline
        self.device = torch.device(device)
        self._rgb_table = _lookup_table(config.image_rescale, config.image_mean, config.image_std)
        self._depth_table = _lookup_table(config.depth_rescale, config.depth_mean, config.depth_std)

    def __call__(
        self,
        rgb: Any,
        depth_image: Any = None,
        text: str = "",
        *,
        history: Sequence[conversation.Turn] = (),
        system: str | None = None,
    ) -> ModelInputs:
        """Prepare one question.

        Args:
            rgb: A colour image (PIL or uint8 (H, W, 3)), a list of them, or None.
            depth_image: A relative depth image of 8 bit (see `relative_depth_image`), a list of them, or None for colour only.
            text: The question.
            history: Later turns of a dialogue, beginning with the assistant's answer to `text`; media markers in it are deleted.
            system: Message that stands before everything, in place of the chat template's own.

        Raises:
            ValueError: An image is not 8 bit RGB, the model takes no depth, its chat template knows no system message, or the sequence is
                longer than the model may see.
        """
        config = self.config
        colours, depths = _as_list(rgb), _as_list(depth_image)
        if depths and not config.use_depth:
            raise ValueError("this model takes no depth image")
        if system is not None and not conversation.knows_system_messages(self.tokenizer):
            raise ValueError("the chat template of this model knows no system message")
        jobs = ((colours, config.tile_size), (depths, int(config.depth.image_size)))  # type: ignore[arg-type]
        if config.tiling == "resize" or self.device.type != "cpu":
            cut = [self._tiles(*job) for job in jobs]
        else:  # PIL resizes without holding the interpreter's lock
            with ThreadPoolExecutor(max_workers=2) as pool:
                cut = list(pool.map(lambda job: self._tiles(*job), jobs))
        (rgb_tiles, rgb_sizes), (depth_tiles, depth_sizes) = cut
        content = conversation.user_content(
            text, [len(t) for t in rgb_tiles], [len(t) for t in depth_tiles], config, rgb_newline=self.rgb_newline
        )
        turns = [("user", content), *((role, conversation.clean_text(said, config)) for role, said in history)]
        if system is not None:
            turns.insert(0, ("system", conversation.clean_text(system, config)))
        prompt = conversation.render(self.tokenizer, turns)
        ids = conversation.tokenize(self.tokenizer, prompt)
        inputs = ModelInputs(
            input_ids=torch.tensor([ids], device=self.device),
            rgb_tiles=self._normalise(rgb_tiles, self._rgb_table),
            depth_tiles=self._normalise(depth_tiles, self._depth_table),
            rgb_block_sizes=rgb_sizes,
            depth_block_sizes=depth_sizes,
            prompt=prompt,
        )
        if (length := self.sequence_length(inputs)) > config.max_sequence:
            raise ValueError(f"the question and its pictures make {length} tokens, the model sees {config.max_sequence} (max_sequence)")
        return inputs

    def sequence_length(self, inputs: ModelInputs) -> int:
        """Tokens that the language model will see, media included."""
        config = self.config
        newline = len(config.newline_token_ids or ()) if config.media_newline else 0
        length = int(inputs.input_ids.shape[1])
        for marker, tower, sizes in (
            (config.image_token_id, config.vision, inputs.rgb_block_sizes),
            (config.depth_token_id, config.depth, inputs.depth_block_sizes),
        ):
            blocks = 0 if marker is None else int((inputs.input_ids == marker).sum())
            tiles = sum(self._output_tiles(size) for size in sizes) if sizes else blocks
            length += tiles * config.tokens_per_tile(tower) + blocks * (newline - 1)
        return length

    def _output_tiles(self, block: tuple[int, int] | None) -> int:
        """Tiles of the grid that ``dynamic_s2`` makes of a picture: of the scale that gives the size, see `projector.merge_scales`."""
        if block is None:
            return 1
        rows, columns = scale_blocks(list(self.config.s2_scales or ()), block)[self.config.s2_output_scale]
        return rows * columns

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of an answer, without special tokens and outer white space."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True)).strip()

    def token_text(self, token_id: int) -> str:
        """What one token of an answer says, white space included."""
        return str(self.tokenizer.decode([token_id]))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer and configuration, so that `from_pretrained` works on the folder."""
        self.tokenizer.save_pretrained(folder)
        self.config.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> RoboReferProcessor:
        """Read what `save_pretrained` wrote; `options` are those of the constructor."""
        config = RoboReferConfig.from_pretrained(folder)
        return cls(config, load_tokenizer(folder), **options)

    def _tiles(self, images: Sequence[Any], size: int) -> tuple[list[Tensor], BlockSizes | None]:
        """Tiles of every image, uint8 [N, S, S, 3] on the device, and the block sizes for ``dynamic_s2``."""
        config, device = self.config, self.device
        most = config.max_tiles if self.tile_budget is None else self.tile_budget
        if config.tiling == "resize":
            return [tiling.stretched_tile(image, size, device) for image in images], None
        if config.tiling == "dynamic":
            fewest = min(config.min_tiles, most)
            return [tiling.dynamic_tiles(image, size, fewest, most, device=device) for image in images], None
        cut = [tiling.dynamic_s2_tiles(image, list(config.s2_scales or ()), most, device=device) for image in images]
        return [tiles for tiles, _ in cut], tuple(block for _, block in cut) or None

    def _normalise(self, tiles: Sequence[Tensor], table: Tensor) -> Tensor | None:
        """8-bit tiles of all images -> float32 [N, 3, S, S]."""
        if not tiles:
            return None
        pixels = torch.cat(list(tiles))  # [N, S, S, 3]
        if self.device.type == "cpu":  # NumPy looks up several times faster than torch
            values, tables = pixels.numpy(), table.numpy()
            return torch.from_numpy(np.stack([tables[channel][values[..., channel]] for channel in range(3)], axis=1))
        indices, table = pixels.int(), table.to(self.device)
        return torch.stack([table[channel][indices[..., channel]] for channel in range(3)], dim=1)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder, so that ids do not depend on the transformers version.

    From its tokenizer.json as it stands; from vocab.json and merges.txt, as older Qwen2 tokenizers were saved, where that is missing.

    Raises:
        ValueError: A special token has not the id that the folder records for it, or the record is no mapping of ids to tokens.
    """
    path = Path(folder)
    recorded = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("added_tokens_decoder", {})
    if not isinstance(recorded, dict) or not all(number.isdecimal() and isinstance(token, dict) for number, token in recorded.items()):
        raise ValueError("added_tokens_decoder of tokenizer_config.json is no mapping of ids to tokens")
    kind: Any = PreTrainedTokenizerFast if (path / "tokenizer.json").is_file() else Qwen2Tokenizer
    tokenizer: PreTrainedTokenizerFast = kind.from_pretrained(str(path), padding_side="right")
    for number, token in recorded.items():
        if tokenizer.convert_tokens_to_ids(token["content"]) != int(number):
            raise ValueError(f"token {token['content']!r} has id {tokenizer.convert_tokens_to_ids(token['content'])}, recorded is {number}")
    return tokenizer


def _lookup_table(rescale: float, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised value of each 8-bit value, float32 [3, 256], rounded as SiglipImageProcessor rounds: rescale in fp64, the rest in fp32."""
    rescaled = (np.arange(256, dtype=np.float64) * rescale).astype(np.float32)
    channels = [(rescaled - np.float32(m)) / np.float32(s) for m, s in zip(mean, std, strict=True)]
    return torch.from_numpy(np.stack(channels).astype(np.float32))


def _as_list(images: Any) -> list[Any]:
    if images is None:
        return []
    return list(images) if isinstance(images, list | tuple) else [images]
