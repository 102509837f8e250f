"""A run's folder: what it began with is what it goes on with, and what is damaged, full or finished is told."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import NANO, RFT, SFT, kill_when, write_recipe, write_records, write_scenes

from roboref_node.cli import main
from roboref_node.status import Refused
from roboref_node.synth.split import training_seeds
from roboref_node.training.nano import NanoRecipe, NanoTrainer
from roboref_node.training.optimisers import finite_norm
from roboref_node.training.run_folder import OWN_PACE, begin_or_go_on, load_state, save_state
from roboref_node.training.scenes import SceneStore, render_scenes
from roboref_node.training.sft import COMPLETE, SftRecipe, run_sft

SHORT = {**NANO, "pretrain_steps": 1, "steps": 1}


def test_a_run_goes_on_with_what_it_began_with(tmp_path: Path) -> None:
    recipe = {"recipe": {"steps": 5, "model": {"width": 32}, "rates": [1.0, 2.0]}, "processes": 1}
    begin_or_go_on(tmp_path, recipe, OWN_PACE, begun=False, first_process=True)
    begin_or_go_on(tmp_path, json.loads(json.dumps(recipe)), OWN_PACE, begun=True, first_process=True)
    longer = {**recipe, "recipe": {**recipe["recipe"], "steps": 9}}
    begin_or_go_on(tmp_path, longer, OWN_PACE, begun=True, first_process=True)
    for changed, sentence in (
        ({**recipe, "processes": 2}, "processes = 1, and it is 2 now"),
        ({**recipe, "recipe": {**recipe["recipe"], "model": {"width": 64}}}, "recipe.model.width = 32, and it is 64 now"),
        ({**recipe, "recipe": {**recipe["recipe"], "model": {}}}, "2 settings differ"),
        ({**recipe, "recipe": {**recipe["recipe"], "rates": [1.0]}}, r"rates = \[1.0, 2.0\]"),
    ):
        with pytest.raises(Refused, match=sentence):
            begin_or_go_on(tmp_path, changed, OWN_PACE, begun=True, first_process=True)
        begin_or_go_on(tmp_path / "other", changed, OWN_PACE, begun=False, first_process=True)


def test_state_is_whole_or_a_sentence(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    left = tmp_path / "state.pt.123.tmp"
    left.write_bytes(b"half of a state, written by a process that was killed")
    save_state(tmp_path, {"step": 3, "weights": torch.ones(1000)})
    assert not left.exists() and load_state(tmp_path)["step"] == 3
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk: writing fails in the middle
    try:
        with pytest.raises(OSError, match=r"cannot write .*state\.pt"):
            save_state(tmp_path, {"step": 4, "weights": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"] and load_state(tmp_path)["step"] == 3
    for content in (b"", (tmp_path / "state.pt").read_bytes()[:900]):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(Refused, match=r"state\.pt is damaged"):
            load_state(tmp_path)


def test_a_gradient_that_is_not_finite_stops_the_run() -> None:
    assert finite_norm(2.5) == 2.5
    for norm in (float("nan"), float("inf")):
        with pytest.raises(Refused, match="gradient norm is"):
            finite_norm(norm)


@pytest.mark.timeout(600)
def test_a_finished_run_is_left_as_it_is_and_one_of_another_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes = write_scenes(tmp_path / "scenes", 3)
    recipe = write_recipe(tmp_path, "nano", SHORT)
    arguments = ["train", "nano", "--scenes", str(scenes), "--out", str(tmp_path / "run"), "--recipe"]
    assert main([*arguments, str(recipe)]) == 0
    finished = (tmp_path / "run" / "state.pt").read_bytes()
    assert main([*arguments, str(recipe)]) == 0
    assert (tmp_path / "run" / "state.pt").read_bytes() == finished
    other = write_recipe(tmp_path, "other", {**SHORT, "muon_lr": 1e-3})
    assert main([*arguments, str(other)]) == 2
    assert "recipe.muon_lr = 0.002, and it is 0.001 now" in capsys.readouterr().err
    assert main([*arguments, str(write_recipe(tmp_path, "wrong", {**SHORT, "mion_lr": 1e-3}))]) == 2
    assert "no setting 'mion_lr'" in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_reinforcement_refuses_another_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from roboref_node.training.recipes import SHIPPED_WEIGHTS

    scenes = write_scenes(tmp_path / "scenes", 2)
    recipe = write_recipe(tmp_path, "rft", {**RFT, "steps": 1})
    arguments = ["train", "rft", "--recipe", str(recipe), "--scenes", str(scenes), "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights")
    assert main([*arguments, "--init", str(tmp_path / "weights")]) == 0  # the same weights elsewhere
    assert main([*arguments, "--init", str(tmp_path / "run" / "model")]) == 2
    assert "began with init = " in capsys.readouterr().err


def test_damaged_few_or_mixed_scenes_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    render_scenes(folder, training_seeds(3), 32)
    batch = {"scenes": 5, "image_size": 32, "patch_grid": 4, "token_grid": 2}
    with pytest.raises(Refused, match="3 scenes, fewer than the 5 of a batch"):
        NanoTrainer(NanoRecipe.from_dict({"batch": batch}), SceneStore(folder), tmp_path / "run")
    with pytest.raises(Refused, match="pictures of 32 px, not 48"):
        render_scenes(folder, training_seeds(3), 48)
    with pytest.raises(Refused, match="the scenes from seed"):
        render_scenes(folder, training_seeds(3, 1000), 32)
    before = np.array(SceneStore(folder).shards[0][1]["rgb"])
    render_scenes(folder, training_seeds(4), 32)  # one more: the short last shard is rendered anew
    store = SceneStore(folder)
    assert len(store) == 4 and np.array_equal(store.shards[0][1]["rgb"][:3], before)
    render_scenes(folder, training_seeds(2), 32)
    assert len(SceneStore(folder)) == 4
    render_scenes(folder / "more", training_seeds(1), 48)
    with pytest.raises(Refused, match="32 and 48 px wide"):
        SceneStore(folder)
    shutil.rmtree(folder / "more")
    shard = folder / "shard_0000"
    for name, content in (("rgb.npy", (shard / "rgb.npy").read_bytes()[:300]), ("seeds.json", b"")):
        whole = (shard / name).read_bytes()
        (shard / name).write_bytes(content)
        with pytest.raises(Refused, match=rf"{name} is damaged .*: delete"):
            SceneStore(folder)
        (shard / name).write_bytes(whole)


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from tiny_checkpoint import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("supervised")
    return write_tiny_checkpoint(folder / "weights", "2b"), write_records(folder / "data")


def test_an_old_checkpoint_is_deleted_only_when_the_new_one_is_complete(
    supervised: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, data = supervised
    delete, complete = shutil.rmtree, []

    def watched(path: object, *args: object, **kwargs: object) -> None:
        if Path(str(path)).name.startswith("checkpoint-"):
            complete.append(sorted(p.name for p in tmp_path.glob("checkpoint-*") if (p / COMPLETE).exists()))
        delete(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(shutil, "rmtree", watched)
    recipe = {**SFT, "trainer": {**SFT["trainer"], "max_steps": 3, "save_steps": 1, "save_total_limit": 1}}
    run_sft(SftRecipe.from_dict(recipe), weights=weights, data=data, out=tmp_path)
    assert complete == [["checkpoint-2"], ["checkpoint-3"]]
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-3"]
    changed = {**recipe, "trainer": {**recipe["trainer"], "learning_rate": 0.1, "max_steps": 4}}
    with pytest.raises(Refused, match=r"recipe\.trainer\.learning_rate = 0.001, and it is 0.1 now"):
        run_sft(SftRecipe.from_dict(changed), weights=weights, data=data, out=tmp_path)


def test_a_full_disk_ends_supervised_training_in_a_sentence(supervised: tuple[Path, Path], tmp_path: Path) -> None:
    weights, data = supervised
    recipe = SftRecipe.from_dict({**SFT, "trainer": {**SFT["trainer"], "max_steps": 2, "save_steps": 1, "report_to": []}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write below"):
            run_sft(recipe, weights=weights, data=data, out=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run_sft(recipe, weights=weights, data=data, out=tmp_path)
    assert (tmp_path / "model" / "model.safetensors").exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["nano", "sft"])
def test_processes_that_prepare_batches_end_with_a_killed_run(stage: str, supervised: tuple[Path, Path], tmp_path: Path) -> None:
    import psutil

    out = tmp_path / "run"
    if stage == "nano":
        recipe = write_recipe(tmp_path, stage, {**NANO, "steps": 1000, "workers": 1, "save_every": 1})
        arguments = [stage, "--recipe", recipe, "--scenes", write_scenes(tmp_path / "scenes", 3), "--out", out]
        saved = out / "state.pt"
    else:
        trainer = {**SFT["trainer"], "max_steps": 100_000, "save_steps": 2, "dataloader_num_workers": 1}
        recipe = write_recipe(tmp_path, stage, {**SFT, "trainer": trainer})
        arguments = [stage, "--recipe", recipe, "--init", supervised[0], "--data", supervised[1], "--out", out]
        saved = out / "checkpoint-2" / COMPLETE
    workers: list[psutil.Process] = []

    def learning() -> bool:
        if saved.exists():
            workers.extend(child for run in psutil.Process().children() for child in run.children())
        return bool(workers)

    kill_when(arguments, learning, tmp_path / "output.txt")
    _, alive = psutil.wait_procs(workers, timeout=10)
    for worker in alive:
        worker.kill()
    assert not alive


@pytest.mark.parametrize(("records", "batch"), [("[]", 2), (None, 50)])
def test_fewer_records_than_a_batch_are_refused(supervised: tuple[Path, Path], tmp_path: Path, records: str | None, batch: int) -> None:
    weights, data = supervised
    shutil.copytree(data, tmp_path / "data")
    if records is not None:
        (tmp_path / "data" / "records.json").write_text(records)
    recipe = {**SFT, "trainer": {**SFT["trainer"], "per_device_train_batch_size": batch}}
    with pytest.raises(Refused, match=f"fewer than the {batch} that are shown at once"):
        run_sft(SftRecipe.from_dict(recipe), weights=weights, data=tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
