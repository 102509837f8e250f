"""``--set NAME=VALUE`` of the offline commands: the names are those of the refer node's parameters, and of its refusals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.goals.profile import RobotProfile
    from roboref_node.pipeline import PipelineSettings
    from roboref_node.rgbd import DepthSettings

_SECTIONS = ("pipeline", "profile", "depth")
_SLOP = "sync_slop_s"


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

    given = _given(overrides)
    profile = load_profile(robot)
    if given["profile"]:
        profile = RobotProfile.from_parameters({**profile.to_parameters(), **given["profile"]}, name=profile.name)
    return profile, build(PipelineSettings, unflatten(given["pipeline"]), path="pipeline")


def camera_from(overrides: Sequence[str], depth: DepthSettings, slop_s: float) -> tuple[DepthSettings, float]:
    """What is declared about the images, with what ``--set`` changes: ``depth.*`` and ``sync_slop_s``.

    Raises:
        Refused: BAD_REQUEST naming the setting that is unknown or wrong.
    """
    from dataclasses import asdict

    from roboref_node.parameters import build
    from roboref_node.rgbd import DepthSettings

    given = _given(overrides)
    slop_s = given[""].get(_SLOP, slop_s)
    if isinstance(slop_s, bool) or not isinstance(slop_s, (int, float)) or not 0.0 <= slop_s <= 3600.0:
        raise Refused(Status.BAD_REQUEST, f"{_SLOP} is {slop_s!r}, it must be a number of at least 0 s")
    return build(DepthSettings, {**asdict(depth), **given["depth"]}, path="depth"), float(slop_s)


def _given(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Values by section, those without one below ""."""
    given: dict[str, dict[str, Any]] = {section: {} for section in ("", *_SECTIONS)}
    for text in overrides:
        section, name, value = _parse(text)
        given[section][name] = value
    return given


def _parse(text: str) -> tuple[str, str, Any]:
    from roboref_node.plain_yaml import parse_yaml

    name, equals, raw = text.partition("=")
    section, dot, rest = name.strip().partition(".")
    if name.strip() == _SLOP:
        section, dot, rest = "", ".", _SLOP
    if not (equals and dot and rest and section in ("", *_SECTIONS)):
        where = f"below {', '.join(_SECTIONS[:-1])} or {_SECTIONS[-1]}, or {_SLOP}"
        raise Refused(Status.BAD_REQUEST, f"--set {text!r} is not of the form NAME=VALUE with a NAME {where}")
    try:
        return section, rest, parse_yaml(raw)
    except ValueError:
        raise Refused(Status.BAD_REQUEST, f"--set {text!r}: {raw!r} is no value") from None
