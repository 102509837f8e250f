"""`roboref serve`: one model for several robots, over HTTP."""

from roboref_node.serving.batcher import Batcher
from roboref_node.serving.question import Answer, ImageLimits, Question, RequestError
from roboref_node.serving.server import ModelServer, ServeSettings

__all__ = ["Answer", "Batcher", "ImageLimits", "ModelServer", "Question", "RequestError", "ServeSettings"]
