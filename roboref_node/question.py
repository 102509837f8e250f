"""One run of the pipeline: point, lift, plan, check, each stage adding to the referral."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roboref_node import __version__
from roboref_node.frame import Frame
from roboref_node.geometry.free_air import PointKind, classify_point
from roboref_node.geometry.lift import SurfacePoint, lift
from roboref_node.geometry.segment import ObjectSegment, segment_object
from roboref_node.geometry.transform import Transform, surface_axes
from roboref_node.goals.grasp import GraspCandidate, plan_grasps
from roboref_node.goals.neighbourhood import surroundings
from roboref_node.goals.place_search import plan_place_near
from roboref_node.goals.profile import RobotKind
from roboref_node.goals.standoff import plan_standoff
from roboref_node.plausibility import check_cameras, check_transform
from roboref_node.pointing.pointer import PixelPoint, PointAnswer, ReasoningStep
from roboref_node.progress import Progress
from roboref_node.referral import Referral
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

if TYPE_CHECKING:
    from roboref_node.pipeline import Context, Pipeline


class Question:
    """One run of the pipeline; `result` grows stage by stage, so that a refusal keeps what was found before it."""

    def __init__(
        self, pipeline: Pipeline, frame: Frame, task: Task, transforms: Mapping[str, Transform], context: Context,
        progress: Progress, result: Referral,
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
        check_cameras(self.frame)
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
                self._plan_place(surface, goal_from_optical, movable=pixel is None)
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
        check_transform(self.transforms[name], self.frame.frame_id, name)
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
            answer: PointAnswer = self.pipeline.pointer.point(self.frame, self.task, canceled=self.progress.canceled)
        except Refused as refusal:
            text = str(refusal.details.get("answer", ""))
            provenance = {**self.result.provenance, **refusal.details.pop("provenance", {})}
            self.result = replace(self.result, answer_text=text, provenance=provenance)
            raise
        finally:
            self.progress.leave("model")
        steps: tuple[ReasoningStep, ...] = answer.steps
        provenance = {**self.result.provenance, **answer.provenance}
        self.result = replace(self.result, pixel=answer.points[0], answer_text=answer.text, steps=steps, provenance=provenance)
        return answer.points

    def _lift(self, points: tuple[PixelPoint, ...], goal_from_optical: Transform, *, movable: bool) -> SurfacePoint:
        self.progress.enter("lift")
        sample = depth_sample(self.frame, points[0])
        self.result = replace(self.result, provenance={**self.result.provenance, "depth_sample": sample})
        try:
            place = self.task.kind is TaskKind.PLACE
            surface = self._support(points[0], movable, goal_from_optical) if place else self._lift_best(points[0], movable)
            others = [] if place else [self._lift_quietly(p) for p in points[1:]]
        finally:
            self.progress.leave("lift")
        covariance = self._note_surface(surface, goal_from_optical)
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

    def _note_surface(self, surface: SurfacePoint, goal_from_optical: Transform) -> NDArray[np.float64]:
        """Put a surface point with its position and covariance in the goal frame into the result; returns the covariance."""
        position = goal_from_optical.apply(surface.position_m)
        covariance = self._covariance(surface, goal_from_optical)
        self.result = replace(
            self.result,
            surface=surface,
            position_m=(float(position[0]), float(position[1]), float(position[2])),
            position_covariance_m2=tuple(float(x) for x in covariance.ravel()),
        )
        return covariance

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

    def _support(self, point: PixelPoint, movable: bool, goal_from_optical: Transform) -> SurfacePoint:
        """What a place stands on: the surface that the pixel shows, or the one below when the pixel is in free air.

        Raises:
            Refused: As `lift`; AMBIGUOUS when both the surface behind and a place above the nearer one can be meant.
        """
        up, free_air = self._up(goal_from_optical), self.settings.free_air
        refusal: Refused | None = None
        surface: SurfacePoint | None = None
        try:
            surface = self._lift_best(point, movable)
        except Refused as refused:
            if refused.status is not Status.NO_DEPTH:
                raise
            refusal = refused
        if surface is not None and surface.normal @ up > free_air.level_cos:
            # What the arm reaches is no background, however far from the camera.
            reach, place = self.profile.reach, goal_from_optical.apply(surface.position_m)
            in_reach = reach is not None and float(np.linalg.norm(place - reach.shoulder_m)) <= reach.max_m
            if in_reach or surface.position_m[2] <= free_air.reach_m:
                return surface
        found = classify_point(self.frame, (point.u_px, point.v_px), up, self.settings.lift, free_air)
        if found.below is not None and found.kind is PointKind.SUPPORT_BELOW:
            self.result = replace(self.result, details={**self.result.details, "free_air": found.sentence, "height_m": found.height_m})
            return found.below
        if found.below is not None and found.kind is PointKind.UNDECIDABLE:
            raise Refused(Status.AMBIGUOUS, found.sentence, height_m=found.height_m)
        if surface is None:
            assert refusal is not None
            raise refusal
        return surface

    def _up(self, goal_from_optical: Transform) -> NDArray[np.float64]:
        """Unit vector upwards in the optical frame, shape (3,)."""
        return goal_from_optical.inverse().rotate(np.array([0.0, 0.0, 1.0]))

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
        segment = segment_object(self.frame, surface, self.settings.segment, up_optical=self._up(goal_from_optical))
        self.result = replace(self.result, segment=segment)
        return segment

    def _plan_grasp(self, surface: SurfacePoint, goal_from_optical: Transform) -> None:
        if self.profile.kind is not RobotKind.ARM:
            raise Refused(Status.BAD_REQUEST, f"robot '{self.profile.name}' is mobile; it can 'go to' or 'point at' things, not pick them")
        started = time.perf_counter()
        segment = self._segment(surface, goal_from_optical)
        self.progress.timings_ms["segment"] = (time.perf_counter() - started) * 1e3
        cloud = goal_from_optical.apply(surroundings(self.frame, segment))
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

    def _plan_place(self, surface: SurfacePoint, goal_from_optical: Transform, *, movable: bool) -> None:
        if self.profile.kind is not RobotKind.ARM:
            raise Refused(Status.BAD_REQUEST, f"robot '{self.profile.name}' is mobile; it can 'go to' or 'point at' things, not place them")
        place, spot = plan_place_near(
            self.frame, surface, goal_from_optical, self.profile, self.context.held,
            within_m=self.settings.place_search_m if movable else 0.0, lift_settings=self.settings.lift,
        )  # fmt: skip
        if spot is not surface:
            moved_m = float(np.linalg.norm(spot.position_m - surface.position_m))
            self.result = replace(self.result, details={**self.result.details, "place_moved_m": moved_m})
            self._note_surface(spot, goal_from_optical)
        details = {**self.result.details, "turns_rad": list(place.turns_rad)}
        self.result = replace(self.result, goal=place.pose, approach=place.approach, details=details)

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
        arrival = {"distance_m": goal.distance_m, "in_view": goal.in_view, "in_reach": goal.in_reach}
        self.result = replace(self.result, goal=goal.pose, details={**self.result.details, **arrival})

    def _plan_point(self, surface: SurfacePoint, goal_from_optical: Transform) -> None:
        """The point itself as a pose: z along the surface normal, x level, see `surface_axes`."""
        rotation = surface_axes(goal_from_optical.rotate(surface.normal))
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
        if "place_moved_m" in self.result.details:
            moved += f" (moved by {1e3 * self.result.details['place_moved_m']:.0f} mm to where the object fits, pipeline.place_search_m)"
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
            "roboref": __version__,
            "depth_stamp_ns": self.frame.stamp_ns + self.frame.skew_ns,
            "robot": self.profile.name,
            "settings_sha256": self.pipeline.settings_sha256,
            "goal_from_optical": goal_from_optical.to_dict(),
            "camera": self.frame.camera.to_dict(),
        }


def depth_sample(frame: Frame, point: PixelPoint) -> dict[str, Any] | None:
    """What the depth image says at and around a pixel: the raw reading behind the lifted point.

    Args:
        frame: The look; None is returned for unregistered depth, which has no pixel of its own there, and outside of the image.
        point: Pixel of the colour image.
    """
    try:
        depth_m = frame.depth_m
    except Refused:
        return None
    if not (frame.is_registered and np.isfinite([point.u_px, point.v_px]).all()):
        return None
    row, column = round(point.v_px), round(point.u_px)
    if not (0 <= row < depth_m.shape[0] and 0 <= column < depth_m.shape[1]):
        return None
    around = depth_m[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
    known = around[np.isfinite(around)]
    here = float(depth_m[row, column])
    return {
        "pixel": [column, row],
        "depth_m": here if np.isfinite(here) else None,
        "median_5x5_m": float(np.median(known)) if known.size else None,
        "known_5x5": int(known.size),
    }
