"""RoboRefer's wire format, ``/query``: JSON in, `Question` out; `Answer` in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roboref_node.pointing.parser import split_thinking
from roboref_node.pointing.syntax import AnswerSyntaxError
from roboref_node.serving.question import Answer, ImageLimits, Question, RequestError, check_text, decode_image


def read_query(body: Mapping[str, Any], limits: ImageLimits, client: str, new_tokens: int) -> Question:
    """RoboRefer's request: ``image_url`` and ``depth_url`` (lists of base64 files), ``enable_depth`` (0 or 1) and ``text``.

    With ``enable_depth`` 1 and no depth picture the server estimates the depth, as the published server does; with 0 a depth picture
    is ignored. The request has no field for the longest answer: `new_tokens`.

    Raises:
        RequestError: 400 or 413, saying which field is wrong.
    """
    images, depths = body.get("image_url", []), body.get("depth_url", [])
    enable_depth = body.get("enable_depth", 0)
    if not isinstance(images, list) or not isinstance(depths, list):
        raise RequestError(400, "image_url and depth_url must be lists of base64 strings")
    if enable_depth not in (0, 1):
        raise RequestError(400, "enable_depth must be 0 or 1")
    if len(images) != 1 or (enable_depth and len(depths) > 1):
        raise RequestError(400, f"one image and at most one depth map are answered, not {len(images)} and {len(depths)}")
    return Question(
        rgb=decode_image(images[0], limits, "image_url[0]"),
        depth_image=decode_image(depths[0], limits, "depth_url[0]") if enable_depth and depths else None,
        estimate_depth=bool(enable_depth) and not depths,
        text=check_text(body.get("text"), limits),
        max_new_tokens=new_tokens,
        client=client,
    )


def write_query(answer: Answer) -> dict[str, Any]:
    """RoboRefer's reply, without the thinking of a model that thinks: its clients read the whole answer as a list of points."""
    try:
        _, final = split_thinking(answer.text)
    except AnswerSyntaxError:  # cut off while it was thinking
        final = answer.text
    return {"result": 1, "answer": final.strip()}
