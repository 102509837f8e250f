"""The frames of questions that failed, each in a bag of its own, for ``roboref explain`` and ``roboref replay``."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from roboref_node.goals.profile import RobotProfile
from roboref_node.parameters import describe
from roboref_node.pipeline import PipelineSettings
from roboref_node.referral import Referral
from roboref_node.replay.recorded import PREFIX, QUESTION_TOPIC
from roboref_node.replay.topics import BagTopics
from roboref_node.replay.writing import LATCHED
from roboref_node.rgbd import DepthTrust
from roboref_node.ros.evidence import Evidence
from roboref_node.ros.record_settings import Recorded, RecordSettings
from roboref_node.ros.requests import Request
from roboref_node.ros.transforms import message_from_transform

_LOG = logging.getLogger(__name__)
_PARTIAL = ".partial"


class QuestionRecorder:
    """Writes questions; whatever goes wrong is logged and never reaches the answer.

    Args:
        settings: What, where and how much.
        profile: The robot in force.
        pipeline: The pipeline's settings in force.
        model: Name of the model in force.
        trust: What is declared about the images.
    """

    def __init__(self, settings: RecordSettings, profile: RobotProfile, pipeline: PipelineSettings, model: str, trust: DepthTrust) -> None:
        self._settings, self._trust = settings, trust
        self._profile, self._pipeline, self._model = profile, pipeline, model
        self._folder = Path(settings.folder).expanduser()
        self._store = get_typestore(Stores.ROS2_JAZZY)
        if settings.questions is not Recorded.NONE:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                _LOG.warning("questions cannot be recorded in %s (record.folder): %s", self._folder, error)

    def record(self, request: Request, referrals: Sequence[Referral], evidence: Evidence | None) -> Path | None:
        """Write one bag; returns its folder, or None when there is nothing to write or it could not be written."""
        settings = self._settings
        failed = any(not referral.ok for referral in referrals)
        if evidence is None or evidence.pair is None or not referrals or settings.questions is Recorded.NONE:
            return None
        if settings.questions is Recorded.FAILED and not failed:
            return None
        status = next((r.status.value for r in referrals if not r.ok), referrals[0].status.value)
        folder = self._folder / f"{PREFIX}{evidence.pair.stamp_ns:020d}_{status}"
        partial = folder.with_name(f".{folder.name}{_PARTIAL}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room()
            shutil.rmtree(partial, ignore_errors=True)
            self._write(partial, request, referrals, evidence)
            shutil.rmtree(folder, ignore_errors=True)  # asked about one frame twice: the newer answer counts
            partial.rename(folder)
        except (OSError, WriterError, ValueError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            _LOG.warning("a question could not be recorded in %s (record.folder): %s", self._folder, error)
            return None
        return folder

    def _make_room(self) -> None:
        """Remove the oldest bags of ours.

        Raises:
            OSError: The disk has less free than must remain.
        """
        bags = sorted(p for p in self._folder.iterdir() if p.name.startswith(PREFIX) and p.is_dir())
        sizes = {bag: sum(f.stat().st_size for f in bag.iterdir() if f.is_file()) for bag in bags}
        while bags and (len(bags) >= self._settings.max_count or sum(sizes[b] for b in bags) > self._settings.max_megabytes * 1e6):
            shutil.rmtree(bags.pop(0), ignore_errors=True)
        free_megabytes = shutil.disk_usage(self._folder).free / 1e6
        if free_megabytes < self._settings.min_free_megabytes:
            limit = self._settings.min_free_megabytes
            raise OSError(f"{free_megabytes:.0f} MB are free, record.min_free_megabytes is {limit}")

    def _write(self, folder: Path, request: Request, referrals: Sequence[Referral], evidence: Evidence) -> None:
        assert evidence.pair is not None
        stamp_ns, topics = evidence.pair.stamp_ns, BagTopics()
        question = {
            "instruction": request.instruction,
            "role": request.role,
            "pixel": request.pixel,
            "stamp_ns": stamp_ns,
            "model": self._model,
            "robot": self._profile.name,
            "profile": dict(self._profile.to_parameters()),
            "pipeline": {item.name: item.value for item in describe(self._pipeline)},
            "declared": asdict(self._trust),
            "answers": [referral.to_dict() for referral in referrals],
        }
        messages: list[tuple[str, Any]] = [
            ("/tf_static", TFMessage(transforms=self._transforms(evidence))),
            (topics.color_info, evidence.color_info),
            (topics.depth_info, evidence.depth_info),
            (topics.color, evidence.pair.color),
            (topics.depth, evidence.pair.depth),
            (QUESTION_TOPIC, String(data=json.dumps(question, default=_text))),
        ]
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for topic, message in messages:
                if message is not None:
                    kind = type(message)
                    name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
                    latched = [LATCHED] if topic == "/tf_static" else []
                    connection = writer.add_connection(topic, name, typestore=self._store, offered_qos_profiles=latched)
                    writer.write(connection, stamp_ns, serialize_message(message))

    @staticmethod
    def _transforms(evidence: Evidence) -> list[Any]:
        """A star around the optical frame: each frame has one parent, and each lookup is the very transform that was used."""
        assert evidence.pair is not None
        optical = evidence.pair.frame_id
        star = {name: frame_from_optical.inverse() for name, frame_from_optical in evidence.transforms.items()}
        if evidence.color_from_depth is not None:
            star[evidence.pair.depth_frame_id] = evidence.color_from_depth
        return [
            message_from_transform(transform, parent=optical, child=name, stamp_ns=evidence.pair.stamp_ns)
            for name, transform in star.items()
            if name != optical
        ]


def _text(value: Any) -> Any:
    """What JSON does not know: arrays as lists, everything else by its words."""
    return value.tolist() if hasattr(value, "tolist") else getattr(value, "value", str(value))
