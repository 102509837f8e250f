import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoint import tiny_tokenizer, write_tiny_checkpoint

from roboref_node.model import RoboReferConfig, RoboReferModel, RoboReferProcessor, checkpoint, relative_depth_image
from roboref_node.model.conversation import attach_tokenizer
from roboref_node.model.modeling import IGNORED_LABEL

load_model = partial(checkpoint.load_model, device="cpu")


def nano(**changes) -> tuple[RoboReferModel, RoboReferProcessor]:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = RoboReferConfig.nano(len(tokenizer), **changes)
    attach_tokenizer(config, tokenizer)
    return RoboReferModel(config).eval(), RoboReferProcessor(config, tokenizer)


def pictures(height=48, width=64):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]


def test_shape_of_the_preset():
    model, processor = nano(media_order="depth_rgb")
    inputs = processor(*pictures(), "find it")
    assert inputs.rgb_tiles.shape == (1, 3, 128, 128)
    assert model.tower_tokens(model.vision_tower, inputs.rgb_tiles).shape == (1, 256, 128)
    assert model.encode_rgb(inputs.rgb_tiles).shape == model.encode_depth(inputs.depth_tiles).shape == (1, 64, 192)
    length = processor.sequence_length(inputs)
    assert length == inputs.input_ids.shape[1] - 2 + 128
    assert model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits.shape == (1, length, len(processor.tokenizer))
    assert 2.5e6 < sum(p.numel() for p in model.parameters()) < 4e6


def test_every_parameter_learns():
    model, processor = nano()
    inputs = processor(*pictures(), "find it")
    labels = inputs.input_ids.clone()
    model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles, labels=labels).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A key's bias shifts all scores of a query alike, so the softmax hides it.
    assert [name for name in silent if not name.endswith("k_proj.bias")] == []


