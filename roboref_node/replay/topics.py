"""Where things are in a bag."""

from __future__ import annotations

from dataclasses import dataclass

_TRANSPORTS = ("/compressed", "/compressedDepth")


@dataclass(frozen=True)
class BagTopics:
    """Where things are in a bag; the defaults are those of the RealSense driver and of the simulated cell."""

    color: str = "/camera/color/image_raw"
    depth: str = "/camera/aligned_depth_to_color/image_raw"
    color_info: str = "/camera/color/camera_info"
    depth_info: str = "/camera/aligned_depth_to_color/camera_info"

    @staticmethod
    def of(
        camera: str = "/camera",
        *,
        color: str | None = None,
        depth: str | None = None,
        color_info: str | None = None,
        depth_info: str | None = None,
    ) -> BagTopics:
        """The topics of a camera.

        Args:
            camera: Its namespace.
            color: Topic of its colour images, when it is another.
            depth: Topic of its depth images, when it is another.
            color_info: Topic of the calibration, when it is not ``camera_info`` beside the images.
            depth_info: The same of depth.
        """
        camera = f"/{camera.strip('/')}".rstrip("/")
        color = color or f"{camera}/color/image_raw"
        depth = depth or f"{camera}/aligned_depth_to_color/image_raw"
        return BagTopics(color, depth, color_info or _info_beside(color), depth_info or _info_beside(depth))


def _info_beside(image: str) -> str:
    """Where image_transport looks for the calibration of an image topic, compressed or not."""
    for transport in _TRANSPORTS:
        image = image.removesuffix(transport)
    return f"{image.rpartition('/')[0]}/camera_info"
