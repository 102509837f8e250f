"""The one function that matters: a task and a frame in, a checked goal or the reason for none out."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.geometry.lift import LiftSettings, SurfacePoint, lift
from roboref_node.geometry.segment import ObjectSegment, SegmentSettings, segment_object
from roboref_node.geometry.transform import Transform
from roboref_node.goals.grasp import GraspCandidate, plan_grasps
from roboref_node.goals.place import HeldObject, plan_place
from roboref_node.goals.profile import RobotKind, RobotProfile
from roboref_node.goals.standoff import OccupancyMap, plan_standoff
from roboref_node.goals.workspace import Workspace
from roboref_node.pointing.pointer import PixelPoint, PointAnswer, Pointer, ReasoningStep
from roboref_node.referral import Referral
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

_LOG = logging.getLogger(__name__)

CancelCheck = Callable[[], bool]
StageReport = Callable[[str], None]


@dataclass(frozen=True)
class PipelineSettings:
    """Settings of the pipeline itself.

    Args:
        lift: What counts as one surface.
        segment: What counts as one object.
        snap_px: A model's point that lands on an edge or a hole moves to the nearest surface pixel within this distance; the
            referral says so. A pixel given by the caller never moves.
        ambiguous_m: Several points of one answer that lie farther apart than this are AMBIGUOUS (not for places, where any
            point is as good).
        tf_sigma_m: Standard deviation of the camera's position in the goal frame.
        tf_sigma_rad: Standard deviation of the camera's orientation in the goal frame.
        max_sigma_m: Largest standard deviation of the lifted point along its worst axis.
    """

    lift: LiftSettings = field(default_factory=LiftSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    snap_px: float = 8.0
    ambiguous_m: float = 0.08
    tf_sigma_m: float = 0.002
    tf_sigma_rad: float = 0.002
    max_sigma_m: float = 0.03

    def __post_init__(self) -> None:
        for name in ("snap_px", "ambiguous_m", "tf_sigma_m", "tf_sigma_rad", "max_sigma_m"):
            if not getattr(self, name) >= 0:
                raise Refused(Status.BAD_REQUEST, f"pipeline.{name} = {getattr(self, name)} must not be negative")


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


class _Progress:
    """Timings, stage reports and cancellation of one question."""

    def __init__(self, canceled: CancelCheck | None, report: StageReport | None) -> None:
        self.timings_ms: dict[str, float] = {}
        self._canceled = canceled
        self._report = report
        self._started = self._last = time.perf_counter()

    def enter(self, stage: str) -> None:
        """Announce a stage.

        Raises:
            Refused: CANCELED when the caller gave up meanwhile.
        """
        if self._canceled is not None and self._canceled():
            raise Refused(Status.CANCELED, f"canceled before the stage '{stage}'", stage=stage)
        if self._report is not None:
            self._report(stage)
        self._last = time.perf_counter()

    def leave(self, stage: str) -> None:
        """Note how long a stage took."""
        self.timings_ms[stage] = self.timings_ms.get(stage, 0.0) + (time.perf_counter() - self._last) * 1e3

    def finish(self) -> dict[str, float]:
        """All timings with their total."""
        return {**self.timings_ms, "total": (time.perf_counter() - self._started) * 1e3}


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
        progress = _Progress(canceled, report)
        partial = Referral(
            task=task, status=Status.INTERNAL, sentence="", stamp_ns=frame.stamp_ns, frame_id=frame.frame_id,
            goal_frame=self.profile.goal_frame,
        )  # fmt: skip
        work = _Question(self, frame, task, transforms, context or Context(), progress, partial)
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


class _Question:
    """One run of the pipeline; `result` grows stage by stage, so that a refusal keeps what was found before it."""

    def __init__(
        self, pipeline: Pipeline, frame: Frame, task: Task, transforms: Mapping[str, Transform], context: Context,
        progress: _Progress, result: Referral,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.profile, self.settings = pipeline.profile, pipeline.settings
        self.frame, self.task, self.transforms, self.context = frame, task, transforms, context
        self.progress, self.result = progress, result

    def run(self, pixel: tuple[float, float] | None) -> None:
        """All stages.

        Raises:
            Refused: A check failed.
        """
        goal_from_optical = self._goal_from_optical()
        self.result = replace(self.result, provenance=self._provenance(goal_from_optical))
        candidates = self._point(pixel)
        surface = self._lift(candidates, goal_from_optical, movable=pixel is None)
        self.progress.enter("plan")
        try:
            kind = self.task.kind
            if kind is TaskKind.PICK:
                self._plan_grasp(surface, goal_from_optical)
            elif kind is TaskKind.PLACE:
                self._plan_place(surface, goal_from_optical)
            elif kind is TaskKind.NAVIGATE:
                self._plan_standoff()
            else:
                self._plan_point(surface, goal_from_optical)
        finally:
            self.progress.leave("plan")
        self.progress.enter("check")
        self._check()
        self.progress.leave("check")
        self.result = replace(self.result, status=Status.OK, sentence=self._success())

    def _goal_from_optical(self) -> Transform:
        name = self.profile.goal_frame
        if name not in self.transforms:
            raise Refused(
                Status.TF_UNAVAILABLE, f"there is no transform from {self.frame.frame_id} to the goal frame '{name}' (profile.goal_frame)"
            )
        return self.transforms[name]

    def _point(self, pixel: tuple[float, float] | None) -> tuple[PixelPoint, ...]:
        if pixel is not None:
            points: tuple[PixelPoint, ...] = (PixelPoint(float(pixel[0]), float(pixel[1])),)
            self.result = replace(self.result, pixel=points[0])
            return points
        if self.pipeline.pointer is None:
            raise Refused(Status.MODEL_UNAVAILABLE, "no pointing model is loaded; give a pixel or choose a model (parameter 'model')")
        self.progress.enter("point")
        try:
            answer: PointAnswer = self.pipeline.pointer.point(self.frame, self.task, canceled=self.progress._canceled)
        except Refused as refusal:
            text = str(refusal.details.get("answer", ""))
            self.result = replace(self.result, answer_text=text)
            raise
        finally:
            self.progress.leave("model")
        steps: tuple[ReasoningStep, ...] = answer.steps
        provenance = {**self.result.provenance, **answer.provenance}
        self.result = replace(self.result, pixel=answer.points[0], answer_text=answer.text, steps=steps, provenance=provenance)
        return answer.points

    def _lift(self, points: tuple[PixelPoint, ...], goal_from_optical: Transform, *, movable: bool) -> SurfacePoint:
        self.progress.enter("lift")
        try:
            surface = self._lift_best(points[0], movable)
            others = [] if self.task.kind is TaskKind.PLACE else [self._lift_quietly(p) for p in points[1:]]
        finally:
            self.progress.leave("lift")
        position = goal_from_optical.apply(surface.position_m)
        covariance = self._covariance(surface, goal_from_optical)
        self.result = replace(
            self.result,
            surface=surface,
            position_m=(float(position[0]), float(position[1]), float(position[2])),
            position_covariance_m2=tuple(float(x) for x in covariance.ravel()),
        )
        for other in others:
            apart = 0.0 if other is None else float(np.linalg.norm(other.position_m - surface.position_m))
            if apart > self.settings.ambiguous_m:
                raise Refused(
                    Status.AMBIGUOUS,
                    f"the model pointed at {len(points)} places {apart:.2f} m apart (limit pipeline.ambiguous_m = "
                    f"{self.settings.ambiguous_m:g} m); say which one is meant",
                    points_px=[[p.u_px, p.v_px] for p in points],
                )
        worst = float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
        if worst > self.settings.max_sigma_m:
            raise Refused(
                Status.DEPTH_EDGE,
                f"the point is uncertain by {1e3 * worst:.1f} mm (limit pipeline.max_sigma_m = {1e3 * self.settings.max_sigma_m:g} mm): "
                "the surface is seen at too flat an angle or from too far",
                sigma_m=worst,
            )
        return surface

    def _lift_best(self, point: PixelPoint, movable: bool) -> SurfacePoint:
        uv = (point.u_px, point.v_px)
        try:
            return lift(self.frame, uv, self.settings.lift)
        except Refused as refusal:
            nearest = refusal.details.get("nearest_px")
            if not movable or nearest is None or np.hypot(nearest[0] - uv[0], nearest[1] - uv[1]) > self.settings.snap_px:
                raise
            moved = PixelPoint(float(nearest[0]), float(nearest[1]), point.score)
            details = {**self.result.details, "snapped_from_px": list(uv), "snapped_because": refusal.status.value}
            self.result = replace(self.result, pixel=moved, details=details)
            return lift(self.frame, (moved.u_px, moved.v_px), self.settings.lift)

    def _lift_quietly(self, point: PixelPoint) -> SurfacePoint | None:
        try:
            return lift(self.frame, (point.u_px, point.v_px), self.settings.lift)
        except Refused:
            return None

    def _covariance(self, surface: SurfacePoint, goal_from_optical: Transform) -> NDArray[np.float64]:
        """First-order propagation through the camera pose: R C R^T + sigma_t^2 I + sigma_r^2 [p]x [p]x^T."""
        lever = goal_from_optical.rotate(surface.position_m)
        cross = np.array([[0.0, -lever[2], lever[1]], [lever[2], 0.0, -lever[0]], [-lever[1], lever[0], 0.0]])
        own = goal_from_optical.rotate_covariance(surface.covariance_m2)
        s = self.settings
        return np.asarray(own + s.tf_sigma_m**2 * np.eye(3) + s.tf_sigma_rad**2 * cross @ cross.T)

    def _segment(self, surface: SurfacePoint, goal_from_optical: Transform) -> ObjectSegment:
        up = goal_from_optical.inverse().rotate(np.array([0.0, 0.0, 1.0]))
        segment = segment_object(self.frame, surface, self.settings.segment, up_optical=up)
        self.result = replace(self.result, segment=segment)
        return segment

    def _plan_grasp(self, surface: SurfacePoint, goal_from_optical: Transform) -> None:
        if self.profile.kind is not RobotKind.ARM:
            raise Refused(Status.BAD_REQUEST, f"robot '{self.profile.name}' is mobile; it can 'go to' or 'point at' things, not pick them")
        started = time.perf_counter()
        segment = self._segment(surface, goal_from_optical)
        self.progress.timings_ms["segment"] = (time.perf_counter() - started) * 1e3
        cloud = surrounding_cloud(self.frame, segment, goal_from_optical)
        grasps: tuple[GraspCandidate, ...] = plan_grasps(segment, surface, goal_from_optical, self.profile, cloud)
        refusal: Refused | None = None
        allowed = []
        for grasp in grasps:
            try:
                self.pipeline.workspace.check_motion(grasp.pregrasp, grasp.pose, transforms=self.transforms)
                allowed.append(grasp)
            except Refused as outside:
                refusal = refusal or outside
        if not allowed:
            assert refusal is not None
            raise refusal
        best = allowed[0]
        self.result = replace(
            self.result, goal=best.pose, approach=best.pregrasp, gripper_width_m=best.width_m, grasps=tuple(allowed)
        )  # fmt: skip

    def _plan_place(self, surface: SurfacePoint, goal_from_optical: Transform) -> None:
        if self.profile.kind is not RobotKind.ARM:
            raise Refused(Status.BAD_REQUEST, f"robot '{self.profile.name}' is mobile; it can 'go to' or 'point at' things, not place them")
        place = plan_place(self.frame, surface, goal_from_optical, self.profile, self.context.held)
        self.result = replace(self.result, goal=place.pose, approach=place.approach)

    def _plan_standoff(self) -> None:
        if self.profile.kind is not RobotKind.MOBILE:
            raise Refused(
                Status.BAD_REQUEST, f"robot '{self.profile.name}' is an arm; it can pick, place and 'point at' things, not go to them"
            )
        base = self.context.goal_from_base
        if base is None:
            raise Refused(
                Status.TF_UNAVAILABLE,
                f"the pose of {self.profile.base_frame} in {self.profile.goal_frame} is not known (profile.base_frame)",
            )
        heading = base.rotate(np.array([1.0, 0.0, 0.0]))
        robot = (float(base.translation_m[0]), float(base.translation_m[1]), float(np.arctan2(heading[1], heading[0])))
        goal = plan_standoff(np.asarray(self.result.position_m), robot, self.profile, self.context.occupancy)
        self.result = replace(self.result, goal=goal.pose)

    def _plan_point(self, surface: SurfacePoint, goal_from_optical: Transform) -> None:
        """The point itself as a pose: z along the surface normal, x as level as that allows."""
        z = goal_from_optical.rotate(surface.normal)
        reference = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
        y = np.cross(z, reference)
        y /= np.linalg.norm(y)
        rotation = np.stack([np.cross(y, z), y, z], axis=1)
        self.result = replace(self.result, goal=Transform.from_rotation(rotation, self.result.position_m or ()))

    def _check(self) -> None:
        goal = self.result.goal
        if goal is None:
            raise Refused(Status.INTERNAL, "planning ended without a goal and without a reason")
        if self.result.approach is not None:
            self.pipeline.workspace.check_motion(self.result.approach, goal, transforms=self.transforms)
        self.pipeline.workspace.check(goal, transforms=self.transforms)

    def _success(self) -> str:
        assert self.result.goal is not None and self.result.pixel is not None
        x, y, z = self.result.goal.translation_m
        what = {
            TaskKind.PICK: f"grasp with the gripper {1e3 * self.result.gripper_width_m:.0f} mm open",
            TaskKind.PLACE: "place",
            TaskKind.NAVIGATE: "stand",
            TaskKind.POINT: "point",
        }[self.task.kind]
        moved = f" (moved from an edge by {self._moved_px():.1f} px)" if "snapped_from_px" in self.result.details else ""
        pixel = self.result.pixel
        return (
            f"{self.task.expression}: pixel ({pixel.u_px:.0f}, {pixel.v_px:.0f}){moved}, {what} at ({x:.3f}, {y:.3f}, {z:.3f}) m "
            f"in {self.profile.goal_frame}"
        )

    def _moved_px(self) -> float:
        u, v = self.result.details["snapped_from_px"]
        assert self.result.pixel is not None
        return float(np.hypot(self.result.pixel.u_px - u, self.result.pixel.v_px - v))

    def _provenance(self, goal_from_optical: Transform) -> dict[str, Any]:
        return {
            "robot": self.profile.name,
            "settings_sha256": self.pipeline.settings_sha256,
            "goal_from_optical": goal_from_optical.to_dict(),
            "camera": self.frame.camera.to_dict(),
        }


def surrounding_cloud(
    frame: Frame, segment: ObjectSegment, goal_from_optical: Transform, margin_m: float = 0.20
) -> NDArray[np.float64] | None:
    """Points around an object, every third pixel, in the goal frame, shape (M, 3); None for unregistered depth.

    Args:
        frame: The frame that `segment` was found in.
        segment: The object.
        goal_from_optical: Camera pose.
        margin_m: How far beyond the object's outline to look.
    """
    if not frame.is_registered or not segment.mask.any():
        return None
    rows, columns = np.flatnonzero(segment.mask.any(axis=1)), np.flatnonzero(segment.mask.any(axis=0))
    margin = int(np.ceil(frame.camera.fx * margin_m / max(0.1, float(np.min(segment.cloud_m[:, 2])))))
    top, bottom = max(0, rows[0] - margin), min(frame.camera.height, rows[-1] + margin + 1)
    left, right = max(0, columns[0] - margin), min(frame.camera.width, columns[-1] + margin + 1)
    depth = frame.depth_m[top:bottom:3, left:right:3].astype(np.float64)
    v, u = np.mgrid[top:bottom:3, left:right:3]
    known = np.isfinite(depth)
    points = frame.camera.unproject(np.stack([u[known], v[known]], axis=-1), depth[known])
    return goal_from_optical.apply(points[np.isfinite(points).all(axis=-1)])
