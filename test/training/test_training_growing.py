"""A larger nano that begins as a smaller one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from roboref_node.model.config import RoboReferConfig
from roboref_node.model.modeling import RoboReferModel
from roboref_node.training.growing import grow

SMALL: dict[str, Any] = {
    "vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32},
    "text_config": {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 48,
    },
    "stem_channels": [16, 16], "image_token_id": 1, "depth_token_id": 2,
}  # fmt: skip


def model(seed: int, **changes: Any) -> RoboReferModel:
    torch.manual_seed(seed)
    parts = {k: {**v, **changes.pop(k, {})} if isinstance(v, dict) else v for k, v in SMALL.items()}
    return RoboReferModel(RoboReferConfig.nano(40, **{**parts, **changes})).eval()


LARGE: dict[str, Any] = {
    "vision_config": {"num_hidden_layers": 3, "image_size": 64, "patch_size": 16}, "text_config": {"num_hidden_layers": 2},
    "stem_channels": [32, 16], "stem_fold": 2, "stem_blocks": 2,
}  # fmt: skip


@torch.no_grad()
def test_a_grown_model_answers_as_the_small_one_until_it_sees_detail() -> None:
    small, large = model(0), model(1, **LARGE)
    grow(small, large)
    tokens = torch.tensor([[2, 1, 7, 9, 11]])
    rgb, depth = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    expected = small(tokens, rgb, depth).logits
    twice = [x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) for x in (rgb, depth)]
    torch.testing.assert_close(large(tokens, *twice).logits, expected, atol=1e-4, rtol=1e-4)
    detail = twice[0] + torch.randn(1, 3, 64, 64)
    assert (large(tokens, detail, twice[1]).logits - expected).abs().max() > 1e-3


def test_what_was_grown_and_has_learned_is_kept() -> None:
    whole, other = model(0, **LARGE), model(1, **LARGE)
    grow(whole, other)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    with pytest.raises(ValueError, match="residual blocks cannot be grown"):
        grow(whole, model(1, **{**LARGE, "stem_blocks": 3}))


def test_everything_that_was_added_learns() -> None:
    small, large = model(0), model(1, **LARGE)
    grow(small, large)
    before = {name: p.detach().clone() for name, p in large.named_parameters()}
    optimiser = torch.optim.AdamW(large.parameters(), lr=1e-2)
    for step in range(3):
        torch.manual_seed(step)
        rgb, depth = torch.randn(2, 1, 3, 64, 64)
        large(torch.tensor([[2, 1, 7, 9, 11]]), rgb, depth).logits.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    unchanged = [n for n, p in large.named_parameters() if torch.equal(p, before[n]) and "k_proj.bias" not in n]
    assert not unchanged


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text_config": {"hidden_size": 64}}, "cannot be grown"),
        ({"stem_channels": [24, 16], "stem_fold": 1}, "cannot be copied"),
        ({"shared_depth_tower": True}, "cannot be made smaller"),
        ({"stem_channels": [16], "vision_config": {"patch_size": 4}}, "cannot be grown"),
    ],
)
def test_what_cannot_be_grown_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        grow(model(0), model(1, **changes))


def test_a_depth_tower_is_not_grown_from_nothing() -> None:
    with pytest.raises(ValueError, match="only one of the two models has a depth tower"):
        grow(model(0, shared_depth_tower=True), model(1))


def test_a_stem_that_does_not_make_its_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="squares of 2 px cannot make patches of 8 px"):
        model(0, stem_fold=2)
