"""From a referral in JSON or a bag of questions to what is needed to answer again, and the answer itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.goals.profile import load_profile
from roboref_node.imagefiles import FAR_M, NEAR_M, load_frame, pose_from_mapping
from roboref_node.level import LEVEL, in_optical, unlimited
from roboref_node.pipeline import Context, Pipeline, held_object
from roboref_node.referral import Referral
from roboref_node.replay import BagTopics, RgbdBag
from roboref_node.replay.bag import SLOP_S
from roboref_node.replay.golden import compare
from roboref_node.replay.recorded import SLOP_S as RECORDED_SLOP_S
from roboref_node.replay.recorded import read_recorded, recorded_bags, trust_from
from roboref_node.replay.stored import checked_answer
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

Answer = Mapping[str, Any]

_GIVE = "give --rgb, --depth and --camera to see the images"


@dataclass(frozen=True)
class Case:
    """One question as it was answered.

    Args:
        name: For people and file names.
        answers: `Referral.to_dict` of each task.
        frame: What was looked at, None when it is not at hand.
        pipeline: The robot and settings in force, None when they are not known any more.
        transforms: ``named_frame_from_optical``; empty when there were none.
        note: Why something of this is missing, "" when nothing is.
    """

    name: str
    answers: tuple[Answer, ...]
    frame: Frame | None = None
    pipeline: Pipeline | None = None
    transforms: Mapping[str, Transform] | None = None
    note: str = ""


@dataclass(frozen=True)
class Explanation:
    """A case, answered again from its pixels on.

    Args:
        case: The case.
        referrals: The answers made anew, with surface, segment and grasps; those that could not be are left as recorded.
        differences: Where the new answers differ from the recorded ones; empty when they agree or were not made.
        repeated: True when at least one answer was made anew.
        uncompared: Goals that could not be held against each other, one sentence each.
    """

    case: Case
    referrals: tuple[Referral, ...]
    differences: tuple[str, ...]
    repeated: bool
    uncompared: tuple[str, ...] = ()


def cases_of(path: Path, *, rgb: Path | None = None, depth: Path | None = None, camera: Path | None = None) -> list[Case]:
    """The questions in a JSON file, a bag, or a folder of bags.

    Args:
        path: Where.
        rgb: Colour picture of a JSON file that does not say where its images are, or that have moved.
        depth: Its depth image.
        camera: Its camera file.

    Raises:
        Refused: BAD_REQUEST naming what cannot be read.
    """
    if not path.exists():
        raise Refused(Status.BAD_REQUEST, f"{path} does not exist; give the JSON of an answer, or a bag of recorded questions")
    if path.is_file() and path.suffix in (".json", ".txt", ".log"):
        questions = _questions(path)
        names = [path.stem] if len(questions) == 1 else [f"{path.stem}, question {number}" for number in range(1, len(questions) + 1)]
        return [_from_answers(path, name, answers, rgb, depth, camera) for name, answers in zip(names, questions, strict=True)]
    bags = recorded_bags(path)
    cases = [case for bag in bags for case in _from_bag(bag)]
    if not cases:
        hint = "the refer node writes them with record.questions:=failed; for an ordinary bag use roboref replay --overlays"
        raise Refused(Status.BAD_REQUEST, f"{path} holds no recorded question; {hint}")
    return cases


def _from_bag(path: Path) -> list[Case]:
    questions = read_recorded(path)
    if not questions:
        return []
    cases = []
    with RgbdBag(path, trust=questions[0].trust, slop_s=RECORDED_SLOP_S) as bag:
        for question in questions:
            pipeline = Pipeline(None, question.profile, question.settings)
            transforms: dict[str, Transform] = {}
            frame, note = None, ""
            try:
                frame = bag.frame_at(question.stamp_ns)
                for name in dict.fromkeys((*pipeline.frames_needed(), question.profile.base_frame)):
                    transforms[name] = bag.transforms.lookup(name, frame.frame_id, frame.stamp_ns)
            except Refused as refusal:
                note = refusal.sentence
            cases.append(Case(path.name, question.answers, frame, pipeline, transforms, note))
            if frame is not None:  # decoded before the bag is closed
                for part in ("rgb", "depth_m"):
                    _decode(frame, part)
    return cases


def _decode(frame: Frame, part: str) -> None:
    try:
        getattr(frame, part)
    except Refused:
        return  # the answer itself says so


def _from_answers(path: Path, name: str, answers: tuple[Answer, ...], rgb: Path | None, depth: Path | None, camera: Path | None) -> Case:
    first = answers[0]
    provenance = first.get("provenance") or {}
    frame, note = _frame(provenance.get("source") or {}, first, rgb, depth, camera)
    pose = provenance.get("goal_from_optical")
    if pose is None:
        return Case(name, answers, frame, note=note or "the answer holds no transform: it was refused before there was one")
    goal_from_optical = pose_from_mapping(pose, f"{path}: provenance.goal_from_optical")
    pipeline = _pipeline(provenance, frame)
    if pipeline is None:
        note = note or "the robot's settings of that answer are not those of today: it is drawn from its numbers and not repeated"
        return Case(name, answers, frame, None, {_frame_of(first): goal_from_optical}, note)
    names = (*pipeline.frames_needed(), pipeline.profile.base_frame)
    if set(names) != {pipeline.profile.goal_frame}:
        note = note or "only one transform is known: zones and bases in other frames are not drawn"
    return Case(name, answers, frame, pipeline, dict.fromkeys(names, goal_from_optical), note)


def _questions(path: Path) -> list[tuple[Answer, ...]]:
    """The answers by question, from the last line that is JSON, as the commands print it; or from the whole file."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    for candidate in (text, text.splitlines()[-1] if text else ""):
        try:
            data = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            found = data.get("referrals") or data.get("answers") or ([data] if "status" in data and "task" in data else [])
            if isinstance(found, list) and found:
                answers = [checked_answer(answer, f"{path}: answer {number}") for number, answer in enumerate(found, 1)]
                return [tuple(answers)] if "answers" not in data else [tuple(group) for _, group in groupby(answers, _question)]
    raise Refused(
        Status.BAD_REQUEST, f"{path} is no answer of roboref: it needs the JSON that refer --json, ask --json or replay --json print"
    )


