"""RoboRefer on stock transformers parts: two SigLIP towers, two projectors and a Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen2ForCausalLM, SiglipVisionConfig
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer, SiglipVisionEmbeddings

from roboref_node.model.config import RoboReferConfig
from roboref_node.model.conv_stem import ConvStem
from roboref_node.model.patch_stem import PatchStem
from roboref_node.model.projector import Projector, merge_scales, merge_tiles, scale_blocks, split_tiles

Blocks = Tensor | list[Tensor]
"""Media embeddings in marker order: [N, T, d] when all blocks have one length, else a list of [T_i, d]."""

IGNORED_LABEL = -100


class Spliced(NamedTuple):
    """A batch with its markers replaced by media blocks, padded on the right.

    `embeds` [B, L, d], `attention_mask` bool [B, L], `labels` int64 [B, L] or None.
    """

    embeds: Tensor
    attention_mask: Tensor
    labels: Tensor | None


class Tower(nn.Module):
    """A SigLIP encoder cut after the selected hidden state; it has neither final norm nor pooling head.

    Args:
        config: SigLIP settings.
        model: Settings of the whole model (stem, selected layer).
    """

    def __init__(self, config: SiglipVisionConfig, model: RoboReferConfig) -> None:
        super().__init__()
        self.embeddings: nn.Module = PatchStem(config) if model.stem == "patch" else ConvStem(config, model)
        used = config.num_hidden_layers + 1 + model.select_layer
        self.layers = nn.ModuleList(SiglipEncoderLayer(config) for _ in range(used))

    def forward(self, tiles: Tensor) -> Tensor:
        """Tiles [N, 3, S, S] -> tokens [N, P, c], row-major."""
        tokens = self.embeddings(tiles)
        for layer in self.layers:
            tokens = layer(tokens, None)
        return cast(Tensor, tokens)


class RoboReferModel(PreTrainedModel):  # type: ignore[no-untyped-call]  # transformers' __init_subclass__
    """Colour tiles, depth tiles and text in, next-token logits out.

    Submodules: `llm` (a stock `Qwen2ForCausalLM`), `vision_tower`, `mm_projector` and, when the configuration uses depth,
    `depth_projector` and `depth_tower` (None when the colour tower is shared).
    """

    config_class = RoboReferConfig
    config: RoboReferConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["SiglipEncoderLayer", "Qwen2DecoderLayer"]

    def __init__(self, config: RoboReferConfig) -> None:
        super().__init__(config)
        for tower_config in (config.vision, config.depth):  # the towers are no PreTrainedModel that would do this for itself
            tower_config._attn_implementation = config._attn_implementation
        scales = len(config.s2_scales or ()) if config.tiling == "dynamic_s2" else 1
        width = config.text.hidden_size
        self.llm = Qwen2ForCausalLM(config.text)
        self.vision_tower = Tower(config.vision, config)
        self.mm_projector = Projector(config.projector_type, config.vision.hidden_size * scales, width)
        self.depth_tower = Tower(config.depth, config) if config.has_depth_tower else None
        self.depth_projector = Projector(config.projector_type, config.depth.hidden_size * scales, width) if config.use_depth else None
        self.post_init()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, nn.Linear | nn.Conv2d):  # towers and projectors; the language model initialises itself
            init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, SiglipVisionEmbeddings):
            init.copy_(module.position_ids, torch.arange(module.num_positions)[None])

    def get_input_embeddings(self) -> nn.Module:
        """The language model's embedding table."""
        return self.llm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return cast(nn.Module, self.llm.get_output_embeddings())  # type: ignore[no-untyped-call]

    def tower_tokens(self, tower: nn.Module, tiles: Tensor) -> Tensor:
        """Tokens of a tower before scale merging and projection.

        Args:
            tower: `vision_tower` or `depth_tower`.
            tiles: [N, 3, S, S], normalised.

        Returns:
            [N, P, c], row-major.
        """
        return cast(Tensor, tower(tiles))

    def project(self, projector: nn.Module, tokens: Tensor, block_sizes: Sequence[tuple[int, int] | None] | None = None) -> Blocks:
        """Project tower tokens and append the newline embedding where the model has one.

        Args:
            projector: `mm_projector` or `depth_projector`.
            tokens: [N, P, c] of all tiles.
            block_sizes: For ``dynamic_s2``: (rows, columns) of the last scale of each image, None for an image of a single tile.

        Returns:
            One block per tile, or per image for ``dynamic_s2``.
        """
        if self.config.tiling != "dynamic_s2":
            return self._end_blocks(projector(tokens))
        return self._end_blocks(self._project_scales(projector, tokens, block_sizes or [None] * tokens.shape[0]))

    def encode_rgb(self, tiles: Tensor, block_sizes: Sequence[tuple[int, int] | None] | None = None) -> Blocks:
        """Blocks of the colour tiles [N, 3, S, S]; see `project`."""
        return self.project(self.mm_projector, self.tower_tokens(self.vision_tower, tiles), block_sizes)

    def encode_depth(self, tiles: Tensor, block_sizes: Sequence[tuple[int, int] | None] | None = None) -> Blocks:
        """Blocks of the depth tiles [N, 3, S, S]; see `project`.

        Raises:
            ValueError: The model takes no depth.
        """
        if self.depth_projector is None:
            raise ValueError("this model was built with use_depth=False and takes no depth tiles")
        tower = self.vision_tower if self.depth_tower is None else self.depth_tower
        return self.project(self.depth_projector, self.tower_tokens(tower, tiles), block_sizes)

    def _project_scales(self, projector: nn.Module, tokens: Tensor, block_sizes: Sequence[tuple[int, int] | None]) -> list[Tensor]:
        """dynamic_s2: merge the scales of each image, project tile by tile, lay the result out over the whole image."""
        scales = list(self.config.s2_scales or ())
        tiles, blocks, start = [], [], 0
        for size in block_sizes:
            if size is None:
                tiles.append(tokens[start : start + 1].repeat(1, 1, len(scales)))
                blocks.append((1, 1))
                start += 1
                continue
            count = sum(rows * columns for rows, columns in scale_blocks(scales, size))
            merged, block = merge_scales(tokens[start : start + count], size, scales, self.config.s2_output_scale)
            tiles.append(split_tiles(merged, *block))
            blocks.append(block)
            start += count
        if start != tokens.shape[0]:
            raise ValueError(f"{tokens.shape[0]} tiles, but block_sizes {list(block_sizes)} account for {start}")
        projected = projector(torch.cat(tiles)).split([rows * columns for rows, columns in blocks])
        return [merge_tiles(part, *block).flatten(0, 1) for part, block in zip(projected, blocks, strict=True)]

    def _end_blocks(self, blocks: Blocks) -> Blocks:
        """Append the newline embedding to each block where the model has one."""
        if not self.config.media_newline:
            return blocks
        if not self.config.newline_token_ids:
            raise ValueError("media_newline needs newline_token_ids; attach a tokenizer to the configuration first")
        newline = self.get_input_embeddings()(torch.tensor(self.config.newline_token_ids, device=self.device))  # [1, d]
        if isinstance(blocks, Tensor):
            return torch.cat([blocks, newline.to(blocks.dtype).expand(blocks.shape[0], -1, -1)], dim=1)
        return [torch.cat([block, newline.to(block.dtype)]) for block in blocks]

    def splice(
        self,
        input_ids: Tensor,
        rgb_blocks: Blocks | None = None,
        depth_blocks: Blocks | None = None,
        *,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Spliced:
        """Replace every marker by the next unused block of its kind, row by row from left to right.

        Args:
            input_ids: [B, L] with one marker id per block.
            rgb_blocks: Colour blocks of the whole batch in order.
            depth_blocks: Depth blocks of the whole batch in order.
            attention_mask: [B, L], 0 where `input_ids` is padding.
            labels: [B, L]; media positions get `IGNORED_LABEL`.

        Raises:
            ValueError: There are more or fewer markers than blocks.
        """
        waiting = {self.config.image_token_id: list(rgb_blocks if rgb_blocks is not None else ())}
        waiting[self.config.depth_token_id] = list(depth_blocks if depth_blocks is not None else ())
        supplied = {marker: len(blocks) for marker, blocks in waiting.items()}
        text = self.get_input_embeddings()(input_ids)  # [B, L, d]; rows of markers are dropped below
        rows, row_labels = [], []
        for index, ids in enumerate(input_ids.tolist()):
            keep = [True] * len(ids) if attention_mask is None else attention_mask[index].bool().tolist()
            parts, label_parts, start = [], [], 0
            for position, token in enumerate([*ids, None]):
                is_marker = token in waiting and keep[position] if token is not None else False
                if not (is_marker or token is None or not keep[position]):
                    continue
                parts.append(text[index, start:position])
                if labels is not None:
                    label_parts.append(labels[index, start:position])
                if is_marker:
                    blocks = waiting[cast(int, token)]
                    if not blocks:
                        raise ValueError(f"more markers with id {token} than the {supplied[cast(int, token)]} blocks supplied")
                    block = blocks.pop(0).to(text.dtype)
                    parts.append(block)
                    if labels is not None:
                        label_parts.append(labels.new_full((block.shape[0],), IGNORED_LABEL))
                start = position + 1
            rows.append(torch.cat(parts))
            row_labels.append(torch.cat(label_parts) if labels is not None else None)
        for marker, left in waiting.items():
            if left:
                raise ValueError(f"{supplied[marker]} blocks for markers with id {marker}, but only {supplied[marker] - len(left)} markers")
        lengths = torch.tensor([row.shape[0] for row in rows], device=text.device)
        mask = torch.arange(int(lengths.max()), device=text.device)[None] < lengths[:, None]
        return Spliced(
            embeds=nn.utils.rnn.pad_sequence(rows, batch_first=True),
            attention_mask=mask,
            labels=None
            if labels is None
            else nn.utils.rnn.pad_sequence(cast(list[Tensor], row_labels), batch_first=True, padding_value=IGNORED_LABEL),
        )

    def embed(self, input_ids: Tensor, rgb_blocks: Blocks | None = None, depth_blocks: Blocks | None = None) -> Tensor:
        """`splice` without mask and labels: inputs_embeds [B, L', d] (rows of equal length or padded with zeros on the right)."""
        return self.splice(input_ids, rgb_blocks, depth_blocks).embeds

    def forward(
        self,
        input_ids: Tensor | None = None,
        rgb_tiles: Tensor | None = None,
        depth_tiles: Tensor | None = None,
        rgb_block_sizes: Sequence[tuple[int, int] | None] | None = None,
        depth_block_sizes: Sequence[tuple[int, int] | None] | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss when `labels` are given.

        Args:
            input_ids: [B, L] with markers; exactly one of this and `inputs_embeds`.
            rgb_tiles: Colour tiles of the batch [N, 3, S, S].
            depth_tiles: Depth tiles of the batch [M, 3, S, S].
            rgb_block_sizes: See `project`.
            depth_block_sizes: See `project`.
            inputs_embeds: [B, L', d], already spliced.
            attention_mask: With `input_ids` [B, L]; with `inputs_embeds` [B, L'] or a ready [B, 1, L', L''] mask (bool, True =
                attend, or additive float).
            position_ids: [B, L'] after splicing.
            labels: With `input_ids` [B, L], with `inputs_embeds` [B, L'].
            past_key_values: Cache.
            use_cache: Return the cache.
            logits_to_keep: Only the last so many positions (0 = all), or an index tensor.
            **kwargs: For the language model, e.g. ``output_hidden_states``.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds is needed")
        if input_ids is not None:
            rgb = None if rgb_tiles is None else self.encode_rgb(rgb_tiles, rgb_block_sizes)
            depth = None if depth_tiles is None else self.encode_depth(depth_tiles, depth_block_sizes)
            inputs_embeds, attention_mask, labels = self.splice(input_ids, rgb, depth, attention_mask=attention_mask, labels=labels)
        return cast(
            CausalLMOutputWithPast,
            self.llm(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                position_ids=position_ids,
                labels=labels,
                past_key_values=past_key_values,
                use_cache=use_cache,
                logits_to_keep=logits_to_keep,
                **kwargs,
            ),
        )
