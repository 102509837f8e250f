"""The ways in which pointing models write a point down. A model's dialect is declared in its YAML file and never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Syntax(str, Enum):
    """Concrete syntax of the answer."""

    TUPLES = "tuples"
    JSON = "json"
    XML = "xml"


class Dialect(str, Enum):
    """Convention of one family of models; the value is the name used in ``config/models/*.yaml``."""

    ROBOREFER = "roborefer"
    ROBOPOINT = "robopoint"
    QWEN25_VL = "qwen25_vl"
    QWEN3_VL = "qwen3_vl"
    MOLMO = "molmo"
    MOLMO2 = "molmo2"
    GEMINI = "gemini"
    ROBOBRAIN = "robobrain"
    PIXELS = "pixels"

    @property
    def convention(self) -> Convention:
        """Scale, axis order and syntax of this dialect."""
        return _CONVENTIONS[self]


@dataclass(frozen=True)
class Convention:
    """What a number of a dialect means.

    Args:
        syntax: How points are written.
        full_scale: Value of the right and bottom edge of the image: 1, 100 or 1000; None for absolute pixels of the image that was sent.
        row_first: True when the first number is the row.
        integral: True when the family writes integers only. A fraction then betrays another dialect and is refused: ``(0.4, 0.5)``
            is a valid corner pixel on a 0-1000 scale, and a robot must not drive there.
        resizes: True when the family brings every picture to a size of its own and means pixels of that one.
        reasoning: True when the answer may hold ``[Position] [object]: value`` steps.
    """

    syntax: Syntax
    full_scale: float | None
    row_first: bool = False
    integral: bool = False
    resizes: bool = False
    reasoning: bool = False

    @property
    def is_absolute(self) -> bool:
        """True when numbers are pixels of the image that was sent to the model."""
        return self.full_scale is None


_CONVENTIONS = {
    Dialect.ROBOREFER: Convention(Syntax.TUPLES, 1.0, reasoning=True),
    Dialect.ROBOPOINT: Convention(Syntax.TUPLES, 1.0),
    Dialect.QWEN25_VL: Convention(Syntax.JSON, None, integral=True, resizes=True),
    Dialect.QWEN3_VL: Convention(Syntax.JSON, 1000.0, integral=True),
    Dialect.MOLMO: Convention(Syntax.XML, 100.0),
    Dialect.MOLMO2: Convention(Syntax.XML, 1000.0, integral=True),
    Dialect.GEMINI: Convention(Syntax.JSON, 1000.0, row_first=True, integral=True),
    Dialect.ROBOBRAIN: Convention(Syntax.TUPLES, None, integral=True, resizes=True),
    Dialect.PIXELS: Convention(Syntax.TUPLES, None),
}
