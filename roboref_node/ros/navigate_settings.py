"""Parameters of the ``navigate`` node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from roboref_node.parameters import check_settings, setting


class DriveBy(str, Enum):
    """Who drives."""

    AUTO = "auto"
    GOAL_POSE = "goal_pose"
    NAV2 = "nav2"


@dataclass(frozen=True)
class NavigateSettings:
    """Parameters of the ``navigate`` node, apart from ``profile.*`` (the robot's, see `goals.profile`)."""

    robot: str = setting("Robot profile: the one that the refer node has.", default="g1")
    refer_action: str = setting("Action of the refer node.", default="refer/refer")
    drive: DriveBy = setting(
        "goal_pose: the refer node publishes it and something drives there. nav2: the NavigateToPose action; the refer node then needs "
        "publish_goal_pose:=false. auto: nav2 where nav2_msgs is installed and the refer node is started so.",
        default=DriveBy.AUTO,
    )
    nav2_action: str = setting("Nav2's action.", default="navigate_to_pose")
    arrive_m: float = setting("How near its goal the base must stand.", default=0.1, unit="m", minimum=0.005, maximum=2.0)
    arrive_rad: float = setting("How far turned from its goal the base may stand.", default=0.2, unit="rad", minimum=0.01, maximum=3.2)
    begin_s: float = setting(
        "How long a robot that already stands within arrive_m of a goal on goal_pose may take to get within profile.standoff.arrival_m of "
        "it: a step that short is over before anybody could tell that it had not begun.",
        default=2.0,
        unit="s",
        minimum=0.0,
        maximum=60.0,
    )
    approaches: int = setting(
        "How many times the robot may walk until its hand gets there: what is just out of reach from near is gone to once more, by what is "
        "seen from near. 1 = never again.",
        default=2,
        minimum=1,
        maximum=10,
    )
    settle_s: float = setting(
        "How long the robot must have stood before the second look: no older image may be used.", default=0.6, unit="s", minimum=0.0
    )
    drive_timeout_s: float = setting("How long the way may take.", default=180.0, unit="s", minimum=1.0, maximum=3600.0)
    refer_timeout_s: float = setting("How long the refer node may take to answer.", default=30.0, unit="s", minimum=0.1, maximum=600.0)
    server_timeout_s: float = setting(
        "How long the refer node, Nav2 and the base's place in TF may take to appear.", default=5.0, unit="s", minimum=0.1, maximum=60.0
    )
    tf_max_age_s: float = setting("Oldest pose of the base that tells where it is.", default=1.0, unit="s", minimum=0.01, maximum=60.0)

    def __post_init__(self) -> None:
        check_settings(self)
