"""Back-end: another back-end, asked about several slightly different crops of one picture; what most of them agree on is the answer.

A model that has recognised an object points at it again when the picture is cut a little differently; a guess jumps. Self-consistency
(Wang et al. 2023) over views instead of over samples: it needs no probability that could be trusted, so it works with any back-end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roboref_node.frame import Frame
from roboref_node.pointing.pointer import PixelPoint, PointAnswer, Pointer, ReasoningStep
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

_CORNERS = ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
"""Where the crops lie: at these shares of the room that is left, across and down."""
_VOTES = frozenset({Status.NOT_FOUND, Status.UNPARSEABLE, Status.OUT_OF_IMAGE})
"""Refusals that say something about this look; after any other, the next look would fare no better."""


@dataclass(frozen=True)
class SeveralLooksSettings:
    """Settings of several looks.

    Args:
        model: Name of the model file that is asked, or a path.
        count: Looks, 2 to 5: the whole picture, then crops at its corners.
        agree: Looks that must agree on an object; fewer are AMBIGUOUS. A place is a region, in which every point is as good.
        crop: Side of a crop as a share of the picture's.
        near: Answers nearer than this share of the picture's width agree.
    """

    model: str
    count: int = 4
    agree: int = 2
    crop: float = 0.95
    near: float = 0.09

    def __post_init__(self) -> None:
        if not (2 <= self.count <= 1 + len(_CORNERS) and 1 <= self.agree <= self.count):
            raise Refused(Status.BAD_REQUEST, f"`count` must be 2 to {1 + len(_CORNERS)}, `agree` 1 to `count`.")
        if not (0.5 <= self.crop < 1.0 and 0.0 < self.near <= 0.5):
            raise Refused(Status.BAD_REQUEST, "`crop` must be 0.5 or more and below 1, `near` above 0 and at most 0.5.")


class SeveralLooks:
    """A `Pointer` that asks another one several times.

    Args:
        pointer: Which.
        settings: How often, and what agreement is.
        name: Name for provenance.
    """

    def __init__(self, pointer: Pointer, settings: SeveralLooksSettings, name: str) -> None:
        self.name = name
        self.settings = settings
        self._pointer = pointer

    @property
    def identity(self) -> Mapping[str, str]:
        """Of the model that is asked, and how often."""
        return {**getattr(self._pointer, "identity", {}), "model": self.name, "looks": str(self.settings.count)}

    def point(self, frame: Frame, task: Task, *, canceled: Callable[[], bool] | None = None) -> PointAnswer:
        """See `Pointer.point`; AMBIGUOUS when too few looks agree on an object."""
        settings = self.settings
        width = frame.camera.width
        answers: list[PointAnswer | Refused] = []
        for view, origin in _views(frame, settings):
            answers.append(self._ask(view, origin, frame, task, canceled))
            apart = _distances(answers, settings.near * width)
            agreeing = (apart < settings.near * width).sum(axis=1)
            if agreeing.max() >= max(settings.agree, 2):
                break
        # The middle of the largest group; of equals the earliest, which is the whole picture.
        best = int(np.argmin(apart.sum(axis=1)))
        counted = {"model": self.name, "looks": str(len(answers)), "looks_agreeing": str(int(agreeing[best]))}
        chosen = answers[best]
        points = [[a.points[0].u_px, a.points[0].v_px] for a in answers if isinstance(a, PointAnswer)]
        if points and agreeing[best] < settings.agree and task.kind is not TaskKind.PLACE:
            raise Refused(
                Status.AMBIGUOUS,
                f"Of {len(answers)} looks at the picture {int(agreeing[best])} agree on one answer, needed are {settings.agree} "
                f"(`agree` of model {self.name}); say it in another way.",
                points_px=points,
                provenance={**self._provenance(chosen), **counted},
            )
        if isinstance(chosen, Refused):
            chosen.details["provenance"] = {**self._provenance(chosen), **counted}
            raise chosen
        spent: dict[str, float] = {}
        for answer in answers:
            for stage, duration in answer.timings_ms.items() if isinstance(answer, PointAnswer) else ():
                spent[stage] = spent.get(stage, 0.0) + duration
        return replace(chosen, timings_ms=spent, provenance={**chosen.provenance, **counted})

    def _ask(
        self, view: Frame, origin: tuple[int, int], whole: Frame, task: Task, canceled: Callable[[], bool] | None
    ) -> PointAnswer | Refused:
        try:
            answer = self._pointer.point(view, task, canceled=canceled)
        except Refused as refused:
            if refused.status not in _VOTES or "unknown_words" in refused.details:
                raise
            return refused
        points = tuple(PixelPoint(p.u_px + origin[0], p.v_px + origin[1], p.score) for p in answer.points)
        return replace(answer, points=points, steps=tuple(_in_whole(step, view, origin, whole) for step in answer.steps))

    @staticmethod
    def _provenance(answer: PointAnswer | Refused) -> Mapping[str, Any]:
        return answer.provenance if isinstance(answer, PointAnswer) else answer.details.get("provenance", {})


def _views(frame: Frame, settings: SeveralLooksSettings) -> Iterator[tuple[Frame, tuple[int, int]]]:
    """The whole picture and its crops, each with the column and row of its first pixel."""
    yield frame, (0, 0)
    rows, columns = frame.rgb.shape[:2]
    width, height = round(settings.crop * columns), round(settings.crop * rows)
    for right, down in _CORNERS[: settings.count - 1]:
        x, y = round(right * (columns - width)), round(down * (rows - height))
        window = (slice(y, y + height), slice(x, x + width))
        depth = np.ascontiguousarray(frame.depth_m[window]) if frame.is_registered else frame.depth_m
        cropped = replace(
            frame, rgb_source=np.ascontiguousarray(frame.rgb[window]), depth_source=depth, camera=frame.camera.cropped(x, y, width, height)
        )
        yield cropped, (x, y)


def _in_whole(step: ReasoningStep, view: Frame, origin: tuple[int, int], whole: Frame) -> ReasoningStep:
    """A step whose points are shares of a crop, as shares of the whole picture."""
    if step.kind != "Position":
        return step
    (height, width), (rows, columns) = view.rgb.shape[:2], whole.rgb.shape[:2]
    values = tuple(((x * width + origin[0]) / columns, (y * height + origin[1]) / rows, *more) for x, y, *more in step.values)
    return replace(step, values=values)


def _distances(answers: list[PointAnswer | Refused], limit_px: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far the answers lie from each other, at most `limit_px`; two times "nothing" are the same answer. Shape (N, N)."""
    count = len(answers)
    apart = np.full((count, count), limit_px)
    for i, one in enumerate(answers):
        apart[i, i] = 0.0
        for j, other in enumerate(answers[:i]):
            if isinstance(one, PointAnswer) and isinstance(other, PointAnswer):
                step = np.hypot(one.points[0].u_px - other.points[0].u_px, one.points[0].v_px - other.points[0].v_px)
                apart[i, j] = apart[j, i] = min(float(step), limit_px)
            elif isinstance(one, Refused) and isinstance(other, Refused) and one.status is other.status is Status.NOT_FOUND:
                apart[i, j] = apart[j, i] = 0.0
    return apart
