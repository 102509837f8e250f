"""A simulated UR5 cell and the refer node: ros2 launch roboref demo.launch.py seed:=7.

Ask it something:
  ros2 topic pub -w 1 --once /refer/instruction std_msgs/msg/String "{data: pick up the red cup and put it behind the bowl}"
  ros2 action send_goal --feedback /refer/refer roboref/action/Refer "{instruction: point at the leftmost box}"
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = {
    "seed": ("0", "Scene: objects, camera and light."),
    "width": ("640", "Width of the images in pixels."),
    "height": ("480", "Height of the images in pixels."),
    "rate": ("15.0", "Frames per second."),
    "model": ("nano", "Pointing model: a name in config/models, or the path of a YAML file or a checkpoint; none = pixels only."),
    "rviz": ("false", "Start RViz with the overlay and the markers."),
}
TYPES = {"seed": int, "width": int, "height": int, "rate": float}


def generate_launch_description():
    """Arguments and nodes."""
    sim = Node(
        package="roboref",
        executable="sim",
        name="sim",
        parameters=[{name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in TYPES.items()}],
        output="screen",
    )
    refer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("roboref"), "launch", "refer.launch.py"])),
        launch_arguments={
            "robot": "ur5",
            "model": LaunchConfiguration("model"),
            "use_sim_time": "true",
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, sim, refer])
