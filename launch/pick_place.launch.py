"""The closed loop: ros2 launch roboref pick_place.launch.py robot:=ur5 arm_action:=/arm/move arm_stop:=/arm/stop.

Starts the refer node and the pick_place node on a robot whose arm serves roboref/action/MoveArm (docs/arm.md); with sim:=true also the
simulated cell, which does. What is given here wins over params_file, which wins over the defaults below.

  ros2 topic pub -w 1 --once /pick_place/instruction std_msgs/msg/String "{data: pick up the red cup and put it behind the bowl}"
  ros2 action send_goal --feedback /pick_place/pick_place roboref/action/PickPlace "{instruction: pick up the red cup}"
  ros2 service call /pick_place/stop std_srvs/srv/Trigger
"""

from roboref_node.ros.launching import CAMERA, CAMERA_NAMES, CLOCK, PROCESS, RVIZ, TOPICS, description, is_true, node, rviz

EYES = {
    "robot": (str, "Robot profile: ur5 (default), or the path of a ROS parameter file with a profile."),
    **CLOCK,
    **CAMERA,
}
MODEL = {"model": (str, "Pointing model: a name in config/models (default: nano_careful), or the path of a YAML file or a checkpoint.")}
LOOP = {
    "arm_action": (str, "The arm's action, roboref/action/MoveArm (default: arm/move)."),
    "arm_stop": (str, "The service that stops the arm, std_srvs/Trigger (default: arm/stop)."),
    "arm_stopped": (str, "The topic on which the arm says that it was stopped, std_msgs/Empty (default: arm/stopped)."),
    "confirm": (bool, "true: wait for a yes before each motion towards an object or a place."),
}
SCENE = {"seed": (int, "Scene of the simulated cell (default: 3).")}
SETTINGS = {**TOPICS, **PROCESS, **RVIZ, "sim": ("false", "Start the simulated cell too, and take time from it.")}


def nodes(context):
    """The cell where it is asked for, what looks and what moves."""
    simulated = is_true(context, "sim")
    clock = {"use_sim_time": simulated}
    return [
        *([node(context, "sim", SCENE, defaults={"seed": 3})] if simulated else []),
        node(context, "refer", {**EYES, **MODEL}, defaults={"model": "nano_careful", **clock}, topics=CAMERA_NAMES),
        node(context, "pick_place", {**EYES, **LOOP}, defaults=clock, topics=CAMERA_NAMES),
        *rviz(context, **clock),
    ]


def generate_launch_description():
    """Arguments and nodes."""
    return description(nodes, {**EYES, **MODEL, **LOOP, **SCENE}, SETTINGS)
