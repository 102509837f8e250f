"""What a robot can do, as data: gripper, reach, stand-off, view and workspace, from one YAML file per robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from roboref_node.config import available_configs, find_config, load_ros_parameters
from roboref_node.goals.zones import Zone
from roboref_node.parameters import ParameterDescription, ParameterValue, build, check_settings, describe, setting, unflatten
from roboref_node.status import Refused, Status


class RobotKind(str, Enum):
    """What a robot can be asked for: an arm picks and places, a mobile robot goes somewhere."""

    ARM = "arm"
    MOBILE = "mobile"


class Orientation(str, Enum):
    """How an object is turned when it is placed."""

    KEPT = "kept"
    ALIGNED = "aligned"


@dataclass(frozen=True)
class Gripper:
    """Parallel gripper. Tool frame: origin between the finger tips, z = approach, x = closing direction. Defaults: Robotiq 2F-85."""

    max_opening_m: float = setting("Widest gap between the fingers.", default=0.085, unit="m", minimum=0.005, maximum=1.0)
    finger_depth_m: float = setting("Length of the fingers from the tips to the palm.", default=0.045, unit="m", minimum=0.005, maximum=0.5)
    finger_thickness_m: float = setting(
        "Size of one finger along the closing direction.", default=0.014, unit="m", minimum=0.001, maximum=0.1
    )
    finger_width_m: float = setting("Size of one finger across the closing direction.", default=0.022, unit="m", minimum=0.001, maximum=0.1)
    palm_width_m: float = setting(
        "Size of the gripper's body along the closing direction.", default=0.15, unit="m", minimum=0.01, maximum=0.5
    )
    palm_depth_m: float = setting(
        "Size of the gripper's body across the closing direction.", default=0.075, unit="m", minimum=0.01, maximum=0.5
    )
    flange_to_tip_m: float = setting(
        "From the robot's flange (tool0) to the finger tips.", default=0.163, unit="m", minimum=0.01, maximum=1.0
    )
    opening_margin_m: float = setting(
        "Gap that must remain on each side of the object before closing.", default=0.004, unit="m", minimum=0.0, maximum=0.05
    )
    clearance_m: float = setting(
        "Smallest gap between the open gripper and anything but the object.", default=0.005, unit="m", minimum=0.0, maximum=0.1
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if 2.0 * self.opening_margin_m >= self.max_opening_m:
            raise ValueError(
                f"opening_margin_m {self.opening_margin_m:g} on both sides leaves nothing of max_opening_m {self.max_opening_m:g}"
            )

    @property
    def max_object_m(self) -> float:
        """Widest object that can be grasped: the opening minus the margin on both sides."""
        return self.max_opening_m - 2.0 * self.opening_margin_m


@dataclass(frozen=True)
class Reach:
    """Sphere shell around the shoulder in which the flange of an arm can be put: necessary for a solution, not sufficient.

    For a mobile robot: the shell around the shoulder in which its hand can be put.
    """

    shoulder_m: tuple[float, float, float] = setting(
        "Shoulder in the base frame (mobile robots: over the floor under the base).", default=(0.0, 0.0, 0.0), unit="m"
    )
    min_m: float = setting("Smallest distance from the shoulder.", default=0.0, unit="m", minimum=0.0)
    max_m: float = setting("Largest distance from the shoulder.", default=0.85, unit="m", minimum=0.01, maximum=10.0)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m {self.min_m:g} must be below max_m {self.max_m:g}")


@dataclass(frozen=True)
class GraspSettings:
    """How grasps are searched for."""

    pregrasp_distance_m: float = setting(
        "Distance of the pregrasp pose, back along the approach.", default=0.10, unit="m", minimum=0.01, maximum=0.5
    )
    support_clearance_m: float = setting(
        "Lowest height of the finger tips (side grasps: of the fingers) over the support.",
        default=0.005,
        unit="m",
        minimum=0.0,
        maximum=0.1,
    )
    grip_depth_m: float = setting(
        "How far below the object's top the tips go in a top grasp.", default=0.03, unit="m", minimum=0.002, maximum=0.2
    )
    rim_depth_m: float = setting("How far below a rim the tips go.", default=0.02, unit="m", minimum=0.002, maximum=0.2)
    max_contact_slope: float = setting(
        "Steepest slant of the object under a finger, as a coefficient of friction.", default=0.5, minimum=0.05, maximum=5.0
    )
    yaw_count: int = setting("Closing directions tried in half a turn.", default=12, minimum=2, maximum=180)
    max_candidates: int = setting("Length of the ranked list.", default=16, minimum=1, maximum=1000)
    side_grasps: bool = setting("Whether horizontal approaches are tried.", default=True)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PlaceSettings:
    """When a spot counts as free."""

    clearance_m: float = setting("Gap between the held object and its neighbours.", default=0.01, unit="m", minimum=0.0, maximum=0.5)
    obstacle_height_m: float = setting(
        "What rises more than this over the support is an obstacle.", default=0.01, unit="m", minimum=0.001, maximum=0.5
    )
    max_tilt_rad: float = setting("Steepest support.", default=0.26, unit="rad", minimum=0.01, maximum=1.5)
    release_height_m: float = setting("Gap under the held object when it is let go.", default=0.005, unit="m", minimum=0.0, maximum=0.1)
    approach_distance_m: float = setting("Height of the pose before placing.", default=0.10, unit="m", minimum=0.01, maximum=0.5)
    neighbourhood_m: float = setting("Half side of the square that is looked at.", default=0.20, unit="m", minimum=0.02, maximum=2.0)
    min_supported: float = setting("Least share of the footprint that is seen to be support.", default=0.7, minimum=0.0, maximum=1.0)
    orientation: Orientation = setting(
        "kept: turned as it was grasped; aligned: fingers across the line to the robot, the gripper straight down, or straight outwards "
        "after a grasp from the side.",
        default=Orientation.KEPT,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class StandoffSettings:
    """Where a mobile robot may stop in front of a target. Heights are over the floor."""

    min_m: float = setting("Smallest distance from the base to the target.", default=0.45, unit="m", minimum=0.05)
    max_m: float = setting("Largest distance from the base to the target.", default=0.9, unit="m", minimum=0.05, maximum=20.0)
    preferred_m: float = setting("Distance with the best score.", default=0.6, unit="m", minimum=0.05)
    footprint_radius_m: float = setting("Radius of the robot seen from above.", default=0.3, unit="m", minimum=0.01, maximum=3.0)
    clearance_m: float = setting("Gap between footprint and obstacles.", default=0.05, unit="m", minimum=0.0, maximum=3.0)
    floor_z_m: float = setting("Height of the floor in the goal frame; z of every goal.", default=0.0, unit="m")
    target_radius_m: float = setting(
        "Obstacles this near the target belong to what it stands on and do not block the sight of it.", default=0.5, unit="m", minimum=0.0
    )
    arrival_m: float = setting(
        "How far from its goal the robot may stop: reach and view must hold that much nearer and farther too.",
        default=0.0,
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )
    require_reach: bool = setting(
        "Whether the target must be within the arm's reach on arrival; otherwise that only counts.", default=False
    )
    bearings: int = setting("Directions tried around the target.", default=48, minimum=4, maximum=720)
    distances: int = setting("Distances tried in each direction.", default=7, minimum=1, maximum=100)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.min_m <= self.preferred_m <= self.max_m:
            raise ValueError(f"preferred_m {self.preferred_m:g} must lie between min_m {self.min_m:g} and max_m {self.max_m:g}")


@dataclass(frozen=True)
class HeadView:
    """What the robot's camera sees when the base stands at a goal: a pyramid around the optical axis."""

    forward_m: float = setting("Camera ahead of the base's axis.", default=0.0, unit="m")
    height_m: float = setting("Camera over the floor.", default=1.2, unit="m", minimum=0.05, maximum=5.0)
    pitch_down_rad: float = setting("Tilt of the optical axis below the horizon.", default=0.0, unit="rad", minimum=-1.57, maximum=1.57)
    horizontal_fov_rad: float = setting(
        "Full horizontal field of view; at its goal the robot faces the target, so it only has to be wider than both margins.",
        default=1.2,
        unit="rad",
        minimum=0.05,
        maximum=3.1,
    )
    vertical_fov_rad: float = setting("Full vertical field of view.", default=0.75, unit="rad", minimum=0.05, maximum=3.1)
    margin_rad: float = setting("Part at each border that does not count as seen.", default=0.05, unit="rad", minimum=0.0, maximum=0.5)
    min_range_m: float = setting("Nearest distance with depth.", default=0.28, unit="m", minimum=0.0)
    required: bool = setting("Whether the target must be in view on arrival; otherwise that only counts.", default=True)
    max_range_m: float = setting("Farthest distance with depth.", default=4.0, unit="m", minimum=0.05)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.min_range_m >= self.max_range_m:
            raise ValueError(f"min_range_m {self.min_range_m:g} must be below max_range_m {self.max_range_m:g}")
        if 2.0 * self.margin_rad >= min(self.horizontal_fov_rad, self.vertical_fov_rad):
            raise ValueError(f"margin_rad {self.margin_rad:g} on both sides leaves nothing of the field of view")


