"""A recorded bag and the refer node: ros2 launch roboref replay.launch.py bag:=PATH robot:=ur5 [color_transport:=compressed].

The bag starts once the refer node has subscribed. `ros2 bag play --clock` instead of the replay node works as well.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

TOPICS = {
    "color_topic": ("/camera/color/image_raw", "Colour image in the bag (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("/camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("/camera/aligned_depth_to_color/image_raw", "Depth image in the bag (base name, as well)."),
    "depth_info_topic": ("/camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
}
# Empty: the node's default, see refer.launch.py.
REFER = {
    "robot": ("", "Robot profile: ur5 (default), g1, or the path of a ROS parameter file with a profile."),
    "model": (
        "",
        "Pointing model: a name in config/models (default: nano), or the path of a YAML file or a checkpoint; none = pixels only.",
    ),
    "color_transport": ("", "raw (default), or compressed: the bag holds <color_topic>/compressed."),
    "depth_transport": ("", "raw (default), or compressed: the bag holds <depth_topic>/compressedDepth."),
    "rectified": ("", "true: the image topics carry rectified images."),
    "depth_aligned": ("", "true: depth is registered to colour although its frame_id differs."),
    "params_file": ("", "ROS parameter file of the refer node."),
    "rviz": ("false", "Start RViz with the overlay and the markers."),
}
PLAYER = {
    "rate": ("1.0", "Speed as a multiple of the recorded one."),
    "loop": ("false", "Start again at the end."),
    "stay": ("true", "Keep latched topics and the clock after the end."),
}


def generate_launch_description():
    """Arguments and nodes."""
    suffix = PythonExpression(["'/compressed' if '", LaunchConfiguration("color_transport"), "' == 'compressed' else ''"])
    types = {"rate": float, "loop": bool, "stay": bool}
    player = Node(
        package="roboref",
        executable="replay",
        name="replay",
        parameters=[
            {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in types.items()},
            {"bag": ParameterValue(LaunchConfiguration("bag"), value_type=str)},
            {"wait_for": ParameterValue([LaunchConfiguration("color_topic"), suffix], value_type=str)},
        ],
        output="screen",
    )
    refer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("roboref"), "launch", "refer.launch.py"])),
        launch_arguments={"use_sim_time": "true", **{name: LaunchConfiguration(name) for name in (*TOPICS, *REFER)}}.items(),
    )
    arguments = [DeclareLaunchArgument("bag", description="Folder of the rosbag2 (mcap or sqlite3).")]
    arguments += [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in {**TOPICS, **REFER, **PLAYER}.items()
    ]
    return LaunchDescription([*arguments, player, refer])
