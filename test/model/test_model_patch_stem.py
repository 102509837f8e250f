import pytest
import torch
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipVisionEmbeddings

from roboref_node.model.patch_stem import PatchStem

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("image", "patch"), [(56, 14), (60, 14), (64, 16)])
def test_tokens_are_those_of_the_convolution(image, patch, device):
    """In float32 also where a GPU's convolutions would be in TensorFloat-32, which is off by a thousandth."""
    torch.manual_seed(0)
    config = SiglipVisionConfig(hidden_size=48, image_size=image, patch_size=patch)
    stock, ours = SiglipVisionEmbeddings(config), PatchStem(config).to(device)
    ours.load_state_dict(stock.state_dict())
    tiles = torch.rand(3, 3, image, image) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours(tiles.to(device)).cpu(), stock(tiles), atol=1e-5, rtol=0)
