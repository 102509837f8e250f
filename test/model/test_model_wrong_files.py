"""One wrong value or file in a model folder: one sentence that names the file, when it is loaded and when it is converted."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from tiny_checkpoint import write_tiny_checkpoint

from roboref_node.model import checkpoint
from roboref_node.model.checkpoint import convert, load_model
from roboref_node.status import Refused, Status

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The published layout and ours."""
    root = tmp_path_factory.mktemp("sources")
    convert(write_tiny_checkpoint(root / "published", "2b"), root / "converted")
    write_tiny_checkpoint(root / "scales", "8b")
    return root


def refusal(folder, action):
    with pytest.raises(Refused) as caught:
        action()
    assert caught.value.status is Status.MODEL_UNAVAILABLE
    sentence = caught.value.sentence
    assert "\n" not in sentence and len(sentence) < 1000 and str(folder) in sentence
    return sentence


def check(source, tmp_path, breakage, expected):
    folder = tmp_path / "folder"
    shutil.copytree(source, folder)
    breakage(folder)
    sentences = {refusal(folder, lambda: load_model(folder)), refusal(folder, lambda: convert(folder, tmp_path / "new"))}
    assert len(sentences) == 1 and expected in sentences.pop()
    assert not (tmp_path / "new").exists()


def change(file, path, value):
    """Set a key, or one of a part with a dot in the path."""
    content = json.loads(file.read_text())
    *parts, key = path.split(".")
    target = content
    for part in parts:
        target = target[part]
    target[key] = value
    file.write_text(json.dumps(content))


CONVERTED = [
    ("tiling", "x", "tiling is 'x', expected one of resize"),
    ("tiling", [], "tiling is []"),
    ("projector_type", "x", "projector_type is 'x'"),
    ("select_layer", 5, "select_layer is 5, expected a whole number from -4 to -1"),
    ("select_layer", "x", "select_layer is 'x'"),
    ("max_tiles", 0, "max_tiles is 0, expected a whole number from 1 to 128"),
    ("max_tiles", "a", "max_tiles is 'a'"),
    ("max_tiles", NAN, "max_tiles is nan"),
    ("max_tiles", 10**9, "max_tiles is 1000000000"),
    ("min_tiles", 13, "min_tiles is 13, expected a whole number from 1 to 12"),
    ("vision_config", [], "`vision_config` must be a `dict`"),
    ("text_config.hidden_size", "x", "'hidden_size' expected int, got str"),
    ("text_config.num_attention_heads", 0, "text_config.num_attention_heads is 0"),
    ("text_config.num_attention_heads", 32, "makes heads of 1; expected an even width"),
    ("text_config.num_key_value_heads", 3, "text_config.num_key_value_heads is 3"),
    ("vision_config.num_attention_heads", 5, "vision_config.hidden_size is 24, expected a multiple of the 5"),
    ("text_config.hidden_act", "evil", "text_config.hidden_act is 'evil'"),
    ("vision_config.image_size", [56, 56], "vision_config.image_size is [56, 56]"),
    ("depth_config.patch_size", 0, "depth_config.patch_size is 0"),
    ("dtype", "evil", "'evil'"),
    ("image_mean", [0.5], "image_mean is [0.5], expected three numbers"),
    ("image_mean", None, "image_mean is None"),
    ("image_std", [0.5, 0, 0.5], "image_std is 0, expected a number above 0"),
    ("depth_std", ["a"] * 3, "depth_std is ['a', 'a', 'a']"),
    ("image_rescale", None, "image_rescale is None"),
    ("image_rescale", NAN, "image_rescale is nan"),
    ("image_token", "", "image_token is ''"),
    ("image_token_id", None, "image_token_id is None, but the tokenizer has 263"),
    ("image_token_id", 5, "image_token_id is 5, but the tokenizer has 263"),
    ("stop_token_ids", None, "stop_token_ids is None, expected ids of the 266 tokens"),
    ("stop_token_ids", [10**9], "stop_token_ids is [1000000000]"),
    ("newline_token_ids", None, "newline_token_ids is None"),
    ("newline_token_ids", [266], "newline_token_ids is [266]"),
    ("media_newline", "x", "media_newline is 'x', expected true or false"),
    ("max_sequence", "x", "max_sequence is 'x'"),
    ("stem", "conv", "cannot make patches of 14 px"),
]


