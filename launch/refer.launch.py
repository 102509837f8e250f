"""The refer node on a robot's camera: ros2 launch roboref refer.launch.py robot:=ur5 color_topic:=/camera/color/image_raw ...

`ros2 launch roboref refer.launch.py --show-args` prints the arguments below.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = {
    "robot": ("ur5", "Robot profile: ur5, g1, or the path of a ROS parameter file with a profile."),
    "model": ("nano", "Pointing model: a name in config/models, or the path of a YAML file or a checkpoint; none = pixels only."),
    "namespace": ("", "Namespace of the node and of its relative topics; one per camera or robot."),
    "use_sim_time": ("false", "Take time from /clock: for simulations and bags."),
    "color_topic": ("camera/color/image_raw", "Colour image (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("camera/aligned_depth_to_color/image_raw", "Depth image: 16UC1, mono16 or 32FC1."),
    "depth_info_topic": ("camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
    "color_transport": ("raw", "raw or compressed."),
    "depth_transport": ("raw", "raw or compressed (compressedDepth)."),
    "rectified": ("false", "The image topics carry rectified images."),
    "depth_aligned": ("false", "Depth is registered to colour although its frame_id differs."),
    "params_file": ("", "ROS parameter file with anything else; see `ros2 param describe /refer NAME`."),
    "autostart": ("true", "Configure and activate at start; false leaves that to a lifecycle manager."),
    "rviz": ("false", "Start RViz with the overlay and the markers."),
    "log_level": ("info", "debug, info, warn or error."),
}


def refer_node(context):
    """The node; a function, because an empty params_file must not be passed on."""
    params_file = LaunchConfiguration("params_file").perform(context)
    settings = {
        name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in ("robot", "model", "color_transport", "depth_transport")
    }
    settings |= {name: ParameterValue(LaunchConfiguration(name), value_type=bool) for name in ("use_sim_time", "rectified", "autostart")}
    settings["depth.aligned"] = ParameterValue(LaunchConfiguration("depth_aligned"), value_type=bool)
    topics = {name: ARGUMENTS[name][0] for name in ("color_topic", "color_info_topic", "depth_topic", "depth_info_topic")}
    return [
        Node(
            package="roboref",
            executable="refer",
            name="refer",
            namespace=LaunchConfiguration("namespace"),
            parameters=[*([params_file] if params_file else []), settings],
            remappings=[(inner, LaunchConfiguration(name)) for name, inner in topics.items()],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description():
    """Arguments and nodes."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([FindPackageShare("roboref"), "config", "roboref.rviz"])],
        parameters=[{"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=refer_node), rviz])
