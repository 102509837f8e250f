"""Decoding from a cache of fixed size against the stock forward pass of the same weights."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from roboref_node.model.decode_step import PART
from roboref_node.model.decoding import GRAPH_WIDTHS, FixedDecoder, GrowingDecoder, padded_width, read_prompts
from roboref_node.model.lean_layers import LeanLayers, is_plain

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
HEADS = {"one head each": (4, 4), "two groups": (6, 2), "one for all": (4, 1), "wider than their share": (4, 2, 3, 24)}


def config_of(heads=6, kv_heads=2, layers=3, head_dim=None, **changes):
    changes |= {} if head_dim is None else {"head_dim": head_dim}
    sizes = {"hidden_size": 16 * heads, "intermediate_size": 96, "vocab_size": 300, "num_hidden_layers": layers}
    return Qwen2Config(**sizes, num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=4096, **changes)


@torch.inference_mode(False)
def build(*shape, device="cpu"):
    """Weights large enough that attention is no average, with the biases that published models have."""
    torch.manual_seed(0)
    llm = Qwen2ForCausalLM(config_of(*shape)).eval().requires_grad_(False)
    for name, parameter in llm.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if "norm" in name or "bias" in name else 1.5 * parameter.shape[-1] ** -0.5)
    return llm.to(device)


def prefilled(llm, lengths, seed=0):
    """One prefill of a padded batch."""
    longest = max(lengths)
    embeds = torch.randn(len(lengths), longest, llm.config.hidden_size, generator=torch.Generator().manual_seed(seed))
    valid = torch.arange(longest)[None] >= longest - torch.tensor(lengths)[:, None]
    decoder = GrowingDecoder(llm, DynamicCache())
    decoder.feed(embeds.to(llm.device, llm.dtype), valid.to(llm.device))
    return decoder


def prefilled_alone(llm, lengths, seed=0):
    """The same, one prefill per row."""
    longest = max(lengths)
    embeds = torch.randn(len(lengths), longest, llm.config.hidden_size, generator=torch.Generator().manual_seed(seed))
    decoders = [GrowingDecoder(llm, DynamicCache()) for _ in lengths]
    for row, (decoder, length) in enumerate(zip(decoders, lengths, strict=True)):
        decoder.feed(embeds[row : row + 1, longest - length :].to(llm.device, llm.dtype), None)
    return decoders


def columns(llm, rows, width, seed):
    """Tokens, and which of them are real: each row has one at least."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, llm.config.vocab_size, (rows, width), generator=draw)
    valid = torch.arange(width)[None] >= torch.randint(0, width, (rows, 1), generator=draw)
    return ids.to(llm.device), valid.to(llm.device)


def fixed(llm, prefills, batch, length=2 * PART):
    decoder = FixedDecoder(LeanLayers(llm), batch, length, graphs=llm.device.type == "cuda")
    decoder.load(prefills)
    return decoder


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("alone", [False, True])
@torch.inference_mode()
def test_steps_are_those_of_the_stock_model(heads, alone, device):
    llm, lengths = build(*HEADS[heads], device=device), (40, 7, 23)
    stock = prefilled(llm, lengths)
    quick = fixed(llm, prefilled_alone(llm, lengths) if alone else [stock], batch=4)
    for seed, width in enumerate((1, 2, 3, 1, 4, 7, 1)):
        ids, valid = columns(llm, 3, width, seed)
        expected = stock.step(ids, valid)
        torch.testing.assert_close(quick.step(ids, valid), expected, atol=2e-4, rtol=1e-4)
    assert float(expected.std()) > 0.3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("heads", HEADS)
@torch.inference_mode()
def test_prompts_are_read_as_by_the_stock_model(heads, device):
    llm = build(*HEADS[heads], device=device)
    embeds = torch.randn(2, 50, llm.config.hidden_size, generator=torch.Generator().manual_seed(0)).to(device)
    before = embeds.clone()
    stock = GrowingDecoder(llm, DynamicCache())
    quick, logits = read_prompts(LeanLayers(llm), embeds)
    torch.testing.assert_close(logits, stock.feed(embeds, None), atol=2e-4, rtol=1e-4)
    assert torch.equal(embeds, before)
    for ours, theirs in zip(quick.cache.layers, stock.cache.layers, strict=True):
        torch.testing.assert_close((ours.keys, ours.values), (theirs.keys, theirs.values), atol=1e-4, rtol=1e-4)
    ids, _ = columns(llm, 2, 1, 0)
    torch.testing.assert_close(quick.step(ids, None), stock.step(ids, None), atol=2e-4, rtol=1e-4)


