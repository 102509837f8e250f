"""Adapters between ROS 2 and the core: messages, frames of a camera, transforms, parameters, requests."""
