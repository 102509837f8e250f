"""docs/models.md is what the settings say, and its examples are files that load."""

import re

import pytest
import yaml
from model_page import HEAD, PAGE, SECTIONS, render

from roboref_node.pointing.registry import build_settings

EXAMPLES = re.findall(r"```yaml\n(.*?)```", HEAD, re.DOTALL)


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == render(), "write it anew: python test/pointing/model_page.py"


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_examples_are_files_that_can_be_read(example):
    raw = yaml.safe_load(example)
    backend = raw.pop("backend")
    (kind,) = (kind for title, kind in SECTIONS.items() if title.startswith(f"`backend: {backend}`"))
    assert build_settings(kind, raw, "example")
