"""How much memory there is: a container is killed at its own limit, however much the machine has free."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from roboref_node.model import memory

CONTROLLERS = "9:cpu,cpuacct:/app\n4:memory:/app\n"
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
V2 = ("memory.max", "memory.current", "")


def write_group(folder: Path, names: tuple[str, str, str], most: object, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]}inactive_file {cached - 10}\n{names[2]}active_file 10\n")


@pytest.fixture
def left(tmp_path):
    """What the limits of groups below `tmp_path` leave."""

    def read(membership: str) -> list[int]:
        (tmp_path / "membership").write_text(membership)
        return memory._left_of_limits(tmp_path / "membership", tmp_path)

    return read


def test_every_limit_above_a_service_counts_and_cached_files_are_free(tmp_path, left):
    write_group(tmp_path / "system.slice" / "robot.service", V2, 1000, 700, 100)
    write_group(tmp_path / "system.slice", V2, "max", 700, 100)
    write_group(tmp_path, V2, 5000, 4900, 50)
    assert left("0::/system.slice/robot.service\n") == [400, 150]


@pytest.mark.parametrize(("membership", "names", "below"), [("0::/\n", V2, ""), (CONTROLLERS, V1, "memory")])
def test_a_container_sees_its_own_group_as_the_root(tmp_path, left, membership, names, below):
    write_group(tmp_path / below, names, 1000, 300, 20)
    assert left(membership) == [720]


def test_a_limit_that_is_exceeded_leaves_nothing(tmp_path, left):
    write_group(tmp_path, V2, 1000, 1100, 20)
    assert left("0::/") == [0]


@pytest.mark.parametrize("membership", ["", "0::/\n", CONTROLLERS, "0::/../..\n"])
def test_without_limits_there_is_what_the_machine_has(left, membership):
    assert left(membership) == []


def test_the_least_counts(monkeypatch):
    monkeypatch.setattr(memory, "_left_of_limits", lambda *_: [7_000, 3_000])
    assert memory.available_memory(torch.device("cpu")) == 3_000
    monkeypatch.setattr(memory, "_left_of_limits", lambda *_: [])
    assert memory.available_memory(torch.device("cpu")) <= psutil.virtual_memory().total
