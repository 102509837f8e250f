"""What a user can get wrong on the command line ends in one sentence and status 2, never in a traceback."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from roboref_node.cli import main
from roboref_node.picturefiles import check_picture, write_picture
from roboref_node.status import Refused


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, output and what was said on stderr; argparse ends with `SystemExit`."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(str(end.code))
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("bench pointing --model foo --questions 1", "foo"),
        ("bench pointing --weights nope --questions 1", "nope"),
        ("bench lift --robot g2 --scenes 1 --points 1 --compare 1", "g2"),
        ("bench speech --voices foo --trials 0", "foo"),
        ("bench pointing --questions 0", "'0' is no whole number of at least 1"),
        ("bench model --image 640", "'640' is not of the form WxH"),
        ("bench model --device cuda:99", "--device cuda:99 cannot be used"),
        ("bench model --device gpu", "--device gpu is no device"),
        ("bench navigate --seed -1", "'-1' is no whole number of at least 0"),
        ("bench navigate --picture flat", "must end in .png"),
        ("doctor --topics --seconds nan", "'nan' is no number above 0"),
        ("demo --seed -1", "'-1' is no whole number of at least 0"),
        ("demo --out x/noext", "must end in .png"),
        ("demo --console --port 99999", "'99999' is no port: they end at 65535"),
        ("train render --size 0", "'0' is no whole number of at least 1"),
        ("train nano --scenes nope --out nope", "nope holds no finished shard"),
        ("train ablation --scenes nope --table depth --out nope", "nope holds no finished shard"),
        ("explain nothing.json --out why", "must end in .png"),
        ("refer --rgb a --depth b --camera c --explain why.xyz", "must end in .png"),
        ("refer --rgb a --depth b --camera c --explain /dev/null/why.png", "/dev/null is in the way"),
        ("replay nothing --overlays /dev/null/x", "/dev/null/x: not a directory"),
        ("replay nothing --golden /dev/null/x/g.json --write-golden", "not a directory"),
        ("refer --rgb rgb.png --depth empty.npy --camera camera.yaml --pixel 1,1", "empty.npy cannot be read: No data left in file"),
        ("explain deep.json", "deep.json is no answer of roboref"),
    ],
)  # fmt: skip
def test_one_sentence(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    camera = "{fx: 1, fy: 1, cx: 1, cy: 1, width: 4, height: 4, distortion_model: none, coefficients: []}"
    for name, text in {"deep.json": "[" * 5000 + "]" * 5000, "camera.yaml": camera, "empty.npy": ""}.items():
        (tmp_path / name).write_text(text)
    write_picture(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    code, _, told = ended(arguments.split(), capsys)
    assert code == 2 and words in told


def test_a_port_in_use_is_told_before_the_model_is_looked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, told = ended(["serve", "--port", str(port), "--folder", str(tmp_path / "no weights")], capsys)
    assert code == 2 and f"127.0.0.1:{port} cannot be served on: Address already in use" in told


def test_a_benchmark_tells_a_refusal_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, told = ended(["bench", "pointing", "--questions", "1", "--model", "foo", "--json"], capsys)
    assert code == 2
    answer = json.loads(out.splitlines()[-1])
    assert answer["status"] == "BAD_REQUEST" and answer["sentence"] in told


@pytest.mark.parametrize(
    "arguments",
    ["refer --explain x", "refer", "bench lift --scenes 0", "eval refsim --n x", "train ablation", "replay a b", "bench nothing"],
)
def test_wrong_arguments_are_told_in_json_too(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, told = ended([*arguments.split(), "--json"], capsys)
    assert code == 2 and "usage: roboref" in told
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert answer["status"] == "BAD_REQUEST" and answer["sentence"].split(": ", 1)[1] in told
    assert ended(arguments.split(), capsys)[1] == ""


def test_a_model_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roboref_node.model.memory.available_memory", lambda device: 1, raising=True)
    code, _, told = ended(["bench", "model", "--shape", "2b", "--device", "cpu"], capsys)
    assert code == 2 and "GB are free" in told


@pytest.fixture
def _cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for whatever cloud is named."""
    from roboref_node.commands import import_pcd
    from roboref_node.geometry.camera import CameraModel

    camera = CameraModel(4.0, 4.0, 19.5, 19.5, 40, 40)
    cloud = import_pcd.Cloud(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), np.float32), None, camera)
    monkeypatch.setattr(import_pcd, "read_cloud", lambda *_, **__: cloud)


@pytest.mark.usefixtures("_cloud")
def test_a_cloud_cannot_go_into_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, _, told = ended(["import-pcd", "scene.pcd", str(tmp_path / "taken")], capsys)
    assert code == 2 and f"{tmp_path / 'taken'}: file exists" in told


@pytest.mark.usefixtures("_cloud")
def test_pictures_of_a_cloud_that_could_not_be_written_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As on a full disk: the status was 0, the folder held a camera file and no picture."""
    (tmp_path / "rgb.png").mkdir()
    code, _, told = ended(["import-pcd", "scene.pcd", str(tmp_path)], capsys)
    assert code == 2 and f"the picture {tmp_path / 'rgb.png'} cannot be written" in told


@pytest.mark.usefixtures("_cloud")
@pytest.mark.parametrize(
    ("extra", "words"), [("--rate 1e-300", "--rate is 1e-300 Hz"), ("--rate 1e300", "to 1000 Hz"), ("", "exists already")]
)
def test_a_bag_that_cannot_be_written_leaves_the_pictures(
    extra: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not extra:
        (tmp_path / "bag").mkdir()
    (tmp_path / "rgb.png").write_text("of the day before")
    code, _, told = ended(["import-pcd", "scene.pcd", str(tmp_path), "--bag", *extra.split()], capsys)
    assert code == 2 and words in told
    assert (tmp_path / "rgb.png").read_text() == "of the day before"


def test_a_cloud_that_promises_more_points_than_memory_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    size = 10**9
    header = f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH {size}\nHEIGHT {size}\n"
    (tmp_path / "huge.pcd").write_text(f"{header}VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {size**2}\nDATA binary\n")
    code, _, told = ended(["import-pcd", str(tmp_path / "huge.pcd"), str(tmp_path)], capsys)
    assert code == 2 and "huge.pcd cannot be read: its header promises more points than memory holds" in told


def test_a_package_that_is_not_installed_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a distribution rosdep brings some of them only, and pip was forgotten."""
    monkeypatch.delitem(sys.modules, "roboref_node.commands.replay", raising=False)
    monkeypatch.setitem(sys.modules, "roboref_node.task", None)  # ours: a defect, not for the user to install
    with pytest.raises(ModuleNotFoundError):
        main(["replay", "bag", "--json"])
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "open3d", None)
    code, _, told = ended(["import-pcd", "a", "b"], capsys)
    assert code == 2 and "roboref import-pcd needs the Python package open3d, which is not installed" in told


def test_a_picture_is_written_into_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "why.png"
    check_picture(path)
    write_picture(path, np.zeros((3, 4, 3), np.uint8))
    assert path.stat().st_size > 0
    for name in ("why", "why.xyz", "why.exr", ""):
        with pytest.raises(Refused):
            check_picture(tmp_path / name)