@pytest.mark.parametrize(("path", "value", "expected"), CONVERTED)
def test_a_wrong_value_of_a_converted_folder(sources, tmp_path, path, value, expected):
    check(sources / "converted", tmp_path, lambda folder: change(folder / "config.json", path, value), expected)


PUBLISHED = [
    ("config.json", "max_tiles", INFINITY, "max_tiles is inf, expected a whole number"),
    ("config.json", "min_tiles", [1], "min_tiles is [1]"),
    ("config.json", "mm_vision_select_layer", "x", "mm_vision_select_layer is 'x', expected a whole number"),
    ("config.json", "image_encoder", "[]", "expected a BasicImageEncoder"),
    ("config.json", "enable_depth", "no", "enable_depth is 'no', expected one of True, False"),
    ("llm/config.json", "hidden_size", "x", "'hidden_size' expected int, got str"),
    ("llm/config.json", "hidden_size", 0, "hidden_size is 0"),
    ("llm/config.json", "hidden_act", "evil", "hidden_act is 'evil'"),
    ("llm/config.json", "torch_dtype", "evil", "'evil'"),
    ("llm/config.json", "rope_scaling", {"type": "yarn"}, "factor"),
    ("llm/config.json", "rope_scaling", {"rope_type": "nonsense"}, "rope_type is 'nonsense', expected one of default"),
    ("llm/config.json", "rope_theta", "x", "rope_theta"),
    ("llm/config.json", "rms_norm_eps", NAN, "rms_norm_eps is nan"),
    ("llm/config.json", "head_dim", 7, "`head_dim`=7"),
    ("llm/config.json", "head_dim", None, "head_dim is None, expected a whole number"),
    ("llm/config.json", "sliding_window", 0, "sliding_window is 0, expected a whole number"),
    ("vision_tower/config.json", "num_attention_heads", 0, "num_attention_heads is 0"),
    ("depth_tower/config.json", "patch_size", 0, "patch_size is 0"),
    ("vision_tower/config.json", "model_type", ["siglip"], "model_type is ['siglip']"),
    ("vision_tower/preprocessor_config.json", "image_mean", [0.5], "image_mean is [0.5]"),
    ("depth_tower/preprocessor_config.json", "image_std", ["a"] * 3, "image_std is ['a', 'a', 'a']"),
    ("depth_tower/preprocessor_config.json", "rescale_factor", None, "rescale_factor is None"),
    ("llm/tokenizer_config.json", "model_max_length", "x", "model_max_length is 'x'"),
]


@pytest.mark.parametrize(("file", "key", "value", "expected"), PUBLISHED)
def test_a_wrong_value_of_a_published_checkpoint(sources, tmp_path, file, key, value, expected):
    check(sources / "published", tmp_path, lambda folder: change(folder / file, key, value), f"{file}")
    shutil.rmtree(tmp_path / "folder")
    check(sources / "published", tmp_path, lambda folder: change(folder / file, key, value), expected)


def test_projectors_of_an_impossible_type(sources, tmp_path):
    def breakage(folder):
        for part in ("mm_projector", "depth_projector"):
            change(folder / part / "config.json", "mm_projector_type", ["x"])

    check(sources / "published", tmp_path, breakage, "mm_projector_type is ['x']")


@pytest.mark.parametrize(("key", "value"), [("s2_scales", "56,0"), ("s2_scales", [INFINITY]), ("s2_resize_output_to_scale_idx", 3)])
def test_impossible_scales(sources, tmp_path, key, value):
    expected = "s2_output_scale is 3" if isinstance(value, int) else "s2_scales is"
    check(sources / "scales", tmp_path, lambda folder: change(folder / "config.json", key, value), expected)


