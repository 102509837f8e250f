"""The files that the pages show are files that the programs read, and their Python is Python that runs so far."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_pages import PAGES, ROOT
from PIL import Image

from roboref_node.plain_yaml import parse_yaml
from roboref_node.replay import load_questions
from roboref_node.replay.golden import Tolerances


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_questions_of_a_replay_are_read(tmp_path: Path) -> None:
    (example,) = examples("README.md", "yaml")
    (tmp_path / "q.yaml").write_text(example, encoding="utf-8")
    first, second = load_questions(tmp_path / "q.yaml")
    assert (first.at_s, first.instruction) == (1.5, "pick up the red cup")
    assert (second.stamp_ns, second.role, second.pixel) == (1_700_000_002_000_000_000, "place", (358.0, 286.0))


def test_the_tolerances_of_a_golden_file_are_those_of_the_program() -> None:
    told = next(line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("Answers are the same"))
    is_set = Tolerances()
    assert f"within {is_set.pixel_px:g} px" in told
    assert f"within {1e3 * is_set.position_m:g} mm" in told and f"within {is_set.angle_deg:g}°" in told


def test_the_rewards_of_a_recipe_are_read() -> None:
    pytest.importorskip("torch")
    from roboref_node.training.rewards import RewardMixture

    (example,) = examples("docs/training.md", "yaml")
    assert len(RewardMixture.from_mapping(parse_yaml(example)["rewards"]).terms) == 4


def test_recorded_questions_for_training_are_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from roboref_node.training.rft_questions import RecordedQuestions

    (example,) = examples("docs/training.md", "json")
    (tmp_path / "records.json").write_text(example, encoding="utf-8")
    for name in re.findall(r'"(\w+\.png)"', example):
        Image.fromarray(np.full((4, 5, 3), 255, np.uint8)).save(tmp_path / name)
    drawn = RecordedQuestions(tmp_path / "records.json", 0).draw(0, 0, 1)
    assert drawn.texts == ("Point to the cup left of the blue box.",)


def test_the_python_page_is_one_program_that_prints_what_it_shows() -> None:
    program = "\n".join(examples("docs/python.md", "python"))
    shown = "".join(examples("docs/python.md", "text"))
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=200.0)
    assert ran.returncode == 0, ran.stderr
    number = re.compile(r"-?\d+(?:\.\d+)?")
    assert number.sub("#", ran.stdout) == number.sub("#", shown)
    # Another graphics driver draws other noise into the picture.
    told, found = ([float(n) for n in number.findall(text)] for text in (shown, ran.stdout))
    assert found == pytest.approx(told, rel=0.2, abs=0.03), ran.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python_and_imports_what_there_is(page: Path) -> None:
    for example in examples(str(page.relative_to(ROOT)), "python"):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("roboref_node"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page.name}: {ast.unparse(node)}"
