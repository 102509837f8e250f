"""Goals: grasp, place and stand-off poses for a robot, planned from what the camera saw and checked against its workspace."""

from roboref_node.goals.freespace import Direction, FreeSpace, FreeSpaceSettings, sample_free_space
from roboref_node.goals.grasp import GraspCandidate, plan_grasps
from roboref_node.goals.occupancy import OccupancyMap
from roboref_node.goals.place import HeldObject, PlaceGoal, plan_place
from roboref_node.goals.profile import RobotKind, RobotProfile, known_robots, load_profile
from roboref_node.goals.reach import Reachability, ReachSphere
from roboref_node.goals.standoff import StandoffGoal, plan_standoff
from roboref_node.goals.workspace import Workspace
from roboref_node.goals.zones import Zone, ZoneType

__all__ = [
    "Direction",
    "FreeSpace",
    "FreeSpaceSettings",
    "GraspCandidate",
    "HeldObject",
    "OccupancyMap",
    "PlaceGoal",
    "Reachability",
    "ReachSphere",
    "RobotKind",
    "RobotProfile",
    "StandoffGoal",
    "Workspace",
    "Zone",
    "ZoneType",
    "known_robots",
    "load_profile",
    "plan_grasps",
    "plan_place",
    "plan_standoff",
    "sample_free_space",
]
