"""Processes: each module is a node and runs as ``ros2 run roboref NAME`` or ``python -m roboref_node.nodes.NAME``."""
