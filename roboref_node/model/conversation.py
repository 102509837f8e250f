"""The text around the pictures: markers per tile, the chat template, and what ends an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roboref_node.model.config import RoboReferConfig

Turn = tuple[str, str]
"""Role ("user", "assistant" or "system") and content."""


def clean_text(text: str, config: RoboReferConfig) -> str:
    """Delete media markers that a person typed; a text that held one is stripped too, as upstream does.

    Again and again, because what is left and right of a deleted marker may be the halves of another.
    """
    markers = [config.image_token, config.video_token] + ([config.depth_token] if config.use_depth else [])
    while any(marker in text for marker in markers):
        for marker in markers:
            text = text.replace(marker, "")
        text = text.strip()
    return text


def user_content(
    text: str, rgb_tiles: Sequence[int], depth_tiles: Sequence[int], config: RoboReferConfig, *, rgb_newline: bool = False
) -> str:
    r"""The content of the user's turn, with one marker per block.

    Args:
        text: The question; markers in it are deleted.
        rgb_tiles: Number of tiles of each colour image.
        depth_tiles: Number of tiles of each depth image.
        config: Tiling, marker strings, marker order.
        rgb_newline: Put a newline between the colour markers and the text when there is no depth. The published models saw it in
            training, but upstream's inference leaves it out; the default follows inference.

    Returns:
        For RGB-D with ``dynamic`` tiling ``("<image>\n" * N + " " + "<depth>\n" * M + "\n") * images + text``; with ``dynamic_s2``
        one marker per image; with ``resize`` the markers alone, in `media_order`. Without depth no separators but those of the tiles.
    """
    text = clean_text(text, config)

    def marker(token: str, tiles: int) -> str:
        return f"{token}\n" * tiles if config.tiling == "dynamic" else token

    rgb = [marker(config.image_token, tiles) for tiles in rgb_tiles]
    depth = [marker(config.depth_token, tiles) for tiles in depth_tiles]
    if config.tiling == "resize":
        first, second = (rgb, depth) if config.media_order == "rgb_depth" else (depth, rgb)
        content = "".join(first) + "".join(second) + text
    elif depth and len(rgb) == len(depth):
        content = "".join(f"{colour} {distance}\n" for colour, distance in zip(rgb, depth, strict=True)) + text.strip("\n")
    elif depth or not rgb_newline:
        content = "".join(rgb) + "".join(depth) + text
    else:
        content = "".join(f"{colour}\n" for colour in rgb) + text
    return content.strip()


def render(tokenizer: Any, turns: Sequence[Turn], *, answer_follows: bool = True) -> str:
    """The conversation as the tokenizer's own chat template writes it.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        turns: Roles and contents; white space around a content is left out, as the published models saw it.
        answer_follows: End with the header of the assistant's turn.

    Raises:
        ValueError: The tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat template (tokenizer_config.json: chat_template, or chat_template.jinja)")
    messages = [{"role": role, "content": content.strip()} for role, content in turns]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=answer_follows, tokenize=False))


def knows_system_messages(tokenizer: Any) -> bool:
    """Whether the chat template sets a system message apart from the question behind it."""
    try:
        apart = render(tokenizer, [("system", "a"), ("user", "b")])
    except Exception:  # a template says in its own way that it does not know a role
        return False
    return apart not in (render(tokenizer, [("user", "ab")]), render(tokenizer, [("user", "b")]))


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """Ids of a rendered conversation. Always the whole string in one call: newlines merge across the seams of its parts."""
    return [int(token) for token in tokenizer(text)["input_ids"]]


def stop_token_ids(tokenizer: Any) -> list[int]:
    """What ends an answer: the end-of-sequence token and the token that the chat template puts behind an assistant's turn.

    Raises:
        ValueError: The tokenizer has no end-of-sequence token, or its chat template leaves the assistant's turn out.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-sequence token (tokenizer_config.json: eos_token)")
    stops = {int(tokenizer.eos_token_id)}
    probe = tokenizer.eos_token  # special, so it is one token wherever it stands
    ids = tokenize(tokenizer, render(tokenizer, [("user", "question"), ("assistant", probe)], answer_follows=False))
    if tokenizer.eos_token_id not in ids:
        raise ValueError("the chat template does not write what the assistant said")
    where = ids.index(int(tokenizer.eos_token_id))
    if where + 1 < len(ids):
        follower = ids[where + 1]
        if follower in special_token_ids(tokenizer):
            stops.add(follower)
    return sorted(stops)


def special_token_ids(tokenizer: Any) -> set[int]:
    """Ids of all special tokens; transformers' own ``all_special_ids`` knows the named ones only."""
    marked = {int(number) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return marked | {int(number) for number in tokenizer.all_special_ids}


def attach_tokenizer(config: RoboReferConfig, tokenizer: Any) -> None:
    """Write the ids that depend on the tokenizer into the configuration.

    Raises:
        ValueError: A marker is not one token of the vocabulary or lies outside the embedding table, or `stop_token_ids` finds no end.
    """
    for name, number in _marker_ids(config, tokenizer).items():
        setattr(config, name, number)
    if config.media_newline:
        config.newline_token_ids = tokenize(tokenizer, "\n")
    config.stop_token_ids = stop_token_ids(tokenizer)


def check_tokenizer(config: RoboReferConfig, tokenizer: Any) -> None:
    """Refuse a configuration with the ids or the size of another tokenizer, and a chat template that loses what it is given.

    Raises:
        ValueError: The text is a part of a sentence.
    """
    wanted = _marker_ids(config, tokenizer)
    for name, number in wanted.items():
        if getattr(config, name) != number:
            raise ValueError(f"{name} is {getattr(config, name)!r}, but the tokenizer has {number}")
    rows = config.text.vocab_size
    last, number = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if number >= rows:  # a question that spells it would fail, and on a GPU take the process with it
        raise ValueError(f"token {last!r} has id {number}, but the embedding table has {rows} rows")
    for name in ("stop_token_ids", *(("newline_token_ids",) if config.media_newline else ())):
        ids = getattr(config, name)
        if not isinstance(ids, list | tuple) or not ids or not all(isinstance(token, int) and 0 <= token < rows for token in ids):
            raise ValueError(f"{name} is {ids!r}, expected ids of the {rows} tokens")
    markers = [config.image_token, config.depth_token][: len(wanted)]
    rendered = tokenize(tokenizer, render(tokenizer, [("user", "".join(markers))]))
    for marker, number in zip(markers, wanted.values(), strict=True):
        if rendered.count(number) != 1:
            raise ValueError(f"the chat template writes one {marker!r} {rendered.count(number)} times")


def _marker_ids(config: RoboReferConfig, tokenizer: Any) -> dict[str, int]:
    """Ids of the media markers by the names of their fields."""
    wanted = {"image_token_id": config.image_token}
    if config.use_depth:
        wanted["depth_token_id"] = config.depth_token
    vocabulary = tokenizer.get_vocab()
    for marker in wanted.values():
        if marker not in vocabulary:
            raise ValueError(f"the tokenizer has no token {marker!r}")
        if vocabulary[marker] >= config.text.vocab_size:
            raise ValueError(f"token {marker!r} has id {vocabulary[marker]}, but the embedding table has {config.text.vocab_size} rows")
    return {name: int(vocabulary[marker]) for name, marker in wanted.items()}
