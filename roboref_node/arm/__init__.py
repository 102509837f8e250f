"""Motion of an arm without ROS: motions as data, the UR5's closed-form inverse kinematics, collision-checked paths, timed tracks."""

from roboref_node.arm.motion import Motion as Motion
from roboref_node.arm.motion import MotionKind as MotionKind
from roboref_node.arm.motion import MotionResult as MotionResult
from roboref_node.arm.motion import Outcome as Outcome
from roboref_node.arm.motion import Stage as Stage
