"""Types of command-line arguments: what cannot work is named before anything is loaded."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from roboref_node.picturefiles import check_picture
from roboref_node.status import Refused


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number of at least 0, such as a seed."""
    return _whole(text, 0)


def port(text: str) -> int:
    """The number of a TCP port; 0 is any free one."""
    value = _whole(text, 0)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: they end at 65535")
    return value


def above_zero(text: str) -> float:
    """A number above 0, such as a duration."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def image_size(text: str) -> tuple[int, int]:
    """``WxH``, width and height in pixels."""
    width, _, height = text.partition("x")
    try:
        return positive(width), positive(height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WxH, for example 640x480") from None


def picture(text: str) -> Path:
    """A file that a picture can be written to."""
    try:
        check_picture(Path(text))
    except Refused as refusal:
        raise argparse.ArgumentTypeError(refusal.sentence) from None
    return Path(text)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
    return value
