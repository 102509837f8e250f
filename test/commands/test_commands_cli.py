"""The command line itself: help, missing arguments, exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roboref_node.cli import COMMANDS, main
from roboref_node.commands import bench, train
from roboref_node.evaluation import bench_demo


@pytest.mark.parametrize("arguments", [[], ["bench"], ["eval"], ["train"]])
def test_without_arguments_the_help_tells_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    expected = {"": COMMANDS, "bench": bench.BENCHMARKS, "eval": ["refspatial"], "train": train._STAGES}["".join(arguments)]
    assert all(name in told for name in expected) and "required" not in told


def test_a_missing_name_is_asked_for_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--json"])
    assert capsys.readouterr().err.endswith("the following arguments are required: NAME\n")


def test_the_summaries_name_every_benchmark_and_stage() -> None:
    assert all(name in COMMANDS["bench"].summary for name in bench.BENCHMARKS)
    assert all(name in COMMANDS["train"].summary for name in train._STAGES)


def test_a_crashed_demonstration_is_told_by_the_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_demo, "_demonstrate", lambda *_: None)
    monkeypatch.setattr(bench, "tells_that_ros_is_missing", lambda *_, **__: False)
    assert main(["bench", "demo", "--n", "2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["crashed"] == [1000, 1001]


def test_a_golden_file_is_not_written_without_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path), "--write-golden"]) == 2
    assert "--write-golden needs --golden FILE" in capsys.readouterr().err


def test_ctrl_c_is_told_in_json_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from roboref_node.commands import doctor

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert main(["doctor", "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {"status": "CANCELED", "sentence": "roboref doctor was interrupted by Ctrl-C"}
    assert main(["doctor"]) == 130
    assert capsys.readouterr().out == ""
