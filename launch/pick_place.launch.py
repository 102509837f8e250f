"""The closed loop: ros2 launch roboref pick_place.launch.py robot:=ur5 arm_action:=/arm/move arm_stop:=/arm/stop.

Starts the refer node and the pick_place node on a robot whose arm serves roboref/action/MoveArm (docs/arm.md); with sim:=true also the
simulated cell, which does.

  ros2 topic pub -w 1 --once /pick_place/instruction std_msgs/msg/String "{data: pick up the red cup and put it behind the bowl}"
  ros2 action send_goal --feedback /pick_place/pick_place roboref/action/PickPlace "{instruction: pick up the red cup}"
  ros2 service call /pick_place/stop std_srvs/srv/Trigger
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

TOPICS = {
    "color_topic": ("camera/color/image_raw", "Colour image (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("camera/aligned_depth_to_color/image_raw", "Depth image: 16UC1, mono16 or 32FC1."),
    "depth_info_topic": ("camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
}
CAMERA = {
    "color_transport": ("raw", "raw or compressed."),
    "depth_transport": ("raw", "raw or compressed (compressedDepth)."),
    "rectified": ("false", "The image topics carry rectified images."),
    "depth_aligned": ("false", "Depth is registered to colour although its frame_id differs."),
}
ARGUMENTS = {
    "robot": ("ur5", "Robot profile: ur5, or the path of a ROS parameter file with a profile."),
    "model": ("nano_careful", "Pointing model: a name in config/models, or the path of a YAML file or a checkpoint."),
    "use_sim_time": ("false", "Take time from /clock: for simulations."),
    **TOPICS,
    **CAMERA,
    "arm_action": ("arm/move", "The arm's action (roboref/action/MoveArm)."),
    "arm_stop": ("arm/stop", "The service that stops the arm (std_srvs/Trigger)."),
    "confirm": ("false", "Wait for a yes before each motion towards an object or a place."),
    "sim": ("false", "Start the simulated cell too; needs use_sim_time:=true."),
    "seed": ("3", "Scene of the simulated cell."),
    "rviz": ("false", "Start RViz with the overlay and the markers."),
}


def generate_launch_description():
    """Arguments and nodes."""
    sim = Node(
        package="roboref",
        executable="sim",
        name="sim",
        parameters=[{"seed": ParameterValue(LaunchConfiguration("seed"), value_type=int)}],
        condition=IfCondition(LaunchConfiguration("sim")),
        output="screen",
    )
    refer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("roboref"), "launch", "refer.launch.py"])),
        launch_arguments={name: LaunchConfiguration(name) for name in ("robot", "model", "use_sim_time", "rviz", *TOPICS, *CAMERA)}.items(),
    )
    types = {"robot": str, "arm_action": str, "arm_stop": str, "color_transport": str, "depth_transport": str}
    types |= {"confirm": bool, "use_sim_time": bool, "rectified": bool}
    settings = {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in types.items()}
    settings["depth.aligned"] = ParameterValue(LaunchConfiguration("depth_aligned"), value_type=bool)
    pick_place = Node(
        package="roboref",
        executable="pick_place",
        name="pick_place",
        parameters=[settings],
        remappings=[(default, LaunchConfiguration(name)) for name, (default, _) in TOPICS.items()],
        output="screen",
    )
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, sim, refer, pick_place])
