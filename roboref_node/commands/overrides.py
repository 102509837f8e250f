"""``--set NAME=VALUE`` of the offline commands: the names are those of the refer node's parameters, and of its refusals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.goals.profile import RobotProfile
    from roboref_node.pipeline import PipelineSettings

_SECTIONS = ("pipeline", "profile")


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--set``, which may be repeated."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="change a setting, e.g. --set pipeline.lift.max_hole_px=4 --set profile.place.clearance_m=0.02; may be repeated",
    )  # fmt: skip


def settings_from(robot: str, overrides: Sequence[str]) -> tuple[RobotProfile, PipelineSettings]:
    """The robot's profile and the pipeline's settings with what ``--set`` changes.

    Args:
        robot: Name or path of a profile.
        overrides: Values of ``--set``.

    Raises:
        Refused: BAD_REQUEST naming the setting that is unknown or wrong.
    """
    from roboref_node.goals.profile import RobotProfile, load_profile
    from roboref_node.parameters import build, unflatten
    from roboref_node.pipeline import PipelineSettings

    given: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for text in overrides:
        section, name, value = _parse(text)
        given[section][name] = value
    profile = load_profile(robot)
    if given["profile"]:
        profile = RobotProfile.from_parameters({**profile.to_parameters(), **given["profile"]}, name=profile.name)
    return profile, build(PipelineSettings, unflatten(given["pipeline"]), path="pipeline")


def _parse(text: str) -> tuple[str, str, Any]:
    import yaml

    name, equals, raw = text.partition("=")
    section, dot, rest = name.strip().partition(".")
    if not (equals and dot and rest and section in _SECTIONS):
        raise Refused(Status.BAD_REQUEST, f"--set {text!r} is not of the form NAME=VALUE with a NAME below {' or '.join(_SECTIONS)}")
    try:
        return section, rest, yaml.safe_load(raw)
    except yaml.YAMLError:
        raise Refused(Status.BAD_REQUEST, f"--set {text!r}: {raw!r} is no value") from None
