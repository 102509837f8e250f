"""From a request to its answers: the sentence, the frame, the transforms at its stamp, the pipeline, the messages."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from roboref.msg import Referral as ReferralMessage

from roboref_node import __version__
from roboref_node.frame import Frame
from roboref_node.geometry.depth import steady_depth
from roboref_node.geometry.transform import Transform
from roboref_node.goals.standoff import OccupancyMap
from roboref_node.pipeline import Context, Pipeline
from roboref_node.referral import Referral
from roboref_node.rgbd import build_frame, stamp_ns
from roboref_node.ros.evidence import Evidence
from roboref_node.ros.frames import FrameStore
from roboref_node.ros.messages import in_frame, referral_message, refusal_message
from roboref_node.ros.requests import Request
from roboref_node.ros.settings import NO_MODEL, ReferSettings
from roboref_node.ros.transforms import TransformSource
from roboref_node.status import Refused, Status
from roboref_node.task import Task, parse_instruction

STILL_M, STILL_RAD = 0.001, 0.001
"""A camera that has moved less than this stands still: a thousandth of a radian is a millimetre at a metre."""

_FRAME_CHARS = 255
"""Longest name of a frame that is looked for: a sentence repeats it."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """All answers to one request.

    Args:
        messages: One per task, at least one.
        referrals: The same as the core gave them, in the target frame; empty when the request never reached the core.
        frame: What was looked at.
        target_from_optical: Camera pose in the frame of the answers.
        evidence: What it was answered from, as far as it got.
    """

    messages: tuple[ReferralMessage, ...]
    referrals: tuple[Referral, ...] = ()
    frame: Frame | None = None
    target_from_optical: Transform | None = None
    evidence: Evidence | None = None


@dataclass
class _Waits:
    """Durations outside of the pipeline, in milliseconds, and what has been waited for."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    _since_s: float = field(default_factory=time.monotonic)

    def note(self, stage: str) -> None:
        now_s = time.monotonic()
        self.timings_ms[stage] = (now_s - self._since_s) * 1e3
        self._since_s = now_s


