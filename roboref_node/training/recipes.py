"""Where training recipes live: ``config/train/*.yaml``, one file per recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roboref_node.config import config_directories, load_yaml
from roboref_node.status import Refused, Status

SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / "model" / "weights" / "nano"
"""The nano that comes with the package."""


def available_recipes() -> tuple[str, ...]:
    """Names of the files in ``config/train``, sorted."""
    return tuple(sorted({file.stem for folder in config_directories() for file in (folder / "train").glob("*.yaml")}))


def load_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Settings of a recipe.

    Args:
        name_or_path: A file in ``config/train`` without its ending, or the path of a YAML file.

    Raises:
        Refused: BAD_REQUEST when there is no such recipe or the file is no mapping.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        return load_yaml(name)
    for folder in config_directories():
        if (folder / "train" / f"{name}.yaml").is_file():
            return load_yaml(folder / "train" / f"{name}.yaml")
    known = ", ".join(available_recipes()) or "none"
    raise Refused(Status.BAD_REQUEST, f"there is no recipe {name!r}; known are {known}, or give a .yaml file")