def test_bfloat16_autocast_is_finite_and_near():
    model, processor = nano()
    inputs = processor(*pictures(), "find it")
    with torch.no_grad():
        exact = model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits.float()
    assert torch.isfinite(rough).all()
    assert float((rough - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_questions_packed_behind_one_prefix_compute_what_they_compute_alone():
    model, processor = nano()
    first, second = (processor(*pictures(), text) for text in ("find the cup", "where is it"))
    blocks = model.encode_rgb(first.rgb_tiles), model.encode_depth(first.depth_tiles)
    rows = [model.embed(q.input_ids, *blocks)[0] for q in (first, second)]
    pairs = list(zip(first.input_ids[0].tolist(), second.input_ids[0].tolist(), strict=False))
    shared = next(i for i, (a, b) in enumerate(pairs) if a != b) - 2 + 128
    packed = torch.cat([rows[0], rows[1][shared:]])[None]
    length, first_end = packed.shape[1], rows[0].shape[0]
    mask = torch.tril(torch.ones(length, length, dtype=torch.bool))
    mask[first_end:, shared:first_end] = False
    positions = torch.cat([torch.arange(first_end), torch.arange(shared, rows[1].shape[0])])[None]
    with torch.no_grad():
        together = model(inputs_embeds=packed, attention_mask=mask[None, None], position_ids=positions).logits[0]
        alone = [model(inputs_embeds=row[None]).logits[0] for row in rows]
        unmasked = model(inputs_embeds=packed, position_ids=positions).logits[0]
    assert torch.allclose(together[:first_end], alone[0], atol=1e-5)
    assert torch.allclose(together[first_end:], alone[1][shared:], atol=1e-5)
    assert not torch.allclose(unmasked[first_end:], alone[1][shared:], atol=1e-3)


def test_blocks_replace_markers_first_in_first_out():
    model, _ = nano()
    config = model.config
    rgb = [torch.full((2, 192), 1.0), torch.full((1, 192), 2.0)]
    depth = [torch.full((1, 192), 3.0)]
    ids = torch.tensor([[7, config.image_token_id, 8, config.depth_token_id, config.image_token_id, 9]])
    spliced = model.splice(ids, rgb, depth, labels=ids)
    text = model.get_input_embeddings().weight
    assert torch.equal(spliced.embeds[0, [0, 3, 6]], text[[7, 8, 9]])
    assert spliced.embeds[0, [1, 2, 4, 5], 0].tolist() == [1, 1, 3, 2]
    assert spliced.labels[0].tolist() == [7, IGNORED_LABEL, IGNORED_LABEL, 8, IGNORED_LABEL, IGNORED_LABEL, 9]


def test_rows_of_different_length_are_padded_on_the_right():
    model, _ = nano()
    marker = model.config.image_token_id
    ids = torch.tensor([[7, marker, 8], [7, 8, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    spliced = model.splice(ids, torch.ones(1, 4, 192), attention_mask=mask, labels=ids)
    assert spliced.embeds.shape == (2, 6, 192)
    assert spliced.attention_mask.tolist() == [[True] * 6, [True, True] + [False] * 4]
    assert spliced.labels[1].tolist() == [7, 8] + [IGNORED_LABEL] * 4


@pytest.mark.parametrize(("count", "sentence"), [(1, "more markers"), (3, "3 blocks .* only 2 markers")])
def test_markers_and_blocks_must_match(count, sentence):
    model, _ = nano()
    marker = model.config.image_token_id
    with pytest.raises(ValueError, match=sentence):
        model.embed(torch.tensor([[marker, marker]]), torch.ones(count, 4, 192))


def test_a_model_without_depth_says_so():
    model, processor = nano(use_depth=False)
    rgb, depth = pictures()
    with pytest.raises(ValueError, match="takes no depth"):
        processor(rgb, depth, "find it")
    with pytest.raises(ValueError, match="use_depth=False"):
        model.encode_depth(torch.zeros(1, 3, 128, 128))


def test_one_tower_may_serve_both():
    model, processor = nano(shared_depth_tower=True)
    inputs = processor(*pictures(), "find it")
    assert model.depth_tower is None
    assert torch.isfinite(model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits).all()


def test_saved_folder_is_self_contained(tmp_path):
    model, processor = nano()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, processor_again = load_model(tmp_path)
    inputs = processor_again(*pictures(), "find it")
    assert inputs.prompt == processor(*pictures(), "find it").prompt
    with torch.no_grad():
        a = model(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits
        b = again(inputs.input_ids, inputs.rgb_tiles, inputs.depth_tiles).logits
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"projector_type": "linear"}, "projector_type is 'linear'"),
        ({"tiling": "pad"}, "tiling is 'pad'"),
        ({"tiling": "dynamic_s2"}, "needs s2_scales"),
        ({"min_tiles": 5, "max_tiles": 4}, "min_tiles is 5, expected a whole number from 1 to 4"),
        ({"select_layer": -9}, "select_layer is -9, expected a whole number from -3 to -1"),
    ],
)
def test_wrong_settings_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        RoboReferConfig.nano(300, **changes)


# A layer and the final norm that nothing reads, in both towers.
UNUSED = 2 * (4 * (1152 * 1152 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152 + 2 * 1152)


@pytest.mark.parametrize(("preset", "published", "tolerance"), [("roborefer_2b", 2_456_999_648, 0), ("roborefer_8b", 8.6e9, 0.05e9)])
def test_presets_have_the_published_size(preset, published, tolerance):
    with torch.device("meta"):
        model = RoboReferModel(getattr(RoboReferConfig, preset)())
    assert abs(sum(p.numel() for p in model.parameters()) + UNUSED - published) <= tolerance


@pytest.mark.parametrize(("family", "tokens", "blocks"), [("2b", 122, 13), ("8b", 3073, 1)])
def test_token_counts_of_the_published_shapes(family, tokens, blocks, tmp_path):
    """640x480: 2B makes 13 tiles of 121 tokens and a newline, 8B one block of 12 x 256 and a newline."""
    config = getattr(RoboReferConfig, f"roborefer_{family}")()
    assert config.tokens_per_tile(config.vision) == (121 if family == "2b" else 256)
    _, processor = load_model(write_tiny_checkpoint(tmp_path / "c", family))
    inputs = processor(*pictures(480, 640), "")
    processor.config.vision.image_size = processor.config.depth.image_size = 448
    markers = int(sum((inputs.input_ids == i).sum() for i in (processor.config.image_token_id, processor.config.depth_token_id)))
    assert markers == 2 * blocks
    assert processor.sequence_length(inputs) - (inputs.input_ids.shape[1] - markers) == 2 * blocks * tokens


def test_square_pictures_of_the_merged_tiling_make_2305_tokens(tmp_path):
    model, processor = load_model(write_tiny_checkpoint(tmp_path / "c", "8b"))
    inputs = processor(pictures(60, 60)[0], None, "")
    (block,) = model.encode_rgb(inputs.rgb_tiles, inputs.rgb_block_sizes)
    assert inputs.rgb_block_sizes == ((3, 3),)
    assert block.shape[0] == 9 * model.config.tokens_per_tile(model.config.vision) + 1
    assert 9 * RoboReferConfig.roborefer_8b().tokens_per_tile(RoboReferConfig.roborefer_8b().vision) + 1 == 2305


def test_pixels_are_normalised_as_siglip_does():
    _, processor = nano()
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tiles = processor(np.kron(ramp, np.ones((8, 8, 1), np.uint8)), None, "q").rgb_tiles
    expected = (np.arange(256).reshape(16, 16) / 255 - 0.5) / 0.5
    assert np.allclose(tiles[0, 0, ::8, ::8].numpy(), expected, atol=1e-6)
    assert tiles.dtype == torch.float32


def test_channels_may_be_normalised_differently():
    _, processor = nano(image_mean=[0.1, 0.2, 0.3], image_std=[1.0, 2.0, 4.0])
    tiles = processor(np.full((8, 8, 3), 255, np.uint8), None, "q").rgb_tiles
    assert np.allclose(tiles[0, :, 0, 0].numpy(), [0.9, 0.4, 0.175])


def test_picture_and_array_make_the_same_question(tmp_path):
    for family in ("2b", "8b"):
        _, processor = load_model(write_tiny_checkpoint(tmp_path / family, family))
        rgb, depth = pictures()
        a, b = processor(rgb, depth, "find it"), processor(Image.fromarray(rgb), Image.fromarray(depth), "find it")
        assert torch.equal(a.input_ids, b.input_ids) and torch.equal(a.rgb_tiles, b.rgb_tiles) and torch.equal(a.depth_tiles, b.depth_tiles)


def test_the_tile_budget_limits_the_grid(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "c", "2b")
    counts = [len(load_model(folder, tile_budget=budget)[1](pictures()[0], None, "q").rgb_tiles) for budget in (12, 6, 1)]
    assert counts == [13, 7, 1]


def test_an_endless_question_is_refused():
    _, processor = nano(max_sequence=200)
    with pytest.raises(ValueError, match=r"tokens, the model sees 200 \(max_sequence\)"):
        processor(*pictures(), "find it " * 40)


def test_relative_depth_is_inverse_and_near_is_bright():
    depth = np.array([[0.5, 1.0, 2.0, np.nan, 0.0, -1.0, np.inf]], dtype=np.float32)
    image = relative_depth_image(depth)
    assert image.shape == (1, 7, 3) and image.dtype == np.uint8
    assert image[0, :, 0].tolist() == [255, int((1.0 - 0.5) / 1.5 * 255), 0, 0, 0, 0, 0]


@pytest.mark.parametrize("wrong_m", [1e-3, 0.12, 1e-39])
@pytest.mark.parametrize("pixels", [1, 7])
def test_a_few_wrong_readings_do_not_blank_the_depth_map(wrong_m, pixels):
    depth = np.linspace(0.6, 1.5, 320 * 240, dtype=np.float32).reshape(240, 320)
    clean = relative_depth_image(depth)
    depth[100, 100 : 100 + pixels] = wrong_m
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = relative_depth_image(depth)
    hole = np.zeros_like(depth, dtype=bool)
    hole[100, 100 : 100 + pixels] = True
    np.testing.assert_array_equal(image[~hole], clean[~hole])
    assert (image[hole] == (255 if wrong_m > 1e-38 else 0)).all()


def test_a_near_object_is_no_wrong_reading():
    depth = np.full((240, 320), 1.5, dtype=np.float32)
    depth[100:104, 100:104] = 0.3
    depth[50:52, 60:62] = 0.15  # so small that it does not count for the others
    image = relative_depth_image(depth)
    assert (image[100:104, 100:104] >= 254).all() and (image[50:52, 60:62] == 255).all()


@pytest.mark.parametrize("depth", [np.full((2, 2), np.nan), np.full((2, 2), 1.5)])
def test_depth_without_contrast_is_black(depth):
    assert not relative_depth_image(depth.astype(np.float32)).any()
