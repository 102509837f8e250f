"""Broken machines, made of real files: workspaces, virtual environments and model folders with one thing wrong each."""

from __future__ import annotations

import json
import shutil
import struct
import venv
from pathlib import Path

import roboref_node
from roboref_node.doctor import Level

NANO = Path(roboref_node.__file__).parent / "model" / "weights" / "nano"
BASE = ("rclpy", "rcl", "rmw_implementation", "sensor_msgs")
_STAND_IN = "<package><description>The API that roboref uses, for machines without a ROS distribution.</description></package>"


def only(findings, id, level=Level.ERROR):
    """The one finding with this id, which must be complete."""
    bad = [f for f in findings if f.level in (Level.WARNING, Level.ERROR)]
    assert [f.id for f in bad] == [id], findings
    assert bad[0].level is level and bad[0].why and bad[0].fix, bad
    return bad[0]


def workspace(folder, packages, *, python=None, stand_in=False):
    """A prefix with entries in the ament index, as colcon installs them."""
    index = folder / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for name in packages:
        (index / name).touch()
        share = folder / "share" / name
        share.mkdir(parents=True, exist_ok=True)
        (share / "package.xml").write_text(_STAND_IN if stand_in else "<package/>")
    if python is not None:
        (folder / "lib" / f"python{python}" / "site-packages" / "rclpy").mkdir(parents=True)
    return folder


def virtual_environment(folder):
    """A real one, with one program in it as pip writes it."""
    venv.create(folder, with_pip=False, symlinks=True)
    program = folder / "bin" / "roboref"
    program.write_text(f"#!{folder / 'bin' / 'python'}\nprint('here')\n")
    program.chmod(0o755)
    return folder


def model_folder(folder, with_sums=False):
    """A copy of the shipped nano and the YAML file that names it, `with_sums` with the list of its hashes."""
    shutil.copytree(NANO, folder, ignore=None if with_sums else shutil.ignore_patterns("SHA256SUMS"))
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(f"backend: local\nfolder: {folder}\ndevice: cpu\nfetch: fetch-the-weights\n")
    return file


def header(file):
    """Header of a safetensors file and the number of bytes before its data."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        return json.loads(stream.read(size)), 8 + size


def split_into_shards(folder):
    """The weights in two files with an index, as large models are published."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def enlarge(folder, vocabulary):
    """The same model with a vocabulary that no memory holds; the file is sparse and takes no disk."""
    config = json.loads((folder / "config.json").read_text())
    before = config["text_config"]["vocab_size"] if "text_config" in config else config["text"]["vocab_size"]
    section = "text_config" if "text_config" in config else "text"
    config[section]["vocab_size"] = vocabulary
    (folder / "config.json").write_text(json.dumps(config))
    file = folder / "model.safetensors"
    tensors, _ = header(file)
    at = 0
    for name, tensor in tensors.items():
        if name == "__metadata__":
            continue
        start, end = tensor["data_offsets"]
        size = end - start
        if tensor["shape"][0] == before:
            size = size // before * vocabulary
            tensor["shape"][0] = vocabulary
        tensor["data_offsets"] = [at, at + size]
        at += size
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    with file.open("ab") as stream:
        stream.truncate(8 + len(text) + at)