@torch.inference_mode()
def test_what_an_earlier_question_left_is_not_seen():
    llm = build()
    quick = fixed(llm, [prefilled(llm, (200, 200))], batch=2)
    quick.step(*columns(llm, 2, 4, 0))
    stock = prefilled(llm, (5, 9), seed=1)
    quick.load([stock])
    ids, valid = columns(llm, 2, 2, 1)
    torch.testing.assert_close(quick.step(ids, valid), stock.step(ids, valid), atol=2e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_content_goes_on_in_a_larger_cache():
    llm = build()
    stock = prefilled(llm, (PART - 2, 30))
    quick = fixed(llm, [stock], batch=2, length=PART)
    assert quick.room == 2
    ids, valid = columns(llm, 2, 2, 0)
    stock.step(ids, valid), quick.step(ids, valid)
    with pytest.raises(ValueError, match="257 tokens do not fit a cache of 256"):
        quick.step(ids[:, :1], None)
    larger = fixed(llm, [quick.unload(2)], batch=2)
    for seed in (1, 2):
        ids, valid = columns(llm, 2, 3, seed)
        torch.testing.assert_close(larger.step(ids, valid), stock.step(ids, valid), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@torch.inference_mode()
def test_bfloat16_is_no_coarser_than_the_stock_model(device):
    """Scores in bfloat16 would be: those of the published models reach hundreds."""
    exact = build(device=device)
    with torch.inference_mode(False):
        rough = copy.deepcopy(exact).to(torch.bfloat16)
    error = {"stock": 0.0, "quick": 0.0}
    for seed in range(6):
        reference = prefilled(exact, (300,), seed)
        cache = DynamicCache()
        for index, layer in enumerate(reference.cache.layers):
            cache.update(layer.keys.bfloat16(), layer.values.bfloat16(), index)
        stock = GrowingDecoder(rough, cache)
        quick = fixed(rough, [stock], batch=1)
        ids, _ = columns(exact, 1, 1, seed)
        truth = reference.step(ids, None)
        for name, decoder in (("quick", quick), ("stock", stock)):
            error[name] += float((decoder.step(ids, None).float() - truth).norm() / truth.norm())
    assert 0.0 < error["quick"] < 1.2 * error["stock"]


class Quantized(torch.nn.Linear):
    """Stands for all whose weights are no plain numbers: they are called, not joined."""


@torch.inference_mode()
def test_projections_that_cannot_be_joined_are_called():
    llm, joined = build(), build()
    for layer in llm.model.layers:
        for part in (*layer.self_attn.children(), *layer.mlp.children()):
            if isinstance(part, torch.nn.Linear):
                part.__class__ = Quantized
    prefill = prefilled(llm, (40, 7))
    ids, valid = columns(llm, 2, 3, 0)
    steps = [fixed(model, [prefill], batch=2).step(ids, valid) for model in (llm, joined)]
    torch.testing.assert_close(*steps, atol=2e-4, rtol=1e-4)
    assert llm.model.layers[0].self_attn.q_proj.weight.storage_offset() == llm.model.layers[0].self_attn.k_proj.weight.storage_offset() == 0


def test_joined_weights_take_no_memory_and_stay_those_of_the_model(tmp_path):
    llm = build()
    before = {name: parameter.clone() for name, parameter in llm.state_dict().items()}
    objects = dict(llm.named_parameters())
    LeanLayers(llm)
    attention = llm.model.layers[0].self_attn
    place = attention.q_proj.weight.untyped_storage().data_ptr()
    assert {part.weight.untyped_storage().data_ptr() for part in (attention.q_proj, attention.k_proj, attention.v_proj)} == {place}
    LeanLayers(llm)
    assert attention.q_proj.weight.untyped_storage().data_ptr() == place, "joined once"
    assert all(parameter is objects[name] for name, parameter in llm.named_parameters())
    llm.save_pretrained(tmp_path)
    for state in (llm.state_dict(), Qwen2ForCausalLM.from_pretrained(tmp_path).state_dict()):
        assert all(torch.equal(state[name], value) for name, value in before.items())


class Computed(TorchDispatchMode):
    """Counts the operations that compute; on a GPU each is a kernel at least."""

    VIEWS = ("view", "transpose", "permute", "expand", "unsqueeze", "select", "slice", "t", "_unsafe_view", "alias", "unbind", "detach")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in self.VIEWS
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_a_step_is_few_operations(monkeypatch):
    """On a GPU the time of a token depends on their number more than on the size of the model."""
    # One kernel on a GPU, seven operations elsewhere.
    monkeypatch.setattr(torch.nn.functional, "rms_norm", lambda x, shape, weight, epsilon: x * weight)
    counts = {"stock": [], "quick": []}
    for layers in (2, 3):
        llm = build(6, 2, layers).to(torch.bfloat16)
        stock = prefilled(llm, (30,))
        for name, decoder in (("quick", fixed(llm, [stock], batch=1)), ("stock", stock)):
            with Computed() as computed:
                decoder.step(torch.zeros(1, 1, dtype=torch.int64), None)
            counts[name].append(computed.count)
    per_layer = {name: after - before for name, (before, after) in counts.items()}
    assert per_layer["quick"] <= 24 < 40 <= per_layer["stock"], per_layer


@torch.inference_mode()
def test_what_is_recorded_for_a_gpu_reads_nothing_back():
    """A step that asks the host for a value cannot be recorded; on the meta device there is no value to read."""
    with torch.inference_mode(False), torch.device("meta"):
        empty = Qwen2ForCausalLM(config_of())
    prefill = GrowingDecoder(empty, DynamicCache())
    prefill.feed(torch.empty(2, 30, empty.config.hidden_size, device="meta"), None)
    decoder = fixed(empty, [prefill], batch=2)
    for width in GRAPH_WIDTHS:
        ids = torch.zeros(2, width, dtype=torch.int64, device="meta")
        assert decoder.step(ids, None).shape == (2, empty.config.vocab_size)


def test_slots_of_a_step():
    assert [padded_width(width) for width in range(1, 10)] == [1, 2, 4, 4, 5, 6, 8, 8, 9]
    with pytest.raises(ValueError, match="length is 300, it must be a multiple of 256"):
        FixedDecoder(LeanLayers(build()), 1, 300, graphs=False)


def test_models_whose_steps_differ_keep_the_stock_one():
    assert is_plain(config_of())
    assert not is_plain(config_of(use_sliding_window=True, sliding_window=64, max_window_layers=1))
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert not is_plain(config_of(rope_parameters=rope))
