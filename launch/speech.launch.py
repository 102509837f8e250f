"""The speech node beside a refer or pick_place node: ros2 launch roboref speech.launch.py voice:=espeak-ng ...

`ros2 launch roboref speech.launch.py --show-args` prints the arguments below.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = {
    "source": ("microphone", "Where sound comes from: microphone, wav, topic or none (typed text only)."),
    "wav": ("", "Path of the WAV file, with source:=wav."),
    "recogniser": ("sphinx", "sphinx (offline, with a grammar) or whisper (needs whisper_model)."),
    "whisper_model": ("", "Folder of a Whisper model."),
    "confirm": ("true", "Repeat what was understood and wait for yes."),
    "voice": ("none", "The robot's voice: none, espeak-ng or flite, with :NAME for another speaker."),
    "freeze_at_speech": ("false", "Publish the stamp of the onset of speech with each instruction."),
    "instruction_topic": ("/refer/instruction", "Where understood sentences go, e.g. /pick_place/instruction."),
    "audio_topic": ("audio", "Sound as std_msgs/Int16MultiArray, with source:=topic."),
    "namespace": ("", "Namespace of the node and of its relative names."),
    "use_sim_time": ("false", "Take time from /clock: for simulations and bags."),
    "params_file": ("", "ROS parameter file with anything else; config/speech.yaml is a start."),
    "log_level": ("info", "debug, info, warn or error."),
}


def speech_node(context):
    """The node; a function, because an empty params_file must not be passed on."""
    params_file = LaunchConfiguration("params_file").perform(context)
    kinds = dict.fromkeys(("source", "wav", "recogniser", "whisper_model", "voice"), str)
    kinds |= dict.fromkeys(("confirm", "freeze_at_speech", "use_sim_time"), bool)
    settings = {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in kinds.items()}
    return [
        Node(
            package="roboref",
            executable="speech",
            name="speech",
            namespace=LaunchConfiguration("namespace"),
            parameters=[*([params_file] if params_file else []), settings],
            remappings=[("instruction", LaunchConfiguration("instruction_topic")), ("audio", LaunchConfiguration("audio_topic"))],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description():
    """Arguments and the node."""
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=speech_node)])
