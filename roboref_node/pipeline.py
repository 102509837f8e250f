"""The one function that matters: a task and a frame in, a checked goal or the reason for none out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from roboref_node.frame import Frame
from roboref_node.geometry.depth import DepthNoise
from roboref_node.geometry.free_air import FreeAirSettings
from roboref_node.geometry.lift import LiftSettings
from roboref_node.geometry.segment import SegmentSettings
from roboref_node.geometry.transform import Transform
from roboref_node.goals.place import HeldObject
from roboref_node.goals.profile import RobotProfile
from roboref_node.goals.standoff import OccupancyMap
from roboref_node.goals.workspace import Workspace
from roboref_node.parameters import check_settings, setting
from roboref_node.pointing.pointer import Pointer
from roboref_node.progress import CancelCheck, Progress, StageReport
from roboref_node.question import Question
from roboref_node.referral import Referral
from roboref_node.status import Refused, Status
from roboref_node.task import Task

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineSettings:
    """Settings of the pipeline itself; the ``refer`` node has them as parameters below ``pipeline``.

    Args:
        noise: Depth noise of the sensor; lift and segment get it from here.
        lift: What counts as one surface.
        segment: What counts as one object.
        free_air: What a place means whose pixel shows no surface within reach.
    """

    noise: DepthNoise = field(default_factory=DepthNoise)
    lift: LiftSettings = field(default_factory=LiftSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    free_air: FreeAirSettings = field(default_factory=FreeAirSettings)
    snap_px: float = setting(
        "A model's point on an edge or a hole moves to the nearest surface pixel within this distance, and the referral says so; "
        "a pixel given by the caller never moves.",
        default=8.0, unit="px", minimum=0.0, maximum=200.0,
    )  # fmt: skip
    ambiguous_m: float = setting(
        "Several points of one answer farther apart than this are AMBIGUOUS; not for places, where any point is as good.",
        default=0.08, unit="m", minimum=0.0, maximum=10.0,
    )  # fmt: skip
    place_search_m: float = setting(
        "A model's place that is occupied moves to the nearest spot of the same support where the object fits, within this distance, and "
        "the referral says so; a pixel given by the caller never moves.",
        default=0.10, unit="m", minimum=0.0, maximum=0.5,
    )  # fmt: skip
    tf_sigma_m: float = setting(
        "Standard deviation of the camera's position in the goal frame.", default=0.002, unit="m", minimum=0.0, maximum=1.0
    )
    tf_sigma_rad: float = setting(
        "Standard deviation of the camera's orientation in the goal frame.", default=0.002, unit="rad", minimum=0.0, maximum=1.0
    )
    max_sigma_m: float = setting(
        "Largest standard deviation of the lifted point along its worst axis.", default=0.03, unit="m", minimum=0.0, maximum=10.0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        object.__setattr__(self, "lift", replace(self.lift, noise=self.noise))
        object.__setattr__(self, "segment", replace(self.segment, noise=self.noise))


@dataclass(frozen=True)
class Context:
    """What the goal planners may use beside the frame.

    Args:
        occupancy: Map for stand-off goals; None plans on the line robot-target.
        held: Size of the object in the hand, for places; None takes a small one.
        goal_from_base: Robot base in the goal frame; stand-off goals need it.
    """

    occupancy: OccupancyMap | None = None
    held: HeldObject | None = None
    goal_from_base: Transform | None = None


class Pipeline:
    """Pointer, lift and goals for one robot. Deterministic: the same frame, task and model give the same referral.

    Args:
        pointer: The pointing model; None allows questions with a given pixel only.
        profile: The robot.
        settings: Thresholds.
    """

    def __init__(self, pointer: Pointer | None, profile: RobotProfile, settings: PipelineSettings | None = None) -> None:
        self.pointer = pointer
        self.profile = profile
        self.settings = settings or PipelineSettings()
        self.workspace = Workspace.of(profile)
        text = json.dumps({"profile": profile.to_parameters(), "pipeline": repr(self.settings)}, sort_keys=True, default=str)
        self.settings_sha256 = hashlib.sha256(text.encode()).hexdigest()[:16]

    def frames_needed(self) -> tuple[str, ...]:
        """Frames whose transforms from the optical frame `refer` needs; the goal frame comes first."""
        return self.profile.frames_needed

    def refer(
        self,
        frame: Frame,
        task: Task,
        transforms: Mapping[str, Transform],
        *,
        pixel: tuple[float, float] | None = None,
        context: Context | None = None,
        canceled: CancelCheck | None = None,
        report: StageReport | None = None,
    ) -> Referral:
        """Answer one task on one frame. Never raises.

        Args:
            frame: What the camera saw.
            task: What is asked.
            transforms: ``named_frame_from_optical`` at the frame's stamp, at least for `frames_needed`.
            pixel: Skip the model and take this pixel (u, v).
            context: Map, held object, robot pose.
            canceled: Polled between stages.
            report: Called with the name of each stage as it begins: point, lift, plan, check.
        """
        progress = Progress(canceled, report)
        partial = Referral(
            task=task, status=Status.INTERNAL, sentence="", stamp_ns=frame.stamp_ns, frame_id=frame.frame_id,
            goal_frame=self.profile.goal_frame,
        )  # fmt: skip
        work = Question(self, frame, task, transforms, context or Context(), progress, partial)
        try:
            work.run(pixel)
        except Refused as refusal:
            work.result = replace(
                work.result, status=refusal.status, sentence=refusal.sentence, details={**work.result.details, **refusal.details},
                goal=None, approach=None, grasps=(), gripper_width_m=float("nan"),
            )  # fmt: skip
        except Exception as error:  # The edge of the core: a defect must not end the node that called.
            _LOG.exception("refer failed on %r", task)
            sentence = f"defect in roboref, please report it: {type(error).__name__}: {error}"
            work.result = replace(work.result, status=Status.INTERNAL, sentence=sentence, goal=None, approach=None, grasps=())
        return replace(work.result, timings_ms=progress.finish())

    def refer_all(
        self,
        frame: Frame,
        tasks: Sequence[Task],
        transforms: Mapping[str, Transform],
        *,
        pixel: tuple[float, float] | None = None,
        context: Context | None = None,
        canceled: CancelCheck | None = None,
        report: Callable[[str, int], None] | None = None,
    ) -> tuple[Referral, ...]:
        """Answer the tasks of one sentence on one frame, in order; what was picked is what the place after it makes room for.

        Args:
            frame: What the camera saw.
            tasks: From `task.parse_instruction`.
            transforms: See `refer`.
            pixel: See `refer`; used for every task.
            context: See `refer`.
            canceled: See `refer`.
            report: Called with the stage and the task's index.
        """
        context = context or Context()
        referrals: list[Referral] = []
        for index, task in enumerate(tasks):
            stage = None if report is None else lambda name, index=index: report(name, index)
            referral = self.refer(frame, task, transforms, pixel=pixel, context=context, canceled=canceled, report=stage)
            context = replace(context, held=held_object(referral, transforms) or context.held)
            referrals.append(referral)
        return tuple(referrals)


def held_object(referral: Referral, transforms: Mapping[str, Transform]) -> HeldObject | None:
    """The object that a successful pick puts into the hand, for the place that follows it.

    Args:
        referral: Answer to a PICK.
        transforms: The transforms it was answered with.
    """
    if not referral.grasps or referral.segment is None or referral.segment.box is None:
        return None
    return HeldObject.of_grasp(referral.segment, referral.grasps[0], transforms[referral.goal_frame])