def _question(answer: Answer) -> tuple[Any, ...]:
    """What the tasks of one instruction have in common."""
    source = (answer.get("provenance") or {}).get("source") or {}
    return source.get("question"), answer["task"].get("instruction"), answer.get("stamp_ns")


def _frame_of(answer: Answer) -> str:
    """Where ``provenance.goal_from_optical`` leads to; without a camera pose the answer itself is in another frame."""
    return LEVEL if (answer.get("details") or {}).get("workspace_checked") is False else str(answer.get("position_frame") or "")


def _frame(
    source: Mapping[str, Any], answer: Answer, rgb: Path | None, depth: Path | None, camera: Path | None
) -> tuple[Frame | None, str]:
    if source.get("bag") and rgb is None and not answer.get("stamp_ns"):
        return None, "the answer holds no frame: it was refused before there was one"
    given = (rgb, depth, camera) != (None, None, None)
    try:
        if source.get("bag") and rgb is None:
            return _frame_of_bag(source, int(answer["stamp_ns"])), ""
        files = {key: Path(source[key]) for key in ("rgb", "depth", "camera", "depth_camera", "color_from_depth") if source.get(key)}
        rgb, depth, camera = rgb or files.get("rgb"), depth or files.get("depth"), camera or files.get("camera")
        if rgb is None or depth is None or camera is None:
            return None, f"the answer does not say where its images are: {_GIVE}"
        frame = load_frame(
            rgb, depth, camera, depth_camera=files.get("depth_camera"), color_from_depth=files.get("color_from_depth"),
            near_m=_number(source, "near_m", NEAR_M), far_m=_number(source, "far_m", FAR_M),
        )  # fmt: skip
        return frame, ""
    except Refused as refusal:
        if given:
            raise
        return None, f"{refusal.sentence}: {_GIVE}"


def _number(source: Mapping[str, Any], name: str, default: float) -> float:
    value = source.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default