class Answerer:
    """Answers requests, one at a time; runs on the worker thread.

    Args:
        pipeline: Model, robot and thresholds.
        frames: The camera.
        transforms: TF.
        settings: The parameters in force, asked anew for each request.
        occupancy: The newest map, or None.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        frames: FrameStore,
        transforms: TransformSource,
        settings: Callable[[], ReferSettings],
        occupancy: Callable[[], OccupancyMap | None] = lambda: None,
    ) -> None:
        self._pipeline = pipeline
        self._frames = frames
        self._transforms = transforms
        self._settings = settings
        self._occupancy = occupancy
        self.identity = _identity(pipeline)
        """Program, robot, settings and model: part of the provenance of every answer, refusals included."""

    def answer(self, request: Request) -> Answers:
        """The answers; never raises."""
        waits = _Waits()
        waits.timings_ms["queue"] = (time.monotonic() - request.arrived_s) * 1e3
        try:
            tasks = parse_instruction(request.instruction, role=request.role)
        except Refused as refused:
            return Answers((refusal_message(request.instruction, refused, self.identity),))
        except Exception as error:
            return Answers((refusal_message(request.instruction, _defect(error), self.identity),))
        try:
            return self._look_and_answer(request, tasks, waits)
        except Refused as refused:
            return self._refuse_all(request, tasks, refused, waits)
        except Exception as error:
            return self._refuse_all(request, tasks, _defect(error), waits)

    def _look_and_answer(self, request: Request, tasks: tuple[Task, ...], waits: _Waits) -> Answers:
        settings = self._settings()
        request.feedback("frame", 0)
        frame = self._frame(request, settings, waits.evidence)
        waits.note("frame")
        request.feedback("transform", 0)
        self._transforms.timeout_s = settings.tf_timeout_s
        profile = self._pipeline.profile
        named = {name: self._find(name, frame, request) for name in (*self._pipeline.frames_needed(), profile.base_frame)}
        waits.evidence.transforms = named
        goal_from_optical = named[profile.goal_frame]
        target = request.target_frame or profile.goal_frame
        if len(target) > _FRAME_CHARS:
            raise Refused(Status.BAD_REQUEST, f"target_frame has {len(target)} characters, which no frame has: {target[:40]}...")
        target_from_optical = goal_from_optical if target == profile.goal_frame else self._find(target, frame, request)
        waits.note("transform")
        goal_from_base = goal_from_optical @ named[profile.base_frame].inverse()
        referrals = self._pipeline.refer_all(
            frame,
            tasks,
            named,
            pixel=request.pixel,
            context=Context(occupancy=self._occupancy(), held=request.held, goal_from_base=goal_from_base),
            canceled=request.canceled.is_set,
            report=request.feedback,
        )
        given = {} if request.pixel is None else {"pixel_given": True}
        referrals = tuple(replace(r, provenance={**self.identity, **given, **r.provenance}) for r in referrals)
        referrals = tuple(replace(r, sentence=request.cancel_reason) if r.status is Status.CANCELED else r for r in referrals)
        if target != profile.goal_frame:
            referrals = tuple(in_frame(r, target, target_from_optical @ goal_from_optical.inverse()) for r in referrals)
        messages = tuple(
            referral_message(r, index=i, count=len(tasks), goal_from_optical=target_from_optical, timings_ms=waits.timings_ms)
            for i, r in enumerate(referrals)
        )
        return Answers(messages, referrals, frame, target_from_optical, waits.evidence)

    def _frame(self, request: Request, settings: ReferSettings, evidence: Evidence) -> Frame:
        canceled = request.canceled.is_set
        if request.stamp_ns:
            pair = self._frames.at(request.stamp_ns, settings.stamp_tolerance_s)
        else:
            pair = self._frames.wait(settings.max_frame_age_s, settings.frame_timeout_s, canceled=canceled)

        def find_extrinsics(target: str, source: str, stamp_ns: int) -> Transform:
            return self._transforms.lookup(target, source, stamp_ns, canceled=canceled)

        evidence.pair = pair
        color_info, depth_info = self._frames.calibrations(pair, settings.frame_timeout_s)
        evidence.color_info, evidence.depth_info = color_info, depth_info
        frame = build_frame(pair, color_info, depth_info, settings.trust, find_extrinsics)
        evidence.color_from_depth = frame.color_from_depth
        earlier = []
        for other in self._frames.before(pair, settings.depth_frames - 1):
            # A camera that has just restarted with another size or calibration has earlier pairs that fit no longer.
            with contextlib.suppress(Refused):
                color, depth = self._frames.calibrations(other, 0.0)
                if color is color_info and depth is depth_info and self._is_still(frame, other.stamp_ns):
                    earlier.append(build_frame(other, color_info, depth_info, settings.trust, find_extrinsics))
        if not earlier:
            return frame
        noise = self._pipeline.settings.noise
        return replace(frame, depth_source=lambda: steady_depth(frame.depth_m, list(_readable(earlier, frame)), noise))

    def _is_still(self, frame: Frame, stamp_ns: int) -> bool:
        """Whether the camera stood at `stamp_ns` where it stood for `frame`."""
        goal_frame = self._pipeline.profile.goal_frame
        try:
            now, then = (self._transforms.lookup(goal_frame, frame.frame_id, stamp) for stamp in (frame.stamp_ns, stamp_ns))
        except Refused:
            return False
        moved = now.inverse() @ then
        return float(np.linalg.norm(moved.translation_m)) <= STILL_M and 2.0 * float(np.linalg.norm(moved.quaternion_xyzw[:3])) <= STILL_RAD

    def _find(self, target: str, frame: Frame, request: Request) -> Transform:
        return self._transforms.lookup(target, frame.frame_id, frame.stamp_ns, canceled=request.canceled.is_set)

    def _refuse_all(self, request: Request, tasks: tuple[Task, ...], refused: Refused, waits: _Waits) -> Answers:
        sentence = request.cancel_reason if refused.status is Status.CANCELED else refused.sentence
        goal_frame = request.target_frame or self._pipeline.profile.goal_frame
        pair = waits.evidence.pair
        seen: dict[str, Any] = {} if pair is None else {"stamp_ns": pair.stamp_ns, "frame_id": pair.frame_id}
        looked: dict[str, Any] = {} if pair is None else {"depth_stamp_ns": stamp_ns(pair.depth)}
        found = waits.evidence.transforms.get(self._pipeline.profile.goal_frame)
        looked |= {} if found is None else {"goal_from_optical": found.to_dict()}
        referrals = [
            Referral(
                task=task, status=refused.status, sentence=sentence, goal_frame=goal_frame, details=refused.details,
                provenance={**self.identity, **looked}, **seen,
            )
            for task in tasks
        ]  # fmt: skip
        messages = [
            referral_message(r, index=i, count=len(tasks), goal_from_optical=None, timings_ms=waits.timings_ms)
            for i, r in enumerate(referrals)
        ]
        return Answers(tuple(messages), tuple(referrals), evidence=waits.evidence)


def _identity(pipeline: Pipeline) -> dict[str, Any]:
    pointer = pipeline.pointer
    model: Mapping[str, str] = {"model": NO_MODEL if pointer is None else pointer.name}
    return {
        "roboref": __version__,
        "robot": pipeline.profile.name,
        "settings_sha256": pipeline.settings_sha256,
        **getattr(pointer, "identity", model),
    }


def _readable(earlier: Sequence[Frame], newest: Frame) -> Iterator[NDArray[np.float32]]:
    """Depth of the earlier frames that can be decoded and have the newest one's size: a bad one is no reason to refuse."""
    for frame in earlier:
        try:
            if frame.depth_m.shape == newest.depth_m.shape:
                yield frame.depth_m
        except Refused:
            continue


def _defect(error: Exception) -> Refused:
    _LOG.error("a request failed", exc_info=error)
    return Refused(Status.INTERNAL, f"defect in roboref, please report it: {type(error).__name__}: {error}")
