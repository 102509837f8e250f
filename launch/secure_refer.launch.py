"""The refer node in its SROS2 enclave: ros2 launch roboref secure_refer.launch.py keystore:=$HOME/roboref_keystore color_topic:=...

All arguments of refer.launch.py are taken too. Nothing starts without a complete keystore: the strategy is Enforce.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description():
    """Environment, then the ordinary launch file."""
    refer = PathJoinSubstitution([FindPackageShare("roboref"), "launch", "refer.launch.py"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("keystore", description="Folder made by `ros2 security create_keystore` (docs/security.md)."),
            DeclareLaunchArgument("enclave", default_value="/roboref/refer", description="Enclave of the node in the keystore."),
            SetEnvironmentVariable("ROS_SECURITY_ENABLE", "true"),
            SetEnvironmentVariable("ROS_SECURITY_STRATEGY", "Enforce"),
            SetEnvironmentVariable("ROS_SECURITY_KEYSTORE", LaunchConfiguration("keystore")),
            SetEnvironmentVariable("ROS_SECURITY_ENCLAVE_OVERRIDE", LaunchConfiguration("enclave")),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(refer)),
        ]
    )
