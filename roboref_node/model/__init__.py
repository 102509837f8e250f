"""RoboRefer's architecture on transformers: configuration, modeling, processing, generation, checkpoints."""

from roboref_node.model.config import RoboReferConfig
from roboref_node.model.modeling import RoboReferModel

__all__ = ["RoboReferConfig", "RoboReferModel"]
