"""What a client asks the server, decoded and checked; and what it gets back."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, eq=False)
class Question:
    """One question to the model.

    Args:
        rgb: Colour image, uint8 (H, W, 3).
        depth_image: Relative depth map, uint8 (h, w, 3), near = bright; None = colour only.
        estimate_depth: The server is to estimate the depth map from `rgb`.
        text: The prompt.
        max_new_tokens: Longest answer.
        client: Who asks; the queue is shared fairly between clients.
        system: Message that stands before the dialogue, in place of the model's own.
        history: Later turns, ("assistant", said) and ("user", asked) in turn; the last one is what is to be answered.
        temperature: Of the draw of each token; 0 = the best one is taken.
        top_p: Of the draw, see `roboref_node.model.sampling.Sampling`.
        seed: Of the draw; None = another one every time.
        probabilities: Fill `Answer.tokens`.
    """

    rgb: NDArray[np.uint8]
    depth_image: NDArray[np.uint8] | None
    estimate_depth: bool
    text: str
    max_new_tokens: int
    client: str
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    probabilities: bool = False


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Args:
        text: The decoded answer.
        prompt_tokens: Length of the question in tokens, pictures included.
        completion_tokens: Length of the answer in tokens.
        complete: False when the answer was cut off at `Question.max_new_tokens`.
        tokens: Text and probability of each token of the answer, 1 where the grammar left no choice; empty when not asked for.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    complete: bool
    tokens: tuple[tuple[str, float], ...] = ()


class RequestError(Exception):
    """The request cannot be served.

    Args:
        http_status: Its HTTP status.
        message: A sentence for the person who sent it.
        code: What programs tell errors of one status apart by, where OpenAI's API has a word for it.
    """

    def __init__(self, http_status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.message = message
        self.code = code


@dataclass(frozen=True)
class ImageLimits:
    """Limits on pictures in requests.

    Args:
        max_pixels: Largest width times height; checked before the picture is unpacked.
        max_side_px: Largest width or height; a picture of 1 x 12 million pixels passes through one of 448 x 12 million on its way to tiles.
        max_text_chars: Longest prompt.
    """

    max_pixels: int = 4096 * 3072
    max_side_px: int = 16_384
    max_text_chars: int = 4000


def decode_image(data: Any, limits: ImageLimits, what: str) -> NDArray[np.uint8]:
    """Unpack one base64 picture into RGB uint8 (H, W, 3).

    Raises:
        RequestError: 400 when it is not base64, not a PNG, JPEG or WebP file, damaged, or not 8 bit; 413 when it has too many pixels.
    """
    if not isinstance(data, str):
        raise RequestError(400, f"{what} must be a base64 string")
    try:
        # Many tools break the lines. Deleted byte by byte: a list of the pieces between millions of blanks would take a gigabyte.
        raw = base64.b64decode(data.encode("ascii").translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{what} is not base64 (a raw string without `data:` prefix is expected here)") from None
    try:
        with Image.open(io.BytesIO(raw), formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise RequestError(413, f"{what} has {width}x{height} pixels and the limit is {limits.max_pixels} in all (`--max-pixels`)")
            if max(width, height) > limits.max_side_px:
                raise RequestError(413, f"{what} has {width}x{height} pixels and the limit of a side is {limits.max_side_px}")
            if image.mode.startswith(("I", "F")):
                raise RequestError(
                    400, f"{what} has mode {image.mode}: 8 bit per channel are expected; convert metric depth to a relative map first"
                )
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except Image.DecompressionBombError as error:  # Pillow's own limit, which is checked first
        raise RequestError(413, f"{what} has too many pixels (`--max-pixels`): {error}") from None
    except RequestError:
        raise
    except Exception:  # Pillow's decoders meet damage in every way, assertions and missing keys among them
        raise RequestError(400, f"{what} is not an intact {', '.join(IMAGE_FORMATS)} file") from None


def check_text(text: Any, limits: ImageLimits) -> str:
    """The prompt, if it is one.

    Raises:
        RequestError: 400 when it is not a text, empty, or not Unicode; 413 when it is too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise RequestError(400, "the text of the question is missing")
    if len(text) > limits.max_text_chars:
        raise RequestError(413, f"the text has {len(text)} characters and the limit is {limits.max_text_chars}")
    if any("\ud800" <= character <= "\udfff" for character in text):  # JSON can say half a character, and no tokenizer reads one
        raise RequestError(400, "the text of the question holds a lone surrogate, which is no character")
    return text
