"""YAML files mean what their writers meant, or are refused with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from roboref_node.config import load_yaml
from roboref_node.plain_yaml import parse_yaml
from roboref_node.status import Refused


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("-2E3", -2000.0), (".5e1", 5.0), ("1.e2", 100.0), ("1.0e+3", 1000.0), ("12", 12), ("e3", "e3"), ("1e", "1e")],
)  # fmt: skip
def test_numbers_with_an_exponent_are_numbers_as_for_ros(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "b:\n  a: 1\n  a: 1\n", "b: [{c: 1}, {a: 1,\n\n a: 2}]"])
def test_a_key_given_twice_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the key 'a' is given twice in line 3$"):
        parse_yaml(text)


def test_a_merged_key_may_be_replaced() -> None:
    assert parse_yaml("base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  a: 3\n")["other"] == {"a": 3, "b": 2}


def test_the_first_of_several_documents() -> None:
    assert parse_yaml("a: 1\n---\nb: 2\n", first=True) == {"a": 1}
    with pytest.raises(ValueError, match="single document"):
        parse_yaml("a: 1\n---\nb: 2\n")


@pytest.mark.parametrize("text", ["a: [1", "\ta: 1", "a: 2026-13-45", "a: \x01", "!!python/object/apply:os.getcwd []", "[" * 5000])
def test_what_is_no_plain_yaml_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(Refused, match="not plain YAML: ") as refusal:
        load_yaml(tmp_path / "file.yaml")
    assert "\n" not in refusal.value.sentence


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("# nothing yet\n")
    with pytest.raises(Refused, match="holds nothing"):
        load_yaml(tmp_path / "file.yaml")
