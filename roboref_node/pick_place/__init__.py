"""The closed loop: refer, move the arm, look again. Without ROS; `nodes.pick_place` gives it eyes, a model and an arm."""

from roboref_node.pick_place.loop import Loop
from roboref_node.pick_place.outcome import Ended, Outcome, State
from roboref_node.pick_place.ports import Arm, Eyes, Look, Referrer
from roboref_node.pick_place.settings import LoopSettings
from roboref_node.pick_place.timeline import Report, Step

__all__ = [
    "Arm",
    "Ended",
    "Eyes",
    "Look",
    "Loop",
    "LoopSettings",
    "Outcome",
    "Referrer",
    "Report",
    "State",
    "Step",
]
