"""Where configuration files live, and how they are read: safe YAML, with errors that name the file and the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from roboref_node.plain_yaml import parse_yaml
from roboref_node.status import Refused, Status

PACKAGE = "roboref"


def config_directories() -> tuple[Path, ...]:
    """Existing directories with configuration files, the first one wins.

    In order: next to the sources (a checkout), each prefix of ``AMENT_PREFIX_PATH`` (a built workspace or a distribution),
    the prefix of this Python.
    """
    checkout = Path(__file__).resolve().parents[1]
    # Without this test an unrelated `config` folder beside an installed package would be taken for ours.
    is_checkout = (checkout / "package.xml").is_file() or (checkout / ".git").exists()
    candidates = [checkout / "config"] if is_checkout else []
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    candidates += [Path(prefix) / "share" / PACKAGE / "config" for prefix in (*prefixes, sys.prefix)]
    return tuple(dict.fromkeys(path for path in candidates if path.is_dir()))


def available_configs() -> tuple[str, ...]:
    """Names (file stems) of all YAML files in `config_directories`, sorted."""
    return tuple(sorted({file.stem for folder in config_directories() for file in folder.glob("*.yaml")}))


def find_config(name: str) -> Path:
    """Path of the configuration file ``<name>.yaml``.

    Args:
        name: File stem, e.g. ``ur5``; a path separator is not allowed in it.

    Raises:
        Refused: BAD_REQUEST when there is no such file; the sentence lists those that exist.
    """
    if Path(name).name == name:
        for folder in config_directories():
            file = folder / f"{name}.yaml"
            if file.is_file():
                return file
    raise Refused(
        Status.BAD_REQUEST,
        f"there is no configuration '{name}'; known are: {', '.join(available_configs()) or 'none'}",
        known=list(available_configs()),
    )


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML file that holds a mapping.

    Raises:
        Refused: BAD_REQUEST when the file cannot be read, is not YAML of plain data, holds a key twice, or
            something else than a mapping.
    """
    file = Path(path)
    try:
        data = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(Status.BAD_REQUEST, f"cannot read configuration file {file}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(Status.BAD_REQUEST, f"configuration file {file} is not plain YAML: {error}") from error
    if not isinstance(data, dict):
        held = "nothing" if data is None else f"a {type(data).__name__}"
        raise Refused(Status.BAD_REQUEST, f"configuration file {file} holds {held}, not a mapping of names to values")
    return data


def load_ros_parameters(path: str | Path) -> dict[str, Any]:
    """Read the parameters of a ROS 2 parameter file, whatever nodes they are addressed to.

    Returns:
        The nested mapping below ``ros__parameters``. Later node sections override earlier ones, top-level key by key.

    Raises:
        Refused: BAD_REQUEST when the file has no ``<node>: ros__parameters:`` section.
    """
    parameters: dict[str, Any] = {}
    found = False
    for node, section in load_yaml(path).items():
        if isinstance(section, dict) and isinstance(section.get("ros__parameters"), dict):
            found = True
            parameters.update(section["ros__parameters"])
        elif isinstance(section, dict) and "ros__parameters" in section:
            raise Refused(Status.BAD_REQUEST, f"in {path}, '{node}: ros__parameters' is not a mapping")
    if not found:
        raise Refused(Status.BAD_REQUEST, f"{path} is not a ROS 2 parameter file: it has no '/**: ros__parameters:' section")
    return parameters
