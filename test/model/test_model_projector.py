import pytest
import torch

from roboref_node.model.projector import Projector, SpaceToDepth, merge_scales, merge_tiles, split_tiles


def grid(side: int, channels: int = 1) -> torch.Tensor:
    """Token (row, column) has the value 100 row + column + 1 in every channel, so that no token is zero."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (100.0 * rows + columns + 1).reshape(1, side * side, 1).repeat(1, 1, channels)


def test_channels_of_a_3x3_group_are_row_major_and_the_padding_is_bottom_and_right():
    tokens = SpaceToDepth(3)(grid(32))
    assert tokens.shape == (1, 121, 9)
    assert tokens[0, 0].tolist() == [1, 2, 3, 101, 102, 103, 201, 202, 203]
    assert tokens[0, 1, 0] == 4  # groups run along the row first
    assert tokens[0, 11, 0] == 301
    assert tokens[0, 10].tolist() == [31, 32, 0, 131, 132, 0, 231, 232, 0]
    assert tokens[0, 120].tolist() == [3031, 3032, 0, 3131, 3132, 0, 0, 0, 0]


def test_channels_of_a_2x2_group():
    tokens = SpaceToDepth(2)(grid(32))
    assert tokens.shape == (1, 256, 4)
    assert tokens[0, 0].tolist() == [1, 2, 101, 102]
    assert tokens[0, 16, 0] == 201
    assert SpaceToDepth(2)(grid(3))[0, 3].tolist() == [203, 0, 0, 0]


def test_channels_of_a_token_stay_together():
    tokens = grid(2, 3) + torch.tensor([0.0, 0.25, 0.5])
    assert SpaceToDepth(2)(tokens)[0, 0, :6].tolist() == [1, 1.25, 1.5, 2, 2.25, 2.5]


def test_tokens_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="15 tokens"):
        SpaceToDepth(2)(torch.zeros(1, 15, 1))


@pytest.mark.parametrize(
    ("kind", "slots"),
    [("mlp_downsample_3x3_fix", [1, 2, 4, 5, 7]), ("mlp_downsample", [1, 2, 4]), ("mlp_downsample_2x2_fix", [1, 2, 4])],
)
def test_slots_are_those_of_the_published_files(kind, slots):
    names = {name for name, _ in Projector(kind, 8, 16).named_parameters()}
    assert names == {f"layers.{slot}.{part}" for slot in slots for part in ("weight", "bias")}


def test_tiles_are_laid_out_row_by_row():
    tiles = torch.stack([grid(2, 1)[0] + 1000 * index for index in range(6)])
    merged = merge_tiles(tiles, 2, 3)
    assert merged.shape == (4, 6, 1)
    assert merged[0, :, 0].tolist() == [1, 2, 1001, 1002, 2001, 2002]
    assert merged[2, :2, 0].tolist() == [3001, 3002]
    assert torch.equal(split_tiles(merged, 2, 3), tiles)


def test_scales_are_averaged_by_area_and_concatenated_in_order():
    tokens = torch.cat([torch.full((1, 4, 1), 5.0), grid(2).repeat(4, 1, 1), torch.randn(6, 4, 1)])
    merged, block = merge_scales(tokens, (2, 3), [1, 2, 3], -1)
    assert block == (2, 3)
    assert merged.shape == (4, 6, 3)
    assert torch.equal(merged[..., 0], torch.full((4, 6), 5.0))
    middle = merge_tiles(tokens[1:5], 2, 2)  # 4 x 4 -> 4 x 6: columns [0], [0, 1], [1], ...
    assert torch.allclose(merged[:, 1, 1], (middle[:, 0, 0] + middle[:, 1, 0]) / 2)
    assert torch.equal(merged[..., 2:], merge_tiles(tokens[5:], 2, 3))


def test_the_number_of_tiles_must_match_the_block():
    with pytest.raises(ValueError, match="10 tiles"):
        merge_scales(torch.zeros(10, 4, 1), (2, 3), [1, 2, 3], -1)
