"""The refer node on a robot's camera: ros2 launch roboref refer.launch.py robot:=ur5 color_topic:=/camera/color/image_raw ...

`ros2 launch roboref refer.launch.py --show-args` prints the arguments below. What is given here wins over params_file, which wins over the
node's defaults.
"""

from roboref_node.ros.launching import CAMERA, CAMERA_NAMES, CLOCK, PROCESS, RVIZ, TOPICS, description, node, rviz

PARAMETERS = {
    "robot": (str, "Robot profile: ur5 (default), g1, or the path of a ROS parameter file with a profile."),
    "model": (
        str,
        "Pointing model: a name in config/models (default: nano), or the path of a YAML file or a checkpoint; none = pixels only.",
    ),
    **CLOCK,
    **CAMERA,
    "autostart": (bool, "true (default): configure and activate at start; false leaves that to a lifecycle manager."),
}


def nodes(context):
    """The node and RViz."""
    return [node(context, "refer", PARAMETERS, topics=CAMERA_NAMES), *rviz(context)]


def generate_launch_description():
    """Arguments and nodes."""
    return description(nodes, PARAMETERS, {**TOPICS, **PROCESS, **RVIZ})