TOKENIZERS = [
    ("eos_token", None, "no end-of-sequence token"),
    ("eos_token", 7, "eos_token"),
    ("added_tokens_decoder", [], "added_tokens_decoder of tokenizer_config.json is no mapping"),
    ("added_tokens_decoder", {"x": {"content": "<image>"}}, "added_tokens_decoder of tokenizer_config.json is no mapping"),
    ("chat_template", "{% if %}", "TemplateSyntaxError"),
    ("chat_template", "{{ raise_exception('not this') }}", "TemplateError: not this"),
    ("chat_template", "hello", "the chat template does not write what the assistant said"),
    ("chat_template", "{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", "writes one '<image>' 0 times"),
]


@pytest.mark.parametrize(("key", "value", "expected"), TOKENIZERS)
def test_a_wrong_tokenizer(sources, tmp_path, key, value, expected):
    def breakage(folder):
        if key == "chat_template":
            (folder / "llm" / "chat_template.jinja").unlink()
        change(folder / "llm" / "tokenizer_config.json", key, value)

    check(sources / "published", tmp_path, breakage, expected)


@pytest.mark.parametrize("layout", ["published", "converted"])
def test_a_tokenizer_with_more_tokens_than_the_embedding_table_has_rows(sources, tmp_path, layout):
    def breakage(folder):
        file = (folder / "llm" if layout == "published" else folder) / "tokenizer.json"
        raw = json.loads(file.read_text())
        raw["added_tokens"].append({**raw["added_tokens"][-1], "id": raw["added_tokens"][-1]["id"] + 1, "content": "<more>"})
        file.write_text(json.dumps(raw))

    check(sources / layout, tmp_path, breakage, "token '<more>' has id 266, but the embedding table has 266 rows")


@pytest.mark.parametrize("template", ["{% if %}", "hello", ""])
def test_a_wrong_template_of_a_converted_folder(sources, tmp_path, template):
    check(sources / "converted", tmp_path, lambda folder: (folder / "chat_template.jinja").write_text(template), "chat template")


NO_JSON = {"deep": "[" * 100_000, "a long number": '{"model_type": ' + "1" * 5000 + "}", "a list": "[]"}


@pytest.mark.parametrize("file", ["config.json", "llm/config.json", "llm/tokenizer.json", "mm_projector/config.json"])
@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_object(sources, tmp_path, file, text):
    check(sources / "published", tmp_path, lambda folder: (folder / file).write_text(text), f"{file} ")


DEPTHS = [
    ("published", "llm/config.json", "num_hidden_layers", 900, "the configuration has 900 layers llm.model.layers.*, the files hold 2"),
    ("published", "llm/config.json", "num_hidden_layers", 10**9, "num_hidden_layers is 1000000000, expected a whole number from 1 to 1000"),
    ("published", "depth_tower/config.json", "num_hidden_layers", 900, "has 899 layers depth_tower.layers.*, the files hold 3"),
    ("converted", "config.json", "vision_config.num_hidden_layers", 900, "has 899 layers vision_tower.layers.*, the files hold 2"),
    ("converted", "config.json", "text_config.num_hidden_layers", 10**9, "text_config.num_hidden_layers is 1000000000"),
]


@pytest.mark.parametrize(("layout", "file", "path", "layers", "expected"), DEPTHS)
def test_layers_are_counted_before_a_model_is_laid_out(sources, tmp_path, layout, file, path, layers, expected, monkeypatch):
    monkeypatch.setattr(checkpoint, "RoboReferModel", lambda config: pytest.fail("laid out all the same"))
    check(sources / layout, tmp_path, lambda folder: change(folder / file, path, layers), expected)


def test_a_missing_tensor_names_the_folder(sources, tmp_path):
    def breakage(folder):
        tensors = load_file(folder / "llm" / "model.safetensors")
        del tensors["model.norm.weight"]
        save_file(tensors, folder / "llm" / "model.safetensors")

    check(sources / "published", tmp_path, breakage, f"{tmp_path / 'folder'}: tensor llm.model.norm.weight is missing")


def test_a_shard_with_an_impossible_name(sources, tmp_path):
    def breakage(folder):
        (folder / "llm" / "model.safetensors").unlink()
        (folder / "llm" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x" * 300}}))

    check(sources / "published", tmp_path, breakage, "cannot be read as safetensors")
