"""Tiny recipes, scenes and records, and a process that is killed as a power cut would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from roboref_node.synth.split import training_seeds
from roboref_node.training.scenes import render_scenes

ROOT = Path(__file__).resolve().parents[2]
LARGE_SEED = 3_000_000

NANO = {
    "pretrain_steps": 6, "steps": 8, "attribute_steps": 2, "warm_up": 2, "workers": 0, "save_every": 2, "log_every": 1, "seed": 3,
    "model": {
        "vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16},
        "text_config": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 48,
        },
        "stem_fold": 2,
    },
    "batch": {"scenes": 2, "questions": 4, "image_size": 320, "patch_grid": 20, "token_grid": 10},
}  # fmt: skip

RFT = {
    "steps": 6, "frames": 2, "questions": 2, "samples": 4, "max_new_tokens": 24, "learning_rate": 1e-4, "warm_up": 1, "threads": 1,
    "save_every": 2, "seed": 5, "drop_depth": 0.3, "trainable": "all", "grpo": {"kl": 0.02},
    "rewards": {"roborefer_structure": {"weight": 1.0, "closed": False}, "roborefer_point_in_mask": 1.0},
    "kinds": {"closest_to": 0.5, "relative": 0.3, "absent": 0.2},
}  # fmt: skip

SFT = {
    "drop_depth": 0.25, "seed": 7, "threads": 1,
    "data": [{"file": "records.json", "images": "image", "depths": "depth"}, {"file": "records.json", "images": "image"}],
    "trainer": {
        "use_cpu": True, "max_steps": 12, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "warmup_steps": 2, "save_steps": 2,
        "save_total_limit": 2, "disable_tqdm": True,
    },
}  # fmt: skip


def write_scenes(folder: Path, count: int = 6) -> Path:
    """A few training scenes at the shipped nano's size."""
    render_scenes(folder, training_seeds(count, LARGE_SEED), 320)
    return folder


def write_recipe(folder: Path, name: str, recipe: dict) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def write_records(folder: Path, count: int = 10) -> Path:
    """Random pictures with depth, and conversations in RefSpatial's layout."""
    rng = np.random.default_rng(0)
    for kind in ("image", "depth"):
        (folder / kind).mkdir(parents=True)
    records = []
    for number in range(count):
        for kind in ("image", "depth"):
            pixels = rng.integers(0, 256, size=(48, 64, 3) if kind == "image" else (48, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
        turns = [{"from": "human", "value": f"<image>\nWhere is thing {number}?"}, {"from": "gpt", "value": f"[(0.{number}1, 0.52)]"}]
        if number % 2:
            turns += [{"from": "human", "value": "Is it near?"}, {"from": "gpt", "value": "Yes."}]
        records.append({"image": f"{number}.png", "depth": f"{number}.png", "conversations": turns})
    (folder / "records.json").write_text(json.dumps(records))
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}


def kill_when(arguments: list[object], reached, log: Path) -> None:
    """Run ``roboref train ARGUMENTS`` and kill it with SIGKILL as soon as `reached()` is true.

    Raises:
        AssertionError: It ended by itself first.
    """
    command = [sys.executable, "-m", "roboref_node.cli", "train", *map(str, arguments)]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment(), stdout=output, stderr=subprocess.STDOUT)
        try:
            while not reached():
                assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()[-2000:]}"
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL, log.read_text()[-2000:]


def launch_two(stage: list[str]) -> str:
    """Output of a module run by ``accelerate launch`` in two processes that talk through gloo.

    ``--cpu`` alone would start a single process: without MPI, accelerate's launcher for several processes is that of ``--multi_gpu``.
    """
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
    command = [sys.executable, *launch.split(), "--main_process_port", "0", *stage]
    environment_of_two = {**environment(), "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(command, env=environment_of_two, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result.stdout


def steps_logged(folder: Path) -> int:
    """Last step in a run's ``log.jsonl``; an unfinished last line does not count."""
    file = folder / "log.jsonl"
    lines = [line for line in file.read_text().split("\n")[:-1] if line] if file.exists() else []
    return max((int(json.loads(line)["step"]) for line in lines), default=0)
