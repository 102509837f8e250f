"""The convolutional stem of towers that are trained from scratch: pixels to patch tokens."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from transformers import SiglipVisionConfig

from roboref_node.model.config import RoboReferConfig

STEM_GROUPS = 8
"""Groups of the normalisations in a convolutional stem."""


class ResidualBlock(nn.Module):
    """x + conv(GELU(norm(conv(x)))) with 3x3 convolutions, at one resolution.

    Args:
        channels: Channels of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            _group_norm(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, c, H, W] -> the same shape."""
        return features + cast(Tensor, self.layers(features))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(STEM_GROUPS if channels % STEM_GROUPS == 0 else 1, channels)


class ConvStem(nn.Module):
    """Halve the resolution with 3x3 convolutions down to the patch grid, then add learned positions; for models trained from scratch.

    Args:
        config: Gives the patch size, the image size and the output width.
        model: Channels, residual blocks and how many pixels are folded into channels first.

    Raises:
        ValueError: The convolutions do not make patches of that size.
    """

    def __init__(self, config: SiglipVisionConfig, model: RoboReferConfig) -> None:
        super().__init__()
        fold = model.stem_fold
        widths = [config.num_channels * fold**2, *model.stem_channels, config.hidden_size]
        if fold * 2 ** (len(widths) - 1) != config.patch_size:
            raise ValueError(
                f"{len(widths) - 1} stride-2 convolutions of squares of {fold} px cannot make patches of {config.patch_size} px"
            )
        layers: list[nn.Module] = [nn.PixelUnshuffle(fold)] if fold > 1 else []
        for index, (narrow, wide) in enumerate(zip(widths, widths[1:], strict=False)):
            layers.append(nn.Conv2d(narrow, wide, kernel_size=3, stride=2, padding=1))
            if index < len(widths) - 2:
                layers += [_group_norm(wide), nn.GELU()]
            if index > 0:
                layers += [ResidualBlock(wide) for _ in range(model.stem_blocks)]
        self.convolutions = nn.Sequential(*layers)
        side = int(config.image_size) // int(config.patch_size)  # type: ignore[arg-type]
        self.position_embedding = nn.Embedding(side * side, config.hidden_size)

    def forward(self, tiles: Tensor) -> Tensor:
        """Tiles [N, 3, S, S] -> tokens [N, P, c], row-major."""
        features = self.convolutions(tiles.to(self.position_embedding.weight.dtype))
        tokens = features.flatten(2).transpose(1, 2)
        return cast(Tensor, tokens + self.position_embedding.weight.to(tokens.dtype))
