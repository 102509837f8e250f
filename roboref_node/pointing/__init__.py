"""Pointing: the question to the model, its answer as pixels, and the back-ends that carry both."""

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.parser import ParsedAnswer, parse_points
from roboref_node.pointing.pointer import PixelPoint, PointAnswer, Pointer, ReasoningStep
from roboref_node.pointing.prompt import build_prompt

__all__ = ["Dialect", "ParsedAnswer", "PixelPoint", "PointAnswer", "Pointer", "ReasoningStep", "build_prompt", "parse_points"]
