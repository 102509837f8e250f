"""When the loop believes what it sees, and how often it tries again."""

from __future__ import annotations

from dataclasses import dataclass

from roboref_node.parameters import check_settings, setting


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the closed loop; parameters of the node ``pick_place`` below ``loop``."""

    max_attempts: int = setting("Motions that are tried for one task, each with another candidate.", default=3, minimum=1, maximum=20)
    max_asks: int = setting("How often one task is asked again because the scene changed.", default=3, minimum=0, maximum=20)
    jump_m: float = setting(
        "Two answers farther apart than this mean that the scene changed.", default=0.03, unit="m", minimum=0.002, maximum=1.0
    )
    ask_ahead: bool = setting("Ask for the place before the pick, so that an impossible place is refused with an empty hand.", default=True)
    presence_tolerance_m: float = setting(
        "Depth that differs by less shows the same surface; of a flat object by less than half of its height.",
        default=0.012,
        unit="m",
        minimum=0.002,
        maximum=0.2,
    )
    min_present: float = setting(
        "Share of the object's visible points that must be unchanged before a grasp.", default=0.7, minimum=0.1, maximum=1.0
    )
    min_gone: float = setting(
        "Share of its points that must be gone for the object to have left its place.", default=0.7, minimum=0.1, maximum=1.0
    )
    min_visible: float = setting(
        "Share of the points that must not be hidden, or nothing is concluded.", default=0.25, minimum=0.01, maximum=1.0
    )
    max_covered: float = setting(
        "Share of a place's pixels that may be covered by what was not there when it was chosen.", default=0.1, minimum=0.01, maximum=1.0
    )
    place_tolerance_m: float = setting(
        "Largest distance of a placed object from its place.", default=0.04, unit="m", minimum=0.005, maximum=0.5
    )
    min_height_share: float = setting(
        "Least height of a placed object, as a share of what it had: less means that it lies on its side.",
        default=0.6,
        minimum=0.0,
        maximum=1.0,
    )
    min_placed_share: float = setting(
        "Least share of the pixels expected of a placed object that must be seen at its place.", default=0.1, minimum=0.01, maximum=1.0
    )
    view_timeout_s: float = setting(
        "How long a look waits for a new frame, or for a place that is hidden.", default=5.0, unit="s", minimum=0.1, maximum=60.0
    )

    def __post_init__(self) -> None:
        check_settings(self)