def _frame_of_bag(source: Mapping[str, Any], stamp_ns: int) -> Frame:
    topics = source.get("topics") or {}
    named = BagTopics(**{item.name: str(topics[item.name]) for item in fields(BagTopics) if item.name in topics})
    try:
        trust, slop_s = (
            trust_from(source.get("declared"), rectified=bool(source.get("rectified"))),
            float(source.get("sync_slop_s") or SLOP_S),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(Status.BAD_REQUEST, f"provenance.source of the answer is of another form: {type(error).__name__}: {error}") from None
    with RgbdBag(Path(source["bag"]), named, trust, slop_s=slop_s) as bag:
        frame = bag.frame_at(stamp_ns)
        for part in ("rgb", "depth_m"):
            _decode(frame, part)
        return frame


def _pipeline(provenance: Mapping[str, Any], frame: Frame | None) -> Pipeline | None:
    """The pipeline whose settings have the recorded hash."""
    try:
        profile = load_profile(str(provenance.get("robot", "")))
    except Refused:
        return None
    candidates = [profile] if frame is None else [profile, unlimited(profile, frame.camera.width)]
    made = (Pipeline(None, candidate) for candidate in candidates)
    return next((pipeline for pipeline in made if pipeline.settings_sha256 == provenance.get("settings_sha256")), None)


def explain(case: Case) -> Explanation:
    """Answer again: the same pixel, frame, transforms and settings; the model is not asked."""
    referrals: list[Referral] = []
    differences: list[str] = []
    uncompared: list[str] = []
    repeated = False
    context = Context()
    for number, answer in enumerate(case.answers, 1):
        recorded = _as_referral(answer)
        if case.frame is None or case.pipeline is None or not case.transforms or recorded.pixel is None:
            referrals.append(recorded)
            continue
        profile = case.pipeline.profile
        if profile.base_frame in case.transforms and profile.goal_frame in case.transforms:
            base = case.transforms[profile.goal_frame] @ case.transforms[profile.base_frame].inverse()
            context = replace(context, goal_from_base=base)
        pixel = (recorded.pixel.u_px, recorded.pixel.v_px)
        again = case.pipeline.refer(case.frame, recorded.task, case.transforms, pixel=pixel, context=context)
        context = replace(context, held=held_object(again, case.transforms) or context.held)
        if profile.goal_frame == LEVEL:
            again = in_optical(again, case.transforms[LEVEL], case.frame.frame_id)
        repeated = True
        elsewhere = recorded.goal_frame != again.goal_frame
        posed: dict[str, None] = {"position_m": None} if elsewhere else {}
        if elsewhere and None not in (recorded.goal, again.goal):
            uncompared.append(f"the goal of answer {number} is in {recorded.goal_frame}, the new one in {again.goal_frame}")
            posed |= {"goal": None, "approach": None}
        differences += compare([{**again.to_dict(), **posed}], [{**answer, **posed}], first=number)
        kept = {**again.provenance, **recorded.provenance}
        referrals.append(replace(again, answer_text=recorded.answer_text, provenance=kept, timings_ms=recorded.timings_ms))
    return Explanation(case, tuple(referrals), tuple(differences), repeated, tuple(uncompared))


def _as_referral(answer: Answer) -> Referral:
    """What JSON holds of a referral; surface, segment and grasps are not in it."""
    from roboref_node.pointing.pointer import PixelPoint

    task = answer["task"]
    pixel, position, covariance = answer.get("pixel"), answer.get("position_m"), answer.get("covariance_m2")
    return Referral(
        task=Task(TaskKind(task["kind"]), task["expression"], task["instruction"]),
        status=Status(answer["status"]),
        sentence=answer["sentence"],
        stamp_ns=answer.get("stamp_ns") or 0,
        frame_id=answer.get("frame_id") or "",
        goal_frame=answer.get("position_frame") or "",
        pixel=None if pixel is None else PixelPoint(float(pixel[0]), float(pixel[1])),
        answer_text=answer.get("answer") or "",
        position_m=None if position is None else (float(position[0]), float(position[1]), float(position[2])),
        position_covariance_m2=None if covariance is None else tuple(float(x) for x in covariance),
        goal=_pose(answer.get("goal")),
        approach=_pose(answer.get("approach")),
        timings_ms=dict(answer.get("timings_ms") or {}),
        provenance=dict(answer.get("provenance") or {}),
        details=dict(answer.get("details") or {}),
    )


def _pose(data: Any) -> Transform | None:
    return None if data is None else pose_from_mapping(data, "the answer's pose")
