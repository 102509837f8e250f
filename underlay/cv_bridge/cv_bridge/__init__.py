"""ROS images to arrays in OpenCV's conventions and back (the part of the genuine package that roboref uses)."""

from .bridge import CvBridge
from .encodings import CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
