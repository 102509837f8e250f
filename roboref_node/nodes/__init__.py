"""Processes: each module is a node and runs as ``ros2 run roboref NAME`` or ``python -m roboref_node.nodes.NAME``.

Where ROS 2 is missing, which is where pip alone has installed the package, the process ends here with a sentence.
"""

from roboref_node.commands.installed import ROS_IS_MISSING, tells_that_ros_is_missing

if tells_that_ros_is_missing("a node of roboref", as_json=False):
    raise SystemExit(ROS_IS_MISSING)
