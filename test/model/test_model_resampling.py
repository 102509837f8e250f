import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roboref_node.model.resampling import bicubic
from roboref_node.model.tiling import dynamic_s2_tiles, dynamic_tiles

PILLOW_11 = [[27, 51, 86, 100, 89], [108, 133, 185, 161, 51], [112, 148, 98, 52, 99], [116, 154, 135, 111, 144], [208, 68, 32, 83, 108]]


def pillow(pixels, width, height):
    """Horizontally first, which Pillow up to 12 always did and Pillow 13 does not."""
    wide = Image.fromarray(pixels).resize((width, pixels.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(wide.resize((width, height), Image.Resampling.BICUBIC))


@settings(max_examples=40, deadline=None)
@given(*[st.integers(1, 90) for _ in range(4)], st.booleans(), st.integers(0, 1000))
def test_every_value_is_pillows(width, height, new_width, new_height, extreme, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if extreme:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)  # overshoot on both sides
    assert np.array_equal(bicubic(torch.from_numpy(pixels), new_width, new_height).numpy(), pillow(pixels, new_width, new_height))


@pytest.mark.parametrize(("width", "height"), [(640, 480), (848, 480), (1280, 720)])
def test_camera_pictures(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for target in ((1792, 1344), (448, 448)):
        assert np.array_equal(bicubic(torch.from_numpy(pixels), *target).numpy(), pillow(pixels, *target))


@pytest.mark.parametrize(("height", "width"), [(50, 70), (90, 20), (20, 90)])
def test_tiles_cut_from_tensors_are_those_cut_by_pillow(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    by_tensor = dynamic_tiles(pixels, 28, 1, 12, pillow=False)
    assert torch.equal(by_tensor, dynamic_tiles(pixels, 28, 1, 12))
    assert torch.equal(dynamic_s2_tiles(pixels, [14, 28, 42], 12, pillow=False)[0], dynamic_s2_tiles(pixels, [14, 28, 42], 12)[0])


def test_a_picture_that_grows_in_width_and_shrinks_in_height_has_the_values_of_pillow_11():
    """Written down from Pillow 11.3; Pillow 13 itself gives others."""
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 4) * np.uint8(37) % np.uint8(251)
    tiles = dynamic_tiles(pixels, 5, 1, 1)
    assert tiles[0, :, :, 0].tolist() == PILLOW_11
