import pytest
from tiny_checkpoint import tiny_tokenizer

from roboref_node.model.config import RoboReferConfig
from roboref_node.model.conversation import attach_tokenizer, knows_system_messages, render, stop_token_ids, tokenize, user_content


def configuration(tiling: str, **changes) -> RoboReferConfig:
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    scales = [28, 56, 84] if tiling == "dynamic_s2" else None
    return RoboReferConfig(vision_config=tower, text_config=text, tiling=tiling, s2_scales=scales, **changes)


CASES = [
    ("dynamic", [13], [13], "find it", False, "<image>\n" * 13 + " " + "<depth>\n" * 13 + "\nfind it"),
    ("dynamic", [3], [1], "\n\nfind it\n", False, "<image>\n<image>\n<image>\n <depth>\n\nfind it"),
    ("dynamic", [2, 1], [1, 1], "q", False, "<image>\n<image>\n <depth>\n\n<image>\n <depth>\n\nq"),
    ("dynamic", [3], [], "find it", False, "<image>\n" * 3 + "find it"),
    ("dynamic", [3], [], "find it", True, "<image>\n" * 3 + "\nfind it"),
    ("dynamic", [3], [], "\nfind it ", False, "<image>\n" * 3 + "\nfind it"),
    ("dynamic", [1, 1], [1], "q", False, "<image>\n<image>\n<depth>\nq"),
    ("dynamic", [], [2], "q", False, "<depth>\n<depth>\nq"),
    ("dynamic", [1], [1], "  is <image> a word? ", False, "<image>\n <depth>\n\nis  a word?"),
    ("dynamic_s2", [17], [17], "find it", False, "<image> <depth>\nfind it"),
    ("dynamic_s2", [17], [], "find it", False, "<image>find it"),
    ("dynamic_s2", [17], [], "find it", True, "<image>\nfind it"),
    ("resize", [1], [1], "find it", False, "<image><depth>find it"),
]


@pytest.mark.parametrize(("tiling", "rgb", "depth", "text", "newline", "expected"), CASES)
def test_user_content(tiling, rgb, depth, text, newline, expected):
    assert user_content(text, rgb, depth, configuration(tiling), rgb_newline=newline) == expected


def test_depth_can_come_first():
    assert user_content("q", [1], [1], configuration("resize", media_order="depth_rgb")) == "<depth><image>q"


def test_a_depth_marker_in_the_text_survives_where_the_model_knows_no_depth():
    assert user_content("a <depth> b", [1], [], configuration("dynamic", use_depth=False)) == "<image>\na <depth> b"


def test_the_template_is_the_tokenizers_own_and_newlines_merge_across_seams():
    tokenizer = tiny_tokenizer()
    text = render(tokenizer, [("user", "<depth>\n\nq")])
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n<depth>\n\nq<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenize(tokenizer, text)
    depth = tokenizer.convert_tokens_to_ids("<depth>")
    assert ids[ids.index(depth) + 1] == tokenizer.convert_tokens_to_ids("ĊĊ")


def test_blanks_around_a_turn_are_left_out():
    tokenizer = tiny_tokenizer()
    turns = [("user", "one"), ("assistant", " an answer \n"), ("user", "\n two ")]
    assert render(tokenizer, turns) == render(tokenizer, [(role, content.strip()) for role, content in turns])


def test_without_a_template_there_is_a_clear_error():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        render(tokenizer, [("user", "q")])


def test_token_ids_are_resolved_by_string():
    tokenizer, config = tiny_tokenizer(), configuration("dynamic")
    attach_tokenizer(config, tokenizer)
    ids = tokenizer.convert_tokens_to_ids
    assert (config.image_token_id, config.depth_token_id) == (ids("<image>"), ids("<depth>"))
    assert config.newline_token_ids == [ids("Ċ")]
    assert stop_token_ids(tokenizer) == [ids("<|im_end|>")]


def test_stop_tokens_include_what_the_template_puts_behind_an_answer():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    expected = sorted(tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))
    assert stop_token_ids(tokenizer) == expected


def test_a_marker_outside_the_embedding_table_is_refused():
    config = configuration("dynamic")
    config.text.vocab_size = 262
    with pytest.raises(ValueError, match="embedding table has 262 rows"):
        attach_tokenizer(config, tiny_tokenizer())


ONE_AFTER_THE_OTHER = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
QUESTIONS_ONLY = "{% for message in messages if message['role'] == 'user' %}<|im_start|>{{ message['content'] }}{% endfor %}"
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system messages') }}{% endif %}" + QUESTIONS_ONLY


@pytest.mark.parametrize(("template", "known"), [(None, True), (ONE_AFTER_THE_OTHER, False), (QUESTIONS_ONLY, False), (REFUSES, False)])
def test_which_templates_know_system_messages(template, known):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    assert knows_system_messages(tokenizer) is known
