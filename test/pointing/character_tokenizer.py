"""A tokenizer whose tokens are characters: small enough for a model that a test makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def character_tokenizer(special: Sequence[str], **settings: Any) -> PreTrainedTokenizerFast:
    """Tokens ``<pad>``, ``<end>``, ``<unk>``, the special ones, then the printable characters of ASCII.

    Args:
        special: Further tokens.
        **settings: Of `PreTrainedTokenizerFast`.
    """
    named = ["<pad>", "<end>", "<unk>", *special]
    vocabulary = {token: i for i, token in enumerate([*named, *(chr(c) for c in range(32, 127))])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    characters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", **settings)
