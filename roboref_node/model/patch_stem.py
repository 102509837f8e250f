"""The towers' patch embedding as a matrix product."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.nn import functional as F
from transformers.models.siglip.modeling_siglip import SiglipVisionEmbeddings


class PatchStem(SiglipVisionEmbeddings):
    """SigLIP's embedding of patches that do not overlap, with its weights: a convolution whose stride is its kernel is a product.

    As a convolution it would run in TensorFloat-32 on a GPU also where float32 was asked for, and cuDNN would plan it anew for every
    number of tiles.
    """

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Tiles [N, 3, S, S] -> tokens [N, P, c], row-major; pixels beyond the last whole patch are not seen."""
        assert not interpolate_pos_encoding, "tiles have the tower's own size"
        kernel, positions = self.patch_embedding, cast(Tensor, self.position_embedding(self.position_ids))
        size = kernel.kernel_size[0]
        side = pixel_values.shape[-1] // size
        tiles = pixel_values.to(kernel.weight.dtype)[..., : side * size, : side * size]
        patches = tiles.reshape(len(tiles), -1, side, size, side, size).permute(0, 2, 4, 1, 3, 5)  # [N, row, column, 3, y, x]
        return positions + F.linear(patches.reshape(len(tiles), side * side, -1), kernel.weight.flatten(1), kernel.bias)
