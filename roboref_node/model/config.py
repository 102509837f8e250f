"""One configuration for every RoboRefer-shaped model, from the 3 M parameter nano to the published 8B."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from transformers import PreTrainedConfig, Qwen2Config, SiglipVisionConfig
from transformers.configuration_utils import SubConfigSpec

from roboref_node.model.config_checks import check_fields, check_language_model, check_layer_count, check_tower

PROJECTOR_STRIDES: dict[str, int] = {"mlp_downsample": 2, "mlp_downsample_2x2_fix": 2, "mlp_downsample_3x3_fix": 3}
TILINGS = ("resize", "dynamic", "dynamic_s2")
STEMS = ("patch", "conv")
MEDIA_ORDERS = ("rgb_depth", "depth_rgb")


class RoboReferConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # transformers' __init_subclass__
    """Architecture and preprocessing of a two-tower (colour, depth) referring vision-language model.

    Everything that the processor must know to reproduce the training input is stored here too, so that a saved folder
    is self-contained.

    Args:
        vision_config: SigLIP settings of the colour tower (``image_size`` is the side of one square tile in pixels).
        depth_config: SigLIP settings of the depth tower; None copies `vision_config`.
        text_config: Qwen2 settings of the language model.
        projector_type: One of `PROJECTOR_STRIDES`.
        tiling: ``resize`` (one stretched tile), ``dynamic`` (aspect-ratio grid and thumbnail) or ``dynamic_s2`` (three scales merged).
        min_tiles: Fewest tiles of the ``dynamic`` grid.
        max_tiles: Most tiles of the ``dynamic`` grid and of the last ``dynamic_s2`` scale, thumbnail not counted.
        s2_scales: Sides of the square scales of ``dynamic_s2`` in pixels, ascending; the first is the tile size.
        s2_output_scale: Index of the scale whose grid the others are interpolated to.
        select_layer: Which hidden state of a tower is used, counted like Python indices of ``hidden_states``: -1 is the output
            of the last layer, -2 that of the last but one. Layers behind it are not created; the tower has no final norm.
        stem: ``patch`` (one strided convolution, as SigLIP) or ``conv`` (a stack of 3x3 stride-2 convolutions).
        stem_channels: Output channels of all but the last convolution of the ``conv`` stem.
        stem_fold: Squares of this many pixels a side become channels before the ``conv`` stem's first convolution.
        stem_blocks: Residual blocks behind each convolution of the ``conv`` stem but the first.
        media_newline: Append the embedding of a newline to every media block.
        media_order: Which marker comes first in the prompt.
        use_depth: The model takes depth images.
        shared_depth_tower: Depth tiles go through the colour tower (own projector); for ablations and upstream's option.
        image_mean: Mean of the colour normalisation, per channel.
        image_std: Divisor of the colour normalisation, per channel.
        image_rescale: Factor from 8-bit values to the range of `image_mean`.
        depth_mean: As `image_mean`, for the depth image.
        depth_std: As `image_std`, for the depth image.
        depth_rescale: As `image_rescale`, for the depth image.
        image_token: Marker of a colour block in the prompt.
        depth_token: Marker of a depth block in the prompt.
        video_token: Marker of a video, which no model here takes; deleted from user text as the others are.
        image_token_id: Id of `image_token`; None until a tokenizer is attached.
        depth_token_id: Id of `depth_token`.
        newline_token_ids: Ids of the newline that ends a media block.
        stop_token_ids: Ids that end an answer.
        max_sequence: Longest sequence, media tokens included, that the model may see.

    Raises:
        ValueError: A field has a value that no model works with.
    """

    model_type = "roborefer"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(SiglipVisionConfig),
        "depth_config": SubConfigSpec(SiglipVisionConfig),
        "text_config": SubConfigSpec(Qwen2Config),
    }

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    depth_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    projector_type: str = "mlp_downsample_3x3_fix"
    tiling: str = "dynamic"
    min_tiles: int = 1
    max_tiles: int = 12
    s2_scales: list[int] | tuple[int, ...] | None = None
    s2_output_scale: int = -1
    select_layer: int = -2
    stem: str = "patch"
    stem_channels: list[int] | tuple[int, ...] = (32, 64)
    stem_fold: int = 1
    stem_blocks: int = 0
    media_newline: bool = True
    media_order: str = "rgb_depth"
    use_depth: bool = True
    shared_depth_tower: bool = False
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_rescale: float = 1.0 / 255.0
    depth_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    depth_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    depth_rescale: float = 1.0 / 255.0
    image_token: str = "<image>"
    depth_token: str = "<depth>"
    video_token: str = "<vila/video>"
    image_token_id: int | None = None
    depth_token_id: int | None = None
    newline_token_ids: list[int] | tuple[int, ...] | None = None
    stop_token_ids: list[int] | tuple[int, ...] | None = None
    max_sequence: int = 16384
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        check_layer_count(self.text_config, "text_config.")
        if self.depth_config is None and self.vision_config is not None:
            vision = self.vision_config
            self.depth_config = vision.to_dict() if isinstance(vision, PreTrainedConfig) else copy.copy(vision)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self.tie_word_embeddings = bool(self.text.tie_word_embeddings)
        for name, value, allowed in (
            ("projector_type", self.projector_type, tuple(PROJECTOR_STRIDES)),
            ("tiling", self.tiling, TILINGS),
            ("stem", self.stem, STEMS),
            ("media_order", self.media_order, MEDIA_ORDERS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
        check_tower(self.vision, "vision_config.")
        check_tower(self.depth, "depth_config.")
        check_language_model(self.text, "text_config.")
        check_fields(self)

    @property
    def vision(self) -> SiglipVisionConfig:
        """The colour tower's configuration."""
        assert isinstance(self.vision_config, SiglipVisionConfig)
        return self.vision_config

    @property
    def depth(self) -> SiglipVisionConfig:
        """Configuration of the tower that depth tiles go through."""
        assert isinstance(self.depth_config, SiglipVisionConfig)
        return self.vision if self.shared_depth_tower else self.depth_config

    @property
    def text(self) -> Qwen2Config:
        """The language model's configuration."""
        assert isinstance(self.text_config, Qwen2Config)
        return self.text_config

    @property
    def has_depth_tower(self) -> bool:
        """True when depth has a tower of its own."""
        return self.use_depth and not self.shared_depth_tower

    @property
    def tile_size(self) -> int:
        """Side of a square tile in pixels."""
        return int(self.vision.image_size)  # type: ignore[arg-type]  # SigLIP allows pairs, RoboRefer uses squares

    def token_grid(self, vision: SiglipVisionConfig) -> int:
        """Side of the square grid of tokens that one tile becomes in a tower, before the projector."""
        return int(vision.image_size) // int(vision.patch_size)  # type: ignore[arg-type]

    def tokens_per_tile(self, vision: SiglipVisionConfig) -> int:
        """Tokens of one projected tile of a tower, newline not counted."""
        return (-(-self.token_grid(vision) // PROJECTOR_STRIDES[self.projector_type])) ** 2

    @classmethod
    def nano(cls, vocab_size: int, **changes: Any) -> RoboReferConfig:
        """The model that ships with the package: 128x128 input, two towers of 16x16 tokens, 64 + 64 media tokens, 4 language layers.

        Args:
            vocab_size: Rows of the embedding table.
            **changes: Fields to override. The keys ``vision_config``, ``depth_config`` and ``text_config`` update the preset
                rather than replace it.
        """
        vision = {
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 128,
            "patch_size": 8,
            "vision_use_head": False,
        }
        text = {
            "vocab_size": vocab_size,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        }
        depth = {**vision, **changes.get("vision_config", {}), **changes.pop("depth_config", {})}
        vision.update(changes.pop("vision_config", {}))
        text.update(changes.pop("text_config", {}))
        fields: dict[str, Any] = {
            "projector_type": "mlp_downsample_2x2_fix",
            "tiling": "resize",
            "select_layer": -1,
            "stem": "conv",
            "media_newline": False,
            "max_sequence": 2048,
        }
        return cls(vision_config=vision, depth_config=depth, text_config=text, **{**fields, **changes})

    @classmethod
    def roborefer_2b(cls, **changes: Any) -> RoboReferConfig:
        """Shape of RoboRefer-2B-SFT (NVILA-Lite-2B: SigLIP so400m/14 at 448 px, Qwen2 1.5B, 3x3 down-sampling)."""
        text = {
            "vocab_size": 151652,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        }
        fields = {"image_token_id": 151649, "depth_token_id": 151651, "newline_token_ids": [198], "stop_token_ids": [151645]}
        return cls(vision_config=_so400m(), text_config=text, **{**fields, **changes})

    @classmethod
    def roborefer_8b(cls, **changes: Any) -> RoboReferConfig:
        """Shape of RoboRefer-8B-SFT (NVILA-8B: the same towers at three merged scales, Qwen2.5 7B, 2x2 down-sampling)."""
        text = {
            "vocab_size": 151671,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        }
        fields: dict[str, Any] = {
            "projector_type": "mlp_downsample",
            "tiling": "dynamic_s2",
            "s2_scales": [448, 896, 1344],
            "image_token_id": 151668,
            "depth_token_id": 151670,
            "newline_token_ids": [198],
            "stop_token_ids": [151645],
        }
        return cls(vision_config=_so400m(), text_config=text, **{**fields, **changes})


def _so400m() -> dict[str, Any]:
    """SigLIP so400m/14 at 448 px, the tower of every published RoboRefer."""
    return {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 448,
        "patch_size": 14,
        "vision_use_head": False,
    }
