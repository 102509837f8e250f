"""Where `convert` writes: a complete folder or nothing."""

import json
import os
import resource
import signal

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from roboref_node.cli import main
from roboref_node.model.checkpoint import convert, load_model
from roboref_node.status import Refused, Status


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("source") / "checkpoint", "2b")


def refused(source, destination, expected):
    with pytest.raises(Refused, match=expected) as caught:
        convert(source, destination)
    assert caught.value.status is Status.BAD_REQUEST
    assert "\n" not in caught.value.sentence and str(destination) in caught.value.sentence


def test_a_file_in_the_way(source, tmp_path):
    file = tmp_path / "out"
    file.write_text("mine")
    refused(source, file, "is not a folder; convert writes a new folder")
    refused(source, file / "below", "cannot be written")
    assert file.read_text() == "mine" and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_created(source, tmp_path, name):
    refused(source, tmp_path / name, "cannot be written")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("largest", [100, 20_000])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_stays_when_the_disk_is_full(source, tmp_path, largest, exists):
    """A limit on the size of files: the configuration or the weights do not fit."""
    if exists:
        (tmp_path / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        refused(source, tmp_path / "out", "out cannot be written: .*File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == (["out"] if exists else [])
    assert not exists or not os.listdir(tmp_path / "out")


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_but_the_model_is_left(source, tmp_path, exists, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if exists:
        (tmp_path / "out").mkdir()
    os.umask(mask := os.umask(0))
    convert(source, "out")
    assert os.listdir(tmp_path) == ["out"] and not [name for name in os.listdir("out") if name.startswith(".")]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask
    load_model("out", device="cpu")


def test_the_command_says_it_in_one_sentence(source, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["convert", str(source), str(tmp_path / "out"), "--json"]) == 2
    told = capsys.readouterr()
    sentence = f"{tmp_path / 'out'} is not a folder; convert writes a new folder."
    assert told.err == f"{sentence}\n" and json.loads(told.out)["sentence"] == sentence
