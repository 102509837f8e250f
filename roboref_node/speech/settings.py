"""The parameters of the ``speech`` node. `ros2 param describe /speech NAME` prints these sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from roboref_node.parameters import check_settings, setting
from roboref_node.speech.endpointing import EndPointSettings
from roboref_node.speech.vocabulary import Vocabulary


class Source(str, Enum):
    """Where sound comes from."""

    MICROPHONE = "microphone"
    WAV = "wav"
    TOPIC = "topic"
    NONE = "none"


class Backend(str, Enum):
    """Which recogniser understands sentences."""

    SPHINX = "sphinx"
    WHISPER = "whisper"


class SendTo(str, Enum):
    """How an instruction leaves the node."""

    TOPIC = "topic"
    REFER = "refer"


@dataclass(frozen=True)
class SpeechSettings:
    """Parameters of the ``speech`` node."""

    source: Source = setting("microphone, wav (a file, in real time), topic (`audio`) or none (only `~/text`).", default=Source.MICROPHONE)
    microphone: str = setting("Name or number of the input device; empty = the system's default.", default="")
    wav: str = setting("Path of the WAV file.", default="")
    sample_rate: int = setting("Rate of the topic `audio`.", default=16_000, unit="Hz", minimum=8_000, maximum=192_000)
    recogniser: Backend = setting("sphinx (offline, with a grammar) or whisper (needs whisper_model).", default=Backend.SPHINX)
    whisper_model: str = setting("Folder of a Whisper model for transformers.", default="")
    language: str = setting("Language of the speaker, for multilingual Whisper models.", default="en")
    confirm: bool = setting(
        "Repeat what was understood and wait for yes; false passes on whatever a grammar makes of a noise.", default=True
    )
    confirm_timeout_s: float = setting("How long a question stays open.", default=8.0, unit="s", minimum=1.0, maximum=120.0)
    voice: str = setting("The robot's voice: none, espeak-ng or flite, with :NAME for another speaker.", default="none")
    stop_words: tuple[str, ...] = setting("Words that stop, found in any speech.", default=("stop",))
    cancel_words: tuple[str, ...] = setting("Words that cancel, found in any speech.", default=("cancel",))
    stop_threshold_exponent: float = setting(
        "Threshold of the search for these words, as a power of ten; lower finds more, also where nothing was said.",
        default=-15.0,
        minimum=-50.0,
        maximum=0.0,
    )
    answer_threshold_exponent: float = setting("The same for yes and no; higher rejects more.", default=-15.0, minimum=-50.0, maximum=0.0)
    stop_services: tuple[str, ...] = setting(
        "std_srvs/Trigger services called at once on stop.", default=("arm/stop", "pick_place/stop", "navigate/stop", "refer/cancel")
    )
    cancel_services: tuple[str, ...] = setting(
        "std_srvs/Trigger services called at once on cancel.", default=("pick_place/cancel", "navigate/stop", "refer/cancel")
    )
    inquirers: tuple[str, ...] = setting(
        "Nodes whose questions are said aloud, and that get the yes or no to them (topics NAME/question and NAME/answer).",
        default=("pick_place",),
    )
    freeze_at_speech: bool = setting("Publish the stamp of the onset of speech with each instruction.", default=False)
    send_to: SendTo = setting(
        "topic (`instruction`), or refer: a goal for `refer/refer`, with the onset's stamp if freeze_at_speech.",
        default=SendTo.TOPIC,
    )
    language_model_url: str = setting(
        "OpenAI-compatible server that rewrites sentences the grammar does not read (https://host/v1); empty = none.", default=""
    )
    language_model: str = setting("Name of the model on that server.", default="")
    language_model_token_env: str = setting("Environment variable with its bearer token; empty = none.", default="")
    end_point: EndPointSettings = field(default_factory=EndPointSettings)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.source is Source.WAV and not self.wav:
            raise ValueError("source is wav, so wav must be the path of a file")
        if self.recogniser is Backend.WHISPER and not self.whisper_model:
            raise ValueError("recogniser is whisper, so whisper_model must be the folder of a model")
