"""The parameters of the ``pick_place`` node. `ros2 param describe` prints these sentences."""

from __future__ import annotations

from dataclasses import dataclass, field

from roboref_node.parameters import check_settings, setting
from roboref_node.pick_place import LoopSettings
from roboref_node.ros.settings import CameraSettings


@dataclass(frozen=True)
class PickPlaceSettings(CameraSettings):
    """Parameters of the ``pick_place`` node; those of the camera are the refer node's."""

    robot: str = setting("Robot profile: the one that the refer node has.", default="ur5")
    refer_action: str = setting("Action of the refer node.", default="refer/refer")
    arm_action: str = setting("Action of the arm (roboref/action/MoveArm).", default="arm/move")
    arm_stop: str = setting("Service that stops the arm, whoever moves it (std_srvs/Trigger).", default="arm/stop")
    arm_stopped: str = setting(
        "Topic on which the arm says that this service was called (std_msgs/Empty, reliable): ends the sentence, between two motions too.",
        default="arm/stopped",
    )
    confirm: bool = setting('Wait for a yes (~/confirm, or "yes" on ~/instruction) before the arm moves.', default=False)
    confirm_timeout_s: float = setting("How long a question waits for a yes.", default=30.0, unit="s", minimum=0.1, maximum=3600.0)
    server_timeout_s: float = setting(
        "How long the refer node and the arm may take to appear and to accept a goal.", default=5.0, unit="s", minimum=0.1, maximum=60.0
    )
    refer_timeout_s: float = setting("How long the refer node may take to answer.", default=30.0, unit="s", minimum=0.1, maximum=600.0)
    arm_timeout_s: float = setting("How long one motion of the arm may take.", default=60.0, unit="s", minimum=0.1, maximum=3600.0)
    arm_stop_timeout_s: float = setting(
        "How long a stopped arm may take to report that it stands.", default=5.0, unit="s", minimum=0.1, maximum=60.0
    )
    watch_period_s: float = setting(
        "How often the object is looked at while the arm approaches it.", default=0.1, unit="s", minimum=0.02, maximum=10.0
    )
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        check_settings(self)


LIVE = frozenset(
    {
        "confirm", "confirm_timeout_s", "server_timeout_s", "refer_timeout_s", "arm_timeout_s", "arm_stop_timeout_s", "watch_period_s",
        "max_frame_age_s", "stamp_tolerance_s", "tf_timeout_s", *(f"loop.{name}" for name in LoopSettings.__dataclass_fields__),
    }
)  # fmt: skip
"""Parameters that may change at any time: they are read anew for each sentence."""
