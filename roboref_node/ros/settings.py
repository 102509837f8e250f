"""The parameters of the ``refer`` node. `ros2 param describe` prints these sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from roboref_node.parameters import check_settings, setting
from roboref_node.pipeline import PipelineSettings
from roboref_node.rgbd import DepthSettings, DepthTrust
from roboref_node.ros.record_settings import RecordSettings


class Transport(str, Enum):
    """How an image topic travels."""

    RAW = "raw"
    COMPRESSED = "compressed"


class Reliability(str, Enum):
    """QoS of the image subscriptions."""

    BEST_EFFORT = "best_effort"
    RELIABLE = "reliable"


@dataclass(frozen=True)
class CameraSettings:
    """How a node receives its camera and TF; the same parameters in every node that does."""

    color_transport: Transport = setting("raw, or compressed for <topic>/compressed.", default=Transport.RAW)
    depth_transport: Transport = setting("raw, or compressed for <topic>/compressedDepth.", default=Transport.RAW)
    image_reliability: Reliability = setting(
        "best_effort fits every driver; reliable excludes best-effort cameras.", default=Reliability.BEST_EFFORT
    )
    rectified: bool = setting("The image topics carry rectified images: P of the camera info counts, distortion does not.", default=False)
    depth: DepthSettings = field(default_factory=DepthSettings)
    sync_slop_s: float = setting(
        "Largest difference of stamps of a colour and depth pair, 0 = equal stamps only.", default=0.02, unit="s", minimum=0.0, maximum=1.0
    )
    frame_buffer: int = setting(
        "Colour and depth pairs kept for questions about a stamp; as many images wait for a partner that comes later.",
        default=15,
        minimum=1,
        maximum=300,
    )
    max_frame_age_s: float = setting("Oldest frame that may be used.", default=0.5, unit="s", minimum=0.01, maximum=3600.0)
    frame_timeout_s: float = setting("How long a question waits for a fresh frame.", default=2.0, unit="s", minimum=0.0, maximum=60.0)
    stamp_tolerance_s: float = setting(
        "Largest distance of a frame from a requested stamp.", default=0.05, unit="s", minimum=0.0, maximum=10.0
    )
    tf_timeout_s: float = setting(
        "How long a question waits for the transform at the stamp of its image.", default=0.5, unit="s", minimum=0.0, maximum=60.0
    )
    tf_cache_s: float = setting("How much of TF's past is kept.", default=30.0, unit="s", minimum=1.0, maximum=3600.0)

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def trust(self) -> DepthTrust:
        """What the parameters declare about the images."""
        return DepthTrust.of(self.depth, rectified=self.rectified)


@dataclass(frozen=True)
class ReferSettings(CameraSettings):
    """Parameters of the ``refer`` node, apart from ``profile.*`` (the robot's, see `goals.profile`)."""

    robot: str = setting("Robot profile: ur5, g1, or the path of a YAML file.", default="ur5")
    model: str = setting(
        "Pointing model: a name in config/models, or the path of a YAML file; none = answer given pixels only.", default="nano"
    )
    autostart: bool = setting("Configure and activate at start; false leaves that to a lifecycle manager.", default=True)
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    depth_frames: int = setting(
        "Depth is the median of this many frames, as long as neither the camera nor the scene moves; 1 = the newest frame alone.",
        default=1, minimum=1, maximum=30,
    )  # fmt: skip
    max_queue: int = setting("Action goals that may wait; one more is rejected.", default=4, minimum=1, maximum=100)
    max_questions_hz: float = setting(
        "Questions per second that are looked at, instructions and goals together; of a flood one a second is answered.",
        default=100.0, unit="Hz", minimum=0.1, maximum=1000.0,
    )  # fmt: skip
    use_map: bool = setting("Subscribe to the occupancy grid `map` and keep stand-off poses on its free cells.", default=False)
    record: RecordSettings = field(default_factory=RecordSettings)
    publish_goal_pose: bool = setting("Publish stand-off poses on `goal_pose`, where Nav2 listens and starts to drive.", default=True)

    def __post_init__(self) -> None:
        check_settings(self)


NO_MODEL = "none"
"""Value of `ReferSettings.model` that loads nothing: only questions with a given pixel can be answered."""

LIVE = frozenset(
    {
        "max_frame_age_s",
        "frame_timeout_s",
        "stamp_tolerance_s",
        "tf_timeout_s",
        "max_queue",
        "depth_frames",
        "max_questions_hz",
    }
)
"""Parameters that may change at any time: they are read anew for each question."""
