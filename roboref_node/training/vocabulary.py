"""The nano's tokenizer: whole words, and coordinates that are one token each and read as RoboRefer's own format.

A point is two tokens, ``[(0.484, `` and ``0.613)]``, so that the decoded answer is RoboRefer's text and costs two steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from roboref_node.sim.appearance import COLOURS
from roboref_node.synth import language

COORDINATE_BINS = 128
X_TOKENS = tuple(f"[({(i + 0.5) / COORDINATE_BINS:.3f}, " for i in range(COORDINATE_BINS))
Y_TOKENS = tuple(f"{(i + 0.5) / COORDINATE_BINS:.3f})]" for i in range(COORDINATE_BINS))
NOTHING = "[]"
STEP_OPEN, STEP_MIDDLE = "[Position] [", "]: "
THINK_OPEN, THINK_CLOSE = "<think>", "</think><answer>"
ASSISTANT, END, PAD, UNKNOWN = "<|assistant|>", "<|im_end|>", "<|pad|>", "<unk>"
IMAGE, DEPTH = "<image>", "<depth>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def words() -> list[str]:
    """Every word the generator can say, sorted; anything else is the unknown word."""
    phrases: list[str] = [
        *COLOURS,
        *language.ANY_OBJECT,
        *language.ORDINALS,
        *language.NEXT_TO,
        *language.REQUESTS,
        *language.PLACE_REQUESTS,
    ]
    for table in (language.NOUNS, language.SIZE_WORDS, language.DIRECTIONS):
        phrases += [w for options in table.values() for w in options]
    phrases += [
        "the a an that is on in into inside onto top of shelf raised table from left right leftmost rightmost far side between and",
        "largest biggest larger bigger smallest smaller nearest closest farthest camera me to away most distant lowest highest up",
        "closest nearest next one middle empty free space spot place it put set down please . , ? !",
    ]
    found = {w for phrase in phrases for w in phrase.replace("{}", " ").lower().split()}
    return sorted(found)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every nano checkpoint; saved beside its weights, so that loading needs none of this code."""
    added = [PAD, END, UNKNOWN, IMAGE, DEPTH, ASSISTANT]
    layout = [NOTHING, THINK_OPEN, THINK_CLOSE, STEP_OPEN, STEP_MIDDLE, *X_TOKENS, *Y_TOKENS]
    plain = [f"▁{w}" for w in words()]
    vocabulary = {token: i for i, token in enumerate([*added, *layout, *plain])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    spaced = [normalizers.Replace(mark, f" {mark} ") for mark in ".,?!"]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *spaced])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Replace("[ ", "[")])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in added])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in layout])
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Id of a token, that of `UNKNOWN` when there is none."""
    number = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(number, int)
    return number


class CoordinateTokens:
    """Where the coordinate tokens sit in a tokenizer's vocabulary.

    Args:
        tokenizer: A tokenizer made by `build_tokenizer`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.x0 = token_id(tokenizer, X_TOKENS[0])
        self.y0 = token_id(tokenizer, Y_TOKENS[0])
        if token_id(tokenizer, X_TOKENS[-1]) != self.x0 + COORDINATE_BINS - 1:
            raise ValueError("the coordinate tokens are not contiguous: this is not a nano tokenizer")

    def point(self, uv: tuple[float, float]) -> tuple[int, int]:
        """Token ids of a normalised point."""
        column, row = (int(np.clip(value * COORDINATE_BINS, 0, COORDINATE_BINS - 1)) for value in uv)
        return self.x0 + column, self.y0 + row

    def soft_target(self, value: float, sigma_bins: float = 1.2) -> NDArray[np.float32]:
        """Gaussian label over the bins around a normalised coordinate, shape (COORDINATE_BINS,)."""
        centres = (np.arange(COORDINATE_BINS) + 0.5) / COORDINATE_BINS
        weight = np.exp(-0.5 * ((centres - value) * COORDINATE_BINS / sigma_bins) ** 2)
        return np.asarray(weight / weight.sum(), dtype=np.float32)
