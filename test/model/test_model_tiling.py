import numpy as np
import pytest
from PIL import Image

from roboref_node.model.tiling import as_rgb, choose_grid, dynamic_s2_tiles, dynamic_tiles, stretched_tile

SIZES = [
    (640, 480, 4, 3, 13), (800, 600, 4, 3, 13), (1280, 720, 4, 2, 9), (1920, 1080, 4, 2, 9), (640, 360, 2, 1, 3), (848, 480, 2, 1, 3),
    (960, 540, 2, 1, 3), (1280, 800, 3, 2, 7), (1024, 1024, 3, 3, 10), (448, 448, 1, 1, 1),
    (633, 633, 1, 1, 1), (634, 634, 2, 2, 5), (950, 950, 2, 2, 5), (951, 951, 3, 3, 10),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height", "columns", "rows", "tiles"), SIZES)
def test_grid_and_number_of_tiles_of_the_published_models(width, height, columns, rows, tiles):
    assert choose_grid(width, height, 1, 12, 448) == (columns, rows)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    assert dynamic_tiles(image, 448, 1, 12).shape == (tiles, 448, 448, 3)


@pytest.mark.parametrize(
    ("width", "height", "block", "tiles"),
    [(640, 480, (3, 4), 17), (1280, 720, (3, 4), 17), (700, 700, (3, 3), 14), (720, 1280, (5, 2), 15)],
)
def test_scales_of_the_merged_tiling(width, height, block, tiles):
    cut, found = dynamic_s2_tiles(np.zeros((height, width, 3), dtype=np.uint8), [448, 896, 1344], 12)
    assert found == block
    assert cut.shape == (tiles, 448, 448, 3)


def test_tiles_are_row_major_and_the_thumbnail_is_last():
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[:30, 40:] = 100  # right of the upper half
    image[30:, :40] = 200
    tiles = dynamic_tiles(image, 40, 2, 2)  # 2 x 1
    assert tiles.shape[0] == 3
    assert tiles[0, 5, 20, 0] == 0 and tiles[0, 35, 20, 0] == 200
    assert tiles[1, 5, 20, 0] == 100 and tiles[1, 35, 20, 0] == 0
    thumbnail = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC))
    assert np.array_equal(tiles[2], thumbnail)


def test_scale_tiles_are_crops_of_the_stretched_image():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    tiles, (rows, columns) = dynamic_s2_tiles(image, [20, 40, 60], 12)
    square = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC))
    last = np.asarray(Image.fromarray(image).resize((20 * columns, 20 * rows), Image.Resampling.BICUBIC))
    assert np.array_equal(tiles[0], np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC)))
    assert np.array_equal(tiles[3], square[20:, :20])
    assert np.array_equal(tiles[5 + columns + 2], last[20:40, 40:60])


def test_a_tile_budget_below_the_scales_is_refused():
    with pytest.raises(ValueError, match="tile budget of 8 is less than the 9"):
        dynamic_s2_tiles(np.zeros((48, 64, 3), dtype=np.uint8), [448, 896, 1344], 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_picture_and_array_are_the_same(mode):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).convert(mode)
    array = np.asarray(picture.convert("RGB"))
    for tile in (
        lambda x: dynamic_tiles(x, 28, 1, 12),
        lambda x: stretched_tile(x, 28),
        lambda x: dynamic_s2_tiles(x, [14, 28, 42], 12)[0],
    ):
        assert np.array_equal(tile(picture), tile(array))


@pytest.mark.parametrize(
    "image", [Image.new("I;16", (4, 4)), Image.new("F", (4, 4)), np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.float32)]
)
def test_metric_depth_is_not_taken_for_a_picture(image):
    with pytest.raises(ValueError, match="relative depth image first"):
        as_rgb(image)


def test_a_picture_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        as_rgb(np.zeros((4, 4, 4), np.uint8))


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (0, 5)), Image.new("L", (5, 0)), np.zeros((0, 5, 3), np.uint8), np.zeros((5, 0), np.uint8)]
)
def test_a_picture_without_pixels_is_refused(image):
    for tiles in (lambda: stretched_tile(image, 28), lambda: dynamic_tiles(image, 28, 1, 6), lambda: dynamic_s2_tiles(image, [28, 56], 6)):
        with pytest.raises(ValueError, match="expected at least one pixel"):
            tiles()


def test_a_grey_picture_makes_the_tiles_of_its_three_equal_channels():
    """Depth images take a shortcut through one channel."""
    grey = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    stretched = np.asarray(Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).resize((84, 56), Image.Resampling.BICUBIC))
    tiles = dynamic_tiles(np.repeat(grey[..., None], 3, axis=2), 28, 6, 6)
    assert tiles.shape == (7, 28, 28, 3)
    assert np.array_equal(tiles[4], stretched[28:, 28:56])
