"""The refer node and the navigate node: ros2 launch roboref navigate.launch.py color_topic:=... [drive:=nav2].

With a simulated G1 in a flat:
  ros2 launch roboref navigate.launch.py sim:=true seed:=2 target:=0
Tell it where to go:
  ros2 topic pub -w 1 --once /navigate/instruction std_msgs/msg/String "{data: go to the red cup}"

What is given here wins over params_file, which wins over the defaults below.
"""

from launch.substitutions import LaunchConfiguration

from roboref_node.ros.launching import CAMERA, CAMERA_NAMES, CLOCK, PROCESS, RVIZ, TOPICS, description, is_true, node, rviz

ROBOT = {
    "robot": (str, "Robot profile: g1 (default), or the path of a ROS parameter file with a profile of kind mobile."),
    **CLOCK,
}
EYES = {
    "model": (str, "Pointing model: a name in config/models (default: nano), or the path of a YAML file or a checkpoint."),
    "use_map": (bool, "Keep stand-off poses on the free cells of the occupancy grid `map` (default: true)."),
    **CAMERA,
}
WAY = {"drive": (str, "Who drives: goal_pose (default: the simulation, or anything that listens there) or nav2 (NavigateToPose).")}
FLAT = {
    "seed": (int, "Flat of the simulation (default: 0)."),
    "target": (int, "Start where the simulated head camera sees the object of this index (default: -1, anywhere)."),
}
SETTINGS = {**TOPICS, **PROCESS, **RVIZ, "sim": ("false", "Start a simulated robot too, and take time from it.")}


def nodes(context):
    """The robot where it is asked for, what looks and what walks."""
    simulated = is_true(context, "sim")
    clock = {"use_sim_time": simulated}
    # Nav2 listens to goal_pose as well: it must get its goal once.
    publishes = {"nav2": {"publish_goal_pose": False}, "goal_pose": {"publish_goal_pose": True}}
    fixed = publishes.get(LaunchConfiguration("drive").perform(context))
    return [
        *([node(context, "sim_g1", FLAT)] if simulated else []),
        node(context, "refer", {**ROBOT, **EYES}, defaults={"robot": "g1", "use_map": True, **clock}, fixed=fixed, topics=CAMERA_NAMES),
        node(context, "navigate", {**ROBOT, **WAY}, defaults={"drive": "goal_pose", **clock}),
        *rviz(context, **clock),
    ]


def generate_launch_description():
    """Arguments and nodes."""
    return description(nodes, {**ROBOT, **EYES, **WAY, **FLAT}, SETTINGS)