@dataclass(frozen=True)
class RobotProfile:
    """One robot. Sections that do not apply are None: an arm needs `gripper` and `reach`, a mobile robot `standoff`.

    `zones` maps a name of your choice to a zone. At least one must keep in: without one no goal would be allowed anyway.
    """

    name: str
    zones: Mapping[str, Zone]
    kind: RobotKind = setting("arm or mobile.")
    base_frame: str = setting("Frame of the robot's base; reach is given in it.")
    goal_frame: str = setting("Frame in which goals are published; its z axis points up.")
    tool_frame: str = setting(
        "Frame of the flange, the parent of the gripper: for who reads the profile, nothing looks it up.", default="tool0"
    )
    gripper: Gripper | None = None
    reach: Reach | None = None
    grasp: GraspSettings = field(default_factory=GraspSettings)
    place: PlaceSettings = field(default_factory=PlaceSettings)
    standoff: StandoffSettings | None = None
    view: HeadView | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        if not (self.name and self.base_frame and self.goal_frame):
            raise ValueError("name, base_frame and goal_frame must not be empty")
        needed = ("gripper", "reach") if self.kind is RobotKind.ARM else ("standoff",)
        for section in needed:
            if getattr(self, section) is None:
                raise ValueError(f"a robot of kind {self.kind.value} needs the section {section}")
        if self.kind is RobotKind.ARM and self.goal_frame != self.base_frame:
            raise ValueError(
                f"an arm's goal_frame ('{self.goal_frame}') must be its base_frame ('{self.base_frame}'): reach is given in it"
            )
        if not any(zone.type.keeps_in for zone in self.zones.values()):
            raise ValueError("zones has no keep_in_box or keep_in_prism; without one no goal is allowed")

    @staticmethod
    def from_parameters(parameters: Mapping[str, Any], *, name: str) -> RobotProfile:
        """Build from the parameters below ``profile``, nested (YAML) or with dotted names (ROS).

        Args:
            parameters: Settings; those left out keep their defaults.
            name: Name of the robot, the parameter ``robot``.

        Raises:
            Refused: BAD_REQUEST naming the key that is wrong, missing or unknown.
        """
        values = unflatten(parameters)
        raw_zones = values.pop("zones", {})
        if not isinstance(raw_zones, Mapping) or not all(isinstance(zone, Mapping) for zone in raw_zones.values()):
            raise Refused(Status.BAD_REQUEST, "profile.zones: each zone is a name with a section of settings")
        zones = {str(key): build(Zone, zone, path=f"profile.zones.{key}") for key, zone in raw_zones.items()}
        if "name" in values:
            raise Refused(Status.BAD_REQUEST, "profile.name: the name is given by the parameter 'robot', not in the profile")
        return build(RobotProfile, {**values, "name": name, "zones": zones}, path="profile")

    def to_parameters(self) -> dict[str, ParameterValue]:
        """Dotted names and plain values; `from_parameters` gives the same profile back."""
        return {item.name: item.value for item in self.parameter_descriptions()}

    def parameter_descriptions(self) -> tuple[ParameterDescription, ...]:
        """Every parameter below ``profile`` with value, unit, bounds and documentation, to be declared by a node.

        Empty lists (the unused corners of a zone) are left out: ROS cannot type them.
        """
        leaves = list(describe(self))
        for key, zone in self.zones.items():
            leaves += [item for item in describe(zone, f"zones.{key}.") if item.value != []]
        return tuple(leaves)

    @property
    def frames_needed(self) -> tuple[str, ...]:
        """Frames whose transforms a goal needs: the goal frame first, then those of the zones."""
        return tuple(dict.fromkeys((self.goal_frame, *(zone.frame for zone in self.zones.values()))))


