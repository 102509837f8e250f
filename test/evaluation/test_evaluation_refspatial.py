"""RefSpatial-Bench: the quirks of the published scorer one by one, the strict mode, the layouts and the command."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from refspatial_folder import HEIGHT, WIDTH, write_answers, write_parquet, write_raw

from roboref_node import cli
from roboref_node.evaluation.refspatial_data import load_refspatial
from roboref_node.evaluation.refspatial_official import Family, Outcome, family_of, score_answer, score_official
from roboref_node.evaluation.refspatial_strict import score_strict
from roboref_node.pointing.dialect import Dialect
from roboref_node.status import Refused

MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[12:36, 16:48] = True  # the middle half of each side
MASK[0, 0] = True


def accuracy(text: object, family: Family = Family.RELATIVE) -> float:
    score = score_answer(text, MASK, family)
    assert score.outcome is Outcome.SCORED, score
    return score.accuracy


def outcome(text: object, family: Family = Family.RELATIVE) -> Outcome:
    return score_answer(text, MASK, family).outcome


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[(0.5, 0.5)]", 1.0),
        ("[(0.5, 0.5), (0.9, 0.9)]", 0.5),
        ("[(0.5, 0.5), (0.5, 0.5), (0.9, 0.9)]", 2 / 3),  # repeated points count repeatedly
        ("nothing there", 0.0),
        ("", 0.0),
        ("(20, 20)", 1.0),  # no dot: pixels
        ("(1, 0)", 0.0),
        ("(0, 0)", 1.0),
        ("(0.5, 0)", 0.0),  # one dot makes both relative: pixel (32, 0)
        ("(0.5,\n\t0.5)", 1.0),
        ("( 0.5, 0.5)", 0.0),  # blank after the bracket
        ("(0.5 , 0.5)", 0.0),  # blank before the comma
        ("(.5, .5)", 0.0),
        ("[0.5, 0.5]", 0.0),
        ("(+0.5, 0.5)", 1.0),
        ("(-0.001, -0.001)", 1.0),  # truncated towards zero
        ("(1.0, 0.5), (0.5, 0.5)", 0.5),  # 1.0 is outside and stays in the denominator
        ("(0.5, 0.5, 0.5)", 0.0),  # neither a pair nor a box
        ("(0.25, 0.25, 0.75, 0.75)", 1.0),
        ("(0.0, 0.25, 0.5, 0.75)", 0.5),
        ("(0.25, 0.25, 0.75, 0.75), (0.9, 0.9)", 32 * 24 / (32 * 24 + 1)),  # a box outweighs points
        ("(0, 0, 1, 1)", (32 * 24 + 1) / (64 * 48)),  # scaled without a dot
        ("(0.5, 0.5, 0.5, 0.5)", 0.0),  # no pixel
        ("(٠.٥, ０.５)", 1.0),  # digits of other scripts
    ],
)
def test_relative_family(text: str, expected: float) -> None:
    assert accuracy(text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("text", [None, 5, ["(0.5, 0.5)"], "(0.5, 0.5, 0.4, 0.9)", "(1" + "0" * 400 + ".0, 1)", "(" + "1" * 5000 + ", 1)"])
def test_what_the_parser_chokes_on_is_dropped(text: object) -> None:
    assert outcome(text) is Outcome.DROPPED


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("(18446744073709551616, 1)", Family.RELATIVE),
        ("(9223372036854775808, 1)", Family.RELATIVE),
        ("(99999999999999999999.5, 0.5)", Family.RELATIVE),
        ("(20.0, 20)", Family.ABSOLUTE),
        ("(20, 20), (0.5, 0.5)", Family.ABSOLUTE),
        ('x1="999999999999999999999999" y1="5"', Family.MOLMO),
    ],
)
def test_what_ends_the_run_with_an_index_error(text: str, family: Family) -> None:
    assert outcome(text, family) is Outcome.CRASH


def test_two_numbers_of_64_bits_without_sign_are_only_outside() -> None:
    assert accuracy("(9223372036854775808, 9223372036854775808)") == 0.0


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("(9223372036854775808, 5, 9223372036854775809, 9)", Family.ABSOLUTE),
        ("(9223372036854775808, 5, 9223372036854775808, 9), (20, 20)", Family.ABSOLUTE),
        ("(-9223372036854775809, 5, -9223372036854775809, 5)", Family.ABSOLUTE),
        ("(500000000000000000.0, 0, 500000000000000000.0, 1)", Family.RELATIVE),
    ],
)
def test_a_corner_that_numpy_cannot_add_drops_the_answer_even_of_an_empty_box(text: str, family: Family) -> None:
    adds_as_floats = np.lib.NumpyVersion(np.__version__) < "2.0.0"
    assert (outcome(text, family) is Outcome.DROPPED) is not adds_as_floats


def test_huge_boxes_take_neither_memory_nor_time() -> None:
    started = time.perf_counter()
    score = score_answer("(10, 20, 30, 40)", np.ones((480, 640), bool), Family.RELATIVE)
    assert (score.outcome, score.accuracy, score.points, score.huge_box) == (Outcome.SCORED, 0.0, 20 * 640 * 20 * 480, True)
    score = score_answer("(0, 0, 30, 40)", np.ones((480, 640), bool), Family.RELATIVE)
    assert score.accuracy == pytest.approx(1 / (30 * 40))
    assert outcome("(0, 0, 99999999999, 99999999999)") is Outcome.DROPPED  # no array can be that large
    assert time.perf_counter() - started < 0.5


def test_a_pattern_that_backtracks_in_the_script_takes_linear_time() -> None:
    started = time.perf_counter()
    assert accuracy("(" + "12345," * 20_000) == 0.0
    assert time.perf_counter() - started < 1.0


def test_absolute_family() -> None:
    assert accuracy("(20, 20)", Family.ABSOLUTE) == 1.0
    assert accuracy("(16, 12, 48, 36)", Family.ABSOLUTE) == 1.0
    assert outcome("(0.25, 0.25, 0.75, 0.75)", Family.ABSOLUTE) is Outcome.DROPPED
    assert outcome("(0.5, 0.5, 0.4, 0.4) (0.5, 0.5)", Family.ABSOLUTE) is Outcome.DROPPED  # dropped before it can crash


def test_molmo_family_needs_indices() -> None:
    assert accuracy('<points x1="50" y1="50.0" x2="1" y2="99">', Family.MOLMO) == 0.5
    assert accuracy('<point x="50" y="50">', Family.MOLMO) == 0.0
    assert accuracy('<points x1="100" y1="50">', Family.MOLMO) == 0.0


def test_gemini_family() -> None:
    assert accuracy('```json\n[{"point": [500, 500], "label": "a"}, {"point": [990, 10]}]\n```', Family.GEMINI) == 0.5
    assert accuracy('```json\n[{"point": [10, 500]}]\n```', Family.GEMINI) == 0.0  # row first
    assert accuracy('[{"point": [500, 500]}]', Family.GEMINI) == 0.0  # no fence
    assert accuracy("```json\n[{broken\n```", Family.GEMINI) == 0.0
    assert accuracy('```\n{"a": 1}\n```', Family.GEMINI) == 0.0
    for broken in ('{"point": [500, 500]}', "5", "[5]", '[{"point": ["a", 1]}]', '[{"point": [NaN, 1]}]', "[null]"):
        assert outcome(f"```\n{broken}\n```", Family.GEMINI) is Outcome.DROPPED, broken


def test_family_is_chosen_by_the_first_word_that_fits() -> None:
    assert family_of("RoboRefer-2B-SFT-Depth") is Family.RELATIVE
    assert family_of("Qwen-as-Claude") is Family.RELATIVE
    assert family_of("Gemini25Pro") is Family.GEMINI
    assert family_of("nano") is None


def test_dropped_answers_leave_the_mean_and_a_crash_leaves_no_figure() -> None:
    score = score_official(["(0.5, 0.5)", "none", None], lambda _: MASK, Family.RELATIVE)
    assert (score.accuracy, score.evaluated, score.total) == (0.5, 2, 3)
    score = score_official(["(0.5, 0.5)", "(9223372036854775808, 1)", "(0.5, 0.5)"], lambda _: MASK, Family.RELATIVE)
    assert math.isnan(score.accuracy) and score.crashed_at == 1
    assert math.isnan(score_official([None], lambda _: MASK, Family.RELATIVE).accuracy)


def test_strict_mode_counts_everything_and_clamps_the_last_pixel(tmp_path: Path) -> None:
    samples = load_refspatial(write_raw(tmp_path, {"Location": 7}))["Location"].samples
    texts = {"0": "[(0.1, 0.5)]", "1": None, "2": "garbage (1, 2", "3": "[(30, 20)]", "4": "[]", "6": "[(1.0, 1.0)]"}
    score = score_strict(texts, samples, Dialect.ROBOREFER)
    reasons = {key: sample.reason for key, sample in score.samples.items()}
    assert reasons == {"0": "", "1": "NO_ANSWER", "2": "UNPARSEABLE", "3": "OUT_OF_IMAGE", "4": "NOT_FOUND", "5": "NO_ANSWER", "6": ""}
    assert score.accuracy == pytest.approx(2 / 7)  # mask 6 reaches the right edge
    assert score.parse_rate == pytest.approx(3 / 7) and score.answered == 5


def run_eval(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = cli.main(["eval", "refspatial", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_command_official_and_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_raw(tmp_path / "bench", {"Location": 3, "Placement": 2})
    location = write_answers(tmp_path / "Location.jsonl", ["(0.1, 0.5)", None, "(0.9, 0.9)"])
    placement = write_answers(tmp_path / "whatever.jsonl", ["(0.1, 0.5)", "(0.2, 0.5)"], prompt="x", category="Placement")
    common = ("--data", str(data), "--answers", str(location), str(placement), "--family", "roborefer")
    code, result = run_eval(capsys, *common)
    assert code == 0
    assert (result["tasks"]["Location"]["accuracy"], result["tasks"]["Location"]["evaluated"]) == (0.5, 2)
    assert result["tasks"]["Location"]["dropped"] == ["1"] and result["tasks"]["Location"]["crash"] is None
    assert result["tasks"]["Placement"]["accuracy"] == 1.0 and result["macro"] == 0.75
    assert result["tasks"]["Location"]["steps"] == {"1": {"accuracy": 1.0, "n": 1}, "3": {"accuracy": 0.0, "n": 1}}
    code, result = run_eval(capsys, *common, "--mode", "strict")
    assert code == 0 and result["tasks"]["Location"]["accuracy"] == pytest.approx(1 / 3)
    assert result["tasks"]["Location"]["refused"] == {"NO_ANSWER": 1}


def test_command_reports_the_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_raw(tmp_path / "bench", {"Location": 2})
    answers = write_answers(tmp_path / "a.jsonl", ["(20, 20)", "(20.5, 20)"], model_id="Qwen25VL")
    code, result = run_eval(capsys, "--data", str(data), "--answers", str(answers))
    assert code == 0 and result["family"] == "Qwen" and result["macro"] is None
    assert result["tasks"]["Location"]["accuracy"] is None
    assert result["tasks"]["Location"]["crash"]["error"] == "IndexError"
    assert result["tasks"]["Location"]["crash"]["question_id"] == "1"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: (d / "bench" / "Location" / "question.json").write_text("{}"), "not a list"),
        (lambda d: (d / "bench" / "Location" / "mask" / "0.png").write_text("no picture"), "mask"),
        (lambda d: (d / "a.jsonl").write_text("[]\n"), "line 1"),
        (lambda d: (d / "a.jsonl").write_text("{\n"), "line 1"),
        (lambda d: (d / "a.jsonl").unlink(), "cannot read the answers"),
        (lambda d: (d / "a.jsonl").write_text('{"question_id": 99, "text": "x"}\n'), "no question"),
    ],
)
def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, word: str) -> None:
    data = write_raw(tmp_path / "bench", {"Location": 1})
    answers = write_answers(tmp_path / "a.jsonl", ["(0.1, 0.5)"])
    change(tmp_path)  # type: ignore[operator]
    code, result = run_eval(capsys, "--data", str(data), "--answers", str(answers), "--family", "roborefer")
    assert code == 2 and word in result["sentence"]


def test_a_folder_without_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="question.json"):
        load_refspatial(tmp_path)


def test_parquet_gives_the_same_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    raw = write_raw(tmp_path / "raw", {"Location": 3, "Unseen": 1})
    folder = write_parquet(tmp_path / "table", raw, ["Location", "Unseen"])
    from_raw, from_table = load_refspatial(raw), load_refspatial(folder)
    assert list(from_raw) == list(from_table)
    for name, task in from_raw.items():
        assert list(task.samples) == list(from_table[name].samples)
        for key, sample in task.samples.items():
            other = from_table[name].samples[key]
            assert (sample.prompt, sample.step) == (other.prompt, other.step)
            assert np.array_equal(sample.mask(), other.mask()) and np.array_equal(sample.rgb(), other.rgb())
    answers = write_answers(tmp_path / "location.jsonl", ["(0.1, 0.5)", "none", "(0.9, 0.9)"])
    code, result = run_eval(capsys, "--data", str(folder), "--answers", str(answers), "--family", "roborefer")
    assert code == 0 and result["tasks"]["Location"]["accuracy"] == pytest.approx(1 / 3)


def test_parquet_without_its_library_is_a_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "location-00000-of-00001.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match="pip install pyarrow"):
        load_refspatial(tmp_path)
