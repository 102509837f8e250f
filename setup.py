"""Packaging for pip: the offline commands without any ROS. On ROS, CMakeLists.txt installs the package."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The requirement lines of requirements/NAME.txt."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def share(folder: str) -> list[tuple[str, list[str]]]:
    """The files of a folder and its subfolders, to be installed where ROS has them too: share/roboref/FOLDER."""
    placed: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(HERE)
            placed.setdefault(f"share/roboref/{inside.parent.as_posix()}", []).append(str(inside))
    return list(placed.items())


setup(
    packages=find_packages(include=["roboref_node", "roboref_node.*"]),
    package_data={"roboref_node": ["py.typed", "model/weights/**/*", "**/*.lark"]},
    data_files=[*share("config"), *share("launch")],
    install_requires=requirements("offline"),
    extras_require={
        "train": requirements("train"),
        "speech": requirements("speech"),
        "quantize": requirements("quantize"),
        "dev": requirements("dev"),
    },
)
