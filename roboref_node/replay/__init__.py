"""Bags without a ROS graph: frames, transforms, questions and golden answers."""

from roboref_node.replay.bag import RgbdBag
from roboref_node.replay.golden import compare, read_golden, write_golden
from roboref_node.replay.questions import BagQuestion, load_questions
from roboref_node.replay.topics import BagTopics
from roboref_node.replay.transforms import TransformTree

__all__ = ["BagQuestion", "BagTopics", "RgbdBag", "TransformTree", "compare", "load_questions", "read_golden", "write_golden"]
