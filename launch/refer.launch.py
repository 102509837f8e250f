"""The refer node on a robot's camera: ros2 launch roboref refer.launch.py robot:=ur5 color_topic:=/camera/color/image_raw ...

`ros2 launch roboref refer.launch.py --show-args` prints the arguments below. What is given here wins over params_file, which wins over the
node's defaults.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# Empty by default: what nobody gave must not reach the node, where it would replace what params_file says.
PARAMETERS = {
    "robot": (str, "Robot profile: ur5 (default), g1, or the path of a ROS parameter file with a profile."),
    "model": (
        str,
        "Pointing model: a name in config/models (default: nano), or the path of a YAML file or a checkpoint; none = pixels only.",
    ),
    "use_sim_time": (bool, "true: take time from /clock, for simulations and bags."),
    "color_transport": (str, "raw (default) or compressed."),
    "depth_transport": (str, "raw (default) or compressed (compressedDepth)."),
    "rectified": (bool, "true: the image topics carry rectified images."),
    "depth_aligned": (bool, "true: depth is registered to colour although its frame_id differs."),
    "autostart": (bool, "true (default): configure and activate at start; false leaves that to a lifecycle manager."),
}
TOPICS = {
    "color_topic": ("camera/color/image_raw", "Colour image (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("camera/aligned_depth_to_color/image_raw", "Depth image: 16UC1, mono16 or 32FC1."),
    "depth_info_topic": ("camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
}
ARGUMENTS = {
    **{name: ("", text) for name, (_, text) in PARAMETERS.items()},
    **TOPICS,
    "namespace": ("", "Namespace of the node and of its relative topics; one per camera or robot."),
    "params_file": ("", "ROS parameter file; see `ros2 param describe /refer NAME`."),
    "rviz": ("false", "Start RViz with the overlay and the markers."),
    "log_level": ("info", "debug, info, warn or error."),
}


def given(context, *names):
    """Those of `names` that are not empty, as parameters of a node."""
    return {
        name.replace("depth_aligned", "depth.aligned"): ParameterValue(LaunchConfiguration(name), value_type=PARAMETERS[name][0])
        for name in names
        if LaunchConfiguration(name).perform(context)
    }


def nodes(context):
    """The node and RViz; a function, because empty arguments must not be passed on."""
    params_file = LaunchConfiguration("params_file").perform(context)
    refer = Node(
        package="roboref",
        executable="refer",
        name="refer",
        namespace=LaunchConfiguration("namespace"),
        parameters=[source for source in (params_file, given(context, *PARAMETERS)) if source],
        remappings=[(inner, LaunchConfiguration(name)) for name, (inner, _) in TOPICS.items()],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([FindPackageShare("roboref"), "config", "roboref.rviz"])],
        parameters=[source for source in (given(context, "use_sim_time"),) if source],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [refer, rviz]


def generate_launch_description():
    """Arguments and nodes."""
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
