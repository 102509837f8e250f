"""Settings that every test needs before the libraries load; what the caller has set stays."""

import os
from pathlib import Path

import pytest
from tiny_depth_anything import write_depth_anything

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a model hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes with two threads each collapse on two cores
os.environ.setdefault("MUJOCO_GL", "egl")


@pytest.fixture(scope="session")
def random_nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a nano of random weights."""
    # Imported here: most tests need neither torch nor transformers, which take seconds to import.
    import torch

    from roboref_node.model import RoboReferConfig, RoboReferModel
    from roboref_node.model.conversation import attach_tokenizer
    from roboref_node.training.vocabulary import build_tokenizer

    path = tmp_path_factory.mktemp("random_nano")
    tokenizer = build_tokenizer()
    config = RoboReferConfig.nano(vocab_size=len(tokenizer))
    attach_tokenizer(config, tokenizer)
    torch.manual_seed(3)
    RoboReferModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def depth_anything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Depth-Anything of random weights."""
    return write_depth_anything(tmp_path_factory.mktemp("depth_anything"))
