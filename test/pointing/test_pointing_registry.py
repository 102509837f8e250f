from __future__ import annotations

import subprocess
import sys

import pytest

from roboref_node.config import config_directories, load_yaml
from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.local_settings import LocalModelSettings
from roboref_node.pointing.openai_server import OpenAIPointer
from roboref_node.pointing.registry import available_models, build_settings, load_pointer, read_model_file
from roboref_node.pointing.roborefer_server import DepthSource, RoboReferServerPointer
from roboref_node.pointing.several_looks import SeveralLooksSettings
from roboref_node.status import Refused, Status

MODELS = {
    *("nano", "nano_careful", "nano_rft", "roborefer_2b", "roborefer_8b", "roborefer_server", "roboref_server", "qwen3_vl"),
    *("qwen25_vl", "molmo", "molmo2", "gemini", "robobrain", "robopoint"),
}


def test_every_model_has_its_file() -> None:
    assert set(available_models()) >= MODELS


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_file_describes_a_back_end_whose_settings_are_all_known(name: str) -> None:
    _, raw = read_model_file(name, {})
    backend = raw.pop("backend")
    if backend == "several_looks":
        assert build_settings(SeveralLooksSettings, raw, name).model in MODELS
    elif backend == "local":
        settings = build_settings(LocalModelSettings, raw, name)
        assert settings.fetch
    else:
        pointer = load_pointer(name)
        assert isinstance(pointer, OpenAIPointer | RoboReferServerPointer)
        assert pointer.name == name
    assert load_yaml(next(folder for folder in config_directories()) / "models" / f"{name}.yaml")["description"]


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen25_vl", "molmo", "molmo2", "gemini", "robobrain", "robopoint"])
def test_the_declared_dialect_is_the_family_s(name: str) -> None:
    pointer = load_pointer(name)
    assert isinstance(pointer, OpenAIPointer)
    assert pointer.settings.dialect is Dialect(name)
    assert (pointer.settings.resize.multiple > 1) == (name in ("qwen25_vl", "robobrain"))  # absolute pixels need a declared size


def test_overrides_reach_nested_settings() -> None:
    pointer = load_pointer("roborefer_server", depth="sensor", **{"http.url": "http://127.0.0.1:9", "http.retries": 0})
    assert isinstance(pointer, RoboReferServerPointer)
    assert pointer.settings.depth is DepthSource.SENSOR
    assert (pointer.settings.http.url, pointer.settings.http.retries) == ("http://127.0.0.1:9", 0)
    assert pointer.settings.http.read_timeout_s == 30.0


def test_a_model_file_of_one_s_own(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("backend: openai\nmodel: m\ndialect: pixels\nhttp:\n  url: http://127.0.0.1:1\n")
    pointer = load_pointer(file)
    assert isinstance(pointer, OpenAIPointer) and pointer.name == "mine" and pointer.settings.dialect is Dialect.PIXELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend: magic\n", "backend"),
        ("model: m\n", "backend"),
        ("backend: openai\nmodel: m\ndialect: esperanto\nhttp: {url: 'http://a'}\n", "dialect"),
        ("backend: openai\nmodel: m\ndialect: molmo\n", "'http' is missing"),
        ("backend: openai\nmodel: m\ndialect: molmo\nhttp: {url: 'http://a', timeout: 3}\n", "'timeout'"),
        ("backend: openai\nmodel: m\ndialect: molmo\nhttp: {url: 'http://a', retries: many}\n", "retries"),
        ("backend: openai\nmodel: m\ndialect: molmo\nhttp: {url: 'http://a', retries: true}\n", "retries"),
        ("backend: openai\nmodel: m\ndialect: molmo\nhttp: http://a\n", "http"),
        ("backend: openai\nmodel: 5\ndialect: molmo\nhttp: {url: 'http://a'}\n", "model"),
        ("backend: openai\nmodel: m\ndialect: molmo\nhttp: {url: 'http://a/v1/chat/completions'}\n", "ends before /chat/completions"),
        ("backend: openai\nmodel: m\ndialect: molmo\nmax_instruction_chars: 0\nhttp: {url: 'http://a'}\n", "max_instruction_chars"),
        ("backend: openai\nmodel: m\nmodel: n\ndialect: molmo\nhttp: {url: 'http://a'}\n", "'model' is given twice in line 3"),
        ("[1, 2]", "mapping"),
        ("!!python/object/apply:os.system ['true']", "plain YAML"),
    ],
)
def test_wrong_model_files_say_what_is_wrong(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(Refused) as refusal:
        load_pointer(file)
    assert refusal.value.status is Status.BAD_REQUEST
    assert message in refusal.value.sentence


@pytest.mark.parametrize("name", ["no_such_model", "../ur5", "/etc/passwd", ""])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        load_pointer(name)
    assert refusal.value.status is Status.BAD_REQUEST
    assert "nano" in refusal.value.sentence


def test_an_override_below_a_single_value_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        load_pointer("qwen3_vl", **{"model.name": "x"})
    assert refusal.value.status is Status.BAD_REQUEST


def test_clients_of_a_server_need_no_torch() -> None:
    code = (
        "import sys; from roboref_node.pointing.registry import load_pointer; load_pointer('roborefer_server'); load_pointer('gemini');"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
