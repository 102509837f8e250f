"""Tar shards: what is read back is what was drawn; killed and divided runs give the same bytes; datasets and tar read them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import sample_scene
from roboref_node.status import Refused
from roboref_node.synth.shards import ExportSettings, export_shards, mask_from_runs, run_lengths
from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds, training_seeds

SETTINGS = ExportSettings(width=96, height=72, questions=15, shard_scenes=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    done = export_shards(path, training_seeds(7), SETTINGS)
    assert done.scenes == 7 and done.questions > 50
    return path


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def records(folder: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                found.setdefault(key, {})[name] = stream.read()
    return found


def decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_images_state_and_answers_come_back(folder: Path) -> None:
    found = records(folder)
    assert sorted(int(key) for key in found) == sorted(training_seeds(7))
    kinds, listed = set(), 0
    with SceneRenderer(96, 72) as renderer:
        for key, parts in found.items():
            rendered = renderer.render(sample_scene(int(key), excluded_pairs=RESERVED_PAIRS))
            record = json.loads(parts["json"])
            assert np.array_equal(decode(parts["rgb.png"])[..., ::-1], rendered.rgb)
            instance = decode(parts["instance.png"]).astype(int) - 1
            assert np.array_equal(instance, rendered.instance)
            depth = decode(parts["depth.png"])
            known = np.isfinite(rendered.depth_m)
            assert np.abs(depth[known] / 1000.0 - rendered.depth_m[known]).max() <= 0.00051
            for question in record["questions"]:
                kinds.add(question["kind"])
                region = mask_from_runs(question["region"], 72, 96)
                right = instance == question["target"] if question["target"] >= 0 else region
                if question["answer"] == "[]":
                    assert question["point"] == [] and not right.any()
                    continue
                u, v = int(question["point"][0] * 96), int(question["point"][1] * 72)
                assert right[v, u], question["text"]
                references, candidates = question["references"], question["candidates"]
                assert question["steps"] == 1 + len(references)
                assert len(question["reasoning"].splitlines()) == len(references) + len(candidates)
                if candidates:
                    listed += 1
                    columns = [candidate["point"][0] for candidate in candidates]
                    assert columns == sorted(columns) or columns == sorted(columns, reverse=True)
                    assert len({candidate["name"] for candidate in candidates}) == 1 < len(candidates)
                    assert sum(right[int(v * 72), int(u * 96)] for u, v in (c["point"] for c in candidates)) == 1
    assert len(kinds) >= 12 and listed > 5


def test_a_killed_run_goes_on_and_parts_make_the_same_files(folder: Path, tmp_path: Path) -> None:
    whole = digests(folder)
    assert list(whole) == [f"scenes-{i:06d}.tar" for i in range(3)]
    one = tmp_path / "killed"
    one.mkdir()
    (one / "scenes-000000.tar").write_bytes((folder / "scenes-000000.tar").read_bytes())
    (one / "scenes-000001.0.unfinished").write_bytes(b"half of a shard")
    assert export_shards(one, training_seeds(7), SETTINGS).scenes == 4
    assert digests(one) == whole
    two = tmp_path / "parts"
    for number in range(2):
        export_shards(two, training_seeds(7), SETTINGS, part=(number, 2))
    assert digests(two) == whole
    assert not list(one.glob("*.unfinished")) + list(two.glob("*.unfinished"))


def test_other_settings_or_scenes_are_not_mixed_and_a_short_shard_grows(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    assert export_shards(few, training_seeds(5), SETTINGS).scenes == 5
    assert export_shards(few, training_seeds(7), SETTINGS).scenes == 4  # the second shard held two of its three scenes
    assert digests(few) == digests(folder)
    assert export_shards(few, training_seeds(4), SETTINGS).scenes == 0
    with pytest.raises(Refused, match="shards with questions = 15, not 4: give another folder"):
        export_shards(few, training_seeds(7), dataclasses.replace(SETTINGS, questions=4))
    with pytest.raises(Refused, match="holds the scenes from seed"):
        export_shards(few, training_seeds(7, 1000), SETTINGS)
    (few / "scenes-000001.tar").write_bytes(b"no archive")
    with pytest.raises(Refused, match="damaged"):
        export_shards(few, training_seeds(7), SETTINGS)


def test_datasets_streams_them(folder: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is an optional package")
    files = [str(path) for path in sorted(folder.glob("*.tar"))]
    rows = list(datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True))
    assert len(rows) == 7
    for row in rows:
        assert row["rgb.png"].size == (96, 72)
        assert row["json"]["seed"] == int(row["__key__"].rsplit("/", 1)[-1])
        assert row["json"]["questions"][0]["text"]


def test_what_may_not_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reserved seed"):
        export_shards(tmp_path, reserved_seeds(1), SETTINGS)
    with pytest.raises(ValueError, match="part 2 of 2"):
        export_shards(tmp_path, training_seeds(1), SETTINGS, part=(2, 2))
    with pytest.raises(ValueError, match="at least 16 px"):
        ExportSettings(width=8)


def test_runs_of_a_mask_are_lossless() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        mask = rng.random((13, 17)) < share
        assert np.array_equal(mask_from_runs(run_lengths(mask), 13, 17), mask)
    with pytest.raises(ValueError, match="cover 5 pixels"):
        mask_from_runs([2, 3], 2, 2)
