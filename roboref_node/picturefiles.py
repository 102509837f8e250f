"""Pictures into files whose names say the format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roboref_node.status import Refused, Status


def check_picture(path: Path) -> None:
    """Whether a picture can be written there, asked before the work that it shows.

    Raises:
        Refused: BAD_REQUEST when the name has no ending of a picture, or its folder cannot be made or written.
    """
    import cv2

    try:
        known = bool(path.suffix) and cv2.haveImageWriter(str(path))
    except cv2.error:  # a format that this build of OpenCV knows and has switched off
        known = False
    if not known:
        raise Refused(Status.BAD_REQUEST, f"{path} is no name of a picture: it must end in .png or .jpg")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not nearest.is_dir():
        raise Refused(Status.BAD_REQUEST, f"the picture {path} cannot be written: {path if path.is_dir() else nearest} is in the way")
    if not os.access(nearest, os.W_OK):
        raise Refused(Status.BAD_REQUEST, f"the picture {path} cannot be written: nothing can be written into {nearest}")


def write_picture(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write an 8-bit colour picture, or a grey one, making its folder.

    Args:
        path: The file; its ending says the format.
        pixels: Shape (H, W, 3) for red, green and blue, or (H, W).

    Raises:
        Refused: BAD_REQUEST when it cannot be written.
    """
    import cv2

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels))
    except (OSError, cv2.error):
        written = False
    if not written:
        raise Refused(Status.BAD_REQUEST, f"the picture {path} cannot be written")
