"""Bags of single questions, as the refer node writes them: the frame, the transforms, and the question with its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader

from roboref_node.goals.profile import RobotProfile
from roboref_node.parameters import build, unflatten
from roboref_node.pipeline import PipelineSettings
from roboref_node.replay.bag import check_there, declared, deserialize, reading
from roboref_node.replay.questions import BagQuestion
from roboref_node.replay.stored import checked_answer
from roboref_node.rgbd import DepthTrust
from roboref_node.status import Refused, Status

QUESTION_TOPIC = "/roboref/question"
"""std_msgs/String with the JSON object that `RecordedQuestion` is made of."""

SLOP_S = 3600.0
"""Of its one pair, which belonged together by the node's own slop."""

PREFIX = "question_"
"""Folders with other names are never touched."""


@dataclass(frozen=True)
class RecordedQuestion:
    """One question with everything that its answers followed from, except for the frame.

    Args:
        instruction: The sentence.
        role: As in `parse_instruction`.
        pixel: Given instead of the model, or None.
        stamp_ns: Stamp of the image.
        model: Name or file of the model.
        profile: The robot as it was.
        settings: The pipeline's settings as they were.
        trust: What was declared about the images.
        answers: `Referral.to_dict` of each task.
    """

    instruction: str
    role: str
    pixel: tuple[float, float] | None
    stamp_ns: int
    model: str
    profile: RobotProfile
    settings: PipelineSettings
    trust: DepthTrust
    answers: tuple[Mapping[str, Any], ...]

    def as_question(self) -> BagQuestion:
        """The same, to be asked again."""
        return BagQuestion(self.instruction, stamp_ns=self.stamp_ns, role=self.role, pixel=self.pixel)


def read_recorded(bag: Path) -> tuple[RecordedQuestion, ...]:
    """The questions in a bag; none when it is an ordinary one.

    Raises:
        Refused: BAD_REQUEST when the bag cannot be read, or a question in it is of another form.
    """
    check_there(bag)
    with reading(bag), Reader(bag) as reader:
        connections = [c for c in reader.connections if c.topic == QUESTION_TOPIC]
        texts = [_text(deserialize(raw, c.msgtype)) for c, _, raw in reader.messages(connections=connections)] if connections else []
    return tuple(_question(text, bag) for text in texts)


def _text(message: object) -> str:
    text = getattr(message, "data", None)
    if not isinstance(text, str):
        raise ValueError(f"what is on {QUESTION_TOPIC} is no std_msgs/String")
    return text


def _question(text: str, bag: Path) -> RecordedQuestion:
    try:
        data = json.loads(text)
        pixel = data["pixel"]
        return RecordedQuestion(
            str(data["instruction"]),
            str(data["role"]),
            None if pixel is None else (float(pixel[0]), float(pixel[1])),
            int(data["stamp_ns"]),
            str(data["model"]),
            RobotProfile.from_parameters(data["profile"], name=str(data["robot"])),
            build(PipelineSettings, unflatten(data["pipeline"]), path="pipeline"),
            trust_from(data.get("declared")),
            tuple(checked_answer(answer, f"{bag}: answer {number}") for number, answer in enumerate(data["answers"], 1)),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise Refused(Status.BAD_REQUEST, f"{bag}: the question on {QUESTION_TOPIC} cannot be read: {error}") from None


def trust_from(declaration: Mapping[str, Any] | None, *, rectified: bool = False) -> DepthTrust:
    """What was declared about the images, from its JSON form; older answers do not hold it, or hold `rectified` alone.

    Raises:
        KeyError, TypeError, ValueError: It is of another form.
    """
    if declaration is None:
        return declared(rectified=rectified)
    near_m, far_m = float(declaration["near_m"]), float(declaration["far_m"])
    return DepthTrust(near_m, far_m, bool(declaration["aligned"]), bool(declaration["rectified"]))


def recorded_bags(path: Path) -> Sequence[Path]:
    """The bag itself, or the bags of questions in a folder of them, oldest first."""
    if path.is_dir() and not (path / "metadata.yaml").exists():
        return sorted(p for p in path.iterdir() if p.name.startswith(PREFIX) and (p / "metadata.yaml").exists())
    return [path]