def known_robots() -> tuple[str, ...]:
    """Names of the configuration files that describe a robot."""
    names = []
    for name in available_configs():
        try:
            if "profile" in load_ros_parameters(find_config(name)):
                names.append(name)
        except Refused:
            continue  # A file of another kind (a model, a bench) is no robot.
    return tuple(names)


def load_profile(name_or_path: str | Path) -> RobotProfile:
    """Read a robot's profile.

    Args:
        name_or_path: Name of a shipped robot (``ur5``, ``g1``) or path of a ROS 2 parameter file with ``robot`` and ``profile``.

    Raises:
        Refused: BAD_REQUEST: unknown robot (the known ones are listed), unreadable file, wrong value (the key is named).
    """
    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or Path(text).name != text or text.endswith((".yaml", ".yml"))
    if not is_path and text not in known_robots():
        known = known_robots()
        raise Refused(Status.BAD_REQUEST, f"there is no robot '{text}'; known are: {', '.join(known) or 'none'}", known=list(known))
    path = Path(text) if is_path else find_config(text)
    parameters = load_ros_parameters(path)
    section = parameters.get("profile")
    if not isinstance(section, Mapping):
        raise Refused(Status.BAD_REQUEST, f"{path} has no section 'profile'")
    robot = parameters.get("robot")
    if not isinstance(robot, str):
        raise Refused(Status.BAD_REQUEST, f"{path} has no parameter 'robot' with the robot's name")
    return RobotProfile.from_parameters(section, name=robot)
