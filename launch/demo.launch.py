"""A simulated UR5 cell and the refer node: ros2 launch roboref demo.launch.py seed:=7.

Ask it something:
  ros2 topic pub -w 1 --once /refer/instruction std_msgs/msg/String "{data: pick up the red cup and put it behind the bowl}"
  ros2 action send_goal --feedback /refer/refer roboref/action/Refer "{instruction: point at the leftmost box}"
"""

from roboref_node.ros.launching import PROCESS, RVIZ, description, node, rviz

CELL = {
    "seed": (int, "Scene: objects, camera and light (default: 0)."),
    "width": (int, "Width of the images in pixels (default: 640)."),
    "height": (int, "Height of the images in pixels (default: 480)."),
    "rate": (float, "Frames per second (default: 15)."),
}
MODEL = {
    "model": (
        str,
        "Pointing model: a name in config/models (default: nano), or the path of a YAML file or a checkpoint; none = pixels only.",
    )
}


def nodes(context):
    """The cell and the node that looks at it."""
    clock = {"use_sim_time": True}
    return [node(context, "sim", CELL), node(context, "refer", MODEL, defaults=clock), *rviz(context, **clock)]


def generate_launch_description():
    """Arguments and nodes."""
    return description(nodes, {**CELL, **MODEL}, {**PROCESS, **RVIZ})
