"""The speech node beside a refer or pick_place node: ros2 launch roboref speech.launch.py voice:=espeak-ng ...

`ros2 launch roboref speech.launch.py --show-args` prints the arguments below. What is given here wins over params_file, for which
config/speech.yaml is a start, and which wins over the node's defaults.
"""

from roboref_node.ros.launching import CLOCK, PROCESS, description, node

PARAMETERS = {
    "source": (str, "Where sound comes from: microphone (default), wav, topic or none (typed text only)."),
    "wav": (str, "Path of the WAV file, with source:=wav."),
    "recogniser": (str, "sphinx (default: offline, with a grammar) or whisper (needs whisper_model)."),
    "whisper_model": (str, "Folder of a Whisper model."),
    "confirm": (bool, "true (default): repeat what was understood and wait for yes."),
    "voice": (str, "The robot's voice: none (default), espeak-ng or flite, with :NAME for another speaker."),
    "freeze_at_speech": (bool, "true: publish the stamp of the onset of speech with each instruction."),
    **CLOCK,
}
SETTINGS = {
    "instruction_topic": ("/refer/instruction", "Where understood sentences go, e.g. /pick_place/instruction."),
    "audio_topic": ("audio", "Sound as std_msgs/Int16MultiArray, with source:=topic."),
    **PROCESS,
}


def nodes(context):
    """The node."""
    return [node(context, "speech", PARAMETERS, topics={"instruction_topic": "instruction", "audio_topic": "audio"})]


def generate_launch_description():
    """Arguments and the node."""
    return description(nodes, PARAMETERS, SETTINGS)
