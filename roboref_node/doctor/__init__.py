"""What is wrong with this machine, why it matters, and the command that fixes it."""

from roboref_node.doctor.findings import Finding, Level
from roboref_node.doctor.machine import examine_machine

__all__ = ["Finding", "Level", "examine_machine"]
