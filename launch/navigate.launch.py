"""The refer node and the navigate node: ros2 launch roboref navigate.launch.py color_topic:=... [drive:=nav2].

With a simulated G1 in a flat:
  ros2 launch roboref navigate.launch.py sim:=true use_sim_time:=true seed:=2 target:=0
Tell it where to go:
  ros2 topic pub -w 1 --once /navigate/instruction std_msgs/msg/String "{data: go to the red cup}"
"""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = {
    "sim": ("false", "Start a simulated robot too; needs use_sim_time:=true."),
    "seed": ("0", "Flat of the simulation."),
    "target": ("-1", "Start where the head camera sees the object of this index; -1 = anywhere."),
    "robot": ("g1", "Robot profile: g1, or the path of a ROS parameter file with a profile of kind mobile."),
    "model": ("nano", "Pointing model: a name in config/models, or the path of a YAML file or a checkpoint."),
    "drive": ("goal_pose", "Who drives: goal_pose (the simulation, or anything that listens there) or nav2 (NavigateToPose)."),
    "use_map": ("true", "Keep stand-off poses on the free cells of the occupancy grid `map`."),
    "use_sim_time": ("false", "Take time from /clock: for simulations and bags."),
    "color_topic": ("camera/color/image_raw", "Colour image (base name, also with color_transport:=compressed)."),
    "color_info_topic": ("camera/color/camera_info", "CameraInfo of the colour image."),
    "depth_topic": ("camera/aligned_depth_to_color/image_raw", "Depth image: 16UC1, mono16 or 32FC1."),
    "depth_info_topic": ("camera/aligned_depth_to_color/camera_info", "CameraInfo of the depth image."),
    "color_transport": ("raw", "raw or compressed."),
    "depth_transport": ("raw", "raw or compressed (compressedDepth)."),
    "rectified": ("false", "The image topics carry rectified images."),
    "depth_aligned": ("false", "Depth is registered to colour although its frame_id differs."),
}
TOPICS = ("color_topic", "color_info_topic", "depth_topic", "depth_info_topic")


def generate_launch_description():
    """Arguments and nodes."""

    def parameters(**kinds):
        return [{name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in kinds.items()}]

    # Nav2 listens to goal_pose as well: it must get its goal once.
    publishes = ParameterValue(PythonExpression(["'", LaunchConfiguration("drive"), "' != 'nav2'"]), value_type=bool)
    sim = Node(
        package="roboref",
        executable="sim_g1",
        name="sim_g1",
        parameters=parameters(seed=int, target=int),
        condition=IfCondition(LaunchConfiguration("sim")),
        output="screen",
    )
    refer = Node(
        package="roboref",
        executable="refer",
        name="refer",
        parameters=[
            *parameters(robot=str, model=str, use_map=bool, use_sim_time=bool, color_transport=str, depth_transport=str, rectified=bool),
            {"publish_goal_pose": publishes, "depth.aligned": ParameterValue(LaunchConfiguration("depth_aligned"), value_type=bool)},
        ],
        remappings=[(ARGUMENTS[name][0], LaunchConfiguration(name)) for name in TOPICS],
        output="screen",
    )
    navigate = Node(
        package="roboref",
        executable="navigate",
        name="navigate",
        parameters=parameters(robot=str, drive=str, use_sim_time=bool),
        output="screen",
    )
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, sim, refer, navigate])
