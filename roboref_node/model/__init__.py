"""RoboRefer's architecture on transformers: configuration, modeling, processing, generation, checkpoints."""

from roboref_node.model.checkpoint import convert, load_model
from roboref_node.model.config import RoboReferConfig
from roboref_node.model.depth_image import relative_depth_image
from roboref_node.model.generation import FramePrefix, GeneratedAnswer, Generator
from roboref_node.model.grammar import TokenGrammar, point_answer
from roboref_node.model.modeling import RoboReferModel
from roboref_node.model.processing import ModelInputs, RoboReferProcessor

__all__ = [
    "FramePrefix",
    "GeneratedAnswer",
    "Generator",
    "ModelInputs",
    "RoboReferConfig",
    "RoboReferModel",
    "RoboReferProcessor",
    "TokenGrammar",
    "convert",
    "load_model",
    "point_answer",
    "relative_depth_image",
]
