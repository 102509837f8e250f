"""The answer to a task: a goal that passed every check, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roboref_node.geometry.lift import SurfacePoint
from roboref_node.geometry.transform import Transform
from roboref_node.pointing.pointer import PixelPoint, ReasoningStep
from roboref_node.status import Status
from roboref_node.task import Task

if TYPE_CHECKING:
    from roboref_node.geometry.segment import ObjectSegment
    from roboref_node.goals.grasp import GraspCandidate


@dataclass(frozen=True)
class Referral:
    """Outcome of one `Task` on one frame.

    Args:
        task: The question.
        status: ``OK`` exactly when `goal` was checked and may be executed.
        sentence: One sentence for a person: what was found, or what failed by which number and which setting governs it.
        stamp_ns: Exposure time of the frame that was looked at.
        frame_id: Colour optical frame of that frame; `surface` and `segment` are given in it.
        goal_frame: Frame of `goal`, `approach` and `position_m`.
        pixel: The point that was used.
        answer_text: What the model said, verbatim.
        steps: The model's reasoning steps.
        surface: The pixel lifted to 3D, optical frame.
        position_m: The lifted point in `goal_frame`, shape (3,) as a tuple.
        position_covariance_m2: Its covariance in `goal_frame`, row-major 3x3, including the TF uncertainty.
        goal: Grasp, place or stand-off pose (tool or base) in `goal_frame`; None unless `status` is OK.
        approach: Pregrasp or pre-place pose in `goal_frame`.
        gripper_width_m: Opening of the gripper for a grasp, else NaN.
        grasps: Ranked grasp candidates, best first.
        segment: The object at the point.
        timings_ms: Duration of each stage in milliseconds, and ``total``.
        provenance: Whatever makes the answer reproducible: model and weights hash, prompt hash, transform used, settings.
        details: Numbers behind a refusal.
    """

    task: Task
    status: Status
    sentence: str
    stamp_ns: int = 0
    frame_id: str = ""
    goal_frame: str = ""
    pixel: PixelPoint | None = None
    answer_text: str = ""
    steps: tuple[ReasoningStep, ...] = ()
    surface: SurfacePoint | None = None
    position_m: tuple[float, float, float] | None = None
    position_covariance_m2: tuple[float, ...] | None = None
    goal: Transform | None = None
    approach: Transform | None = None
    gripper_width_m: float = float("nan")
    grasps: tuple[GraspCandidate, ...] = ()
    segment: ObjectSegment | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when there is a goal that passed every check."""
        return self.status is Status.OK

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form, the one printed by ``--json`` and stored by recordings."""
        goal = None if self.goal is None else {"frame": self.goal_frame, **self.goal.to_dict()}
        approach = None if self.approach is None else {"frame": self.goal_frame, **self.approach.to_dict()}
        return {
            "status": self.status.value,
            "sentence": self.sentence,
            "task": {"kind": self.task.kind.value, "expression": self.task.expression, "instruction": self.task.instruction},
            "stamp_ns": self.stamp_ns,
            "frame_id": self.frame_id,
            "pixel": [self.pixel.u_px, self.pixel.v_px] if self.pixel is not None and self.pixel.is_finite else None,
            "answer": self.answer_text,
            "steps": [{"kind": s.kind, "target": s.target, "values": [list(v) for v in s.values]} for s in self.steps],
            "position_m": None if self.position_m is None else list(self.position_m),
            "position_frame": self.goal_frame,
            "covariance_m2": None if self.position_covariance_m2 is None else list(self.position_covariance_m2),
            "normal": None if self.surface is None else [float(x) for x in self.surface.normal],
            "surface": None if self.surface is None else _surface(self.surface),
            "goal": goal,
            "approach": approach,
            "gripper_width_m": None if self.gripper_width_m != self.gripper_width_m else self.gripper_width_m,
            "timings_ms": {k: round(float(v), 3) for k, v in self.timings_ms.items()},
            "provenance": dict(self.provenance),
            "details": dict(self.details),
        }


def _surface(surface: SurfacePoint) -> dict[str, Any]:
    """Numbers behind a lifted point: in the optical frame, metres."""
    return {
        "position_m": [float(x) for x in surface.position_m],
        "inliers": surface.inliers,
        "spread_m": float(surface.spread_m),
        "rms_m": float(surface.plane_rms_m),
        "filled": surface.filled,
    }
