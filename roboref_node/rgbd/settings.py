"""What is declared about a camera: parameters of the nodes, and ``--set`` of the offline commands."""

from __future__ import annotations

from dataclasses import dataclass

from roboref_node.parameters import check_settings, setting


@dataclass(frozen=True)
class DepthSettings:
    """What is declared about the depth topic; the unit always comes from the message's encoding."""

    near_m: float = setting("Nearest distance that the sensor reports.", default=0.1, unit="m", minimum=0.0, maximum=10.0)
    far_m: float = setting("Farthest distance that the sensor reports.", default=10.0, unit="m", minimum=0.1, maximum=200.0)
    aligned: bool = setting(
        "The depth image is registered to the colour image, whatever its frame_id says. Size and intrinsics are still compared.",
        default=False,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.near_m >= self.far_m:
            raise ValueError(f"near_m is {self.near_m:g}, it must be less than far_m = {self.far_m:g}")
