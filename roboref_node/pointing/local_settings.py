"""Settings of a model in this process, and the check that its weights are there; needs no torch, so that refusals come at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from roboref_node.pointing.prompt import MAX_INSTRUCTION_CHARS
from roboref_node.pointing.weights_hash import weight_files
from roboref_node.status import Refused, Status

_MODEL_PACKAGE = Path(__file__).resolve().parents[1] / "model"
PACKAGE_PREFIX = "package:"


@dataclass(frozen=True)
class LocalModelSettings:
    """Settings of a local model.

    Args:
        folder: Model folder; ``package:`` in front means inside `roboref_node.model`, ``~`` is the home directory.
        device: ``auto`` (the GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on the CPU), ``float32``, ``bfloat16`` or ``float16``.
        quantize: ``int8`` or ``int4`` weights of the language model, for small GPUs; needs torchao, int4 a GPU and bfloat16. Empty = off.
        threads: CPU threads of the whole process; 0 leaves them as they are.
        think: Reasoning steps before the answer: ``never``, ``optional`` (as the model likes) or ``always``.
        constrained: Let the model write well-formed answers only.
        use_depth: Give the model the depth map.
        depth_model: Folder of a Depth-Anything model (transformers, relative depth) that makes this map from the colour image, as the
            published models were fed; empty = the depth camera's. The lift to 3D always takes the camera's.
        rgb_newline: A newline behind the picture of questions without depth, as in the published models' training; without, as in their
            own inference code.
        max_new_tokens: Longest answer.
        tile_budget: Most tiles per picture; 0 = the model's own. Fewer are faster and coarser.
        reuse_frames: Keep what was computed for the last frame, for the next question about it.
        format_suffix: Ask for the answer format in the prompt, as the published checkpoints expect.
        refuse_unknown_words: NOT_FOUND for expressions with words that the model's vocabulary lacks.
        max_instruction_chars: Longest expression.
        fetch: Command that gets the weights, for the sentence when they are missing.
    """

    folder: str
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = ""
    threads: int = 0
    think: str = "optional"
    constrained: bool = True
    use_depth: bool = True
    depth_model: str = ""
    rgb_newline: bool = False
    max_new_tokens: int = 256
    tile_budget: int = 0
    reuse_frames: bool = True
    format_suffix: bool = True
    refuse_unknown_words: bool = True
    max_instruction_chars: int = MAX_INSTRUCTION_CHARS
    fetch: str = ""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.threads < 0 or self.tile_budget < 0:
            raise Refused(Status.BAD_REQUEST, "`max_new_tokens` must be at least 1, `threads` and `tile_budget` not negative.")
        if self.think not in ("never", "optional", "always"):
            raise Refused(Status.BAD_REQUEST, f"`think` must be never, optional or always, not {self.think!r}.")

    @property
    def path(self) -> Path:
        """The folder as a path."""
        if self.folder.startswith(PACKAGE_PREFIX):
            return _MODEL_PACKAGE / self.folder.removeprefix(PACKAGE_PREFIX)
        return Path(self.folder).expanduser()


def check_weights(folder: Path, fetch: str) -> None:
    """Refuse a folder without weights, before anything heavy is loaded.

    Raises:
        Refused: MODEL_UNAVAILABLE with the folder and the command that fills it.
    """
    if not any(weight_files(folder)):
        advice = f"get them with: {fetch}" if fetch else "set `folder` to a model folder"
        raise Refused(Status.MODEL_UNAVAILABLE, f"There are no weights (*.safetensors) in {folder}: {advice}.", folder=str(folder))
